// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a way out of the card has to offer to the layers above it.

use crate::counters::DropReason;
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Shortest frame that makes sense: an Ethernet header.
pub const MIN_FRAME: usize = 14;

/// What became of a frame given to [`Port::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on the wire.
    Done,
    /// Nobody is at the other end.
    NoLink,
    /// The other end takes no more frames.
    Full,
}

/// What [`Port::recv`] returns with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A frame of so many bytes.
    Frame(usize),
    /// A frame that had to be dropped.
    Dropped(DropReason),
    /// The time is over.
    Timeout,
    /// [`Port::stop`] was called.
    Stopped,
}

/// Called when the other end of the wire comes or goes, on the thread that sees it.
pub type LinkListener = Box<dyn Fn(bool) + Send + Sync>;

/// A way out of the card.
pub trait Port: Send + Sync {
    /// Sends a frame of at least [`MIN_FRAME`] bytes.
    fn send(&self, frame: &[u8], csum_valid: bool) -> io::Result<Sent>;
    /// Waits for a frame, for ever without `timeout`. To be called by one thread at a time.
    fn recv(&self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<Received>;
    /// Wakes [`Port::recv`] for good.
    fn stop(&self);
    /// Whether there is another end.
    fn link_up(&self) -> bool;
}

/// A flag that a `poll()` can wait for; once raised, it stays so.
#[derive(Debug)]
pub struct StopFlag {
    raised: AtomicBool,
    event: OwnedFd,
}

impl StopFlag {
    /// A flag that is not raised.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            raised: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Raises the flag.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        // Nobody reads the event, hence it stays set; a full counter is as good.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }
}

impl AsFd for StopFlag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// `poll()` with an optional time limit, started anew after a signal. Returns the number of ready files.
pub fn poll_for(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    // A time too long for the kernel is as good as none.
    let limit = timeout.and_then(|t| Timespec::try_from(t).ok());
    loop {
        match poll(fds, limit.as_ref()) {
            Err(Errno::INTR) => continue,
            other => return Ok(other?),
        }
    }
}

/// A [`PollFd`] that waits for input.
pub fn readable<'fd, F: AsFd>(fd: &'fd F) -> PollFd<'fd> {
    PollFd::new(fd, PollFlags::IN)
}
