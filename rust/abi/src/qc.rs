// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Queue controller: pointers of the hardware queues, in BAR 2.
//!
//! A queue takes [`QUEUE_SIZE`] bytes. TX ring *i* is queue `START_TXQ + 4 * i`, freelist *i* is queue
//! `START_RXQ + 4 * i` (ABI major 1 to 5), and the configuration queue is queue `START_TXQ + 1`.

/// Bytes between two queues in the BAR.
pub const QUEUE_SIZE: usize = 0x800;
/// Queues between two rings of a kind.
pub const QUEUE_STRIDE: usize = 4;
/// The configuration queue, counted from `START_TXQ`.
pub const CONFIG_QUEUE: usize = 1;

/// A write adds its value to the read pointer.
pub const ADD_RPTR: usize = 0x0;
/// A write adds its value to the write pointer.
pub const ADD_WPTR: usize = 0x4;
/// Reads as the read pointer in the bits of [`PTR_MASK`].
pub const STS_LO: usize = 0x8;
/// Reads as the write pointer in the bits of [`PTR_MASK`].
pub const STS_HI: usize = 0xc;
/// Bits of a pointer in a status register. Pointers run freely and wrap here.
pub const PTR_MASK: u32 = 0x3_ffff;

/// Offset in the queue BAR of a register of hardware queue `queue`.
pub const fn register(queue: usize, reg: usize) -> usize {
    queue * QUEUE_SIZE + reg
}

/// Hardware queue of TX ring or freelist `ring`, when the kind starts at `start`.
pub const fn ring_queue(start: usize, ring: usize) -> usize {
    start + QUEUE_STRIDE * ring
}
