// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp status`.

mod rates;
mod text;

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        counter,
        device::{self, Device},
        listener::{each_listener, Listener},
        policy::{self, Rule},
        Connection, Reason, Step, Wire,
    },
    output::Output,
    system::names::interface_name,
};

pub use rates::{rates, Rate, Sample};

/// Options.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Show how fast counters grow, too; this takes a second
    #[arg(long)]
    pub rates: bool,
}

/// All that is shown.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The cards.
    pub devices: Vec<Device>,
    /// How many listening sockets there are.
    pub listeners: Listeners,
    /// The rules together.
    pub policy: Policy,
    /// Counters that grow.
    pub rates: Option<Vec<Rate>>,
}

/// Numbers of listening sockets.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Listeners {
    /// All.
    pub total: u64,
    /// Those whose connections a card sets up.
    pub offloaded: u64,
    /// Those whose application has asked.
    pub by_application: u64,
    /// Those that follow a rule.
    pub by_policy: u64,
    /// Those that the host serves, by reason; those of which nobody asked for setup are not among them.
    pub host: BTreeMap<Reason, u64>,
}

impl Listeners {
    /// Counts one more.
    pub fn count(&mut self, listener: &Listener) {
        self.total += 1;
        self.offloaded += u64::from(listener.is_offloaded());
        self.by_application += u64::from(listener.by_application);
        self.by_policy += u64::from(listener.policy.is_some() && !listener.by_application);
        if let Some(reason) = listener.obstacle() {
            *self.host.entry(reason).or_default() += 1;
        }
    }

    /// Counts all that there are.
    pub fn collect<W: Wire>(connection: &mut Connection<W>) -> Result<Self> {
        let mut listeners = Self::default();
        let _ = each_listener(connection, |step| {
            match step {
                Step::Entry(listener) => listeners.count(&listener),
                Step::Restart => listeners = Self::default(),
            }
            Ok(())
        })?;
        Ok(listeners)
    }
}

/// The rules together.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Policy {
    /// How many there are.
    pub rules: usize,
    /// Listening sockets that they were applied to.
    pub hits: u64,
    /// Listening sockets that they could not be applied to.
    pub refused: u64,
}

impl Policy {
    /// Adds them up.
    pub fn of(rules: &[Rule]) -> Self {
        let sum = |number: fn(&Rule) -> u64| rules.iter().map(number).fold(0, u64::saturating_add);
        Self {
            rules: rules.len(),
            hits: sum(|rule| rule.hits),
            refused: sum(|rule| rule.refused),
        }
    }
}

