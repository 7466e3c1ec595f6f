// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab build`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{build, util::Layout};

/// Arguments of `lab build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build only firmware and tools, which needs no set-up
    #[arg(long)]
    pub tools: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A step failed.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    if args.tools {
        build::tools(layout)?;
        println!("lab: programs in {}", layout.bin().display());
    } else {
        let facts = build::ensure(layout)?;
        println!(
            "lab: {} for kernel {}, programs in {}",
            layout.module().display(),
            facts.kernel_release,
            layout.bin().display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
