// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections for which card or driver have no room, or which never had anything to do with the card.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{counter_until, guest_until, statistic, statistic_until},
        peer::{raw_targets, Peer},
    },
    pair::{Pair, PORT},
    Context,
};
use crate::session::{Action, Session};

/// Connections that the card of [`credits`] can end at a time.
const FLOWS: u64 = 4;

fn named(step: &str, name: &str) -> Value {
    json!({"do": step, "name": name})
}

fn connect(pair: &mut Pair<'_>, name: &str) -> Result<()> {
    pair.peer(&json!({"do": "connect", "name": name, "host": "10.99.0.2", "port": PORT}))?;
    pair.peer(&json!({"do": "send", "name": name, "size": 100}))?;
    pair.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
    pair.host(&json!({"do": "receive", "name": name, "size": 100}))
        .map(drop)
}

fn sees(pair: &mut Pair<'_>, name: &str, kind: &str, bytes: u64) -> Result<()> {
    let end = pair.peer(&named("end", name))?;
    ensure!(
        end == json!({"kind": kind, "bytes": bytes}),
        "{name}: {end}"
    );
    pair.peer(&named("close", name)).map(drop)
}

/// More connections than the card has room for.
pub(super) fn credits(context: &Context<'_>) -> Result<()> {
    let flows = FLOWS.to_string();
    let session = context.start(context.session().model_args(["--flows", &flows]))?;
    let mut pair = Pair::new(&session)?;
    for round in 1..=3 {
        let names: Vec<_> = (0..FLOWS + 3).map(|number| format!("c{number}")).collect();
        for name in &names {
            connect(&mut pair, name)?;
            pair.host(&json!({"do": "send", "name": name, "size": 500}))?;
            pair.host(&named("close", name))?;
        }
        // As long as the clients do not close, nothing comes back.
        ensure!(statistic(&session, "teardown_handed_over")? == round * FLOWS);
        ensure!(statistic(&session, "teardown_no_credit")? == round * 3);
        ensure!(statistic(&session, "teardown_flow_credits")? == 0);
        for name in &names {
            sees(&mut pair, name, "end", 500)?;
        }
        statistic_until(&session, "teardown_flow_credits", |left| left == FLOWS)?;
        pair.card_is_free()?;
    }
    ensure!(session.card(0)?.counter("nic.teardown.refused.full")? == 0);
    context.finish(session)
}

/// What else stays with the host.
pub(super) fn limits(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut pair = Pair::new(&session)?;
    too_large(&mut pair).context("too large")?;
    no_room(&mut pair).context("no room in the ring")?;
    queued(&mut pair).context("queued")?;
    link_down(&mut pair).context("link down")?;
    ip_options(&mut pair).context("IP options")?;
    loopback(&mut pair).context("loopback")?;
    out_of_order(&mut pair).context("out of order")?;
    ensure!(statistic(&session, "teardown_handed_over")? == 0);
    never_accepted(&mut pair).context("never accepted")?;
    ensure!(statistic(&session, "teardown_handed_over")? == 0);
    context.finish(session)
}

/// A client that reads nothing, and more data than a hand-over takes.
fn too_large(pair: &mut Pair<'_>) -> Result<()> {
    const SIZE: u64 = 150_000;
    pair.peer(&json!({
        "do": "connect", "name": "large", "host": "10.99.0.2", "port": PORT, "rcvbuf": 4096,
    }))?;
    pair.host(&json!({"do": "accept", "name": "large", "listener": "l"}))?;
    pair.host(&json!({
        "do": "option", "name": "large", "level": 1, "number": 7, "value": 1_000_000,
    }))?;
    pair.host(&json!({"do": "send", "name": "large", "size": SIZE}))?;
    pair.host(&named("close", "large"))?;
    ensure!(statistic(pair.session, "teardown_too_large")? == 1);
    sees(pair, "large", "end", SIZE)
}

