// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab setup`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    setup::{self, Options},
    util::Layout,
};

/// Arguments of `lab setup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Debian mirror to use instead of the machine's own
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Look for a newer kernel and QEMU
    #[arg(long)]
    pub update: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A step failed.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    let facts = setup::ensure(
        layout,
        &Options {
            mirror: args.mirror.clone(),
            update: args.update,
        },
    )?;
    println!(
        "lab: ready: kernel {}, QEMU {}, from {}",
        facts.kernel_release, facts.qemu_package, facts.mirror
    );
    Ok(ExitCode::SUCCESS)
}
