// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NIC's TCP stack: sans-IO, `no_std`, no allocation, no `unsafe`.
//!
//! A port (a model, a real card) feeds frames with the time and carries out what the stack says through
//! [`Output`]. Any number of workers may call into one [`Nic`] at the same time.

#![no_std]
#![forbid(unsafe_code)]

pub mod clock;
pub mod cookie;
pub mod hash;
pub mod keys;
pub mod timestamp;
pub mod wire;

pub use clock::Instant;

/// What the stack has the port do. Calls are made in the order in which the effects must appear.
pub trait Output {
    /// Delivers a frame (Ethernet header first, no FCS) to the host.
    fn to_host(&mut self, frame: &[u8]);
    /// Sends a frame (Ethernet header first, no FCS, checksums filled in) on the wire.
    fn to_wire(&mut self, frame: &[u8]);
}

/// The stack of one vNIC.
#[derive(Debug, Default)]
pub struct Nic {}

impl Nic {
    /// A stack without any offload in use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a frame that came from the wire and passed the vNIC's L2 filters.
    pub fn from_wire(&self, _now: Instant, frame: &[u8], out: &mut impl Output) {
        out.to_host(frame);
    }

    /// Takes a frame that the host sends; segmented, with checksums filled in.
    pub fn from_host(&self, _now: Instant, frame: &[u8], out: &mut impl Output) {
        out.to_wire(frame);
    }
}
