// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Builds the lab and runs demo, tests and benches in it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    lab::cli::main(&lab::cli::Cli::parse())
}
