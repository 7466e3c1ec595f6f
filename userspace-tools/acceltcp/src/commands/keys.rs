// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp keys`.

use anyhow::Result;
use clap::Subcommand;

use crate::netlink::{device, Connection};

/// What to do with the keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Have all cards take a new key for cookies now; handshakes under way go on with the old one
    Rotate,
}

/// Does it.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Rotate => Ok(device::rotate_keys(&mut Connection::open()?)?),
    }
}
