// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the host's other parts know of connections that are spliced, or were to be.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    middle::{Middle, PORT, SERVER, V4, V6},
    Context,
};

/// Connection tracking: entries of connections that the card has are over, those that it has no room for are as before.
pub(super) fn conntrack(context: &Context<'_>) -> Result<()> {
    let one_pair = ["--spliced-pairs", "1"];
    let session = context.start(context.session().model_args(one_pair))?;
    let guest = session.guest();
    guest.run_ok("modprobe nf_conntrack")?;
    guest.run_ok(
        "nft 'table inet t { chain i { type filter hook input priority 0; ct state invalid drop; }; }'",
    )?;
    let mut middle = Middle::new(&session, 0)?;
    middle.open_spliced(V4)?;
    for name in ["d", "e"] {
        middle.client(&json!({"do": "connect", "name": name, "host": V4[0], "port": PORT}))?;
        middle.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
    }
    let others = json!({"do": "splice", "name": "d", "other": "e"});
    middle.refused(&others, "ENOSPC")?;
    guest.run_ok(
        "test $(grep -c ' ESTABLISHED .*dport=7000' /proc/net/nf_conntrack) = 2 && \
         test $(grep -c ' CLOSE .*dport=[79]000' /proc/net/nf_conntrack) = 2 || \
         { cat /proc/net/nf_conntrack; false; }",
    )?;
    middle.up(5000)?;
    middle.down(5000)?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    for name in ["d", "e"] {
        middle.host(&json!({"do": "close", "name": name}))?;
        middle.client(&json!({"do": "close", "name": name}))?;
    }
    middle.close(false, true)?;
    context.finish(session)
}

/// The kernel gives the port of a spliced connection to no other one.
pub(super) fn ports(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for (hosts, range) in [(V4, "40000 40001"), (V6, "41000 41001")] {
        session
            .guest()
            .run_ok(format!("sysctl -w net.ipv4.ip_local_port_range='{range}'"))?;
        let mut middle = Middle::new(&session, 0)?;
        two_ports(&mut middle, hosts).context(hosts[0])?;
        middle.guest.kill()?;
    }
    context.finish(session)
}

fn two_ports(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    let connect = |name: &str| json!({"do": "connect", "name": name, "host": hosts[1], "port": SERVER, "flags": 0});
    let accept = |name: &str| json!({"do": "accept", "name": name, "listener": "l"});
    middle.open_spliced(hosts)?;
    middle.host(&connect("d"))?;
    middle.server(&accept("t"))?;
    middle.refused(&connect("e"), "EADDRNOTAVAIL")?;
    middle.up(5000)?;
    middle.down(5000)?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    middle.host(&connect("e"))?;
    middle.server(&accept("u"))?;
    middle.server(&json!({"do": "stream", "name": "u", "size": 5000}))?;
    middle.host(&json!({"do": "receive", "name": "e", "size": 5000}))?;
    middle.close(false, true)
}

/// The port of a connection that has come back can be that of connections to other peers again, and of none to the same.
pub(super) fn returned(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for (hosts, port) in [(V4, 40_000), (V6, 41_000)] {
        session.guest().run_ok(format!(
            "sysctl -w net.ipv4.ip_local_port_range='{port} {port}'"
        ))?;
        let mut middle = Middle::new(&session, 0)?;
        one_port(&mut middle, hosts).context(hosts[0])?;
        middle.guest.kill()?;
    }
    context.finish(session)
}

fn one_port(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    const OTHER: u16 = SERVER + 1;
    let connect = |name: &str, port: u16| json!({"do": "connect", "name": name, "host": hosts[1], "port": port, "flags": 0});
    middle.server(&json!({"do": "listen", "name": "o", "port": OTHER, "flags": null}))?;
    middle.open_spliced(hosts)?;
    middle.host(&json!({"do": "take_back", "name": "a"}))?;
    middle.host(&connect("d", OTHER))?;
    middle.server(&json!({"do": "accept", "name": "t", "listener": "o"}))?;
    middle.refused(&connect("e", SERVER), "EADDRNOTAVAIL")?;
    // Spliced again, it has the port alone; the other connection goes on.
    middle.splice()?;
    middle.refused(&connect("e", OTHER), "EADDRNOTAVAIL")?;
    middle.server(&json!({"do": "stream", "name": "t", "size": 5000}))?;
    middle.host(&json!({"do": "receive", "name": "d", "size": 5000}))?;
    middle.up(5000)?;
    middle.down(5000)?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    middle.host(&json!({"do": "close", "name": "d"}))?;
    middle.server(&json!({"do": "close", "name": "t"}))?;
    middle.server(&json!({"do": "close", "name": "o"}))?;
    middle.close(false, true)
}
