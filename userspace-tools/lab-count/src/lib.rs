// SPDX-License-Identifier: GPL-2.0 OR MIT

//! QEMU TCG plugin that counts guest instructions.
//!
//! Load it with `-plugin liblab_count.so,counters=PATH`. PATH must exist with [`FILE_SIZE`] bytes; the
//! plugin maps it and keeps one cache line of counters a vCPU there, so that [`Counts`] can be read
//! from outside at any time, without stopping the guest.
//!
//! With `,profile=PATH` after it the blocks of the kernel are counted one by one as well, in a second
//! such file, of [`PROFILE_SIZE`] bytes, that [`Profile`] reads. That costs the guest some more time,
//! and no instructions.
//!
//! Instructions are counted when a translation block is entered. A block that an exception ends
//! early is counted whole, which moves the result by far less than a percent. A string instruction
//! with a repeat prefix counts once, however often it repeats.

mod counts;
pub mod plugin;
mod profile;
mod repeat;

pub use counts::{Counts, FILE_SIZE};
pub use profile::{Block, Profile, PROFILE_SIZE};
