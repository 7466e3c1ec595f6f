// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp flows`.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        flow::{each_flow, Filter, Flow},
        Connection, FlowState, Step, Wire,
    },
    output::{Cell, List, Output, Table, Tone},
    rule::Prefix,
    system::names::{interface_index, Names},
};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Network device of the card whose connections to show; those of all cards unless given
    #[arg(value_name = "DEV")]
    pub device: Option<String>,
    /// Those of IPv4
    #[arg(short = '4', conflicts_with = "v6")]
    pub v4: bool,
    /// Those of IPv6
    #[arg(short = '6')]
    pub v6: bool,
    /// Those in one of these states: fin-wait-1, fin-wait-2, closing, last-ack, time-wait
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<FlowState>,
    /// Those with this peer, or one whose address begins like this
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    pub peer: Option<Prefix>,
    /// Those with this port of the peer
    #[arg(long, value_name = "PORT")]
    pub peer_port: Option<u16>,
    /// Those with this local address
    #[arg(long, value_name = "ADDRESS")]
    pub local: Option<IpAddr>,
    /// Those with this local port
    #[arg(long, value_name = "PORT")]
    pub local_port: Option<u16>,
    /// Only count them, by state
    #[arg(long)]
    pub count: bool,
}

/// A connection with the name of its card.
#[derive(Debug, Serialize)]
struct Entry {
    device: Option<String>,
    #[serde(flatten)]
    flow: Flow,
}

/// Shows the connections that cards end.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<()> {
    let filter = Filter {
        ifindex: args.device.as_deref().map(interface_index).transpose()?,
        family: match (args.v4, args.v6) {
            (true, _) => Some(4),
            (_, true) => Some(6),
            _ => None,
        },
        states: args.state.clone(),
        peer: args.peer,
        peer_port: args.peer_port,
        local: args.local,
        local_port: args.local_port,
    };
    let mut connection = Connection::open()?;
    match args.count {
        true => count(&mut connection, &filter, output),
        false => show(&mut connection, &filter, output),
    }
}

fn show<W: Wire>(
    connection: &mut Connection<W>,
    filter: &Filter,
    output: &mut Output<'_>,
) -> Result<()> {
    let mut names = Names::default();
    let mut list = List::new(output);
    let snapshot = each_flow(connection, filter, |step| match step {
        Step::Entry(flow) => {
            let entry = Entry {
                device: names.interface(flow.ifindex),
                flow,
            };
            list.entry(&entry, text(&entry))
        }
        Step::Restart => list.restart(),
    })?;
    let heads = columns([
        "DEVICE", "STATE", "LOCAL", "PEER", "VLAN", "UNACKED", "TRIES", "DUE",
    ]);
    list.finish(output, output.paint(Tone::Strong, heads), snapshot)
}

fn columns(fields: [&str; 8]) -> String {
    let [device, state, local, peer, vlan, unacknowledged, tries, due] = fields;
    format!("{device:<10} {state:<10} {local:<24} {peer:<24} {vlan:<9} {unacknowledged:>7} {tries:>5} {due}")
}

fn text(Entry { device, flow }: &Entry) -> String {
    let device = match device {
        Some(name) => name.clone(),
        None => format!("if{}", flow.ifindex),
    };
    let vlan = match (flow.vlan_outer, flow.vlan_inner) {
        (Some(outer), Some(inner)) => format!("{outer}.{inner}"),
        (Some(vlan), None) | (None, Some(vlan)) => vlan.to_string(),
        (None, None) => "-".into(),
    };
    columns([
        &device,
        &flow.state.name(),
        &flow.local().to_string(),
        &flow.peer().to_string(),
        &vlan,
        &flow.unacknowledged.to_string(),
        &flow.retransmits.to_string(),
        &format!("{}.{:03}s", flow.due_ms / 1000, flow.due_ms % 1000),
    ])
}

