// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp generate`: man pages and completions, from the command line's definition.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{cli::Cli, output::Output};

/// Section of the manual: system administration.
const SECTION: &str = "8";

/// What to write.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the man pages, one for each command
    Man {
        /// Directory that they go to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Writes it.
pub fn run(command: &Command, output: &mut Output<'_>) -> Result<()> {
    match command {
        Command::Man { directory } => {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
            let mut root = Cli::command().disable_help_subcommand(true);
            root.build();
            pages(root, directory)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "acceltcp", &mut script);
            output.raw(&script)
        }
    }
}

/// The pages of a command and of those below it.
fn pages(command: clap::Command, directory: &Path) -> Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_string();
    for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        pages(below.clone(), directory)?;
    }
    let path = directory.join(format!("{name}.{SECTION}"));
    let write = || -> std::io::Result<()> {
        let mut page = Vec::new();
        Man::new(command).section(SECTION).render(&mut page)?;
        let mut file = File::create(&path)?;
        file.write_all(b".\\\" SPDX-License-Identifier: GPL-2.0 OR MIT\n")?;
        file.write_all(&page)
    };
    write().with_context(|| path.display().to_string())
}
