// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab run`.

use std::process::ExitCode;

use anyhow::{bail, Result};

use crate::util::Layout;

/// Arguments of `lab run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
///
/// What failed.
pub fn run(_args: &Args, _layout: &Layout) -> Result<ExitCode> {
    bail!("lab run is not written yet")
}