/// How many there are of each state.
fn count<W: Wire>(
    connection: &mut Connection<W>,
    filter: &Filter,
    output: &mut Output<'_>,
) -> Result<()> {
    let none = || BTreeMap::from(FlowState::ALL.map(|state| (state, 0u64)));
    let mut counts = none();
    // What came and went meanwhile would be as true a moment later.
    let _ = each_flow(connection, filter, |step| {
        match step {
            Step::Entry(flow) => *counts.entry(flow.state).or_default() += 1,
            Step::Restart => counts = none(),
        }
        Ok(())
    })?;
    let total: u64 = counts.values().sum();
    if output.is_json() {
        let named = counts.iter().map(|(state, n)| (state.name().into(), *n));
        let mut named: serde_json::Map<String, serde_json::Value> = named
            .map(|(name, n): (String, u64)| (name, n.into()))
            .collect();
        named.insert("total".into(), total.into());
        return output.value(&named);
    }
    let mut table = Table::indented(0);
    for (state, n) in counts {
        table.row([Cell::new(state), Cell::number(n)]);
    }
    table.row([Cell::new("total").tone(Tone::Strong), Cell::number(total)]);
    table.write(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::{
            flow::told,
            testing::{Said, Script},
            uapi,
        },
        output::written,
    };

    fn said(states: &[u32], flags: u16) -> Vec<Said> {
        let packet = |(port, state): (u16, &u32)| {
            Said::Packet(uapi::ACCELTCP_CMD_FLOW_GET, 2 | flags, told(*state, port))
        };
        let entries = (40000..).zip(states).map(packet);
        entries.chain([Said::Done(2)]).collect()
    }

    fn connect(answers: Vec<Said>) -> Connection<Script> {
        Connection::with(Script::new(answers)).unwrap()
    }

    #[test]
    fn a_line_for_each_connection() {
        let mut connection = connect(said(&[2, 5], 0));
        let text = written(false, false, |output| {
            show(&mut connection, &Filter::default(), output)
        });
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3);
        let rest = |line: &[&str]| line[1..].join(" ");
        assert_eq!(
            rest(&lines[1]),
            "fin-wait-2 10.0.0.1:80 10.0.0.9:40000 - 5 1 0.200s"
        );
        assert_eq!(
            lines[2][1..4],
            ["time-wait", "10.0.0.1:80", "10.0.0.9:40001"]
        );
    }

    #[test]
    fn json_is_one_array() {
        let mut connection = connect(said(&[1, 4], 0));
        let text = written(true, false, |output| {
            show(&mut connection, &Filter::default(), output)
        });
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0]["state"], "fin-wait-1");
        assert_eq!(all[1]["peer"], "10.0.0.9");
        assert_eq!(all[1]["vlan_outer"], serde_json::Value::Null);
    }

    #[test]
    fn counts_begin_anew_when_the_card_was_reset() {
        let mut answers = said(&[1, 1, 1], 0x10);
        answers.extend(said(&[2, 5, 5, 9], 0));
        let text = written(false, false, |output| {
            count(&mut connect(answers.clone()), &Filter::default(), output)
        });
        let words: Vec<&str> = text.split_whitespace().collect();
        let expected =
            "fin-wait-1 0 fin-wait-2 1 closing 0 last-ack 0 time-wait 2 unknown-9 1 total 4";
        assert_eq!(words.join(" "), expected);
        let json = written(true, false, |output| {
            count(&mut connect(answers), &Filter::default(), output)
        });
        let counts: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&counts["time-wait"], &counts["total"]),
            (&2.into(), &4.into())
        );
    }

    #[test]
    fn wide_addresses_and_tags() {
        let mut entry = Entry {
            device: Some("nic0".into()),
            flow: Flow {
                ifindex: 3,
                family: 6,
                peer: "fd99::1".parse().unwrap(),
                peer_port: 1,
                local: "fd99::2".parse().unwrap(),
                local_port: 2,
                state: FlowState::LastAck,
                vlan_outer: Some(7),
                vlan_inner: Some(8),
                unacknowledged: 0,
                due_ms: 61_007,
                retransmits: 0,
            },
        };
        let line = |entry: &Entry| {
            let text = text(entry);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line(&entry),
            "nic0 last-ack [fd99::2]:2 [fd99::1]:1 7.8 0 0 61.007s"
        );
        entry.flow.vlan_inner = None;
        entry.device = None;
        assert!(line(&entry).starts_with("if3 last-ack") && line(&entry).contains(" 7 0 0 "));
    }
}