/// Shows it.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<()> {
    let mut connection = Connection::open()?;
    let mut rates = None;
    if args.rates {
        let first = Sample::now(counter::counters(&mut connection, None)?);
        thread::sleep(Duration::from_secs(1));
        let second = Sample::now(counter::counters(&mut connection, None)?);
        let all = self::rates(&first, &second, interface_name);
        rates = Some(
            all.into_iter()
                .filter(|rate| rate.per_second > 0.0)
                .collect(),
        );
    }
    let status = Status {
        devices: device::devices(&mut connection)?,
        listeners: Listeners::collect(&mut connection)?,
        policy: Policy::of(&policy::rules(&mut connection)?),
        rates,
    };
    match output.is_json() {
        true => output.value(&status),
        false => text::show(output, &status),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        netlink::{device::Table, DeviceState, Memory, Offloads},
        output::written,
    };

    pub(crate) fn card() -> Device {
        Device {
            ifindex: 3,
            ifname: "nic0".into(),
            firmware: Some("0.3 / 1.0".into()),
            state: DeviceState::Attached,
            capabilities: Offloads::SETUP | Offloads::TEARDOWN | Offloads::SPLICE,
            flows: Some(12),
            flow_credits: Some(988),
            buffer_credits: Some(4000),
            pairs: Some(2),
            pair_credits: Some(98),
            rules: Some(5),
            sram_bytes: Some(4 << 20),
            tables: vec![
                Table {
                    name: "listeners".into(),
                    memory: Some(Memory::Sram),
                    used: 5,
                    capacity: 4096,
                    high_water: 1024,
                    entry_bytes: 64,
                    refused: 0,
                },
                Table {
                    name: "recent".into(),
                    memory: Some(Memory::Dram),
                    used: 65000,
                    capacity: 65536,
                    high_water: 65536,
                    entry_bytes: 32,
                    refused: 9,
                },
            ],
        }
    }

    fn listener(offloads: Offloads, reason: Reason, policy: Option<u32>) -> Listener {
        Listener {
            address: [0; 4].into(),
            port: 80,
            ifindex: None,
            uid: Some(0),
            offloads,
            reason,
            rules: 0,
            policy,
            by_application: policy.is_none() && !offloads.is_empty(),
        }
    }

    fn status() -> Status {
        let dead = Device {
            ifindex: 4,
            ifname: "nic1".into(),
            state: DeviceState::Dead,
            capabilities: Offloads::empty(),
            firmware: None,
            tables: Vec::new(),
            flows: None,
            flow_credits: None,
            buffer_credits: None,
            pairs: None,
            pair_credits: None,
            rules: None,
            sram_bytes: None,
        };
        let mut listeners = Listeners::default();
        listeners.count(&listener(Offloads::SETUP, Reason::None, None));
        listeners.count(&listener(Offloads::SETUP, Reason::Mptcp, Some(1)));
        listeners.count(&listener(Offloads::SETUP, Reason::Mptcp, Some(1)));
        listeners.count(&listener(Offloads::empty(), Reason::NotAsked, None));
        Status {
            devices: vec![card(), dead],
            listeners,
            policy: Policy {
                rules: 1,
                hits: 2,
                refused: 0,
            },
            rates: Some(vec![Rate {
                ifindex: Some(3),
                device: Some("nic0".into()),
                name: "syn.answered".into(),
                value: 1500,
                per_second: 250.0,
            }]),
        }
    }

    #[test]
    fn text_on_one_screen() {
        let text = written(false, false, |output| text::show(output, &status()));
        assert_eq!(
            text,
            "\
nic0: attached, offloads setup,teardown,splice, firmware 0.3 / 1.0
  rules 5, flows 12 (room for 988), buffers free 4000, pairs 2 (room for 98), sram 4.0 MiB
  listeners  sram  [#----...............]      5  of 4096    0%  peak 1024
  recent     dram  [###################-]  65000  of 65536  99%  peak 65536  refused 9
nic1: dead, offloads none

Listeners: 1 of 4 set up by a card (1 asked by the application, 2 by a rule)
  host serves 2: mptcp
Policy: 1 rule, 2 hits, 0 refused
Rates:
  nic0  syn.answered  250/s
"
        );
        let color = written(false, true, |output| text::show(output, &status()));
        assert!(color.contains("\x1b[32mattached\x1b[0m") && color.contains("\x1b[31mdead\x1b[0m"));
    }

    #[test]
    fn nothing_is_shown_as_such() {
        let status = Status {
            devices: Vec::new(),
            listeners: Listeners::default(),
            policy: Policy::default(),
            rates: Some(Vec::new()),
        };
        assert_eq!(
            written(false, false, |output| text::show(output, &status)),
            "no card in this network namespace\n\n\
             Listeners: 0 of 0 set up by a card (0 asked by the application, 0 by a rule)\n\
             Policy: 0 rules, 0 hits, 0 refused\nRates: no counter grows\n"
        );
    }

    #[test]
    fn json_is_as_documented() {
        let value = serde_json::to_value(status()).unwrap();
        let card = &value["devices"][0];
        assert_eq!(card["state"], "attached");
        assert_eq!(card["capabilities"][2], "splice");
        assert_eq!(card["tables"][1]["high_water"], 65536);
        assert!(value["devices"][1]["flows"].is_null());
        assert_eq!(value["listeners"]["host"]["mptcp"], 2);
        assert_eq!(value["policy"]["rules"], 1);
        assert_eq!(value["rates"][0]["per_second"], 250.0);
        // All members are in the manual.
        fn members<'a>(value: &'a serde_json::Value, all: &mut Vec<&'a str>) {
            match value {
                serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| {
                    all.push(name);
                    members(value, all);
                }),
                serde_json::Value::Array(list) => list.iter().for_each(|value| members(value, all)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        members(&value, &mut all);
        for name in all.into_iter().filter(|name| *name != "mptcp") {
            assert!(crate::manual::JSON.text.contains(name), "{name}");
        }
    }
}
