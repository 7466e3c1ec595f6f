// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp stats`.

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{counter, counter::Counter, Connection},
    output::{Cell, Output, Table, Tone},
    system::names::{interface_index, Names},
};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Network device of the card whose counters to show; those of the host, or of the network namespace, and of all cards unless given. Those of cards need root, or CAP_NET_ADMIN in the network namespace
    #[arg(value_name = "DEV")]
    pub device: Option<String>,
    /// Leave out counters that are 0
    #[arg(long)]
    pub nonzero: bool,
    /// Then have the counters of the host, or of the network namespace, start from 0 again; those of cards and of ethtool go on
    #[arg(long, conflicts_with = "device")]
    pub reset: bool,
}

/// A counter with the name of its card.
#[derive(Debug, Serialize)]
struct Entry {
    ifindex: Option<u32>,
    device: Option<String>,
    name: String,
    value: u64,
}

/// Shows counters.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<()> {
    let ifindex = args.device.as_deref().map(interface_index).transpose()?;
    let mut connection = Connection::open()?;
    let counters = counter::counters(&mut connection, ifindex)?;
    let mut names = Names::default();
    show(
        output,
        select(counters, ifindex, args.nonzero),
        &mut |index| names.interface(index),
    )?;
    if args.reset {
        // Not before what is gone by then has been seen.
        output.flush()?;
        counter::reset(&mut connection)?;
    }
    Ok(())
}

/// Those of the card `ifindex`, if there is one, and those that are not 0, if `nonzero`.
fn select(all: Vec<Counter>, ifindex: Option<u32>, nonzero: bool) -> Vec<Counter> {
    let wanted = |one: &Counter| {
        (ifindex.is_none() || one.ifindex == ifindex) && (one.value != 0 || !nonzero)
    };
    all.into_iter().filter(wanted).collect()
}

fn show(
    output: &mut Output<'_>,
    counters: Vec<Counter>,
    name_of: &mut dyn FnMut(u32) -> Option<String>,
) -> Result<()> {
    let entries: Vec<Entry> = counters
        .into_iter()
        .map(|one| Entry {
            ifindex: one.ifindex,
            device: one.ifindex.and_then(&mut *name_of),
            name: one.name,
            value: one.value,
        })
        .collect();
    if output.is_json() {
        return output.value(&entries);
    }
    for of in entries.chunk_by(|a, b| a.ifindex == b.ifindex) {
        let head = match of.first() {
            Some(Entry {
                ifindex: Some(index),
                device,
                ..
            }) => device.clone().unwrap_or_else(|| format!("if{index}")),
            _ => "host".into(),
        };
        output.line(output.paint(Tone::Strong, head))?;
        let mut table = Table::indented(2);
        for one in of {
            table.row([Cell::new(&one.name), Cell::number(one.value)]);
        }
        table.write(output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::written;

    fn counters() -> Vec<Counter> {
        let counter = |ifindex, name: &str, value| Counter {
            ifindex,
            name: name.into(),
            value,
        };
        vec![
            counter(None, "setup_delivered", 1234),
            counter(None, "setup_early", 0),
            counter(Some(3), "syn.answered", 7),
            counter(Some(4), "syn.answered", 0),
        ]
    }

    fn shown(json: bool, ifindex: Option<u32>, nonzero: bool) -> String {
        written(json, false, |output| {
            let counters = select(counters(), ifindex, nonzero);
            show(output, counters, &mut |index| {
                (index == 3).then(|| "nic0".into())
            })
        })
    }

    #[test]
    fn text() {
        assert_eq!(
            shown(false, None, false),
            "host\n  setup_delivered  1234\n  setup_early         0\nnic0\n  syn.answered  7\nif4\n  syn.answered  0\n"
        );
        assert_eq!(shown(false, Some(3), true), "nic0\n  syn.answered  7\n");
        assert_eq!(shown(false, Some(4), true), "");
    }

    #[test]
    fn json() {
        assert_eq!(
            shown(true, None, true),
            concat!(
                r#"[{"ifindex":null,"device":null,"name":"setup_delivered","value":1234},"#,
                r#"{"ifindex":3,"device":"nic0","name":"syn.answered","value":7}]"#,
                "\n"
            )
        );
        assert_eq!(shown(true, Some(9), true), "[]\n");
    }
}