/// A card that takes nothing out of its ring.
fn no_room(pair: &mut Pair<'_>) -> Result<()> {
    let session = pair.session;
    // Byte queue limits would keep it from being full.
    session.guest().run_ok(
        "ethtool -G nic0 tx 64; for queue in /sys/class/net/nic0/queues/tx-*; do \
         echo 1000000 > $queue/byte_queue_limits/limit_min; done",
    )?;
    counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
    guest_until(session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
    connect(pair, "full")?;
    // The limits are worked out anew when something is completed.
    let sent = statistic(session, "tx0_packets")?;
    statistic_until(session, "tx0_completed", |done| done >= sent)?;
    session.card(0)?.action(Action::Stall)?;
    // These fill the ring.
    session.guest().run_ok(
        "python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); \
         [s.sendto(b\"x\", (\"10.99.0.1\", 9)) for _ in range(100)]'",
    )?;
    pair.host(&named("close", "full"))?;
    session.card(0)?.action(Action::Resume)?;
    // On a slow kernel an acknowledgement waits for the ring, too.
    let full = statistic(session, "teardown_no_room")?;
    ensure!(full + statistic(session, "teardown_queued")? == 1);
    sees(pair, "full", "end", 0)
}

/// A queueing discipline that has the answer still.
fn queued(pair: &mut Pair<'_>) -> Result<()> {
    let guest = pair.session.guest();
    let before = statistic(pair.session, "teardown_queued")?;
    // The first segment passes, the others take more than a second each.
    guest.run_ok("tc qdisc replace dev nic0 root tbf rate 8kbit burst 1600 latency 60s")?;
    connect(pair, "late")?;
    pair.host(&json!({"do": "send", "name": "late", "size": 4000}))?;
    pair.host(&named("close", "late"))?;
    ensure!(statistic(pair.session, "teardown_queued")? == before + 1);
    sees(pair, "late", "end", 4000)?;
    guest.run_ok("tc qdisc del dev nic0 root").map(drop)
}

fn link_down(pair: &mut Pair<'_>) -> Result<()> {
    let session = pair.session;
    connect(pair, "down")?;
    pair.host(&json!({"do": "send", "name": "down", "size": 500}))?;
    pair.peer(&json!({"do": "receive", "name": "down", "size": 500}))?;
    session.card(0)?.link(false)?;
    guest_until(
        session,
        "no carrier",
        "grep -q 0 /sys/class/net/nic0/carrier",
    )?;
    pair.host(&named("close", "down"))?;
    session.card(0)?.link(true)?;
    ensure!(statistic(session, "teardown_link_down")? == 1);
    sees(pair, "down", "end", 500)
}

fn ip_options(pair: &mut Pair<'_>) -> Result<()> {
    connect(pair, "options")?;
    pair.host(&json!({
        "do": "option", "name": "options", "level": 0, "number": 4, "value": "01010101",
    }))?;
    pair.host(&named("close", "options"))?;
    ensure!(statistic(pair.session, "teardown_options")? == 1);
    sees(pair, "options", "end", 0)
}

/// A client within the guest.
fn loopback(pair: &mut Pair<'_>) -> Result<()> {
    pair.host(&json!({"do": "connect", "name": "near", "host": "127.0.0.1", "port": PORT}))?;
    pair.host(&json!({"do": "accept", "name": "far", "listener": "l"}))?;
    pair.host(&named("close", "far"))?;
    let end = pair.host(&named("end", "near"))?;
    ensure!(end["kind"] == "end", "{end}");
    pair.host(&named("close", "near"))?;
    ensure!(statistic(pair.session, "teardown_no_card")? == 1);
    Ok(())
}

/// A hole in what the client has sent.
fn out_of_order(pair: &mut Pair<'_>) -> Result<()> {
    let mut raw = Peer::raw(pair.session)?;
    for (target, count) in raw_targets(pair.session)?.into_iter().zip(1..) {
        let mut syn = target;
        syn["do"] = json!("syn");
        syn["name"] = json!("hole");
        syn["sport"] = json!(40_000);
        raw.ask(&syn)?;
        raw.ask(&json!({"do": "data", "name": "hole", "text": "first"}))?;
        pair.host(&json!({"do": "accept", "name": "hole", "listener": "l"}))?;
        pair.host(&json!({"do": "drain", "name": "hole", "size": 5}))?;
        raw.ask(&json!({"do": "skip", "name": "hole", "count": 100}))?;
        raw.ask(&json!({"do": "data", "name": "hole", "text": "behind"}))?;
        guest_until(
            pair.session,
            "the data behind the hole",
            "nstat -az TcpExtTCPOFOQueue | grep -q '[1-9][0-9]* *[0-9.]*$'",
        )?;
        pair.host(&named("close", "hole"))?;
        ensure!(statistic(pair.session, "teardown_out_of_order")? == count);
        raw.ask(&json!({"do": "skip", "name": "hole", "count": u32::MAX - 94}))?;
        raw.ask(&json!({"do": "end", "name": "hole"}))?;
    }
    Ok(())
}

/// Connections that nobody has accepted when their listener closes.
fn never_accepted(pair: &mut Pair<'_>) -> Result<()> {
    let names = ["one", "two"];
    for name in names {
        pair.peer(&json!({"do": "connect", "name": name, "host": "10.99.0.2", "port": PORT}))?;
        pair.peer(&json!({"do": "send", "name": name, "size": 10}))?;
    }
    guest_until(
        pair.session,
        "both are there",
        "[ $(ss -Htn state established sport = :7000 | wc -l) = 2 ]",
    )?;
    pair.host(&named("close", "l"))?;
    for name in names {
        sees(pair, name, "reset", 0)?;
    }
    let left: &Session = pair.session;
    counter_until(left, "nic.table.listeners.used", |used| used == 0)
}
