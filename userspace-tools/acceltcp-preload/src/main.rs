// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp-run`: runs a command whose listeners ask for AccelTCP's offloads.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use acceltcp_socket::Offload;
use anyhow::{bail, Context, Result};
use clap::Parser;

/// The library, which is in `../lib`, or beside this program.
const LIBRARY: &str = "libacceltcp_preload.so";

/// Runs a command whose TCP listeners ask for AccelTCP's offloads
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// What to ask for: setup, teardown, defer, server-first, no-hold, separated by commas
    #[arg(long, default_value = "setup", value_name = "LIST")]
    offload: Offload,
    /// The library to load
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// The command
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let library = match cli.library {
        Some(path) => path.canonicalize().context(path.display().to_string())?,
        None => beside(&env::current_exe()?)?,
    };
    let Some((program, arguments)) = cli.command.split_first() else {
        bail!("no command");
    };
    // Others' libraries stay, behind ours.
    let mut preload = library.into_os_string();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let error = Command::new(program)
        .args(arguments)
        .env("LD_PRELOAD", preload)
        .env("ACCELTCP_OFFLOAD", cli.offload.to_string())
        .exec();
    Err(error).context(program.to_string_lossy().into_owned())
}

fn beside(program: &Path) -> Result<PathBuf> {
    let folder = program.parent().unwrap_or(Path::new("/"));
    let places = [folder.join("../lib").join(LIBRARY), folder.join(LIBRARY)];
    let found = places.iter().find_map(|place| place.canonicalize().ok());
    found.with_context(|| {
        format!(
            "{LIBRARY} is neither in ../lib of {0} nor in {0}",
            folder.display()
        )
    })
}
