// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab deb`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{build, util::Layout};

/// Arguments of `lab deb`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
///
/// A step failed.
pub fn run(_: &Args, layout: &Layout) -> Result<ExitCode> {
    let facts = build::ensure(layout)?;
    for path in build::debs(layout, &facts)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
