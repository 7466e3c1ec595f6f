// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Makes the build root and the kernel tree.

mod facts;

pub use facts::Facts;
