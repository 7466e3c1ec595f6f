// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Acknowledgements of requests: quick at the start as those of any listener, and delayed only where answers have
//! been seen to follow at once and the device has set up the connection.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::observe::statistic,
    pair::{Pair, PORT},
    Context,
};
use crate::session::Session;

const FAR: &str = "10.99.0.2";
const NEAR: &str = "127.0.0.1";
const TCP_QUICKACK: u32 = 12;
/// Flags of a listener: setup, teardown, and no write is held.
const NO_HOLD: u32 = 3 | 1 << 5;
/// Requests of one segment, in a row, after which acknowledgements are delayed (`LEAST` in rust/offload/ack.rs).
const RUN: usize = 16;
/// Connections of each kind.
const COUNT: u64 = 10;

/// What the guest's stack has sent.
struct Sent {
    /// Segments.
    segments: u64,
    /// Acknowledgements by the timer that delays them.
    delayed: u64,
}

impl Sent {
    fn now(session: &Session) -> Result<Self> {
        let text = session
            .guest()
            .run_ok("nstat -az TcpOutSegs TcpExtDelayedACKs")?;
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
                .and_then(|value| value.parse().ok())
                .with_context(|| format!("no {name} in {text}"))
        };
        Ok(Self {
            segments: value("TcpOutSegs ")?,
            delayed: value("TcpExtDelayedACKs ")?,
        })
    }

    /// What was sent during `run`: segments less those of the timer, and those.
    fn during(session: &Session, run: impl FnOnce() -> Result<()>) -> Result<(u64, u64)> {
        let before = Self::now(session)?;
        run()?;
        let after = Self::now(session)?;
        let delayed = after.delayed - before.delayed;
        Ok((after.segments - before.segments - delayed, delayed))
    }
}

pub(super) fn acks(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    // An answer that is held leaves with the end, and is no segment of the stack.
    session
        .guest()
        .run_ok("sysctl -w net.acceltcp.teardown_hold_us=0")?;
    let mut pair = Pair::new(&session)?;

    // Nothing is known: as Linux does, the request is acknowledged, and then answered.
    let (_, delayed) = Sent::during(&session, || connections(&mut pair, COUNT, 2))?;
    ensure!(delayed == 0, "{delayed} first requests in two parts waited");
    let (segments, _) = Sent::during(&session, || connections(&mut pair, COUNT, 1))?;
    ensure!(
        segments >= 2 * COUNT,
        "{segments} segments before anything was learnt"
    );

    // Acknowledgements go with answers.
    once(|| {
        connections(&mut pair, RUN as u64, 1)?;
        ensure!(!is_quick(&mut pair, FAR)?, "no acknowledgement is delayed");
        let (segments, _) = Sent::during(&session, || connections(&mut pair, COUNT, 1))?;
        ensure!(
            segments == COUNT,
            "{segments} segments where answers follow at once"
        );
        ensure!(!is_quick(&mut pair, FAR)?, "no acknowledgement is delayed");
        Ok(())
    })?;

    // No device has set up a connection over the loopback.
    ensure!(is_quick(&mut pair, NEAR)?, "delayed over the loopback");

    // The first request in two parts ends it.
    connections(&mut pair, 1, 2)?;
    ensure!(is_quick(&mut pair, FAR)?, "delayed after a request in two");
    let (_, delayed) = Sent::during(&session, || connections(&mut pair, COUNT, 2))?;
    ensure!(delayed == 0, "{delayed} requests in two parts waited");
    pair.guest.kill()?;

    let mut pair = Pair::with(&session, NO_HOLD)?;
    connections(&mut pair, 2 * RUN as u64, 1)?;
    ensure!(is_quick(&mut pair, FAR)?, "NO_HOLD: delayed");
    pair.guest.kill()?;

    no_hold_without_device(&session)?;
    context.finish(session)
}

/// Holds the guest to something at least once in a few times: a client whose request is not acknowledged within 200 ms sends it
/// again, on a machine that is busy with other tests, and then it is one of two segments.
fn once<T>(mut run: impl FnMut() -> Result<T>) -> Result<T> {
    const TIMES: u32 = 6;
    for _ in 1..TIMES {
        match run() {
            Ok(value) => return Ok(value),
            Err(error) => eprintln!("once more: {error:#}"),
        }
    }
    run()
}

/// Connections with a request of so many small parts, the second of which waits for the acknowledgement of the first.
fn connections(pair: &mut Pair<'_>, count: u64, parts: usize) -> Result<()> {
    for _ in 0..count {
        pair.open(FAR)?;
        for _ in 0..parts {
            pair.peer(&json!({"do": "send", "name": "s", "size": 50}))?;
        }
        pair.host(&json!({"do": "receive", "name": "s", "size": 50 * parts}))?;
        pair.host(&json!({"do": "reply", "name": "s", "sizes": [300]}))?;
        let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
        ensure!(end == json!({"kind": "end", "bytes": 300}), "{end}");
        pair.peer(&json!({"do": "close", "name": "s"}))?;
    }
    Ok(())
}

/// Whether a new connection acknowledges its first request at once.
fn is_quick(pair: &mut Pair<'_>, host: &str) -> Result<bool> {
    if host == NEAR {
        pair.host(&json!({"do": "connect", "name": "c", "host": NEAR, "port": PORT}))?;
        pair.host(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
    } else {
        pair.open(host)?;
    }
    let quick =
        pair.host(&json!({"do": "number", "name": "s", "level": 6, "option": TCP_QUICKACK}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    match host {
        NEAR => pair.host(&json!({"do": "close", "name": "c"}))?,
        _ => pair.peer(&json!({"do": "close", "name": "s"}))?,
    };
    Ok(quick == 1)
}

/// Connections over the loopback whose first answer would be held.
fn near(pair: &mut Pair<'_>, count: u64) -> Result<()> {
    for _ in 0..count {
        pair.host(&json!({"do": "connect", "name": "c", "host": NEAR, "port": PORT}))?;
        pair.host(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
        pair.host(&json!({"do": "send", "name": "c", "size": 50}))?;
        pair.host(&json!({"do": "receive", "name": "s", "size": 50}))?;
        pair.host(&json!({"do": "reply", "name": "s", "sizes": [300]}))?;
        let end = pair.host(&json!({"do": "end", "name": "c"}))?;
        ensure!(end == json!({"kind": "end", "bytes": 300}), "{end}");
        pair.host(&json!({"do": "close", "name": "c"}))?;
    }
    Ok(())
}

/// A listener whose connections over the device are expected to end with their first answer holds none of those over the
/// loopback.
fn no_hold_without_device(session: &Session) -> Result<()> {
    let mut pair = Pair::new(session)?;
    session
        .guest()
        .run_ok("sysctl -w net.acceltcp.teardown_hold_us=10000")?;
    // An answer is held when the connection before it ended within the hold, which takes a guest that has a processor.
    let held = once(|| {
        connections(&mut pair, COUNT, 1)?;
        let held = statistic(session, "teardown_held")?;
        ensure!(held > 0, "no answer was held");
        Ok(held)
    })?;
    near(&mut pair, COUNT)?;
    let near = statistic(session, "teardown_held")? - held;
    ensure!(near == 0, "{near} answers over the loopback were held");
    Ok(())
}
