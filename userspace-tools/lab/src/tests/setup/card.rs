// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards that lose their rules.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{counter_until, guest_until, peer::Peer, statistic, Context};
use crate::session::{Action, Session};

pub(super) fn reset(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    serves(&session, &mut client)?;
    session.card(0)?.action(Action::Reset)?;
    restarted(&session, 1)?;
    serves(&session, &mut client)?;
    session
        .guest()
        .run_ok("echo 1 > /sys/class/net/nic0/device/reset")?;
    restarted(&session, 2)?;
    serves(&session, &mut client)?;
    session.card(0)?.action(Action::Die)?;
    carrier(&session, 0)?;
    session.card(0)?.action(Action::Revive)?;
    carrier(&session, 1)?;
    serves(&session, &mut client)?;
    // Also when the interface goes down and up, and when its MTU, and so the MSS, changes.
    session
        .guest()
        .run_ok("ip link set nic0 down && ip link set nic0 mtu 1400 up")?;
    session.configure()?;
    serves(&session, &mut client)?;
    server.close("a")?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    context.finish(session)
}

/// The rules are there, and the card sets connections up.
fn serves(session: &Session, client: &mut Peer) -> Result<()> {
    const COUNT: u64 = 10;
    counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
    let before = statistic(session, "setup_delivered")?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": COUNT}))?;
    let delivered = statistic(session, "setup_delivered")? - before;
    ensure!(
        delivered == COUNT,
        "{delivered} of {COUNT} connections came through the card"
    );
    Ok(())
}

fn restarted(session: &Session, count: u32) -> Result<()> {
    guest_until(
        session,
        "restart",
        &format!("ethtool -S nic0 | grep -qx ' *restarts: {count}'"),
    )?;
    carrier(session, 1)
}

fn carrier(session: &Session, up: u8) -> Result<()> {
    let line = format!("[ \"$(cat /sys/class/net/nic0/carrier)\" = {up} ]");
    guest_until(session, "carrier", &line)
}
