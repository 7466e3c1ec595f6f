// SPDX-License-Identifier: GPL-2.0 OR MIT

//! QEMU TCG plugin that counts guest instructions.
//!
//! Load it with `-plugin liblab_count.so,counters=PATH`. PATH must exist with [`FILE_SIZE`] bytes; the
//! plugin maps it and keeps one cache line of counters a vCPU there, so that [`Counts`] can be read
//! from outside at any time, without stopping the guest.
//!
//! Instructions are counted when a translation block is entered. A block that an exception ends
//! early is counted whole, which moves the result by far less than a percent.

mod counts;
pub mod plugin;

pub use counts::{Counts, FILE_SIZE};
