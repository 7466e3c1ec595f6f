// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listeners that are reached over VLAN devices.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{agree, counter_until, guest_until, peer::Peer, statistic, Context};
use crate::session::Session;

/// Clients of each set.
const COUNT: u64 = 5;

pub(super) fn vlan(context: &Context<'_>) -> Result<()> {
    // Two guests back to back, as not every machine's own kernel knows VLANs.
    let link = "unix:../link.sock";
    let near = context.start(context.session().wire(link))?;
    let far = context.start(context.session().name("setup-vlan-far").wire(link).host(3))?;
    for (session, host) in [(&near, 1), (&far, 2)] {
        let guest = session.guest();
        guest.run_ok("ip netns add x")?;
        guest.run_ok(format!(
            "set -e; \
             ip link add link nic0 name v10 type vlan id 10; \
             ip link add link v10 name q20 type vlan id 20; \
             ip link add link nic0 name v11 type vlan id 11; ip link set v11 netns x; \
             ip link set v10 up; ip link set q20 mtu 1400 up; ip -n x link set v11 up; \
             ip address add 10.10.0.{host}/24 dev v10; ip address add fd10::{host}/64 dev v10 nodad; \
             ip address add 10.20.0.{host}/24 dev q20; ip address add fd20::{host}/64 dev q20 nodad; \
             ip -n x address add 10.11.0.{host}/24 dev v11; \
             ip -n x address add fd11::{host}/64 dev v11 nodad"
        ))?;
        guest_until(
            session,
            "carrier",
            "ip -n x link show v11 | grep -q LOWER_UP",
        )?;
    }

    let mut server = Peer::guest(&near)?;
    let mut client = Peer::guest(&far)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    // The card itself, its VLAN and the VLAN in it; each for two families.
    counter_until(&near, "nic.table.listeners.used", |used| used == 6)?;
    let mut made = 0;
    for host in ["10.10.0.1", "fd10::1", "10.20.0.1", "fd20::1", "10.99.0.2"] {
        let clients = client.clients(&json!({"host": host, "port": 7000, "count": COUNT}))?;
        made += COUNT;
        delivered(&near, made)?;
        for (child, client) in server.ends("a", &clients)? {
            if host.contains("20") {
                ensure!(child.timestamps && child.sack && child.wscale);
                ensure!(child.snd_mss == client.snd_mss, "{child:?}, {client:?}");
                ensure!(child.snd_mss < 1400, "{child:?}");
            } else {
                agree(&child, &client)?;
            }
        }
    }

    // A namespace that has only the VLAN.
    let mut inside = Peer::netns(&near, "x")?;
    let mut outside = Peer::netns(&far, "x")?;
    inside.listen(&json!({"name": "x", "port": 7000}))?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 8)?;
    for host in ["10.11.0.1", "fd11::1"] {
        let clients = outside.clients(&json!({"host": host, "port": 7000, "count": COUNT}))?;
        made += COUNT;
        delivered(&near, made)?;
        for (child, client) in inside.ends("x", &clients)? {
            agree(&child, &client)?;
        }
    }
    ensure!(server.accepted("a")?.len() as u64 == made - 2 * COUNT);

    // Bound to one of them, and VLANs that go.
    server.listen(&json!({"name": "bound", "port": 7001, "device": "v10"}))?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 10)?;
    client.clients(&json!({"host": "10.10.0.1", "port": 7001, "count": COUNT}))?;
    delivered(&near, made + COUNT)?;
    near.guest().run_ok("ip link delete q20")?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 8)?;
    near.guest().run_ok("ip -n x link set v11 down")?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 6)?;
    near.guest().run_ok("ip link set v10 down")?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 2)?;
    server.close("bound")?;
    server.close("a")?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 0)?;
    context.finish(near)?;
    context.finish(far)
}

/// Connections that the card has set up.
fn delivered(session: &Session, count: u64) -> Result<()> {
    let found = statistic(session, "setup_delivered")?;
    ensure!(
        found == count,
        "{found} connections by the card, not {count}"
    );
    Ok(())
}
