// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is to be known of the host besides the family: names, cgroups, files below /proc and /sys.

pub mod cgroup;
pub mod names;
mod root;
pub mod sockmap;

pub use root::Root;
