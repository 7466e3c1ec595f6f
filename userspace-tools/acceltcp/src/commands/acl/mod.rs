// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp acl`.

mod list;
mod words;

use anyhow::{Context, Result};
use clap::{error::ErrorKind, CommandFactory, Subcommand};
use serde_json::json;

use crate::{
    cli::Cli,
    netlink::{acl, Connection},
    output::Output,
    system::names::interface_index,
};

/// What to do with access lists.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show rules in the order in which they are looked at: [dev DEV]
    List {
        /// The card whose rules to show; those of all cards unless given
        #[arg(value_name = "dev DEV")]
        words: Vec<String>,
    },
    /// Add a rule, which holds for connections that there are, too
    ///
    /// For example: acceltcp acl add dev nic0 prio 10 deny proto tcp from 192.0.2.0/24 to any port 80-90.
    /// acceltcp(8) has all words.
    Add {
        /// The card, what becomes of a frame, and what it must match: dev DEV {allow|deny} [prio N] [proto NAME|N]
        /// [from PREFIX|any] [port N[-M]] [to PREFIX|any] [port N[-M]] [family inet|inet6] [vlan N|none]
        #[arg(value_name = "RULE", required = true)]
        words: Vec<String>,
    },
    /// Remove a rule: dev DEV handle N
    Del {
        /// The card, and the rule's handle
        #[arg(value_name = "dev DEV handle N", required = true)]
        words: Vec<String>,
    },
    /// Remove all rules but those of tc: dev DEV
    Flush {
        /// The card
        #[arg(value_name = "dev DEV", required = true)]
        words: Vec<String>,
    },
}

/// Does it.
pub fn run(command: &Command, output: &mut Output<'_>) -> Result<()> {
    match command {
        Command::List { words } => {
            let device = understood(words::device(words, false))?;
            let ifindex = device.as_deref().map(interface_index).transpose()?;
            list::run(ifindex, output)
        }
        Command::Add { words } => {
            let (device, terms) = understood(words::rule(words))?;
            let ifindex = interface_index(&device)?;
            let handle = acl::add(&mut Connection::open()?, ifindex, &terms)?;
            match output.is_json() {
                true => output.value(&json!({ "handle": handle })),
                false => output.line(format_args!("rule {handle}")),
            }
        }
        Command::Del { words } => {
            let (device, handle) = understood(words::handle(words))?;
            let ifindex = interface_index(&device)?;
            acl::remove(&mut Connection::open()?, ifindex, handle)
                .with_context(|| format!("rule {handle}"))
        }
        Command::Flush { words } => {
            let device = understood(words::device(words, true))?.unwrap_or_default();
            let ifindex = interface_index(&device)?;
            Ok(acl::flush(&mut Connection::open()?, ifindex)?)
        }
    }
}

/// What the words mean; the program ends as for other mistakes in the command line if they mean nothing.
fn understood<T>(parsed: Result<T, String>) -> Result<T> {
    parsed.or_else(|mistake| {
        Cli::command()
            .error(ErrorKind::ValueValidation, mistake)
            .exit()
    })
}
