// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Options of the commands that boot a guest.

use std::path::PathBuf;

use anyhow::{bail, Result};

use crate::session::{Builder, Clock, Driver, Session};

/// The offloads that the module has.
const OFFLOADS: &[&str] = &["setup", "teardown", "defer", "server-first", "no-hold"];

/// What the guest is made of.
#[derive(Debug, clap::Args)]
pub(super) struct GuestOptions {
    /// Driver of the cards
    #[arg(long, value_enum, default_value_t)]
    pub(super) driver: Driver,
    /// Offloads that the guest's listeners ask for: a list of setup, teardown, defer, server-first, no-hold
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LIST",
          value_parser = offloads)]
    pub(super) offload: Offloads,
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
    /// What the guest's clock follows; executed instructions if they are counted, else the wall
    #[arg(long, value_enum)]
    pub(super) clock: Option<Clock>,
}

impl GuestOptions {
    /// Checks what the options mean together.
    pub(super) fn check(&self) -> Result<()> {
        let can = self.cards > 0 && self.driver == Driver::AccelTcp;
        if !can && !self.offload.0.is_empty() {
            bail!("--offload needs a card with driver acceltcp");
        }
        Ok(())
    }

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
        if let Some(clock) = self.clock {
            builder = builder.clock(clock);
        }
        if let Some(path) = &self.pcap {
            builder = builder.pcap(path);
        }
        if let Some(spec) = &self.faults {
            builder = builder.faults(spec);
        }
        builder
    }
}

/// Names of offloads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Offloads(pub(super) Vec<String>);

/// Reads a list of offloads, separated by commas; it may be empty.
pub(super) fn offloads(list: &str) -> Result<Offloads> {
    let names: Vec<_> = list.split(',').filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = names.iter().find(|name| !OFFLOADS.contains(name)) {
        bail!("{unknown}: known are {}", OFFLOADS.join(", "));
    }
    let has = |name| names.contains(&name);
    let first = [has("defer"), has("server-first")];
    if first == [true; 2] || (first != [false; 2] && !has("setup")) {
        bail!("defer and server-first need setup, and exclude each other");
    }
    if has("no-hold") && !has("teardown") {
        bail!("no-hold needs teardown");
    }
    Ok(Offloads(names.into_iter().map(str::to_string).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_offloads_are_taken() {
        assert_eq!(offloads("").unwrap(), Offloads::default());
        for list in [
            "setup",
            "setup,defer",
            "server-first,setup",
            "setup,teardown",
            "teardown,no-hold",
        ] {
            assert_eq!(offloads(list).unwrap().0.join(","), list);
        }
        for list in [
            "defer",
            "server-first",
            "setup,defer,server-first",
            "no-hold",
        ] {
            assert!(offloads(list).is_err(), "{list}");
        }
        let error = offloads("teleport").unwrap_err();
        assert!(error.to_string().starts_with("teleport: "), "{error}");
    }
}
