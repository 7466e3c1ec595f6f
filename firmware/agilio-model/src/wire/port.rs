// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a way out of the card has to offer to the layers above it.

use super::buffer::FrameBuf;
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

/// What [`Port::take`] returns with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A frame, which is in the buffer.
    Frame,
    /// A frame that had to be dropped.
    Dropped(DropReason),
    /// Nothing for now.
    Nothing,
}

/// Called when the other end of the wire comes or goes, on the thread that sees it.
pub type LinkListener = Box<dyn Fn(bool) + Send + Sync>;

/// A way out of the card.
///
/// Frames come in on one or more queues, each of which is to be served by one thread at a time. The frames of a flow
/// come in on one queue, as long as those to its other end go out on the same.
pub trait Port: Send + Sync {
    /// Number of queues.
    fn queues(&self) -> usize {
        1
    }
    /// Sends a frame of at least [`MIN_FRAME`] bytes on queue `queue`.
    fn send(&self, queue: usize, frame: &[u8], csum_valid: bool) -> io::Result<Sent>;
    /// Waits until there may be frames to take on `queue`, for ever without `timeout`. False once [`Port::stop`] was
    /// called.
    fn wait(&self, queue: usize, timeout: Option<Duration>) -> io::Result<bool>;
    /// Takes a frame of `queue`, without waiting. Nothing that others are told of happens here, but in `wait`.
    fn take(&self, queue: usize, buffer: &mut FrameBuf) -> io::Result<Taken>;
    /// Wakes [`Port::wait`] for good.
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
