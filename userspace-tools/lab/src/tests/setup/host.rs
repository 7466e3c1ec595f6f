// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Other parts of the host that have their say.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{counter_until, peer::Peer, statistic, Context};

pub(super) fn netfilter(context: &Context<'_>) -> Result<()> {
    const COUNT: u64 = 5;
    let session = context.start(context.session())?;
    let guest = session.guest();
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    for (name, port) in [("accepted", 7000), ("dropped", 7001), ("rejected", 7002)] {
        server.listen(&json!({"name": name, "port": port}))?;
    }
    let mut delivered = 0;
    // Without connection tracking, and with it. Each port keeps its verdict, as clients that were
    // dropped go on sending when they are closed.
    for track in [
        "",
        "ct state invalid drop; ct state established,related accept;",
    ] {
        guest.run_ok(format!(
            "nft 'flush ruleset; table inet t {{ chain input {{ \
             type filter hook input priority 0; {track} tcp dport 7000 accept; \
             tcp dport 7001 drop; tcp dport 7002 reject with tcp reset; }}; }}'"
        ))?;
        client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": COUNT}))?;
        client.clients(&json!({"host": "fd99:0::2", "port": 7000, "count": COUNT}))?;
        delivered += 2 * COUNT;
        // The card has answered the client; the rules decide what becomes of the connection.
        for (port, reason) in [(7001, "timed out"), (7002, "reset")] {
            let found = client.ask(&json!({
                "do": "clients", "host": "10.99.0.2", "port": port, "count": 2, "timeout": 2,
            }))?;
            ensure!(found["connections"] == json!([]), "port {port}: {found}");
            ensure!(
                found["errors"].to_string().contains(reason),
                "port {port}: {found}"
            );
        }
        ensure!(statistic(&session, "setup_delivered")? == delivered);
        ensure!(server.accepted("accepted")?.len() as u64 == delivered);
    }
    for name in ["accepted", "dropped", "rejected"] {
        server.close(name)?;
    }
    context.finish(session)
}

/// A client's first request follows its ACK at once. conntrack has to have confirmed the connection
/// by then, or drops it.
pub(super) fn conntrack(context: &Context<'_>) -> Result<()> {
    const COUNT: u64 = 40;
    let session = context.start(context.session())?;
    session.guest().run_ok(
        "nft 'table inet t { \
         chain nat { type nat hook prerouting priority dstnat; tcp dport 8000 redirect to :7000; }; \
         chain input { type filter hook input priority 0; policy drop; \
         iif lo accept; meta l4proto icmpv6 accept; ct state established,related accept; \
         tcp dport 7000 ct state new accept; tcp dport 22-1023 accept; }; }'",
    )?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    for host in ["10.99.0.2", "fd99:0::2"] {
        client.clients(&json!({"host": host, "port": 7000, "count": COUNT}))?;
        client.clients(&json!({"host": host, "port": 8000, "count": 5}))?;
    }
    ensure!(statistic(&session, "setup_delivered")? == 2 * COUNT);
    // A line with the names, then one for each CPU, in hexadecimal.
    let text = session.guest().run_ok("cat /proc/net/stat/nf_conntrack")?;
    let mut lines = text.lines().map(str::split_whitespace);
    let names: Vec<&str> = lines.next().map(Iterator::collect).unwrap_or_default();
    for line in lines {
        for (name, value) in names.iter().zip(line) {
            let value = u64::from_str_radix(value, 16)?;
            ensure!(
                value == 0 || !["insert_failed", "drop"].contains(name),
                "{name} is {value}: {text}"
            );
        }
    }
    ensure!(names.contains(&"insert_failed"), "{text}");
    server.close("a")?;
    context.finish(session)
}

pub(super) fn steering(context: &Context<'_>) -> Result<()> {
    const COUNT: u64 = 40;
    let session = context.start(context.session().vcpus(2))?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    session.guest().run_ok(
        "for queue in /sys/class/net/nic0/queues/rx-*; do echo 3 > $queue/rps_cpus; done",
    )?;
    for name in ["a", "b"] {
        server.listen(&json!({"name": name, "port": 7000, "reuseport": true}))?;
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": COUNT}))?;
    client.clients(&json!({"host": "fd99:0::2", "port": 7000, "count": COUNT}))?;
    let (a, b) = (server.accepted("a")?.len(), server.accepted("b")?.len());
    // Each has one of two chances for each of 80 connections.
    ensure!(a > 0 && b > 0, "{a} and {b} connections");
    ensure!((a + b) as u64 == 2 * COUNT);
    ensure!(statistic(&session, "setup_delivered")? == 2 * COUNT);
    // The rule stays while one of both listens.
    server.close("a")?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": COUNT}))?;
    ensure!(statistic(&session, "setup_delivered")? == 3 * COUNT);
    server.close("b")?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    // A listener of one interface.
    server.listen(&json!({"name": "nic", "port": 7001, "device": "nic0"}))?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7001, "count": 5}))?;
    ensure!(statistic(&session, "setup_delivered")? == 3 * COUNT + 5);
    server.close("nic")?;
    context.finish(session)
}

pub(super) fn ktls(context: &Context<'_>) -> Result<()> {
    const COUNT: u64 = 10;
    let session = context.start(context.session())?;
    session.guest().run_ok("modprobe tls")?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "tls": true}))?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": COUNT}))?;
    client.clients(&json!({"host": "fd99:0::2", "port": 7000, "count": COUNT}))?;
    ensure!(statistic(&session, "setup_delivered")? == 2 * COUNT);
    server.close("a")?;
    // Each child has given back its hold on the module, and not more than that.
    session.unload_driver(context.driver)?;
    context.finish(session)
}
