// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an administrator does to an interface.

use anyhow::{bail, ensure, Context as _, Result};

use super::{alive, ping, transfer, Context, Way, PATIENCE};
use crate::session::{Cmd, Session};

pub(super) fn down_up(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    guest.run_ok(
        "for i in $(seq 10); do ip link set nic0 down && ip link set nic0 up || exit 1; done",
    )?;
    session.configure()?;
    alive(&session)?;

    // Packets in flight in both directions while the rings go away under them.
    let traffic = session
        .wire()
        .spawn(Cmd::from("ping -q -n -i 0.002 -s 1400 10.99.0.2").timeout(PATIENCE))?;
    for _ in 0..5 {
        guest.run_ok("ip link set nic0 down")?;
        guest.run_ok("ip link set nic0 up")?;
        session.configure()?;
        alive(&session)?;
    }
    drop(traffic);
    context.finish(session)
}

pub(super) fn carrier(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for _ in 0..3 {
        session.card(0)?.link(false)?;
        wait_carrier(&session, false)?;
        session.card(0)?.link(true)?;
        wait_carrier(&session, true)?;
        alive(&session)?;
    }
    context.finish(session)
}

fn wait_carrier(session: &Session, up: bool) -> Result<()> {
    let wanted = u8::from(up);
    let line = format!(
        "for i in $(seq 500); do [ \"$(cat /sys/class/net/nic0/carrier)\" = {wanted} ] && exit 0; \
         sleep 0.02; done; exit 1"
    );
    session
        .guest()
        .run_ok(&line)
        .map(drop)
        .with_context(|| format!("the carrier did not become {wanted}"))
}

pub(super) fn rings(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    let before = ring_sizes(&session)?;
    for (rx, tx) in [(512, 512), (1024, 256), (256, 1024), before] {
        guest.run_ok(format!("ethtool -G nic0 rx {rx} tx {tx}"))?;
        let now = ring_sizes(&session)?;
        ensure!(
            now == (rx, tx),
            "rings are {now:?}, asked for {:?}",
            (rx, tx)
        );
        session.configure()?;
        alive(&session)?;
        transfer(&session, Way::ToGuest, "10.99.0.2", 1)?;
        transfer(&session, Way::ToWire, "10.99.0.1", 1)?;
    }
    context.finish(session)
}

/// Present sizes of the receive and transmit rings.
fn ring_sizes(session: &Session) -> Result<(u32, u32)> {
    let text = session
        .guest()
        .run_ok("ethtool -g nic0 | sed -n '/Current/,$p'")?;
    let size = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    match (size("RX:"), size("TX:")) {
        (Some(rx), Some(tx)) => Ok((rx, tx)),
        _ => bail!("ethtool -g: {text}"),
    }
}

pub(super) fn address(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    for mac in ["02:00:00:99:00:42", "02:00:00:99:00:43"] {
        guest.run_ok(format!("ip link set nic0 down address {mac} up"))?;
        session.configure()?;
        session.wire().run_ok("ip neigh flush dev wire0")?;
        alive(&session)?;
    }
    for mtu in [1280, 1500] {
        guest.run_ok(format!("ip link set nic0 mtu {mtu}"))?;
        session.configure()?;
        ping(&session, Way::ToWire, "10.99.0.1", mtu - 28)?;
        ping(&session, Way::ToGuest, "10.99.0.2", 1000)?;
    }
    // Multicast and promiscuous mode go through the card's filters.
    guest.run_ok("ip link set nic0 promisc on")?;
    guest.run_ok("ip link set nic0 promisc off allmulticast on")?;
    guest.run_ok("ip link set nic0 allmulticast off")?;
    alive(&session)?;
    context.finish(session)
}
