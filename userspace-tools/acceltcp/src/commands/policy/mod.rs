// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp policy`.

mod list;
mod load;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::json;

use crate::{
    netlink::{policy, Connection},
    output::Output,
    rule::{line, Resolver, RuleArgs},
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
    /// Replace all rules by those of a file; if one of them is refused the old ones are put back
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
    let terms = rule.terms(&Resolver::default())?;
    let id = policy::add(&mut Connection::open()?, &terms)?;
    match output.is_json() {
        true => output.value(&json!({ "id": id })),
        false => output.line(format_args!("rule {id}")),
    }
}

/// A rule whose device or cgroup has gone becomes a comment: it matches nothing any more.
fn save(output: &mut Output<'_>) -> Result<()> {
    let rules = policy::rules(&mut Connection::open()?)?;
    let resolver = Resolver::default();
    for rule in rules {
        match line(&rule.terms, &resolver.cgroups) {
            Ok(line) => output.line(line)?,
            Err(error) => {
                output.line(format_args!("# rule {} is left out: {error:#}", rule.id))?;
                let _ = writeln!(
                    io::stderr(),
                    "acceltcp: rule {} is left out: {error:#}",
                    rule.id
                );
            }
        }
    }
    Ok(())
}
