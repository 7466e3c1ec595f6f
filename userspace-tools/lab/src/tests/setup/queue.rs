// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Servers that are slow to accept.

use std::time::Duration;

use anyhow::{ensure, Result};
use serde_json::json;

use super::{guest_until, peer::Peer, statistic, Context};

pub(super) fn queue_full(context: &Context<'_>) -> Result<()> {
    const CLIENTS: usize = 8;
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "backlog": 1, "accept": false}))?;
    let set = json!({
        "host": "10.99.0.2", "port": 7000, "count": CLIENTS, "parallel": CLIENTS, "timeout": 100,
    });
    client.start_clients(&set)?;
    guest_until(
        &session,
        "a connection that the queue has no room for",
        "ethtool -S nic0 | grep -q 'setup_queue_full: [1-9]'",
    )?;
    // No client has heard of it: once there is room, all are served.
    server.ask(&json!({"do": "accepting", "name": "a", "on": true}))?;
    client.finish_clients(&set)?;
    ensure!(server.accepted("a")?.len() == CLIENTS);
    ensure!(statistic(&session, "setup_delivered")? == CLIENTS as u64);
    server.close("a")?;
    context.finish(session)
}

pub(super) fn defer(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "flags": 1 << 3 | 1}))?;
    let before = session.card(0)?.counter("nic.syn.answered")?;
    for number in 0..5 {
        client.ask(&json!({
            "do": "connect", "name": format!("c{number}"), "host": "10.99.0.2", "port": 7000,
        }))?;
    }
    ensure!(session.card(0)?.counter("nic.syn.answered")? == before + 5);
    // Nothing has come to the host, also some time after the last handshake.
    std::thread::sleep(Duration::from_millis(500));
    ensure!(statistic(&session, "setup_delivered")? == 0);
    ensure!(server.accepted("a")?.is_empty());
    for number in 0..5 {
        client.ask(&json!({"do": "talk", "name": format!("c{number}")}))?;
    }
    ensure!(statistic(&session, "setup_delivered")? == 5);
    ensure!(server.accepted("a")?.len() == 5);
    server.close("a")?;
    context.finish(session)
}
