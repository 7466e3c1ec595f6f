// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp policy`.

mod list;
mod load;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::json;

use crate::{
    netlink::{policy, Connection},
    output::Output,
    rule::{line, RuleArgs},
};

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all rules in the order in which they are looked at
    List,
    /// Add a rule, which applies to sockets that listen already, too
    Add(RuleArgs),
    /// Remove a rule
    Del {
        /// Its number
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        id: u32,
    },
    /// Remove all rules
    Flush,
    /// Replace all rules by those of a file, in one step
    ///
    /// Rules that are the same stay, with their counters and listeners. When one is refused nothing changes.
    Load {
        /// The file; - is the standard input
        file: PathBuf,
        /// Only say whether the file can be understood
        #[arg(long)]
        check: bool,
    },
    /// Print all rules in the form that load reads
    Save,
}

/// Does it.
pub fn run(command: &Command, output: &mut Output<'_>) -> Result<()> {
    match command {
        Command::List => list::run(output),
        Command::Add(rule) => add(rule, output),
        Command::Del { id } => {
            policy::remove(&mut Connection::open()?, *id).with_context(|| format!("rule {id}"))
        }
        Command::Flush => Ok(policy::flush(&mut Connection::open()?)?),
        Command::Load { file, check } => load::run(file, *check, output),
        Command::Save => save(output),
    }
}

fn add(rule: &RuleArgs, output: &mut Output<'_>) -> Result<()> {
    let terms = rule.terms()?;
    let id = policy::add(&mut Connection::open()?, &terms)?;
    match output.is_json() {
        true => output.value(&json!({ "id": id })),
        false => output.line(format_args!("rule {id}")),
    }
}

fn save(output: &mut Output<'_>) -> Result<()> {
    for rule in policy::rules(&mut Connection::open()?)? {
        output.line(line(&rule.terms))?;
    }
    Ok(())
}
