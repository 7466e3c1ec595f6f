// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Many connections over bad wires.

use std::{ops::Range, time::Duration};

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{counter_until, peer::Peer, Context};

/// Connections for each listener and address on each wire, and which listeners. Where the server speaks first, one
/// client in 800 does not get through 20 % of loss, as with Linux: see `faults`.
const WIRES: &[(&str, usize, Range<usize>)] = &[
    ("seed=11,loss=0.01,reorder=0.05,dup=0.05", 400, 0..3),
    ("seed=12,loss=0.05,reorder=0.05,dup=0.05", 250, 0..3),
    ("seed=13,loss=0.2,reorder=0.05,dup=0.05", 184, 0..2),
    ("seed=14,loss=0.1,reorder=0.05,dup=0.05", 184, 2..3),
];
/// Listeners: name, port, offload, and whether the server speaks first.
const LISTENERS: &[(&str, u16, u32, bool)] = &[
    ("setup", 7000, 1, false),
    ("defer", 7001, 1 << 3 | 1, false),
    ("server-first", 7002, 1 << 4 | 1, true),
];
const HOSTS: &[&str] = &["10.99.0.2", "fd99:0::2"];
/// Seconds that a client waits for a byte. Where every fifth segment is lost, ten in a row are lost now and then, and
/// by then TCP tries again every minute or two.
const PATIENCE: u64 = 600;

pub(super) fn many(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().memory_mb(2048))?;
    let mut server = Peer::guest(&session)?;
    for &(name, port, flags, banner) in LISTENERS {
        server.listen(&json!({
            "name": name, "port": port, "flags": flags, "banner": banner, "backlog": 512,
        }))?;
    }
    for (number, (spec, count, listeners)) in WIRES.iter().enumerate() {
        session.card(0)?.faults(spec)?;
        let mut running = Vec::new();
        for &(_, port, _, banner) in &LISTENERS[listeners.clone()] {
            for host in HOSTS {
                let set = json!({
                    "host": host, "port": port, "count": count, "parallel": 20,
                    "size": 6000, "seed": number, "timeout": PATIENCE, "banner": banner,
                });
                let client = Peer::wire(&session)?.patience(Duration::from_secs(2 * PATIENCE));
                client.start_clients(&set)?;
                running.push((client, set));
            }
        }
        for (mut client, set) in running {
            client.finish_clients(&set).with_context(|| *spec)?;
        }
        eprintln!("{spec}: {count} connections for each");
    }
    session.card(0)?.faults("")?;
    for (number, &(name, ..)) in LISTENERS.iter().enumerate() {
        let each = WIRES
            .iter()
            .filter(|(_, _, listeners)| listeners.contains(&number))
            .map(|(_, count, _)| count * HOSTS.len())
            .sum::<usize>();
        let found = server.accepted(name)?.len();
        // None comes twice.
        ensure!(
            found == each,
            "{name}: {found} connections of {each} clients"
        );
        server.close(name)?;
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    context.finish(session)
}
