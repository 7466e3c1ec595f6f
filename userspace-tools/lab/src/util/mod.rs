// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Paths, processes, progress and locks.

mod layout;

pub use layout::Layout;
