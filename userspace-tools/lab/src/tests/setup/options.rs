// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Clients with other options than the usual ones.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{peer::Peer, statistic, Context};

/// Options that both ends have: timestamps, SACK, window scale, ECN.
type Expected = [bool; 4];

/// Settings of the wire side, and what comes of them.
const CLIENTS: &[(&str, Expected)] = &[
    ("tcp_timestamps=1", [true, true, true, false]),
    ("tcp_ecn=1", [true, true, true, true]),
    ("tcp_sack=0", [true, false, true, false]),
    ("tcp_window_scaling=0", [true, true, false, false]),
    (
        "tcp_sack=0 net.ipv4.tcp_window_scaling=0",
        [true, false, false, false],
    ),
];

/// Settings of the guest, and what comes of them.
const SERVERS: &[(&str, Expected)] = &[
    ("tcp_sack=0", [true, false, true, false]),
    ("tcp_window_scaling=0", [true, true, false, false]),
];

const USUAL: &str =
    "tcp_timestamps=1 net.ipv4.tcp_sack=1 net.ipv4.tcp_window_scaling=1 net.ipv4.tcp_ecn=0";

fn set(values: &str) -> String {
    format!("sysctl -q -w net.ipv4.{values}")
}

pub(super) fn options(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.guest().run_ok(set("tcp_ecn=1"))?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    let mut by_card = 0;
    let mut run = |values: &str, expected: &Expected| -> Result<()> {
        server.listen(&json!({"name": "a", "port": 7000}))?;
        for host in ["10.99.0.2", "fd99:0::2"] {
            let ends = client.clients(&json!({"host": host, "port": 7000, "count": 4}))?;
            for (child, end) in &server.ends("a", &ends)? {
                super::agree(child, end)?;
                let found = [child.timestamps, child.sack, child.wscale, child.ecn];
                ensure!(found == *expected, "{values}: {child:?}");
            }
            by_card += ends.len() as u64;
        }
        server.close("a")
    };
    for (values, expected) in CLIENTS {
        session.wire().run_ok(set(USUAL))?;
        session.wire().run_ok(set(values))?;
        run(values, expected)?;
    }
    session.wire().run_ok(set(USUAL))?;
    for (values, expected) in SERVERS {
        session.guest().run_ok(set(values))?;
        run(values, expected)?;
        session.guest().run_ok(set(USUAL))?;
    }
    let delivered = statistic(&session, "setup_delivered")?;
    ensure!(delivered == by_card, "{delivered} of {by_card} by the card");
    context.finish(session)
}

// The cookie has no place for the other options then: they are lost, or the host answers. Either way
// both ends must agree.
pub(super) fn no_timestamps(context: &Context<'_>) -> Result<()> {
    const COUNT: usize = 20;
    let session = context.start(context.session())?;
    session.wire().run_ok(set("tcp_timestamps=0"))?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    for host in ["10.99.0.2", "fd99:0::2"] {
        let ends = client
            .clients(&json!({"host": host, "port": 7000, "count": COUNT, "size": 100_000}))?;
        for (child, end) in &server.ends("a", &ends)? {
            ensure!(!child.timestamps, "{child:?}");
            super::agree(child, end)?;
        }
    }
    server.close("a")?;
    context.finish(session)
}
