// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab wire`.

use std::{
    env,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{session, util::Layout};

/// Arguments of `lab wire`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Program and arguments; an interactive shell if there are none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs a command on the wire side of the running session and returns its exit code.
///
/// # Errors
///
/// No session runs, or the command cannot be started.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    let tools = session::join(layout)?;
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program.as_str(), rest),
        None => ("bash", &[][..]),
    };
    let mut command = tools.command(program, "/tmp");
    command.args(rest);
    if let Ok(terminal) = env::var("TERM") {
        command.env("TERM", terminal);
    }
    // SAFETY: prctl is async-signal-safe and changes only the new process.
    unsafe {
        command.pre_exec(|| {
            Ok(nix::sys::prctl::set_pdeathsig(
                nix::sys::signal::Signal::SIGKILL,
            )?)
        });
    }
    let status = command
        .status()
        .with_context(|| format!("{program}: is it in the build root? (`lab apt install`)"))?;
    let code = status
        .signal()
        .map_or(status.code().unwrap_or(1), |s| 128 + s);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
