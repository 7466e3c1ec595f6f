// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A module for each subcommand.

use anyhow::Result;

use crate::{cli::Command, exit::Status, output::Output};

pub mod acl;
pub mod doctor;
pub mod flows;
pub mod generate;
pub mod keys;
pub mod limits;
pub mod listeners;
pub mod monitor;
pub mod policy;
pub mod splices;
pub mod stats;
pub mod status;
pub mod top;

/// Does it.
pub fn run(command: Command, output: &mut Output<'_>) -> Result<Status> {
    match command {
        Command::Status(args) => status::run(&args, output)?,
        Command::Stats(args) => stats::run(&args, output)?,
        Command::Listeners => listeners::run(output)?,
        Command::Flows(args) => flows::run(&args, output)?,
        Command::Splices(args) => splices::run(&args, output)?,
        Command::Limits(args) => limits::run(&args, output)?,
        Command::Policy(command) => policy::run(&command, output)?,
        Command::Acl(command) => acl::run(&command, output)?,
        Command::Keys(command) => keys::run(&command)?,
        Command::Monitor => monitor::run(output)?,
        Command::Top(args) => top::run(&args, output)?,
        Command::Doctor => return doctor::run(output),
        Command::Generate(command) => generate::run(&command, output)?,
    }
    Ok(Status::Ok)
}
