// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections as they ought to be, and what listeners leave.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{counter_until, peer::Peer, statistic, Context};
use crate::session::Session;

/// Connections per address.
const EACH: usize = 20;

pub(super) fn basic(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "any", "port": 7000}))?;
    server.listen(&json!({"name": "v4", "port": 7001, "host": "0.0.0.0"}))?;
    server.listen(&json!({"name": "one-v4", "port": 7002, "host": "10.99.0.2"}))?;
    server.listen(&json!({"name": "one-v6", "port": 7003, "host": "fd99:0::2"}))?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 5)?;
    let mut total = 0;
    for (name, host, port) in [
        ("any", "10.99.0.2", 7000),
        ("any", "fd99:0::2", 7000),
        ("v4", "10.99.0.2", 7001),
        ("one-v4", "10.99.0.2", 7002),
        ("one-v6", "fd99:0::2", 7003),
    ] {
        let set = json!({"host": host, "port": port, "count": EACH, "size": 20000});
        let ends = client.clients(&set)?;
        for (child, end) in &server.ends(name, &ends)? {
            ensure!(child.flags == Some(1), "{name}: not inherited: {child:?}");
            ensure!(
                child.timestamps && child.sack && child.wscale && !child.ecn,
                "{name}: {child:?}"
            );
            super::agree(child, end)?;
        }
        total += EACH as u64;
    }
    let delivered = statistic(&session, "setup_delivered")?;
    ensure!(
        delivered == total,
        "{delivered} of {total} connections came through the card"
    );
    let answered = session.card(0)?.counter("nic.syn.answered")?;
    ensure!(answered >= total, "the card answered {answered} SYNs");
    for name in ["any", "v4", "one-v4", "one-v6"] {
        server.close(name)?;
    }
    no_rules(&session)?;
    context.finish(session)
}

fn no_rules(session: &Session) -> Result<()> {
    counter_until(session, "nic.table.listeners.used", |used| used == 0)
}

pub(super) fn release(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    server.kill()?;
    no_rules(&session)?;

    // The module goes as soon as the last socket has gone; connections in TIME_WAIT do not hold it.
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": 4}))?;
    let busy = session.guest().run("rmmod acceltcp")?;
    ensure!(
        !busy.status.success(),
        "a listener does not hold the module"
    );
    client.ask(&json!({"do": "connect", "name": "left", "host": "10.99.0.2", "port": 7000}))?;
    server.kill()?;
    no_rules(&session)?;
    session.unload_driver(context.driver)?;
    let left = super::super::driver::left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}
