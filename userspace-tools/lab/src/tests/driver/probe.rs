// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Binding, unbinding, reset.

use anyhow::{ensure, Result};

use super::{alive, left_behind, ping, Context, Way};
use crate::session::{Driver, Session};

pub(super) fn bind(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    let info = guest.run_ok("ethtool -i nic0")?;
    let expected = match context.driver {
        Driver::Nfp => "driver: nfp",
        _ => "driver: acceltcp",
    };
    ensure!(info.contains(expected), "ethtool -i: {info}");
    let link = guest.run_ok("ethtool nic0")?;
    ensure!(link.contains("Link detected: yes"), "{link}");
    ensure!(link.contains("Speed: "), "{link}");
    let test = guest.run_ok("ethtool -t nic0")?;
    ensure!(test.contains("The test result is PASS"), "{test}");
    for option in ["-S", "-g", "-l", "-k", "-x"] {
        guest.run_ok(format!("ethtool {option} nic0"))?;
    }
    alive(&session)?;
    context.finish(session)
}

pub(super) fn reload(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for _ in 0..5 {
        alive(&session)?;
        session.unload_driver(context.driver)?;
        let left = left_behind(&session)?;
        ensure!(left.is_empty(), "left after rmmod:\n{left}");
        insmod(context, &session)?;
    }
    alive(&session)?;
    context.finish(session)
}

/// Loads the module again; what it needs of other modules is still there.
fn insmod(context: &Context<'_>, session: &Session) -> Result<()> {
    let path = match context.driver {
        Driver::Nfp => "/build/kernel/nfp/nfp.ko",
        _ => "/build/module/acceltcp.ko",
    };
    session.guest().load_module(path, "")?;
    session.configure()
}

pub(super) fn flr(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    let device = guest.run_ok("readlink -f /sys/class/net/nic0/device")?;
    let device = device.trim();
    for _ in 0..3 {
        alive(&session)?;
        guest.run_ok("ip link set nic0 down")?;
        guest.run_ok(format!("echo 1 > {device}/reset"))?;
        guest.run_ok("ip link set nic0 up")?;
        session.configure()?;
    }
    alive(&session)?;
    // And while no driver looks after it.
    session.unload_driver(context.driver)?;
    guest.run_ok(format!("echo 1 > {device}/reset"))?;
    insmod(context, &session)?;
    alive(&session)?;
    context.finish(session)
}

pub(super) fn two_cards(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().cards(2))?;
    for card in 0..2 {
        ping(&session, Way::ToGuest, &format!("10.99.{card}.2"), 1000)?;
        ping(&session, Way::ToWire, &format!("fd99:{card}::1"), 1000)?;
        let seen = session.card(card)?.counter("wire.rx.packets")?;
        ensure!(seen >= 10, "card {card} saw {seen} packets of the wire");
    }
    context.finish(session)
}
