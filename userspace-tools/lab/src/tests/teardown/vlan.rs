// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections over VLAN devices: the tags are those of the host's frames.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    super::{
        observe::{counter_until, guest_until, statistic},
        peer::Peer,
    },
    pair::{FLAGS, PORT, SCRIPT},
    Context,
};

pub(super) fn vlan(context: &Context<'_>) -> Result<()> {
    // Two guests back to back, as not every machine's own kernel knows VLANs.
    let link = "unix:../link.sock";
    let near = context.start(context.session().wire(link))?;
    let far = context.start(
        context
            .session()
            .name("teardown-vlan-far")
            .wire(link)
            .host(3),
    )?;
    for (session, host) in [(&near, 1), (&far, 2)] {
        session.guest().run_ok(format!(
            "set -e; \
             ip link add link nic0 name v10 type vlan id 10; \
             ip link add link v10 name q20 type vlan id 20; \
             ip link set v10 up; ip link set q20 mtu 1400 up; \
             ip address add 10.10.0.{host}/24 dev v10; ip address add fd10::{host}/64 dev v10 nodad; \
             ip address add 10.20.0.{host}/24 dev q20; ip address add fd20::{host}/64 dev q20 nodad"
        ))?;
        guest_until(session, "carrier", "ip link show q20 | grep -q LOWER_UP")?;
    }
    let mut host = Peer::guest_script(&near, SCRIPT)?;
    let mut peer = Peer::guest_script(&far, SCRIPT)?;
    host.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": FLAGS}))?;
    counter_until(&near, "nic.table.listeners.used", |used| used == 6)?;
    let mut given = 0;
    for to in ["10.10.0.1", "fd10::1", "10.20.0.1", "fd20::1", "10.99.0.2"] {
        peer.ask(&json!({"do": "connect", "name": "s", "host": to, "port": PORT}))?;
        peer.ask(&json!({"do": "send", "name": "s", "size": 500}))?;
        host.ask(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
        host.ask(&json!({"do": "receive", "name": "s", "size": 500}))?;
        host.ask(&json!({"do": "send", "name": "s", "size": 30_000}))?;
        host.ask(&json!({"do": "close", "name": "s"}))?;
        let end = peer.ask(&json!({"do": "end", "name": "s"}))?;
        ensure!(
            end == json!({"kind": "end", "bytes": 30_000}),
            "{to}: {end}"
        );
        peer.ask(&json!({"do": "close", "name": "s"}))?;
        given += 1;
        ensure!(statistic(&near, "teardown_handed_over")? == given, "{to}");
        counter_until(&near, "nic.table.flows.used", |used| used == 0)?;
    }
    ensure!(near.card(0)?.counter("nic.teardown.end.done")? == given);
    context.finish(near)?;
    context.finish(far)
}
