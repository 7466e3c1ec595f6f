// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One file a subcommand: its arguments and what it does.

mod options;
mod output;
mod proxy;
pub(crate) mod workloads;

pub mod apt;
pub mod bench;
pub mod build;
pub mod clean;
pub mod deb;
pub mod demo;
pub mod haproxy;
pub mod kunit;
pub mod run;
pub mod setup;
pub mod shell;
pub mod test;
pub mod wire;
