// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between the lab and its agent in the guest.
//!
//! Both sides exchange frames over a virtio-serial port named [`PORT`]: a length as `u32`, little
//! endian, then that many bytes of a message in postcard format. The lab sends [`Request`], the
//! agent [`Event`]. After its start the agent sends [`Event::Hello`] once, unasked.
//!
//! Each [`Request`] carries an id that the lab chose; every event that answers it carries the same
//! id. Several requests may be under way at once, so answers come in any order. [`Answer::Exit`],
//! [`Answer::Done`] and [`Answer::Failed`] are the last event of their id.

mod frame;
mod message;

pub use frame::{read_frame, write_frame, FrameError, MAX_FRAME};
pub use message::{Activity, Answer, Ask, Command, Event, Interface, Request, Size, Status};

/// Name of the virtio-serial port.
pub const PORT: &str = "lab.agent";

/// Version of the protocol, sent in [`Event::Hello`]; the two sides must be of one build.
pub const VERSION: u32 = 3;

/// Longest piece of a stream in one message, in bytes.
pub const MAX_PIECE: usize = 32 * 1024;
