// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Options of the commands that boot a guest.

use std::path::PathBuf;

use anyhow::{bail, Result};

use crate::session::{Builder, Driver, Session};

/// The offloads that the module has.
const OFFLOADS: &[&str] = &[];

/// What the guest is made of.
#[derive(Debug, clap::Args)]
pub(super) struct GuestOptions {
    /// Driver of the cards
    #[arg(long, value_enum, default_value_t)]
    pub(super) driver: Driver,
    /// Offloads to use
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = offload)]
    pub(super) offload: Vec<String>,
    /// vCPUs of the guest
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) vcpus: u32,
    /// Cards
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u8).range(0..=8))]
    pub(super) cards: u8,
    /// Capture the wire into a pcapng file
    #[arg(long, value_name = "FILE")]
    pub(super) pcap: Option<PathBuf>,
    /// Faults of the wire, such as seed=1,loss=0.01,delay=5
    #[arg(long, value_name = "SPEC")]
    pub(super) faults: Option<String>,
    /// Count the guest's instructions
    #[arg(long)]
    pub(super) count: bool,
}

impl GuestOptions {
    /// A session as the options say; `name` is that of its logs.
    pub(super) fn builder(&self, name: &str) -> Builder {
        let mut builder = Session::builder()
            .name(name)
            .vcpus(self.vcpus)
            .cards(self.cards.into())
            .driver(match self.cards {
                0 => Driver::None,
                _ => self.driver,
            })
            .count(self.count);
        if let Some(path) = &self.pcap {
            builder = builder.pcap(path);
        }
        if let Some(spec) = &self.faults {
            builder = builder.faults(spec);
        }
        builder
    }
}

/// Checks the name of an offload.
fn offload(name: &str) -> Result<String> {
    if OFFLOADS.contains(&name) {
        return Ok(name.into());
    }
    match OFFLOADS {
        [] => bail!("the module has no offloads yet"),
        known => bail!("known are {}", known.join(", ")),
    }
}
