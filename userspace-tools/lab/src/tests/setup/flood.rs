// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A SYN flood.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{counter_until, peer::Peer, Context};
use crate::session::{Cmd, Session};

/// SYNs of the flood.
const FLOOD: u64 = 1_000_000;
/// Seconds that a client waits for a byte, at a wire that the flood has filled.
const PATIENCE: u64 = 120;
/// How long the flood may take.
const LIMIT: Duration = Duration::from_secs(200);

/// In the guest, counts what it must not see: SYNs, and segments that are from no client.
const WATCH: &str = "nft 'table inet watch { \
    counter syns { }; counter strangers { }; \
    chain seen { \
        type filter hook prerouting priority -300; \
        tcp flags & (syn | ack) == syn counter name syns; \
        tcp dport 7000 ip saddr != 10.99.0.1 counter name strangers; \
        tcp dport 7000 ip6 saddr != fd99:0::1 counter name strangers; \
    }; }'";

pub(super) fn flood(context: &Context<'_>) -> Result<()> {
    const CLIENTS: usize = 32;
    const CONNECTIONS: usize = 192;
    // Frames to the host for one connection, with room for retransmissions under so much load.
    const FRAMES: u64 = 100;
    let session = context.start(context.session())?;
    session.guest().run_ok(WATCH)?;
    let mut server = Peer::guest(&session)?;
    let mut clients = [Peer::wire(&session)?, Peer::wire(&session)?];
    server.listen(&json!({"name": "a", "port": 7000}))?;
    let card = session.card(0)?;
    let before = card.counters()?;
    let value = |name: &str| before.get(name).copied().unwrap_or(0);
    let answered = value("nic.syn.answered");
    let script = Cmd::new([
        "python3",
        "-c",
        include_str!("flood.py"),
        &FLOOD.to_string(),
    ]);
    let mut flood = session.wire().spawn(script.timeout(LIMIT))?;
    flood.wait_for("ready")?;
    counter_until(&session, "nic.syn.answered", |count| {
        count > answered + 1000
    })?;
    let sets = ["10.99.0.2", "fd99:0::2"].map(|host| {
        json!({
            "host": host, "port": 7000, "count": CONNECTIONS / 2, "parallel": CLIENTS / 2,
            "timeout": PATIENCE,
        })
    });
    for (client, set) in clients.iter().zip(&sets) {
        client.start_clients(set)?;
    }
    for (client, set) in clients.iter_mut().zip(&sets) {
        client.finish_clients(set)?;
    }
    flood.wait_for("sent")?;
    ensure!(flood.wait()?.status.success(), "the flood failed");
    // The card has answered every SYN that the wire took.
    counter_until(&session, "nic.syn.answered", |count| {
        count >= answered + FLOOD
    })?;

    // The host has seen none of them.
    for counter in ["syns", "strangers"] {
        let text = session
            .guest()
            .run_ok(format!("nft list counter inet watch {counter}"))?;
        ensure!(text.contains("packets 0 "), "{text}");
    }
    for name in [
        "TcpExtSyncookiesSent",
        "TcpExtListenOverflows",
        "TcpExtListenDrops",
    ] {
        ensure!(nstat(&session, name)? == 0, "{name}");
    }
    ensure!(nstat(&session, "TcpPassiveOpens")? == CONNECTIONS as u64);
    let to_host = card.counter("host.rx.packets")? - value("host.rx.packets");
    ensure!(
        to_host < FRAMES * CONNECTIONS as u64,
        "{to_host} frames came to the host, for {CONNECTIONS} connections"
    );
    ensure!(server.accepted("a")?.len() == CONNECTIONS);

    // It leaves nothing behind.
    counter_until(&session, "nic.table.half_open.used", |used| used == 0)?;
    clients[0].clients(&json!({"host": "fd99:0::2", "port": 7000, "count": 10}))?;
    server.close("a")?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    context.finish(session)
}

/// A counter of the guest's stack since its boot.
fn nstat(session: &Session, name: &str) -> Result<u64> {
    let text = session.guest().run_ok(format!("nstat -asz {name}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .with_context(|| format!("nstat: {text}"))
}
