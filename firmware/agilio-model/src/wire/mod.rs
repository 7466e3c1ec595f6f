// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's port: where frames leave the card and come in.
//!
//! [`open`] stacks, from the outside in: the way out ([`tap`] or [`unix`]), the capture of what is really
//! on the wire ([`capture`]), and the injected faults ([`faults`]).

mod buffer;
pub mod capture;
pub mod faults;
pub mod flows;
mod lane;
pub mod port;
pub mod stack;
pub mod tap;
pub mod unix;

pub use buffer::FrameBuf;
pub use capture::{Capture, FrameDirection};
pub use faults::FaultSpec;
pub use flows::FlowQueues;
pub use port::LinkListener;
pub use stack::Wire;

use crate::counters::Counters;
use port::Port;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A port as the card sees it.
///
/// Frames come in on one or more queues, each of which is to be served by one thread at a time. The frames of a flow
/// come in on one queue, in order, as long as those to its other end go out on the same (see [`FlowQueues`]).
pub trait WirePort: Send + Sync {
    /// Number of queues.
    fn queues(&self) -> usize {
        1
    }

    /// Sends a frame (Ethernet header first, no FCS) on queue `queue`. `csum_valid`: its checksums are known to be right.
    ///
    /// A frame that cannot be sent is dropped and counted by the port; the error is for the log only.
    fn send(&self, queue: usize, frame: &[u8], csum_valid: bool) -> io::Result<()>;

    /// Waits until there may be frames to take on `queue`; false once [`WirePort::stop`] was called.
    ///
    /// After an error the port is of no use any more.
    fn wait(&self, queue: usize) -> io::Result<bool>;

    /// Takes the next frame of `queue`, if there is one. A frame longer than `buffer` is dropped and counted.
    ///
    /// Does not wait. After an error the port is of no use any more.
    fn take(&self, queue: usize, buffer: &mut FrameBuf) -> io::Result<bool>;

    /// Ends the port: wakes whoever is in [`WirePort::wait`], writes out the capture.
    fn stop(&self);

    /// Waits for a frame and takes it; false once [`WirePort::stop`] was called.
    fn recv(&self, queue: usize, buffer: &mut FrameBuf) -> io::Result<bool> {
        loop {
            if self.take(queue, buffer)? {
                return Ok(true);
            }
            if !self.wait(queue)? {
                return Ok(false);
            }
        }
    }
}

/// Where the wire goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireSpec {
    /// To a TAP of this name.
    Tap(String),
    /// To a second card, at this socket.
    Unix(PathBuf),
}

impl FromStr for WireSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((_, "")) => Err(format!("\"{text}\": nothing behind the colon")),
            Some(("tap", name)) => Ok(Self::Tap(name.to_owned())),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            _ => Err(format!("\"{text}\" is neither tap:NAME nor unix:PATH")),
        }
    }
}

/// How to set up a port.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the wire goes.
    pub wire: WireSpec,
    /// Queues of a TAP that the port makes; others have one.
    pub queues: usize,
    /// File for a capture of the wire.
    pub capture: Option<PathBuf>,
    /// Faults to begin with.
    pub faults: FaultSpec,
}

/// Opens the port. `on_link` is told when the other end of the wire comes or goes; whether it is there now
/// says [`Wire::link_up`].
pub fn open(
    options: &Options,
    counters: Arc<Counters>,
    on_link: LinkListener,
) -> io::Result<Arc<Wire>> {
    let port: Box<dyn Port> = match &options.wire {
        WireSpec::Tap(name) => Box::new(tap::TapPort::open(name, options.queues)?),
        WireSpec::Unix(path) => Box::new(unix::UnixPort::open(path, on_link)?),
    };
    let capture = match &options.capture {
        Some(path) => Some(Capture::create(path, "wire")?),
        None => None,
    };
    let wire = Wire::new(port, capture, counters)?;
    wire.set_faults(options.faults)?;
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_specs() {
        assert_eq!("tap:wire0".parse(), Ok(WireSpec::Tap("wire0".into())));
        assert_eq!("unix:a:b".parse(), Ok(WireSpec::Unix("a:b".into())));
        for text in ["", "tap", "tap:", "udp:1", "unix:"] {
            assert!(text.parse::<WireSpec>().is_err(), "{text}");
        }
    }
}
