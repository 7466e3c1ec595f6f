// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All forms of closing: the table of `Documentation/teardown.rst`.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::observe::{counter_until, statistic},
    pair::Pair,
    Context,
};
use crate::session::Session;

const HOSTS: [&str; 2] = ["10.99.0.2", "fd99:0::2"];

/// Levels and options of sockets.
const SOL_SOCKET: u32 = 1;
const SO_LINGER: u32 = 13;
const SOL_TCP: u32 = 6;
const TCP_CORK: u32 = 3;
const TCP_LINGER2: u32 = 8;
const TCP_ULP: u32 = 31;
const MSG_OOB: u32 = 1;
const MSG_MORE: u32 = 0x8000;

/// A step, and who takes it.
enum Step {
    /// The application in the guest.
    Host(Value),
    /// The peer.
    Peer(Value),
    /// A command in the guest.
    Run(&'static str),
    /// The faults of the wire from here on.
    Faults(&'static str),
    /// The peer sees this end.
    Sees(&'static str, u64),
}

use Step::{Faults, Host, Peer, Run, Sees};

fn send(size: u32) -> Step {
    Host(json!({"do": "send", "name": "s", "size": size}))
}

fn get(size: u32) -> Step {
    Peer(json!({"do": "receive", "name": "s", "size": size}))
}

/// The application has read a request.
fn request() -> [Step; 2] {
    [
        Peer(json!({"do": "send", "name": "s", "size": 300})),
        Host(json!({"do": "receive", "name": "s", "size": 300})),
    ]
}

fn option(level: u32, number: u32, value: Value) -> Step {
    Host(json!({"do": "option", "name": "s", "level": level, "number": number, "value": value}))
}

fn close() -> Step {
    Host(json!({"do": "close", "name": "s"}))
}

fn over() -> Step {
    Peer(json!({"do": "close", "name": "s"}))
}

/// A form that stays with the host: its name, the statistic that counts it, and what happens.
type Kept = (&'static str, Option<&'static str>, Vec<Step>);

/// Forms that the card is given: their names, and what happens from the request on.
fn given_forms() -> Vec<(&'static str, Vec<Step>)> {
    let half = || Peer(json!({"do": "shutdown", "name": "s"}));
    let eof = || Host(json!({"do": "end", "name": "s"}));
    vec![
        (
            "close",
            vec![send(2000), get(2000), close(), Sees("end", 2000), over()],
        ),
        (
            "close at once",
            vec![send(2000), close(), Sees("end", 2000), over()],
        ),
        (
            "close without a word",
            vec![close(), Sees("end", 0), over()],
        ),
        (
            "more than a window",
            vec![send(60_000), close(), Sees("end", 60_000), over()],
        ),
        (
            "the peer has closed",
            vec![
                half(),
                eof(),
                send(2000),
                close(),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "corked",
            vec![
                option(SOL_TCP, TCP_CORK, json!(1)),
                send(500),
                close(),
                Sees("end", 500),
                over(),
            ],
        ),
        (
            "MSG_MORE",
            vec![
                Host(json!({"do": "send", "name": "s", "size": 500, "flags": MSG_MORE})),
                close(),
                Sees("end", 500),
                over(),
            ],
        ),
        (
            "partly acknowledged",
            vec![
                send(3000),
                get(3000),
                Faults("seed=1,loss=1"),
                send(3000),
                close(),
                Faults(""),
                Sees("end", 6000),
                over(),
            ],
        ),
        (
            "shutdown, then close",
            vec![
                send(2000),
                Host(json!({"do": "shutdown", "name": "s"})),
                Sees("end", 2000),
                close(),
                over(),
            ],
        ),
        (
            "shutdown, the FIN is not acknowledged",
            vec![
                send(2000),
                get(2000),
                Faults("seed=1,loss=1"),
                Host(json!({"do": "shutdown", "name": "s"})),
                close(),
                Faults(""),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "the peer, then shutdown, then close",
            vec![
                half(),
                eof(),
                Faults("seed=1,loss=1"),
                Host(json!({"do": "shutdown", "name": "s"})),
                close(),
                Faults(""),
                Sees("end", 0),
                over(),
            ],
        ),
        (
            "the last of two descriptors",
            vec![
                send(2000),
                Host(json!({"do": "duplicate", "name": "s", "other": "t"})),
                close(),
                Host(json!({"do": "send", "name": "t", "size": 1000})),
                Host(json!({"do": "close", "name": "t"})),
                Sees("end", 3000),
                over(),
            ],
        ),
        (
            "exit",
            vec![
                send(2000),
                Host(json!({"do": "die", "name": "s", "kill": false})),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "kill",
            vec![
                send(2000),
                Host(json!({"do": "die", "name": "s", "kill": true})),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "sendfile",
            vec![
                Host(json!({"do": "send_file", "name": "s", "size": 30_000})),
                close(),
                Sees("end", 30_000),
                over(),
            ],
        ),
        (
            "MSG_ZEROCOPY",
            vec![
                Host(json!({"do": "send_copy_free", "name": "s", "size": 30_000})),
                close(),
                Sees("end", 30_000),
                over(),
            ],
        ),
    ]
}

/// Forms that stay with the host, and the statistic that counts them; none for those that are not looked at.
fn kept_forms() -> Vec<Kept> {
    vec![
        (
            "SO_LINGER, no time",
            Some("teardown_linger"),
            vec![
                option(SOL_SOCKET, SO_LINGER, json!([1, 0])),
                close(),
                Sees("reset", 0),
                over(),
            ],
        ),
        (
            "SO_LINGER",
            Some("teardown_linger"),
            vec![
                option(SOL_SOCKET, SO_LINGER, json!([1, 5])),
                send(2000),
                close(),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "TCP_LINGER2 below 0",
            Some("teardown_linger"),
            vec![
                option(SOL_TCP, TCP_LINGER2, json!(-1)),
                Host(json!({"do": "shutdown", "name": "s"})),
                Sees("end", 0),
                close(),
                over(),
            ],
        ),
        (
            "unread data",
            Some("teardown_unread"),
            vec![
                Peer(json!({"do": "send", "name": "s", "size": 10})),
                Run("until ss -Htn state established sport = :7000 | grep -q '^10 '; do :; done"),
                close(),
                Sees("reset", 0),
                over(),
            ],
        ),
        (
            "TCP-MD5",
            Some("teardown_authenticated"),
            vec![
                Host(json!({"do": "key", "name": "s"})),
                send(2000),
                close(),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "kTLS",
            None,
            vec![
                option(SOL_TCP, TCP_ULP, json!("746c73")),
                send(2000),
                close(),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "urgent data",
            Some("teardown_urgent"),
            vec![
                Faults("seed=1,loss=1"),
                Host(json!({"do": "send", "name": "s", "size": 1, "flags": MSG_OOB})),
                close(),
                Faults(""),
                Sees("end", 0),
                over(),
            ],
        ),
        (
            "both have closed",
            None,
            vec![
                Host(json!({"do": "shutdown", "name": "s"})),
                Sees("end", 0),
                over(),
                Host(json!({"do": "end", "name": "s"})),
                close(),
            ],
        ),
        (
            "the peer has reset it",
            None,
            vec![
                Peer(json!({"do": "option", "name": "s", "level": SOL_SOCKET,
                    "number": SO_LINGER, "value": [1, 0]})),
                over(),
                Host(json!({"do": "end", "name": "s"})),
                close(),
            ],
        ),
        (
            "nobody knows the next hop",
            Some("teardown_neighbour"),
            vec![
                send(2000),
                get(2000),
                Run("ip neigh flush dev nic0"),
                close(),
                Sees("end", 2000),
                over(),
            ],
        ),
        (
            "a rule of netfilter",
            Some("teardown_filtered"),
            vec![
                send(2000),
                get(2000),
                Run(
                    "nft 'table inet t { chain o { type filter hook output priority 0; \
                     tcp sport 7000 tcp flags & fin == fin drop; }; }'",
                ),
                close(),
                Run("nft flush ruleset"),
                Sees("end", 2000),
                over(),
            ],
        ),
    ]
}

fn run(pair: &mut Pair<'_>, steps: &[Step]) -> Result<()> {
    for step in steps {
        match step {
            Host(step) => pair.host(step).map(drop)?,
            Peer(step) => pair.peer(step).map(drop)?,
            Run(line) => pair.session.guest().run_ok(*line).map(drop)?,
            Faults(spec) => pair.session.card(0)?.faults(spec)?,
            Sees(kind, bytes) => {
                let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
                ensure!(end == json!({"kind": kind, "bytes": bytes}), "{end}");
            }
        }
    }
    Ok(())
}

pub(super) fn given(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut pair = Pair::new(&session)?;
    let mut count = 0;
    for host in HOSTS {
        for (name, steps) in given_forms() {
            one_given(&mut pair, host, &steps).with_context(|| format!("{name}, {host}"))?;
            count += 1;
            let given = statistic(&session, "teardown_handed_over")?;
            ensure!(given == count, "{name}, {host}: {given} of {count}");
            pair.host_is_free()
                .with_context(|| format!("{name}, {host}"))?;
        }
    }
    let taken = session.card(0)?.counter("nic.teardown.taken")?;
    ensure!(taken == count, "the card has taken {taken} of {count}");
    pair.card_is_free()?;
    nothing_odd(&session)?;
    context.finish(session)
}

fn one_given(pair: &mut Pair<'_>, host: &str, steps: &[Step]) -> Result<()> {
    pair.open(host)?;
    run(pair, &request())?;
    run(pair, steps)?;
    pair.card_is_free()
}

/// The card has refused nothing and has lost no patience.
fn nothing_odd(session: &Session) -> Result<()> {
    for name in [
        "nic.teardown.refused.template",
        "nic.teardown.refused.full",
        "nic.teardown.refused.not_attached",
        "nic.teardown.end.timeout",
        "nic.teardown.end.reset",
        "nic.teardown.end.replaced",
    ] {
        counter_until(session, name, |value| value == 0)?;
    }
    Ok(())
}

pub(super) fn kept(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.guest().run_ok("modprobe tls")?;
    let mut pair = Pair::new(&session)?;
    for host in HOSTS {
        for (name, counter, steps) in kept_forms() {
            one_kept(&mut pair, host, counter, &steps)
                .with_context(|| format!("{name}, {host}"))?;
        }
    }
    ensure!(statistic(&session, "teardown_handed_over")? == 0);
    context.finish(session)
}

fn one_kept(pair: &mut Pair<'_>, host: &str, counter: Option<&str>, steps: &[Step]) -> Result<()> {
    let counted = |pair: &Pair<'_>| counter.map_or(Ok(0), |name| statistic(pair.session, name));
    let before = counted(pair)?;
    pair.open(host)?;
    run(pair, &request())?;
    run(pair, steps)?;
    let times = counted(pair)? - before;
    ensure!(
        times == u64::from(counter.is_some()),
        "counted {times} times"
    );
    Ok(())
}
