// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp splices`.

use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        pair::{each_pair, End, Pair},
        Connection, Step, Wire,
    },
    output::{List, Output, Tone},
    system::names::{interface_index, Names},
};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Network device of the card whose pairs to show; those of all cards unless given
    #[arg(value_name = "DEV")]
    pub device: Option<String>,
}

/// A pair with the name of its card.
#[derive(Debug, Serialize)]
struct Entry {
    device: Option<String>,
    #[serde(flatten)]
    pair: Pair,
}

/// Shows spliced pairs.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<()> {
    let ifindex = args.device.as_deref().map(interface_index).transpose()?;
    show(&mut Connection::open()?, ifindex, output)
}

fn show<W: Wire>(
    connection: &mut Connection<W>,
    ifindex: Option<u32>,
    output: &mut Output<'_>,
) -> Result<()> {
    let mut names = Names::default();
    let mut list = List::new(output);
    let snapshot = each_pair(connection, ifindex, |step| match step {
        Step::Entry(pair) => {
            let entry = Entry {
                device: names.interface(pair.ifindex),
                pair,
            };
            list.entry(&entry, text(&entry))
        }
        Step::Restart => list.restart(),
    })?;
    let heads = columns("DEVICE", "ID", ["PEER", "LOCAL", "LOCAL", "PEER"]);
    list.finish(output, output.paint(Tone::Strong, heads), snapshot)
}

fn columns(device: &str, id: &str, ends: [&str; 4]) -> String {
    let [a, b, c, d] = ends;
    format!("{device:<10} {id:<10} {a:<22} {b:<22} {c:<22} {d}")
}

fn text(entry: &Entry) -> String {
    let end = |place: usize, address: fn(&End) -> SocketAddr| {
        let end = entry.pair.ends.get(place);
        end.map_or_else(|| "-".to_string(), |end| address(end).to_string())
    };
    let a = end(0, End::remote);
    let b = end(0, End::local);
    let c = end(1, End::local);
    let d = end(1, End::remote);
    let device = match &entry.device {
        Some(name) => name.clone(),
        None => format!("if{}", entry.pair.ifindex),
    };
    columns(&device, &entry.pair.id.to_string(), [&a, &b, &c, &d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::testing::{u32_of, Said, Script},
        output::written,
    };

    #[test]
    fn the_kernel_is_asked_for_the_pairs_of_a_card() {
        let sent = std::rc::Rc::default();
        let pair = [u32_of(1, u32::MAX), u32_of(2, 5)].concat();
        let answers = [Said::Packet(5, 2, pair), Said::Done(2)];
        let wire = Script::new(answers).recording(std::rc::Rc::clone(&sent));
        let mut connection = Connection::with(wire).unwrap();
        let text = written(true, false, |output| {
            show(&mut connection, Some(u32::MAX), output)
        });
        let expected = r#"{"device":null,"ifindex":4294967295,"id":5,"ends":[]}"#;
        assert_eq!(text, format!("[\n{expected}\n]\n"));
        // pair-get with the attribute ifindex.
        let request: &Vec<u8> = &sent.borrow()[0];
        assert_eq!(request[16..], [5, 1, 0, 0, 8, 0, 1, 0, 255, 255, 255, 255]);
    }

    #[test]
    fn a_pair_from_peer_to_peer() {
        let end = |local: [u8; 4], local_port, remote: [u8; 4], remote_port| End {
            local: local.into(),
            local_port,
            remote: remote.into(),
            remote_port,
        };
        let mut entry = Entry {
            device: Some("nic0".into()),
            pair: Pair {
                ifindex: 3,
                id: 17,
                ends: vec![
                    end([10, 0, 0, 1], 80, [10, 0, 0, 9], 40000),
                    end([10, 0, 0, 1], 50000, [10, 0, 0, 7], 8080),
                ],
            },
        };
        assert_eq!(
            text(&entry),
            "nic0       17         10.0.0.9:40000         10.0.0.1:80            10.0.0.1:50000         10.0.0.7:8080"
        );
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            concat!(
                r#"{"device":"nic0","ifindex":3,"id":17,"ends":["#,
                r#"{"local":"10.0.0.1","local_port":80,"remote":"10.0.0.9","remote_port":40000},"#,
                r#"{"local":"10.0.0.1","local_port":50000,"remote":"10.0.0.7","remote_port":8080}]}"#
            )
        );
        entry.device = None;
        entry.pair.ends.clear();
        assert_eq!(
            text(&entry).split_whitespace().collect::<Vec<_>>(),
            ["if3", "17", "-", "-", "-", "-"]
        );
    }
}
