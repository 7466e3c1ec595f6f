// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's port: where frames leave the card and come in.
//!
//! [`open`] stacks, from the outside in: the way out ([`tap`] or [`unix`]), the capture of what is really
//! on the wire ([`capture`]), and the injected faults ([`faults`]).

pub mod capture;
pub mod faults;
mod lane;
pub mod port;
pub mod stack;
pub mod tap;
pub mod unix;

pub use capture::{Capture, FrameDirection};
pub use faults::FaultSpec;
pub use port::LinkListener;
pub use stack::Wire;

use crate::counters::Counters;
use port::Port;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A port as the card sees it.
pub trait WirePort: Send + Sync {
    /// Sends a frame (Ethernet header first, no FCS). `csum_valid`: its checksums are known to be right.
    ///
    /// A frame that cannot be sent is dropped and counted by the port; the error is for the log only.
    fn send(&self, frame: &[u8], csum_valid: bool) -> io::Result<()>;

    /// Waits for a frame and returns its length in `buf`, or `None` once [`WirePort::stop`] was called.
    ///
    /// To be called by one thread at a time. A frame longer than `buf` is dropped and counted. After an
    /// error the port is of no use any more.
    fn recv(&self, buf: &mut [u8]) -> io::Result<Option<usize>>;

    /// Ends the port: wakes a blocked [`WirePort::recv`], writes out the capture.
    fn stop(&self);
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
        WireSpec::Tap(name) => Box::new(tap::TapPort::open(name)?),
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
