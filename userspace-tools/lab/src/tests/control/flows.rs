// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The list of connections that the card ends.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{counter_until, statistic},
        peer::Peer,
    },
    Context,
};
use crate::{
    commands::workloads::NGINX,
    report::{Ready, Server},
    session::{Action, Cmd, Session},
};

/// Clients that leave their ends open.
pub(super) const CLIENTS: &str = concat!(
    include_str!("../teardown/crowd.py"),
    include_str!("../commands.py")
);
/// Runs in the guest.
const LISTED: &str = include_str!("listed.py");
/// What the web server answers.
const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
/// The guest's addresses and those of their clients.
const PATHS: [(&str, &str); 2] = [("10.99.0.2", "10.99.0.1"), ("fd99:0::2", "fd99::1")];
/// Clients' processes of the long test: one has some ten thousand descriptors at most.
const CROWDS: u64 = 12;
/// Connections of each.
const EACH: u64 = 9000;

/// A web server that both families' connections of are given to the card.
pub(super) fn serve(session: &Session) -> Result<Server> {
    let offload = ["setup", "teardown"].map(String::from);
    let command = NGINX
        .server
        .replace("listen 8080 ", "listen [::]:8080 ipv6only=off ");
    let ready = Ready::Port(NGINX.port);
    let server = Server::start(session, &command, &offload, ready, |_| ())?;
    counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
    Ok(server)
}

pub(super) fn hold(host: &str, count: u64) -> Value {
    json!({"do": "hold", "host": host, "port": NGINX.port, "count": count, "body": BODY})
}

/// What the tool lists.
fn list(session: &Session, args: &str) -> Result<Vec<Value>> {
    let text = session
        .guest()
        .run_ok(format!("/build/bin/acceltcp -j flows {args}"))?;
    serde_json::from_str(&text).with_context(|| format!("flows {args}: {text}"))
}

/// Peers and states of what is listed; no two are the same.
fn keys(flows: &[Value]) -> Result<BTreeSet<(String, u64, String)>> {
    let keys: BTreeSet<_> = flows
        .iter()
        .map(|flow| {
            let text = |name: &str| flow[name].as_str().unwrap_or_default().to_owned();
            let port = flow["peer_port"].as_u64().unwrap_or_default();
            (text("peer"), port, text("state"))
        })
        .collect();
    ensure!(keys.len() == flows.len(), "some are there twice: {flows:?}");
    Ok(keys)
}

/// Twelve connections, half of which are in TIME-WAIT.
pub(super) fn flows(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let server = serve(&session)?;
    let mut clients = Vec::new();
    let mut expected = BTreeSet::new();
    for (host, peer) in PATHS {
        let mut client = Peer::wire_script(&session, CLIENTS)?;
        let ports: Vec<u64> = serde_json::from_value(client.ask(&hold(host, 6))?)?;
        client.ask(&json!({"do": "release", "count": 3}))?;
        for (at, port) in ports.iter().enumerate() {
            let state = if at < 3 { "time-wait" } else { "fin-wait-2" };
            expected.insert((peer.to_owned(), *port, state.to_owned()));
        }
        clients.push(client);
    }
    counter_until(&session, "nic.teardown.state.fin_wait_2", |count| {
        count == 6
    })?;
    counter_until(&session, "nic.table.time_wait.used", |count| count == 6)?;

    let all = list(&session, "")?;
    ensure!(keys(&all)? == expected, "{all:?}\nand not {expected:?}");
    for flow in &all {
        let v4 = flow["family"] == 4;
        let local = if v4 { "10.99.0.2" } else { "fd99::2" };
        let good = flow["local"] == local
            && flow["local_port"] == NGINX.port
            && flow["device"] == "nic0"
            && flow["unacknowledged"] == 0
            && flow["retransmits"] == 0
            && flow["vlan_outer"].is_null()
            && flow["due_ms"]
                .as_u64()
                .is_some_and(|ms| (1..=60_000).contains(&ms));
        ensure!(good, "{flow}");
    }
    filters(&session, &expected)?;

    let count = session
        .guest()
        .run_ok("/build/bin/acceltcp -j flows --count")?;
    let count: Value = serde_json::from_str(&count)?;
    ensure!(
        count["fin-wait-2"] == 6 && count["time-wait"] == 6 && count["total"] == 12,
        "{count}"
    );
    let text = session.guest().run_ok("/build/bin/acceltcp flows nic0")?;
    ensure!(
        text.lines().count() == 13 && text.contains("[fd99::2]:8080"),
        "{text}"
    );
    let elsewhere = session
        .guest()
        .run_ok("unshare -n /build/bin/acceltcp -j flows")?;
    ensure!(
        elsewhere == "[]\n",
        "a card of another namespace: {elsewhere}"
    );
    ensure!(statistic(&session, "flows_malformed")? == 0);

    session.card(0)?.action(Action::Reset)?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
    ensure!(
        list(&session, "")?.is_empty(),
        "a card that was reset has none"
    );
    server.stop()?;
    context.finish(session)
}

