// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listeners of one port of which not all ask for setup.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    answering_until, counter_until, guest_until,
    peer::{raw_targets, reason, Peer},
    statistic, Context,
};
use crate::session::Session;

const ENDS: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("../commands.py")
);

const COUNT: u64 = 40;
const HOSTS: [&str; 2] = ["10.99.0.2", "fd99:0::2"];

/// Each member of a `SO_REUSEPORT` group gets the connections that the host selects it for, whether
/// it asks or not.
pub(super) fn groups(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;

    // By the kernel's hash, with a probability of 1/2 for each member and each of 80 connections.
    let asks = json!({"name": "asks", "port": 7000, "reuseport": true});
    let silent = json!({"name": "silent", "port": 7000, "reuseport": true, "flags": null});
    server.listen(&asks)?;
    server.open(&silent)?;
    let others = delivered(&session, &mut client, 7000)?;
    let (a, b) = (
        accepted(&mut server, "asks")?,
        accepted(&mut server, "silent")?,
    );
    ensure!(
        a > 0 && b > 0 && a + b == 2 * COUNT,
        "{a} and {b} connections"
    );
    ensure!(others > 0, "none counted of {b} that are not asked for");

    // By a program: the member that does not ask, then the other.
    for (index, wanted) in [(1, 2 * COUNT), (0, 0)] {
        server.ask(&json!({"do": "steer", "name": "asks", "index": index}))?;
        let others = delivered(&session, &mut client, 7000)?;
        ensure!(others == wanted, "{others} to the silent one, not {wanted}");
    }
    for name in ["asks", "silent"] {
        server.close(name)?;
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;

    // Where the TCP stack may choose a member that is not eligible, the host serves all.
    server.listen(&json!({"name": "asks", "port": 7001, "reuseport": true}))?;
    server.open(&json!({
        "name": "multipath", "port": 7001, "reuseport": true, "flags": null, "mptcp": true,
    }))?;
    answering_until(&session, |rules| rules == 0)?;
    by_card(&session, &mut client, &HOSTS, 7001, 0)?;
    ensure!(statistic(&session, "setup_ineligible")? == 0);
    let all = accepted(&mut server, "asks")? + accepted(&mut server, "multipath")?;
    ensure!(all == 10, "{all} connections");
    for name in ["asks", "multipath"] {
        server.close(name)?;
    }
    context.finish(session)
}

/// Makes connections of both families, all of which the card has to set up. Returns how many of
/// them listeners got that do not ask.
fn delivered(session: &Session, client: &mut Peer, port: u16) -> Result<u64> {
    let counted = || {
        anyhow::Ok([
            statistic(session, "setup_delivered")?,
            statistic(session, "setup_not_asked")?,
        ])
    };
    let before = counted()?;
    for host in HOSTS {
        client.clients(&json!({"host": host, "port": port, "count": COUNT}))?;
    }
    let after = counted()?;
    let made = after[0] - before[0];
    ensure!(made == 2 * COUNT, "{made} connections by the card");
    Ok(after[1] - before[1])
}

/// Makes five connections to each of `hosts`; the card has to set up those to `wanted` of them.
fn by_card(
    session: &Session,
    client: &mut Peer,
    hosts: &[&str],
    port: u16,
    wanted: u64,
) -> Result<()> {
    const FEW: u64 = 5;
    let before = statistic(session, "setup_delivered")?;
    for host in hosts {
        client.clients(&json!({"host": host, "port": port, "count": FEW}))?;
    }
    let made = statistic(session, "setup_delivered")? - before;
    ensure!(
        made == wanted * FEW,
        "{hosts:?}: {made} connections by the card"
    );
    Ok(())
}

/// Listeners that the host serves, beside one for any address that the card serves.
pub(super) fn addresses(context: &Context<'_>) -> Result<()> {
    const OTHERS: [&str; 2] = ["10.99.0.60", "fd99:0::60"];
    let session = context.start(context.session())?;
    session.guest().run_ok(
        "ip address add 10.99.0.60/24 dev nic0 && ip address add fd99:0::60/64 dev nic0 nodad",
    )?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    let silent = |name: &str, host: &str| json!({"name": name, "port": 7000, "host": host, "reuseport": true, "flags": null});
    server.listen(&json!({"name": "any", "port": 7000, "reuseport": true}))?;
    by_card(&session, &mut client, &OTHERS, 7000, 2)?;

    // A listener for the address is preferred.
    for (name, host) in ["four", "six"].into_iter().zip(OTHERS) {
        server.open(&silent(name, host))?;
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 4)?;
    by_card(&session, &mut client, &OTHERS, 7000, 0)?;
    by_card(&session, &mut client, &HOSTS, 7000, 2)?;
    ensure!(accepted(&mut server, "four")? == 5 && accepted(&mut server, "six")? == 5);
    ensure!(statistic(&session, "rules_to_host")? == 2);
    let passed = session.card(0)?.counter("nic.syn.host.listener")?;
    ensure!(passed >= 10, "{passed} SYNs passed to the host");
    for name in ["four", "six"] {
        server.close(name)?;
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
    by_card(&session, &mut client, &OTHERS, 7000, 2)?;

    // One for IPv4 has a higher score for IPv4.
    server.open(&silent("v4", "0.0.0.0"))?;
    answering_until(&session, |rules| rules == 1)?;
    by_card(&session, &mut client, &["10.99.0.2"], 7000, 0)?;
    by_card(&session, &mut client, &["fd99:0::2"], 7000, 1)?;
    server.close("v4")?;
    answering_until(&session, |rules| rules == 2)?;

    // The lookup takes IPv6 listeners with SO_REUSEPORT in the order in which they began to listen:
    // the one that is bound to the device comes first, with the higher score, and ends the search.
    server.close("any")?;
    let mut bound = silent("bound", "::");
    bound["device"] = json!("nic0");
    server.open(&bound)?;
    server.open(&json!({"name": "any", "port": 7000, "reuseport": true}))?;
    server.wait_status("any", reason::OTHER_LISTENER)?;
    answering_until(&session, |rules| rules == 0)?;
    by_card(&session, &mut client, &HOSTS, 7000, 0)?;
    ensure!(accepted(&mut server, "bound")? == 10);
    ensure!(accepted(&mut server, "any")? == 0);
    server.close("bound")?;
    server.wait_status("any", reason::NONE)?;
    by_card(&session, &mut client, &HOSTS, 7000, 2)?;
    server.close("any")?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    context.finish(session)
}

/// The card's rule for a group promises what all of its members support.
pub(super) fn options(context: &Context<'_>) -> Result<()> {
    const SETUP: u32 = 1;
    const DEFER: u32 = 1 << 3;
    const SERVER_FIRST: u32 = 1 << 4;
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    let member = |name: &str, flags: Option<u32>| json!({"name": name, "port": 7000, "reuseport": true, "flags": flags});
    for (others, first) in [
        (Some(SETUP), false),
        (None, false),
        (Some(SETUP | SERVER_FIRST), true),
    ] {
        server.listen(&member("defer", Some(SETUP | DEFER)))?;
        // The rules of both families lose the flag.
        let wanted = statistic(&session, "rules_replaced")? + 2;
        server.open(&member("other", others))?;
        let replaced = "$(ethtool -S nic0 | sed -n 's/.*rules_replaced: //p')";
        let line = format!("[ {replaced} -ge {wanted} ]");
        guest_until(&session, "change of both rules", &line)?;
        server.ask(&json!({"do": "steer", "name": "defer", "index": 1}))?;
        let kept = session.card(0)?.counter("nic.half_open.kept")?;
        // Clients that send nothing: the member that does not defer accepts their connections.
        for (number, host) in HOSTS.into_iter().enumerate() {
            let name = format!("c{number}");
            client.ask(&json!({"do": "connect", "name": name, "host": host, "port": 7000}))?;
        }
        server.ask(&json!({"do": "wait_accepted", "name": "other", "count": 2}))?;
        let kept = session.card(0)?.counter("nic.half_open.kept")? - kept;
        ensure!(kept == if first { 2 } else { 0 }, "{kept} half-open");
        for number in 0..HOSTS.len() {
            client.ask(&json!({"do": "talk", "name": format!("c{number}")}))?;
        }
        for name in ["defer", "other"] {
            server.close(name)?;
        }
        counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    }
    context.finish(session)
}

/// A listener takes the pending handshakes of the card after it has stopped asking.
pub(super) fn removed(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut raw = Peer::raw(&session)?;
    for (number, target) in raw_targets(&session)?.into_iter().enumerate() {
        server.listen(&json!({"name": "a", "port": 7000}))?;
        let mut syn = target;
        syn["do"] = json!("syn");
        for (name, port) in [("first", 40_000), ("other", 40_001)] {
            syn["name"] = json!(name);
            syn["sport"] = json!(port);
            if name == "first" {
                raw.ask(&syn)?;
                server.ask(&json!({"do": "offload", "name": "a", "flags": 0}))?;
                answering_until(&session, |rules| rules == 0)?;
            } else {
                // The host answers this SYN.
                let passed = session.card(0)?.counter("nic.syn.host.listener")?;
                raw.ask(&syn)?;
                ensure!(session.card(0)?.counter("nic.syn.host.listener")? == passed + 1);
            }
            raw.ask(&json!({"do": "echo", "name": name, "text": name}))?;
            raw.ask(&json!({"do": "end", "name": name}))?;
        }
        let made = 1 + number as u64;
        for name in ["setup_delivered", "setup_not_asked"] {
            ensure!(statistic(&session, name)? == made, "{name} is not {made}");
        }
        // Without a listener no rule is kept.
        server.ask(&json!({"do": "drop", "name": "a"}))?;
        counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
    }
    context.finish(session)
}

/// Simultaneous open: the socket in SYN-SENT gets the peer's SYN, not the listener of its port.
pub(super) fn simultaneous(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut ends = Peer::guest_script(&session, ENDS)?;
    let mut raw = Peer::raw(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "reuseport": true}))?;
    for target in raw_targets(&session)? {
        let mut call = target.clone();
        call["do"] = json!("called");
        call["name"] = json!("r");
        call["sport"] = json!(9000);
        raw.start(&call)?;
        ends.start(&json!({
            "do": "connect", "name": "s", "host": target["source"], "port": 9000, "sport": 7000,
            "reuseport": true,
        }))?;
        raw.answer()?;
        raw.ask(&json!({"do": "syn", "name": "r", "again": true}))?;
        raw.ask(&json!({"do": "request", "name": "r", "text": "hello"}))?;
        ends.answer()?;
        ends.ask(&json!({"do": "drain", "name": "s", "size": 5}))?;
        ends.ask(&json!({"do": "send", "name": "s", "size": 700}))?;
        raw.ask(&json!({"do": "collect", "name": "r", "size": 700}))?;
        raw.ask(&json!({"do": "end", "name": "r"}))?;
        ends.ask(&json!({"do": "close", "name": "s"}))?;
    }
    let passed = session.card(0)?.counter("nic.syn.host.connecting")?;
    ensure!(passed == 2, "{passed} SYNs passed to the host");
    ensure!(accepted(&mut server, "a")? == 0);
    context.finish(session)
}

fn accepted(server: &mut Peer, name: &str) -> Result<u64> {
    Ok(server.accepted(name)?.len() as u64)
}
