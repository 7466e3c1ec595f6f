// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames that a program gets by NFQUEUE: they come back in a process, not in a softirq.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    answering_until, guest_until,
    peer::{raw_targets, Peer},
    statistic, Context,
};
use crate::session::Session;

const QUEUE: &str = concat!(include_str!("queued.py"), include_str!("../commands.py"));
const ENDS: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("../commands.py")
);
const TRACING: &str = "/sys/kernel/tracing";
/// Functions of the TCP stack that the hook calls, and that must not be interrupted by a softirq.
const PROBES: [(&str, &str); 3] = [
    ("rcv4", "tcp_v4_rcv"),
    ("rcv6", "tcp_v6_rcv"),
    ("tw", "inet_twsk_deschedule_put"),
];
/// Ports of listeners whose frames are queued in front of the module's hook, and behind it.
const FRONT: u16 = 7000;
const CLOSING: u16 = 7001;
const BEHIND: u16 = 7002;

pub(super) fn queued(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    let mut queue = Peer::guest_script(&session, QUEUE)?;
    let mut server = Peer::guest(&session)?;
    let mut ends = Peer::guest_script(&session, ENDS)?;
    let mut raw = Peer::raw(&session)?;
    // Of two hooks of one priority the older one is the last: the module comes in front of the chain "last".
    guest.run_ok(format!(
        "nft 'table inet q {{ \
         chain front {{ type filter hook input priority 0; tcp dport {{ {FRONT}, {CLOSING} }} queue num 5; }}; \
         chain last {{ type filter hook input priority 2147483647; tcp dport {BEHIND} queue num 6; }}; }}'"
    ))?;
    for number in [5, 6] {
        queue.ask(&json!({"do": "queue", "number": number}))?;
    }
    let targets = raw_targets(&session)?;

    // Another chain keeps what comes behind the hook: a request socket holds no reference to its listener.
    server.listen(&json!({"name": "behind", "port": BEHIND}))?;
    for (count, target) in targets.iter().enumerate() {
        kept_behind(&session, &mut queue, &mut raw, target, count as u64 + 1)?;
    }
    server.close("behind")?;
    guest.run_ok("nft delete chain inet q last")?;

    for (name, function) in PROBES {
        guest.run_ok(format!(
            "echo 'p:queued/{name} {function}' >> {TRACING}/kprobe_events"
        ))?;
    }
    guest.run_ok(format!("echo 1 > {TRACING}/events/queued/enable"))?;
    server.listen(&json!({"name": "a", "port": FRONT}))?;
    ends.ask(&json!({"do": "listen", "name": "l", "port": CLOSING, "flags": 1}))?;
    answering_until(&session, |rules| rules == 4)?;
    for (family, target) in targets.iter().enumerate() {
        replaced(&session, &mut raw, target)?;
        time_wait(&session, &mut ends, &mut raw, target)?;
        check_trace(&session, ["rcv4", "rcv6"][family])?;
    }
    let passed = queue.ask(&json!({"do": "passed", "number": 5}))?;
    ensure!(passed.as_u64() > Some(0), "{passed} frames were queued");
    context.finish(session)
}

/// A frame that a rule behind the hook keeps brings no connection.
fn kept_behind(
    session: &Session,
    queue: &mut Peer,
    raw: &mut Peer,
    target: &Value,
    count: u64,
) -> Result<()> {
    queue.ask(&json!({"do": "hold", "number": 6}))?;
    raw.ask(&syn(target, "k", BEHIND, 41000))?;
    raw.ask(&json!({"do": "data", "name": "k", "text": "kept"}))?;
    queue.ask(&json!({"do": "wait_held", "number": 6, "count": 1}))?;
    let found = statistic(session, "setup_rule_behind")?;
    ensure!(found == count, "{found} frames, not {count}");
    ensure!(statistic(session, "setup_delivered")? == 0);
    queue.ask(&json!({"do": "release", "number": 6}))?;
    // The host has no connection.
    raw.ask(&json!({"do": "refused", "name": "k"})).map(drop)
}

/// The client forgets a connection and comes back: the module has it reset.
fn replaced(session: &Session, raw: &mut Peer, target: &Value) -> Result<()> {
    let before = statistic(session, "setup_replaced")?;
    for name in ["old", "new"] {
        raw.ask(&syn(target, name, FRONT, 40000))?;
        raw.ask(&json!({"do": "echo", "name": name, "text": name}))?;
    }
    ensure!(statistic(session, "setup_replaced")? == before + 1);
    raw.ask(&json!({"do": "end", "name": "new"}))?;
    guest_until(
        session,
        "end of the connection",
        &format!("[ -z \"$(ss -Htn state established sport = :{FRONT})\" ]"),
    )
}

/// The client comes back while the host is in TIME-WAIT, which makes way.
fn time_wait(session: &Session, ends: &mut Peer, raw: &mut Peer, target: &Value) -> Result<()> {
    let delivered = statistic(session, "setup_delivered")?;
    let mut client = syn(target, "first", CLOSING, 40000);
    raw.ask(&client)?;
    raw.ask(&json!({"do": "request", "name": "first", "text": "x"}))?;
    ends.ask(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
    ends.ask(&json!({"do": "drain", "name": "s", "size": 1}))?;
    ends.ask(&json!({"do": "close", "name": "s"}))?;
    raw.ask(&json!({"do": "collect", "name": "first", "size": 0, "fin": true}))?;
    raw.ask(&json!({"do": "finish", "name": "first"}))?;
    guest_until(
        session,
        "TIME-WAIT",
        &format!("[ -n \"$(ss -Htn state time-wait sport = :{CLOSING})\" ]"),
    )?;
    client["name"] = json!("second");
    client["behind"] = json!("first");
    raw.ask(&client)?;
    raw.ask(&json!({"do": "request", "name": "second", "text": "y"}))?;
    ends.ask(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
    ensure!(statistic(session, "setup_delivered")? == delivered + 2);
    raw.ask(&json!({"do": "end", "name": "second"}))?;
    ends.ask(&json!({"do": "close", "name": "s"})).map(drop)
}

/// Softirqs were off in all calls of the functions, of which there were some: for `family`, and for TIME-WAIT.
fn check_trace(session: &Session, family: &str) -> Result<()> {
    let text = session
        .guest()
        .run_ok(format!("cat {TRACING}/trace; echo > {TRACING}/trace"))?;
    let mut calls = [0, 0];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        // TASK-PID [CPU] FLAGS TIME: NAME: (FUNCTION+...)
        let (_, rest) = line.split_once("] ").context("a line of the trace")?;
        let flags = rest.split_whitespace().next().context("flags")?;
        let off = flags.starts_with(['b', 'D']) || flags[2..].starts_with(['s', 'H']);
        ensure!(off, "softirqs were on: {line}");
        for (name, count) in [family, "tw"].iter().zip(&mut calls) {
            *count += usize::from(rest.contains(&format!(" {name}: (")));
        }
    }
    ensure!(calls[0] > 0 && calls[1] > 0, "{calls:?} calls: {text}");
    Ok(())
}

fn syn(target: &Value, name: &str, port: u16, sport: u16) -> Value {
    let mut command = target.clone();
    command["do"] = json!("syn");
    command["name"] = json!(name);
    command["port"] = json!(port);
    command["sport"] = json!(sport);
    command
}
