// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's port: where frames leave the card and come in.

use std::io;

/// A port as the card sees it.
pub trait WirePort: Send + Sync {
    /// Sends a frame (Ethernet header first, no FCS). `csum_valid`: its checksums are known to be right.
    ///
    /// A frame that cannot be sent now is dropped and counted by the port; an error is for the log only.
    fn send(&self, frame: &[u8], csum_valid: bool) -> io::Result<()>;

    /// Waits for a frame and returns its length in `buf`, or `None` once [`WirePort::stop`] was called.
    ///
    /// To be called by one thread at a time. A frame longer than `buf` is dropped and counted.
    fn recv(&self, buf: &mut [u8]) -> io::Result<Option<usize>>;

    /// Ends the port: wakes a blocked [`WirePort::recv`], writes out the capture.
    fn stop(&self);
}
