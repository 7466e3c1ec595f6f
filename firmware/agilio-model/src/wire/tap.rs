// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A port on a TAP of the current network namespace.

use super::buffer::{Filled, FrameBuf};
use super::port::{poll_for, readable, Port, Sent, StopFlag, Taken};
use crate::counters::DropReason;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, IntegerSetter, Opcode, Setter};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Duration;

const TUNSETIFF: Opcode = opcode::write::<libc::c_int>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<libc::c_uint>(b'T', 208);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<libc::c_int>(b'T', 216);

/// `struct virtio_net_hdr`: flags, gso_type, then four u16.
const VNET_HDR_SIZE: usize = 10;
/// In the header's first byte: the checksum has still to be filled in.
const VNET_NEEDS_CSUM: u8 = 1;
/// In the header's first byte: the checksum is known to be right. A hint; not every kernel heeds it.
const VNET_DATA_VALID: u8 = 2;

/// Frames up to this length are copied behind their header for one plain `write()`, which costs the kernel less than
/// a vector of two.
const SHORT_FRAME: usize = 246;

/// A TAP.
#[derive(Debug)]
pub struct TapPort {
    queues: Vec<OwnedFd>,
    stop: StopFlag,
}

/// How to attach to a TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attach {
    /// As the first queue of one that there is not yet.
    First,
    /// As another queue of one that [`Attach::First`] has made.
    Another,
    /// To one with a single queue, which is made if there is none.
    Single,
}

impl TapPort {
    /// Attaches to TAP `name`, which is created (and lives as long as the port) with `queues` queues where there is
    /// none. One that is there has a single queue.
    pub fn open(name: &str, queues: usize) -> io::Result<Self> {
        let context = |err: Errno| {
            let hint = match err {
                Errno::PERM | Errno::ACCESS => " (needs CAP_NET_ADMIN)",
                Errno::NOENT | Errno::NODEV => " (is the tun module there?)",
                Errno::BUSY => " (in use by another process)",
                // A single queue is not what it has.
                Errno::INVAL => " (in use by another card, or not a TAP with a single queue)",
                _ => "",
            };
            let err = io::Error::from(err);
            io::Error::new(err.kind(), format!("TAP {name}: {err}{hint}"))
        };
        let attach = |how| -> io::Result<Result<OwnedFd, Errno>> {
            let request = interface_request(name, how)?;
            Ok(attach(request))
        };
        let first = match if queues > 1 {
            attach(Attach::First)?
        } else {
            Err(Errno::BUSY)
        } {
            Err(Errno::BUSY) => {
                let queue = attach(Attach::Single)?.map_err(context)?;
                return Ok(Self {
                    queues: vec![queue],
                    stop: StopFlag::new()?,
                });
            }
            first => first.map_err(context)?,
        };
        let mut all = vec![first];
        while all.len() < queues {
            all.push(attach(Attach::Another)?.map_err(context)?);
        }
        Ok(Self {
            queues: all,
            stop: StopFlag::new()?,
        })
    }

    fn queue(&self, queue: usize) -> io::Result<&OwnedFd> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the TAP has no such queue");
        self.queues.get(queue).ok_or_else(missing)
    }
}

impl Port for TapPort {
    fn queues(&self) -> usize {
        self.queues.len()
    }

    fn send(&self, queue: usize, frame: &[u8], csum_valid: bool) -> io::Result<Sent> {
        let tap = self.queue(queue)?;
        let flags = if csum_valid { VNET_DATA_VALID } else { 0 };
        let mut short = [0; VNET_HDR_SIZE + SHORT_FRAME];
        short[0] = flags;
        let end = VNET_HDR_SIZE + frame.len();
        let whole = match short.get_mut(VNET_HDR_SIZE..end) {
            Some(room) => {
                room.copy_from_slice(frame);
                Some(&short[..end])
            }
            None => None,
        };
        loop {
            let written = match whole {
                Some(whole) => rustix::io::write(tap, whole),
                None => {
                    let parts = [IoSlice::new(&short[..VNET_HDR_SIZE]), IoSlice::new(frame)];
                    rustix::io::writev(tap, &parts)
                }
            };
            return match written {
                Ok(_) => Ok(Sent::Done),
                Err(Errno::INTR) => continue,
                // The TAP is there but not up.
                Err(Errno::IO) => Ok(Sent::NoLink),
                Err(Errno::AGAIN | Errno::NOBUFS) => Ok(Sent::Full),
                Err(err) => Err(err.into()),
            };
        }
    }

    fn wait(&self, queue: usize, timeout: Option<Duration>) -> io::Result<bool> {
        let mut fds = [readable(self.queue(queue)?), readable(&self.stop)];
        poll_for(&mut fds, timeout)?;
        Ok(!self.stop.is_raised())
    }

    fn take(&self, queue: usize, buffer: &mut FrameBuf) -> io::Result<Taken> {
        let tap = self.queue(queue)?;
        let filled = loop {
            // The kernel cuts a frame that is too long without a word; the buffer's last byte shows it.
            match buffer.fill(VNET_HDR_SIZE, |bytes| rustix::io::read(tap, bytes)) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(Taken::Nothing),
                other => break other?,
            }
        };
        let header = buffer.header(VNET_HDR_SIZE);
        let unfinished = header[0] & VNET_NEEDS_CSUM != 0 || header[1] != 0;
        Ok(match filled {
            Filled::Frame if !unfinished => Taken::Frame,
            Filled::TooLong => Taken::Dropped(DropReason::TooLong),
            Filled::Frame | Filled::NoHeader => Taken::Dropped(DropReason::WireError),
        })
    }

    fn stop(&self) {
        self.stop.raise();
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// Opens a queue and attaches it as `request` says.
fn attach(request: libc::ifreq) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: TUNSETIFF reads (and writes back) one `ifreq`, which outlives the call.
    unsafe { ioctl(&tap, Setter::<TUNSETIFF, _>::new(request)) }?;
    let header_size = VNET_HDR_SIZE as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    unsafe { ioctl(&tap, Setter::<TUNSETVNETHDRSZ, _>::new(header_size)) }?;
    // No offloads: the kernel hands over whole frames with their checksums. A persistent TAP may
    // remember others.
    // SAFETY: TUNSETOFFLOAD takes its bits by value.
    unsafe { ioctl(&tap, IntegerSetter::<TUNSETOFFLOAD>::new_usize(0)) }?;
    Ok(tap)
}

/// The request that attaches to `name`.
fn interface_request(name: &str, how: Attach) -> io::Result<libc::ifreq> {
    let bad = |why| {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("TAP name \"{name}\" {why}"),
        ))
    };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return bad("must have 1 to 15 bytes");
    }
    // '%' is a pattern to the kernel.
    if name
        .bytes()
        .any(|b| matches!(b, b'/' | b'%' | b':' | 0) || b.is_ascii_whitespace())
    {
        return bad("has a character that no interface name may have");
    }
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let flags = match how {
        Attach::First => flags | libc::IFF_MULTI_QUEUE | libc::IFF_TUN_EXCL,
        Attach::Another => flags | libc::IFF_MULTI_QUEUE,
        Attach::Single => flags,
    };
    Ok(libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags as libc::c_short,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_misread_are_refused() {
        for name in ["", "a/b", "tap%d", "a b", "0123456789abcdef", "x:1"] {
            let err = interface_request(name, Attach::Single).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        let request = interface_request("wire0", Attach::First).unwrap();
        assert_eq!(request.ifr_name[4] as u8, b'0');
        assert_eq!(request.ifr_name[5], 0);
    }
}
