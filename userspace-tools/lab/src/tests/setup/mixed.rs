// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listeners of one port of which not all ask for setup.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    counter_until,
    peer::{raw_targets, Peer},
    statistic, Context,
};
use crate::session::Session;

const ENDS: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("../commands.py")
);

const COUNT: u64 = 40;
const HOSTS: [&str; 2] = ["10.99.0.2", "fd99:0::2"];

/// Each member of a `SO_REUSEPORT` group gets the connections that the host selects it for, whether
/// it asks or not.
pub(super) fn groups(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;

    // By the kernel's hash, with a probability of 1/2 for each member and each of 80 connections.
    let asks = json!({"name": "asks", "port": 7000, "reuseport": true});
    let silent = json!({"name": "silent", "port": 7000, "reuseport": true, "flags": null});
    server.listen(&asks)?;
    server.open(&silent)?;
    let others = delivered(&session, &mut client, 7000)?;
    let (a, b) = (
        accepted(&mut server, "asks")?,
        accepted(&mut server, "silent")?,
    );
    ensure!(
        a > 0 && b > 0 && a + b == 2 * COUNT,
        "{a} and {b} connections"
    );
    ensure!(others == b, "{others} counted, {b} accepted");

    // By a program: the member that does not ask, then the other.
    for (index, wanted) in [(1, 2 * COUNT), (0, 0)] {
        server.ask(&json!({"do": "steer", "name": "asks", "index": index}))?;
        let others = delivered(&session, &mut client, 7000)?;
        ensure!(others == wanted, "{others} to the silent one, not {wanted}");
    }
    for name in ["asks", "silent"] {
        server.close(name)?;
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;

    // A member that is not eligible: another one takes its connections.
    server.listen(&json!({"name": "asks", "port": 7001, "reuseport": true}))?;
    server.open(&json!({
        "name": "multipath", "port": 7001, "reuseport": true, "flags": null, "mptcp": true,
    }))?;
    server.ask(&json!({"do": "steer", "name": "asks", "index": 1}))?;
    let others = delivered(&session, &mut client, 7001)?;
    ensure!(others == 0 && statistic(&session, "setup_ineligible")? == 0);
    ensure!(accepted(&mut server, "asks")? == 2 * COUNT);
    ensure!(accepted(&mut server, "multipath")? == 0);
    for name in ["asks", "multipath"] {
        server.close(name)?;
    }
    context.finish(session)
}

/// Makes connections of both families, all of which the card has to set up. Returns how many of
/// them listeners got that do not ask.
fn delivered(session: &Session, client: &mut Peer, port: u16) -> Result<u64> {
    let counted = || {
        anyhow::Ok([
            statistic(session, "setup_delivered")?,
            statistic(session, "setup_not_asked")?,
        ])
    };
    let before = counted()?;
    for host in HOSTS {
        client.clients(&json!({"host": host, "port": port, "count": COUNT}))?;
    }
    let after = counted()?;
    let made = after[0] - before[0];
    ensure!(made == 2 * COUNT, "{made} connections by the card");
    Ok(after[1] - before[1])
}

/// Simultaneous open: the socket in SYN-SENT gets the peer's SYN, not the listener of its port.
pub(super) fn simultaneous(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut ends = Peer::guest_script(&session, ENDS)?;
    let mut raw = Peer::raw(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "reuseport": true}))?;
    for target in raw_targets(&session)? {
        let mut call = target.clone();
        call["do"] = json!("called");
        call["name"] = json!("r");
        call["sport"] = json!(9000);
        raw.start(&call)?;
        ends.start(&json!({
            "do": "connect", "name": "s", "host": target["source"], "port": 9000, "sport": 7000,
            "reuseport": true,
        }))?;
        raw.answer()?;
        raw.ask(&json!({"do": "syn", "name": "r", "again": true}))?;
        raw.ask(&json!({"do": "request", "name": "r", "text": "hello"}))?;
        ends.answer()?;
        ends.ask(&json!({"do": "drain", "name": "s", "size": 5}))?;
        ends.ask(&json!({"do": "send", "name": "s", "size": 700}))?;
        raw.ask(&json!({"do": "collect", "name": "r", "size": 700}))?;
        raw.ask(&json!({"do": "end", "name": "r"}))?;
        ends.ask(&json!({"do": "close", "name": "s"}))?;
    }
    let passed = session.card(0)?.counter("nic.syn.host.connecting")?;
    ensure!(passed == 2, "{passed} SYNs passed to the host");
    ensure!(accepted(&mut server, "a")? == 0);
    context.finish(session)
}

fn accepted(server: &mut Peer, name: &str) -> Result<u64> {
    Ok(server.accepted(name)?.len() as u64)
}
