// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab haproxy`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    setup::{self, haproxy, Options},
    util::Layout,
};

/// Arguments of `lab haproxy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look for a newer version of the distribution's package
    #[arg(long)]
    pub update: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A step failed.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    setup::ensure(layout, &Options::default())?;
    let done = haproxy::ensure(layout, args.update)?;
    println!(
        "lab: {} is haproxy {} with option splice-nic{}",
        haproxy::program(layout).display(),
        done.version,
        if done.was_there { ", as before" } else { "" }
    );
    Ok(ExitCode::SUCCESS)
}