/// Each filter lets those through that it says, and no others.
fn filters(session: &Session, all: &BTreeSet<(String, u64, String)>) -> Result<()> {
    type Wanted = fn(&(String, u64, String)) -> bool;
    let cases: [(&str, Wanted); 12] = [
        ("nic0", |_| true),
        ("-4", |key| key.0 == "10.99.0.1"),
        ("-6", |key| key.0 == "fd99::1"),
        ("--state time-wait", |key| key.2 == "time-wait"),
        ("--state fin-wait-2,closing -6", |key| {
            key.2 == "fin-wait-2" && key.0 == "fd99::1"
        }),
        ("--state last-ack", |_| false),
        ("--peer 10.96.0.0/11", |key| key.0 == "10.99.0.1"),
        ("--peer fd99::/64", |key| key.0 == "fd99::1"),
        ("--peer 10.99.0.2", |_| false),
        ("--local 10.99.0.2 --local-port 8080", |key| {
            key.0 == "10.99.0.1"
        }),
        ("--local fd99::2", |key| key.0 == "fd99::1"),
        ("--local-port 8081", |_| false),
    ];
    for (args, wanted) in cases {
        let expected: BTreeSet<_> = all.iter().filter(|key| wanted(key)).cloned().collect();
        let found = keys(&list(session, args)?)?;
        ensure!(found == expected, "{args}: {found:?} and not {expected:?}");
    }
    for key in all {
        let found = list(session, &format!("--peer {} --peer-port {}", key.0, key.1))?;
        ensure!(keys(&found)? == BTreeSet::from([key.clone()]), "{found:?}");
    }
    Ok(())
}

/// As many as the card has room for, but for some that come and go.
pub(super) fn long_flows(context: &Context<'_>) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(1500);
    let sizes = ["--flows", "110592", "--spliced-pairs", "8192"];
    let session = context.start(context.session().model_args(sizes))?;
    session
        .guest()
        .run_ok("sysctl -w net.ipv4.tcp_fin_timeout=3000")?;
    let server = serve(&session)?;
    let mut crowds = Vec::new();
    for number in 0..CROWDS {
        let (host, peer) = PATHS[usize::from(number % 2 == 1)];
        let crowd = Peer::wire_script(&session, CLIENTS)?.patience(LIMIT);
        crowd.start(&hold(host, EACH))?;
        crowds.push((peer, crowd));
    }
    let mut ports = json!({});
    for (peer, crowd) in &mut crowds {
        let found = crowd.answer().context("not all were answered")?;
        let found = found.as_array().context("no list of ports")?;
        let all = ports[*peer].as_array_mut();
        match all {
            Some(all) => all.extend_from_slice(found),
            None => ports[*peer] = found.clone().into(),
        }
    }
    // On a busy machine the host ends some itself, as its rings are full for a moment.
    let held = session.card(0)?.counter("nic.table.flows.used")?;
    ensure!(held > 100_000, "the card has {held} connections only");

    let mut others = Peer::wire_script(&session, CLIENTS)?.patience(LIMIT);
    let handed_over = statistic(&session, "teardown_handed_over")?;
    others.start(&json!({
        "do": "turnover", "host": PATHS[0].0, "port": NGINX.port, "seconds": 60, "body": BODY,
    }))?;
    let input = json!({"ports": ports, "times": 3}).to_string();
    let said = session.guest().run_ok(
        Cmd::new(["python3", "-c", LISTED])
            .input(input)
            .timeout(LIMIT),
    )?;
    let said: Value = serde_json::from_str(&said)?;
    let [stay, least, memory] =
        ["stay", "least", "memory_kib"].map(|name| said[name].as_u64().unwrap_or(0));
    ensure!(
        stay == held && least >= stay && memory != 0,
        "{held} are held: {said}"
    );
    others.answer().context("connections that come and go")?;
    let come = statistic(&session, "teardown_handed_over")? - handed_over;
    ensure!(come > 100, "{come} have come and gone only");
    eprintln!(
        "{least} entries a list at least, while {come} connections came and went; the tool had {memory} KiB at most"
    );
    // Two copies of the list would take more than ten times as much.
    ensure!(memory < 16 * 1024, "the tool took {memory} KiB");
    for (_, crowd) in &mut crowds {
        crowd.ask(&json!({"do": "release"}))?;
    }
    server.stop()?;
    context.finish(session)
}
