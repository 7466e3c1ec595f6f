// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards that lose the connections that they end, and what the operator hears of it.

use std::fs;

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::observe::{counter_until, guest_until, statistic, statistic_until, LOSSES},
    pair::{Pair, PORT},
    Context,
};
use crate::session::Session;

/// Connections that the card has when it is taken away.
const COUNT: u64 = 5;

/// Closes connections whose clients do not.
fn half_closed(pair: &mut Pair<'_>) -> Result<()> {
    for number in 0..COUNT {
        let name = format!("c{number}");
        pair.peer(&json!({"do": "connect", "name": name, "host": "10.99.0.2", "port": PORT}))?;
        pair.peer(&json!({"do": "send", "name": name, "size": 100}))?;
        pair.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
        pair.host(&json!({"do": "receive", "name": name, "size": 100}))?;
        pair.host(&json!({"do": "close", "name": name}))?;
        let end = pair.peer(&json!({"do": "end", "name": name}))?;
        ensure!(end == json!({"kind": "end", "bytes": 0}), "{end}");
    }
    ensure!(statistic(pair.session, "teardown_with_card")? == COUNT);
    counter_until(pair.session, "nic.teardown.state.fin_wait_2", |count| {
        count == COUNT
    })?;
    counter_until(pair.session, "nic.table.flows.used", |used| used == COUNT)
}

/// Clients whose connections are nobody's any more end.
fn forgotten(pair: &mut Pair<'_>) -> Result<()> {
    for number in 0..COUNT {
        pair.peer(&json!({"do": "close", "name": format!("c{number}")}))?;
    }
    Ok(())
}

/// The card is back and ends connections.
fn serves(session: &Session, pair: &mut Pair<'_>) -> Result<()> {
    guest_until(session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
    statistic_until(session, "teardown_flow_credits", |left| left > 1000)?;
    counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
    let before = statistic(session, "teardown_handed_over")?;
    pair.open("10.99.0.2")?;
    pair.host(&json!({"do": "send", "name": "s", "size": 2000}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(end == json!({"kind": "end", "bytes": 2000}), "{end}");
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    ensure!(statistic(session, "teardown_handed_over")? == before + 1);
    statistic_until(session, "teardown_with_card", |count| count == 0)
}

pub(super) fn lost(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut pair = Pair::new(&session)?;
    let mut lost = 0;
    for (name, way) in LOSSES {
        half_closed(&mut pair).context(name)?;
        way(&session).context(name)?;
        lost += COUNT;
        statistic_until(&session, "teardown_lost", |count| count == lost).context(name)?;
        forgotten(&mut pair)?;
        serves(&session, &mut pair).context(name)?;
    }

    // The module goes while the card has connections: none of their sockets is left to hold it.
    half_closed(&mut pair)?;
    pair.host(&json!({"do": "close", "name": "l"}))?;
    session.unload_driver(context.driver)?;
    let console = fs::read_to_string(session.console())?;
    let told = format!("{COUNT} connections that the card was ending are lost");
    let times = console.matches(&told).count();
    ensure!(times == 4, "told {times} times");
    counter_until(&session, "nic.table.flows.used", |used| used == 0)?;
    let left = super::super::driver::left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}
