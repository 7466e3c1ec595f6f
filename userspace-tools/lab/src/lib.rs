// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The lab: a virtual machine with the modelled card, built from packages of the distribution.
//!
//! * [`setup`] makes what the network and the distribution give: the build root and the kernel tree.
//! * [`build`](mod@build) makes what this project gives: firmware, tools and modules.
//! * [`session`] starts cards and guests and speaks with them.
//! * [`report`] measures loads and shows what they cost.
//! * [`commands`] are the subcommands of the `lab` program, [`tests`] what `lab test` runs.
//!
//! Everything made lies below `build/` in the checkout (see [`util::Layout`]); nothing else is
//! changed on the machine, except that missing host packages are installed.

pub mod build;
pub mod cli;
pub mod commands;
pub mod report;
pub mod session;
pub mod setup;
pub mod tests;
pub mod util;
