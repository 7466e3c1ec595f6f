// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A port on a TAP of the current network namespace.

use super::port::{poll_for, readable, Port, Received, Sent, StopFlag};
use crate::counters::DropReason;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, IntegerSetter, Opcode, Setter};
use std::io::{self, IoSlice, IoSliceMut};
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

/// A TAP.
#[derive(Debug)]
pub struct TapPort {
    tap: OwnedFd,
    stop: StopFlag,
}

impl TapPort {
    /// Attaches to TAP `name`, which is created (and lives as long as the port) where there is none.
    pub fn open(name: &str) -> io::Result<Self> {
        let context = |err: Errno| {
            let hint = match err {
                Errno::PERM | Errno::ACCESS => " (needs CAP_NET_ADMIN)",
                Errno::NOENT | Errno::NODEV => " (is the tun module there?)",
                Errno::BUSY => " (in use by another process)",
                _ => "",
            };
            let err = io::Error::from(err);
            io::Error::new(err.kind(), format!("TAP {name}: {err}{hint}"))
        };
        let request = interface_request(name)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(context)?;
        // SAFETY: TUNSETIFF reads (and writes back) one `ifreq`, which outlives the call.
        unsafe { ioctl(&tap, Setter::<TUNSETIFF, _>::new(request)) }.map_err(context)?;
        // SAFETY: TUNSETVNETHDRSZ reads one int.
        unsafe {
            ioctl(
                &tap,
                Setter::<TUNSETVNETHDRSZ, _>::new(VNET_HDR_SIZE as libc::c_int),
            )
        }
        .map_err(context)?;
        // No offloads: the kernel hands over whole frames with their checksums. A persistent TAP
        // may remember others.
        // SAFETY: TUNSETOFFLOAD takes its bits by value.
        unsafe { ioctl(&tap, IntegerSetter::<TUNSETOFFLOAD>::new_usize(0)) }.map_err(context)?;
        Ok(Self {
            tap,
            stop: StopFlag::new()?,
        })
    }

    /// Reads one frame without waiting.
    fn read(&self, buf: &mut [u8]) -> rustix::io::Result<Received> {
        let room = VNET_HDR_SIZE + buf.len();
        let mut header = [0; VNET_HDR_SIZE];
        // The kernel cuts a frame that is too long without a word; one byte more shows it.
        let mut beyond = [0; 1];
        let mut parts = [
            IoSliceMut::new(&mut header),
            IoSliceMut::new(buf),
            IoSliceMut::new(&mut beyond),
        ];
        let len = rustix::io::readv(&self.tap, &mut parts)?;
        if len > room {
            return Ok(Received::Dropped(DropReason::TooLong));
        }
        let unfinished = header[0] & VNET_NEEDS_CSUM != 0 || header[1] != 0;
        if len < VNET_HDR_SIZE || unfinished {
            return Ok(Received::Dropped(DropReason::WireError));
        }
        Ok(Received::Frame(len - VNET_HDR_SIZE))
    }
}

impl Port for TapPort {
    fn send(&self, frame: &[u8], csum_valid: bool) -> io::Result<Sent> {
        let mut header = [0; VNET_HDR_SIZE];
        if csum_valid {
            header[0] = VNET_DATA_VALID;
        }
        let parts = [IoSlice::new(&header), IoSlice::new(frame)];
        loop {
            return match rustix::io::writev(&self.tap, &parts) {
                Ok(_) => Ok(Sent::Done),
                Err(Errno::INTR) => continue,
                // The TAP is there but not up.
                Err(Errno::IO) => Ok(Sent::NoLink),
                Err(Errno::AGAIN | Errno::NOBUFS) => Ok(Sent::Full),
                Err(err) => Err(err.into()),
            };
        }
    }

    fn recv(&self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<Received> {
        loop {
            if self.stop.is_raised() {
                return Ok(Received::Stopped);
            }
            match self.read(buf) {
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                other => return Ok(other?),
            }
            let mut fds = [readable(&self.tap), readable(&self.stop)];
            if poll_for(&mut fds, timeout)? == 0 {
                return Ok(Received::Timeout);
            }
        }
    }

    fn stop(&self) {
        self.stop.raise();
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// The request that attaches to `name`.
fn interface_request(name: &str) -> io::Result<libc::ifreq> {
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
            let err = interface_request(name).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        let request = interface_request("wire0").unwrap();
        assert_eq!(request.ifr_name[4] as u8, b'0');
        assert_eq!(request.ifr_name[5], 0);
    }
}
