// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp generate`: man pages and completions, from the command line's definition.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::{
    roff::{roman, Roff},
    Man,
};

use crate::{cli::Cli, manual, output::Output};

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
    let is_root = name == "acceltcp";
    let page = page(command, is_root).with_context(|| name.clone())?;
    fs::write(&path, page).with_context(|| path.display().to_string())
}

/// A page. That of the program itself has what is common to all commands, to which the others point.
fn page(command: clap::Command, is_root: bool) -> io::Result<Vec<u8>> {
    let has_commands = command.has_subcommands();
    let man = Man::new(command)
        .section(SECTION)
        .source(concat!("acceltcp ", env!("CARGO_PKG_VERSION")))
        .manual("AccelTCP");
    let mut page = b".\\\" SPDX-License-Identifier: GPL-2.0 OR MIT\n".to_vec();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    let mut common = Roff::new();
    if is_root {
        for section in manual::SECTIONS {
            common.control("SH", [section.title.to_uppercase().as_str()]);
            common.control("nf", []);
            for line in section.text.lines() {
                common.text([roman(line)]);
            }
            common.control("fi", []);
        }
    } else {
        common.control("SH", ["SEE ALSO"]);
        common.text([roman(
            "acceltcp(8), for exit statuses, files of rules and JSON",
        )]);
    }
    common.to_writer(&mut page)?;
    Ok(page)
}
