// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets and streams.

use anyhow::{ensure, Result};

use super::{interrupts, ping as ping_one, transfer as transfer_one, Context, Way, PATIENCE};
use crate::session::{Cmd, Session};

/// Data bytes of an echo request that fill an MTU of 1500 bytes.
const FULL_V4: u32 = 1472;
const FULL_V6: u32 = 1452;

pub(super) fn ping(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for size in [0, 1, 18, 56, 57, 500, 1000, 1400, FULL_V6, FULL_V4] {
        ping_one(&session, Way::ToGuest, "10.99.0.2", size)?;
        ping_one(&session, Way::ToWire, "10.99.0.1", size)?;
        if size <= FULL_V6 {
            ping_one(&session, Way::ToGuest, "fd99:0::2", size)?;
            ping_one(&session, Way::ToWire, "fd99:0::1", size)?;
        }
    }
    context.finish(session)
}

pub(super) fn transfer(context: &Context<'_>) -> Result<()> {
    const MEGABYTES: u32 = 3;
    let session = context.start(context.session())?;
    for offloads in ["on", "off"] {
        let set =
            format!("ethtool -K nic0 tso {offloads} tx {offloads} rx {offloads} sg {offloads}");
        session.guest().run_ok(&set)?;
        for (to_guest, to_wire) in [("10.99.0.2", "10.99.0.1"), ("[fd99:0::2]", "[fd99:0::1]")] {
            transfer_one(&session, Way::ToGuest, to_guest, MEGABYTES)?;
            transfer_one(&session, Way::ToWire, to_wire, MEGABYTES)?;
        }
    }
    context.finish(session)
}

pub(super) fn iperf3(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for options in [
        "-n 16M",
        "-n 16M -R",
        "-6 -n 8M",
        "-6 -n 8M -R",
        "-n 8M -P 4",
        "-n 8M -P 4 -R",
        "-u -b 20M -n 2M -l 1400",
        "-u -b 20M -n 2M -l 1400 -R",
    ] {
        stream(&session, options)?;
    }
    let card = session.card(0)?;
    let (host, wire) = (
        card.counter("host.tx.packets")?,
        card.counter("wire.tx.packets")?,
    );
    ensure!(
        wire > host + host / 2,
        "no segments were cut by the card: {host} packets from the host, {wire} to the wire"
    );
    context.finish(session)
}

/// Runs one iperf3 client of the wire side against a server of the guest.
fn stream(session: &Session, options: &str) -> Result<()> {
    let server = session
        .guest()
        .spawn(Cmd::from("iperf3 -s -1").timeout(PATIENCE))?;
    session.guest().wait_listening(5201, PATIENCE)?;
    let host = if options.starts_with("-6") {
        "fd99:0::2"
    } else {
        "10.99.0.2"
    };
    let client = format!("iperf3 -c {host} {options}");
    session.wire().run_ok(Cmd::from(client).timeout(PATIENCE))?;
    server.wait_ok()?;
    Ok(())
}

pub(super) fn queues(context: &Context<'_>) -> Result<()> {
    const CONNECTIONS: u32 = 16;
    let session = context.start(context.session().vcpus(2))?;
    let guest = session.guest();
    let now = guest.run_ok("ethtool -l nic0 | sed -n '/Current/,$p'")?;
    let pairs = now
        .lines()
        .filter_map(|line| line.strip_prefix("Combined:")?.trim().parse::<u32>().ok())
        .next();
    ensure!(pairs.is_some_and(|pairs| pairs >= 2), "ethtool -l: {now}");

    let before = interrupts(&session)?;
    stream(&session, &format!("-n 16M -P {CONNECTIONS}"))?;
    let after = interrupts(&session)?;
    let busy = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| **after > **before + 20)
        .count();
    ensure!(
        busy >= 2,
        "{CONNECTIONS} connections kept {busy} queue busy: {before:?}, then {after:?}"
    );

    // One pair, then all again.
    guest.run_ok("ethtool -L nic0 combined 1")?;
    stream(&session, "-n 8M -P 4")?;
    guest.run_ok("ethtool -L nic0 combined 2")?;
    stream(&session, "-n 8M -P 4 -R")?;
    context.finish(session)
}
