// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    commands,
    util::{Kernel, Layout},
};

/// Builds the lab and runs demo, tests and benches in it.
#[derive(Debug, Parser)]
#[command(name = "lab", version, about)]
pub struct Cli {
    /// Kernel of the guest; others than the stock one are built when they are first asked for
    #[arg(long, global = true, value_enum, default_value_t)]
    pub kernel: Kernel,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the build root and the kernel tree below build/
    Setup(commands::setup::Args),
    /// Build firmware, tools and kernel modules
    Build(commands::build::Args),
    /// Run a command in the guest and another one on the wire side
    Run(commands::run::Args),
    /// Start a guest and open a shell in it
    Shell(commands::shell::Args),
    /// Run a command on the wire side of a running `lab shell`
    Wire(commands::wire::Args),
    /// Add Debian packages to the guest's system
    Apt(commands::apt::Args),
    /// Build haproxy with `option splice-nic`, for its tests and its bench
    Haproxy(commands::haproxy::Args),
    /// Make Debian packages in build/deb
    Deb(commands::deb::Args),
    /// Run unit, property and lab tests
    Test(commands::test::Args),
    /// Run the module's KUnit suites on the debug kernel
    Kunit(commands::kunit::Args),
    /// Serve Redis through the card and print what it cost
    Demo(commands::demo::Args),
    /// Compare drivers and offloads
    Bench(commands::bench::Args),
    /// Remove build/ and target/
    Clean(commands::clean::Args),
}

/// Runs the command; an error is printed with its causes and gives exit status 1.
pub fn main(cli: &Cli) -> ExitCode {
    let layout = Layout::find().map(|layout| layout.with_kernel(cli.kernel));
    let result = layout.and_then(|layout| match &cli.command {
        Command::Setup(args) => commands::setup::run(args, &layout),
        Command::Build(args) => commands::build::run(args, &layout),
        Command::Run(args) => commands::run::run(args, &layout),
        Command::Shell(args) => commands::shell::run(args, &layout),
        Command::Wire(args) => commands::wire::run(args, &layout),
        Command::Apt(args) => commands::apt::run(args, &layout),
        Command::Haproxy(args) => commands::haproxy::run(args, &layout),
        Command::Deb(args) => commands::deb::run(args, &layout),
        Command::Test(args) => commands::test::run(args, &layout),
        Command::Kunit(args) => commands::kunit::run(args, &layout),
        Command::Demo(args) => commands::demo::run(args, &layout),
        Command::Bench(args) => commands::bench::run(args, &layout),
        Command::Clean(args) => commands::clean::run(args, &layout),
    });
    result.unwrap_or_else(|error| {
        eprintln!("lab: {error:#}");
        ExitCode::FAILURE
    })
}
