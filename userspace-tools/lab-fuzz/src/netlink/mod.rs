// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random requests of many threads to the module's netlink family, from network namespaces that come and go with listeners.

mod message;
mod operations;

use std::{
    fs::File,
    io::{Error, Result},
    net::TcpListener,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail, Context as _};
use libc::c_int;

use self::{
    message::{Attribute, Value},
    operations::OPERATIONS,
};
use crate::{random::Random, Netlink};

/// The controller's number, its request for a family's, and the attributes with name and number (linux/genetlink.h).
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Kinds of messages that end an answer.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Nothing takes longer to be answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each operation was asked for, and done.
type Tally = [[u64; 2]; OPERATIONS.len()];

/// A generic netlink socket.
struct Socket(OwnedFd);

impl Socket {
    fn new() -> Result<Self> {
        // SAFETY: No preconditions.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: The descriptor is new, and nobody else has it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let time = libc::timeval {
            tv_sec: PATIENCE.as_secs() as libc::time_t,
            tv_usec: 0,
        };
        // SAFETY: The value lives for the call, and has the size that is told.
        let err = unsafe {
            libc::setsockopt(
                socket.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const time).cast(),
                size_of_val(&time) as libc::socklen_t,
            )
        };
        if err < 0 {
            return Err(Error::last_os_error());
        }
        Ok(socket)
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        crate::sys::send(self.0.as_raw_fd(), message, 0).map(drop)
    }

    /// Receives until the answer is whole. Its first message, and the errno that it ends with, or 0.
    fn answer(&self) -> Result<(Vec<u8>, i32)> {
        let mut first = None;
        let mut room = vec![0; 32 << 10];
        loop {
            let len = crate::sys::receive(self.0.as_raw_fd(), &mut room)?;
            let mut left = &room[..len];
            while let Some((header, _)) = left.split_first_chunk::<16>() {
                let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
                let kind = u16::from_ne_bytes([header[4], header[5]]);
                let size = (size as usize).clamp(16, left.len());
                let (message, behind) = left.split_at(size.next_multiple_of(4).min(left.len()));
                if matches!(kind, NLMSG_ERROR | NLMSG_DONE) {
                    let errno = message.get(16..20).map_or(0, |bytes| {
                        i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
                    });
                    return Ok((first.unwrap_or_default(), -errno));
                }
                first.get_or_insert_with(|| message.to_vec());
                left = behind;
            }
        }
    }
}

/// Number of the module's family.
fn family() -> anyhow::Result<u16> {
    const ASK: &[Attribute] = &[Attribute {
        number: CTRL_ATTR_FAMILY_NAME,
        value: Value::Text(&["acceltcp"]),
        once_in: 1,
    }];
    let socket = Socket::new()?;
    let to = (GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    socket.send(&message::request(to, false, ASK, &mut Random::new(0, 0)))?;
    let (answer, errno) = socket.answer()?;
    if errno != 0 {
        bail!("no family acceltcp: {}", Error::from_raw_os_error(errno));
    }
    let mut left = answer.get(20..).unwrap_or_default();
    while let Some((header, _)) = left.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]])).max(4);
        if u16::from_ne_bytes([header[2], header[3]]) == CTRL_ATTR_FAMILY_ID {
            let number = left.get(4..6).context("a short number")?;
            return Ok(u16::from_ne_bytes([number[0], number[1]]));
        }
        left = left.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    bail!("the family acceltcp has no number")
}

/// A thread, and the namespace that it is in.
struct Asker {
    random: Random,
    family: u16,
    first: File,
    listeners: Vec<TcpListener>,
}

fn is_done(code: c_int) -> Result<()> {
    (code == 0).then_some(()).ok_or_else(Error::last_os_error)
}

impl Asker {
    /// Sometimes goes elsewhere, and begins or ends to listen there.
    fn wander(&mut self) -> Result<()> {
        match self.random.below(40) {
            0 => {
                self.listeners.clear();
                // SAFETY: No preconditions; this thread alone has another namespace then.
                is_done(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            }
            1 => {
                self.listeners.clear();
                // SAFETY: The descriptor is open.
                is_done(unsafe { libc::setns(self.first.as_raw_fd(), libc::CLONE_NEWNET) })?;
            }
            2 | 3 => self.listeners.clear(),
            // In a new namespace the loopback is down: any address does.
            4..8 => {
                let port = 7300 + self.random.below(16) as u16;
                self.listeners
                    .extend(TcpListener::bind(("0.0.0.0", port)).ok());
            }
            _ => {}
        }
        Ok(())
    }

    /// One request. Its number, and whether it was done.
    fn step(&mut self) -> Result<(usize, bool)> {
        self.wander()?;
        let mut number = self.random.below(OPERATIONS.len());
        // What is always empty has nothing to remove.
        while OPERATIONS[number].name.ends_with("flush") && !self.random.once_in(20) {
            number = self.random.below(OPERATIONS.len());
        }
        let operation = &OPERATIONS[number];
        let to = (self.family, operation.cmd);
        let mut message =
            message::request(to, operation.dump, operation.attributes, &mut self.random);
        let damaged = self.random.once_in(4);
        if damaged {
            message::damage(&mut message, &mut self.random);
        }
        let socket = Socket::new()?;
        socket.send(&message)?;
        // Sometimes nobody waits for the answer; to a damaged request there may be none.
        if damaged || self.random.once_in(8) {
            return Ok((number, false));
        }
        let (_, errno) = socket.answer()?;
        Ok((number, errno == 0))
    }
}

/// Runs all threads, and prints a line for each operation: its name, requests, and successes.
pub(crate) fn run(args: &Netlink) -> anyhow::Result<()> {
    let family = family()?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let last = end + Duration::from_secs(9 * args.seconds);
    let done = &[const { AtomicBool::new(false) }; OPERATIONS.len()];
    let tallies: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads)
            .map(|number| {
                scope.spawn(move || -> Result<Tally> {
                    let mut asker = Asker {
                        random: Random::new(args.seed, number),
                        family,
                        first: File::open("/proc/thread-self/ns/net")?,
                        listeners: Vec::new(),
                    };
                    let mut tally: Tally = [[0; 2]; OPERATIONS.len()];
                    let all = || done.iter().all(|done| done.load(Ordering::Relaxed));
                    while Instant::now() < end || (Instant::now() < last && !all()) {
                        let (number, good) = asker.step()?;
                        tally[number][0] += 1;
                        tally[number][1] += u64::from(good);
                        if good {
                            done[number].store(true, Ordering::Relaxed);
                        }
                    }
                    Ok(tally)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let mut all: Tally = [[0; 2]; OPERATIONS.len()];
    for tally in tallies {
        let tally = tally.map_err(|_| anyhow!("a thread has panicked"))??;
        for (sum, more) in all.iter_mut().flatten().zip(tally.as_flattened()) {
            *sum += more;
        }
    }
    for (operation, [made, good]) in OPERATIONS.iter().zip(all) {
        println!("{} {made} {good}", operation.name);
    }
    Ok(())
}
