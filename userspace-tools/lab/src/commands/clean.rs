// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab clean`.

use std::process::ExitCode;

use anyhow::Result;

use crate::util::{mounts, Layout, Lock};

/// Arguments of `lab clean`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Removes `build/` and `target/`, unless something is mounted below or a lab is running.
///
/// # Errors
///
/// Something is mounted there or is using it, or a file cannot be removed.
pub fn run(_args: &Args, layout: &Layout) -> Result<ExitCode> {
    if layout.build().exists() {
        let _building = Lock::try_build(layout)?;
        let _unused = Lock::unused(layout)?;
        mounts::remove_tree(&layout.build())?;
    }
    mounts::remove_tree(&layout.target())?;
    println!("lab: removed build/ and target/");
    Ok(ExitCode::SUCCESS)
}
