// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the NIC does to a frame on its way: pure functions over its bytes, without allocation.
//!
//! * [`frame`]: where the headers are.
//! * [`checksum`]: fills in and checks checksums.
//! * [`lso`]: cuts large frames of the host into segments.
//! * [`rss`]: spreads received frames over rings.
//! * [`filter`]: which received frames are for the host.
//!
//! Frames begin with the Ethernet header and have no FCS. They may hold anything: nothing here panics.

pub mod checksum;
pub mod filter;
pub mod frame;
pub mod lso;
pub mod rss;

#[cfg(test)]
pub(crate) mod testing;
