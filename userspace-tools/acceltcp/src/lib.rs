// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp`: shows and steers TCP offloads to the NIC.
//!
//! * [`netlink`] speaks with the kernel;
//! * [`rule`] reads and writes rules of the policy as operators do;
//! * [`system`] knows names, cgroups and files below /proc and /sys;
//! * [`output`] writes text or JSON;
//! * [`commands`] has a file for each subcommand, [`cli`] the command line, [`manual`] what it and the man
//!   page have in common, [`exit`] the exit statuses.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;

pub mod cli;
pub mod commands;
pub mod exit;
pub mod manual;
pub mod netlink;
pub mod output;
pub mod rule;
pub mod system;

/// Does what the command line asks for; errors are printed, with what to do about them.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let stdout = io::stdout();
    let color = cli.color.resolve(stdout.is_terminal());
    let mut writer = BufWriter::new(stdout.lock());
    let mut output = output::Output::new(&mut writer, cli.json, color);
    let done = commands::run(cli.command.unwrap_or_default(), &mut output);
    // What was written before an error is shown before it.
    let flushed = writer.flush();
    let status = done.and_then(|status| {
        flushed?;
        Ok(status)
    });
    match status {
        Ok(status) => status.into(),
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if this fails, too.
            let _ = writeln!(io::stderr(), "acceltcp: {error:#}");
            exit::of(&error).into()
        }
    }
}
