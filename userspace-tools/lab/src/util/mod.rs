// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Paths, processes, progress and locks.

mod chroot;
mod kernel;
mod layout;
mod lock;
pub mod mounts;
pub mod process;
mod stamp;
mod step;

pub use chroot::Chroot;
pub use kernel::Kernel;
pub use layout::Layout;
pub use lock::Lock;
pub(crate) use stamp::write_whole;
pub use stamp::{Fingerprint, Stamp};
pub use step::Step;
pub(crate) use step::{ended, tail};
