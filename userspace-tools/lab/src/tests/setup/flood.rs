// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A SYN flood.

use std::time::Duration;

use anyhow::{ensure, Result};
use serde_json::json;

use super::{counter_until, peer::Peer, Context};
use crate::session::Cmd;

pub(super) fn flood(context: &Context<'_>) -> Result<()> {
    const CLIENTS: usize = 32;
    const CONNECTIONS: usize = 160;
    // Packets to the host for one connection, with room for retransmissions under so much load.
    const PACKETS: u64 = 40;
    const FLOOD: u64 = 20 * PACKETS * CONNECTIONS as u64;
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    let card = session.card(0)?;
    let before = card.counters()?;
    let value = |name: &str| before.get(name).copied().unwrap_or(0);
    let mut flood = session.wire().spawn(
        Cmd::new(["python3", "-c", include_str!("flood.py")]).timeout(Duration::from_secs(120)),
    )?;
    flood.wait_for("ready")?;
    counter_until(&session, "nic.syn.answered", |count| {
        count > value("nic.syn.answered") + 1000
    })?;
    client.clients(&json!({
        "host": "10.99.0.2", "port": 7000, "count": CONNECTIONS, "parallel": CLIENTS, "timeout": 100,
    }))?;
    counter_until(&session, "nic.syn.answered", |count| {
        count > value("nic.syn.answered") + FLOOD
    })?;
    drop(flood);
    let to_host = card.counter("host.rx.packets")? - value("host.rx.packets");
    ensure!(
        to_host < PACKETS * CONNECTIONS as u64,
        "{to_host} packets came to the host, for {CONNECTIONS} connections"
    );
    ensure!(server.accepted("a")?.len() == CONNECTIONS);
    // The flood leaves nothing in the card.
    counter_until(&session, "nic.table.half_open.used", |used| used == 0)?;
    client.clients(&json!({"host": "fd99:0::2", "port": 7000, "count": 10}))?;
    server.close("a")?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    context.finish(session)
}
