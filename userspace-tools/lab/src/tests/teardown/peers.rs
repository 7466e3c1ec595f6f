// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Peers that do not end a connection as one ought to: the card gets rid of it, and a counter says why.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{counter_until, statistic, statistic_until},
        peer::{raw_targets, Peer},
    },
    pair::Pair,
    Context,
};
use crate::session::Session;

/// What the peer asks.
const REQUEST: &str = "request";
/// Retransmissions and probes that the guest's settings allow for.
const RETRIES: u64 = 2;
const SETTINGS: &str = "sysctl -w net.ipv4.tcp_orphan_retries=2 net.ipv4.tcp_fin_timeout=1";

/// A connection of a peer whose every segment is chosen here.
struct Odd<'a> {
    session: &'a Session,
    pair: Pair<'a>,
    raw: Peer,
    target: Value,
    sport: u16,
}

impl<'a> Odd<'a> {
    /// Nobody yet, for a listener of the guest's.
    fn new(session: &'a Session, target: Value) -> Result<Self> {
        Ok(Self {
            session,
            pair: Pair::new(session)?,
            raw: Peer::raw(session)?,
            target,
            sport: 20_000,
        })
    }

    /// The guest closes its listener.
    fn stop_listening(&mut self) -> Result<()> {
        self.pair.host(&json!({"do": "close", "name": "l"}))?;
        counter_until(self.session, "nic.table.listeners.used", |used| used == 0)
    }

    /// A step of the peer.
    fn peer(&mut self, step: &str, args: &Value) -> Result<()> {
        let mut command = args.clone();
        command["do"] = json!(step);
        command["name"] = json!("odd");
        self.raw.ask(&command).context("the peer").map(drop)
    }

    /// A step of the host.
    fn host(&mut self, step: &str, args: &Value) -> Result<()> {
        let mut command = args.clone();
        command["do"] = json!(step);
        command["name"] = json!("s");
        self.pair.host(&command).map(drop)
    }

    /// A new connection, over which the peer has sent its request, and says what it can take.
    fn open(&mut self, window: u16) -> Result<()> {
        self.sport += 1;
        let mut syn = self.target.clone();
        syn["sport"] = json!(self.sport);
        self.peer("syn", &syn)?;
        self.peer("window", &json!({"size": window}))?;
        self.peer("request", &json!({"text": REQUEST}))?;
        self.host("accept", &json!({"listener": "l"}))?;
        self.host("drain", &json!({"size": REQUEST.len()}))
    }

    /// The host sends so many bytes and closes.
    fn answer(&mut self, size: usize) -> Result<()> {
        let before = statistic(self.session, "teardown_handed_over")?;
        self.host("send", &json!({"size": size}))?;
        self.host("close", &json!({}))?;
        let given = statistic(self.session, "teardown_handed_over")? - before;
        ensure!(given == 1, "the host has kept it");
        Ok(())
    }

    /// How often the guest has a segment sent again, of connections that come now.
    fn retries(&self, count: u64) -> Result<()> {
        let set = format!("sysctl -q -w net.ipv4.tcp_orphan_retries={count}");
        self.session.guest().run_ok(set).map(drop)
    }

    fn counter(&self, name: &str) -> Result<u64> {
        self.session.card(0)?.counter(name)
    }

    /// The card has no connection, and has told the host so.
    fn is_over(&self) -> Result<()> {
        let card = self.session.card(0)?;
        self.pair.card_is_free()?;
        for (credits, table) in [
            ("teardown_flow_credits", "flows"),
            ("teardown_buffer_credits", "buffers"),
        ] {
            let all = card.counter(&format!("nic.table.{table}.capacity"))?;
            statistic_until(self.session, credits, |left| left == all)?;
        }
        statistic_until(self.session, "teardown_with_card", |count| count == 0)?;
        self.pair.host_is_free()
    }
}

/// What a peer does: its name, the counter that must have counted one at the end, and its steps.
type Case = (&'static str, &'static str, fn(&mut Odd<'_>) -> Result<()>);

const CASES: [Case; 8] = [
    ("vanishes", "nic.teardown.end.timeout", vanishes),
    (
        "never closes",
        "nic.teardown.end.fin_wait_timeout",
        never_closes,
    ),
    (
        "goes on sending",
        "nic.teardown.end.data_after_close",
        goes_on,
    ),
    (
        "closes its window and vanishes",
        "nic.teardown.end.timeout",
        closed_window,
    ),
    (
        "opens its window again",
        "nic.teardown.end.done",
        window_opens,
    ),
    ("resets", "nic.teardown.end.reset", resets),
    (
        "resets at a wrong place in the window",
        "nic.teardown.challenge",
        resets_inside,
    ),
    (
        "resets outside of the window",
        "nic.teardown.drop.reset",
        resets_outside,
    ),
];

pub(super) fn peers(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.guest().run_ok(SETTINGS)?;
    for target in raw_targets(&session)? {
        let mut odd = Odd::new(&session, target)?;
        for (name, reason, steps) in CASES {
            let who = || format!("a peer that {name}, {}", odd.target["host"]);
            let who = who();
            let before = odd.counter(reason)?;
            steps(&mut odd).with_context(|| who.clone())?;
            odd.is_over().with_context(|| who.clone())?;
            let counted = odd.counter(reason)? - before;
            ensure!(counted == 1, "{who}: {reason} has counted {counted}");
        }
        odd.stop_listening()?;
    }
    context.finish(session)
}

/// A window that stays closed, by a peer that answers: as often as Linux probes one.
pub(super) fn long_window(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.guest().run_ok(SETTINGS)?;
    let [target, _] = raw_targets(&session)?;
    let mut odd = Odd::new(&session, target)?;
    stays_closed(&mut odd)?;
    context.finish(session)
}

/// The guest's bound of timeouts is the card's.
pub(super) fn rto_max(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.guest().run_ok(SETTINGS)?;
    session
        .guest()
        .run_ok("sysctl -w net.ipv4.tcp_rto_max_ms=1000")?;
    for target in raw_targets(&session)? {
        let mut odd = Odd::new(&session, target)?;
        vanishes_for_long(&mut odd).context("a peer that vanishes")?;
        // It would take minutes otherwise.
        stays_closed(&mut odd).context("a window that stays closed")?;
        odd.stop_listening()?;
    }
    context.finish(session)
}

/// The application's bound is the card's, where the guest's settings would allow for minutes.
pub(super) fn user_timeout(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session
        .guest()
        .run_ok("sysctl -w net.ipv4.tcp_orphan_retries=15 net.ipv4.tcp_fin_timeout=1")?;
    for target in raw_targets(&session)? {
        let mut odd = Odd::new(&session, target)?;
        gives_up(&mut odd, 65_535).context("a peer that vanishes")?;
        gives_up(&mut odd, 0).context("a window that stays closed")?;
        odd.stop_listening()?;
    }
    context.finish(session)
}

/// It acknowledges nothing; a window that it closes it says to be closed as often as it is asked.
fn gives_up(odd: &mut Odd<'_>, window: u16) -> Result<()> {
    const TCP_USER_TIMEOUT: u32 = 18;
    const LIMIT_MS: u64 = 1500;
    /// After 200 ms at least, and then after twice as long each: the third one is sent before 1.5 s are over.
    const MOST: u64 = 3;
    let ended = odd.counter("nic.teardown.end.timeout")?;
    let sent = odd.counter("nic.teardown.retransmit")?;
    odd.open(window)?;
    odd.host(
        "option",
        &json!({"level": 6, "number": TCP_USER_TIMEOUT, "value": LIMIT_MS}),
    )?;
    odd.answer(3000)?;
    while window == 0 && odd.counter("nic.table.flows.used")? != 0 {
        odd.peer("answer_probe", &json!({"seconds": 1}))?;
    }
    odd.is_over()?;
    let ended = odd.counter("nic.teardown.end.timeout")? - ended;
    ensure!(ended == 1, "{ended} connections were given up");
    let sent = odd.counter("nic.teardown.retransmit")? - sent;
    ensure!(sent <= MOST, "{sent} retransmissions");
    Ok(())
}

fn stays_closed(odd: &mut Odd<'_>) -> Result<()> {
    let count = |odd: &Odd<'_>| -> Result<[u64; 2]> {
        Ok([
            odd.counter("nic.teardown.probe")?,
            odd.counter("nic.teardown.end.timeout")?,
        ])
    };
    let before = count(odd)?;
    odd.open(0)?;
    odd.answer(3000)?;
    while odd.counter("nic.table.flows.used")? != 0 {
        odd.peer("answer_probe", &json!({"seconds": 1}))?;
    }
    odd.is_over()?;
    let after = count(odd)?;
    let (probes, ended) = (after[0] - before[0], after[1] - before[1]);
    ensure!(
        probes >= RETRIES && ended == 1,
        "{probes} probes, {ended} ended by time"
    );
    Ok(())
}

/// It gets the answer and its end.
fn takes_all(odd: &mut Odd<'_>) -> Result<()> {
    odd.open(65_535)?;
    odd.answer(1000)?;
    odd.peer("collect", &json!({"size": 1000, "fin": true}))
}

/// It acknowledges neither data nor FIN.
fn vanishes(odd: &mut Odd<'_>) -> Result<()> {
    let before = odd.counter("nic.teardown.retransmit")?;
    odd.open(65_535)?;
    odd.answer(1000)?;
    odd.peer("times", &json!({"count": RETRIES + 1}))?;
    odd.is_over()?;
    let sent = odd.counter("nic.teardown.retransmit")? - before;
    ensure!(sent == RETRIES, "{sent} retransmissions");
    Ok(())
}

/// As before, but more is sent, never more than a second apart: otherwise it would take minutes.
fn vanishes_for_long(odd: &mut Odd<'_>) -> Result<()> {
    const MORE: u64 = 7;
    let before = odd.counter("nic.teardown.retransmit")?;
    odd.retries(MORE)?;
    odd.open(65_535)?;
    odd.answer(1000)?;
    odd.is_over()?;
    let sent = odd.counter("nic.teardown.retransmit")? - before;
    ensure!(sent == MORE, "{sent} retransmissions");
    odd.retries(RETRIES)
}

/// It takes everything, and leaves its own end open.
fn never_closes(odd: &mut Odd<'_>) -> Result<()> {
    // It has time, but not for ever.
    takes_all(odd)
}

/// It sends data that nobody will read.
fn goes_on(odd: &mut Odd<'_>) -> Result<()> {
    takes_all(odd)?;
    odd.peer("request", &json!({"text": "too late"}))?;
    odd.peer("refused", &json!({}))?;
    for _ in 0..20 {
        odd.peer("request", &json!({"text": "even later"}))?;
    }
    Ok(())
}

/// It can take nothing, and says nothing.
fn closed_window(odd: &mut Odd<'_>) -> Result<()> {
    let before = odd.counter("nic.teardown.probe")?;
    odd.open(0)?;
    odd.answer(3000)?;
    odd.peer("probes", &json!({"count": RETRIES}))?;
    odd.is_over()?;
    let probes = odd.counter("nic.teardown.probe")? - before;
    ensure!(probes == RETRIES, "{probes} probes");
    Ok(())
}

/// It can take nothing for a while.
fn window_opens(odd: &mut Odd<'_>) -> Result<()> {
    odd.open(0)?;
    odd.answer(30_000)?;
    for _ in 0..=RETRIES {
        odd.peer("probes", &json!({"count": 1}))?;
        odd.peer("window", &json!({"size": 0}))?;
    }
    odd.peer("window", &json!({"size": 65_535}))?;
    odd.peer("collect", &json!({"size": 30_000, "fin": true}))?;
    odd.peer("finish", &json!({}))
}

/// It resets the connection as RFC 5961 has it.
fn resets(odd: &mut Odd<'_>) -> Result<()> {
    takes_all(odd)?;
    odd.peer("reset", &json!({}))
}

/// It resets where somebody would who does not know the place: it is asked.
fn resets_inside(odd: &mut Odd<'_>) -> Result<()> {
    resets_elsewhere(odd, 100)?;
    odd.peer("challenged", &json!({}))?;
    ends_well(odd)
}

/// What is outside of the window is nothing.
fn resets_outside(odd: &mut Odd<'_>) -> Result<()> {
    let before = odd.counter("nic.teardown.challenge")?;
    resets_elsewhere(odd, 1 << 24)?;
    counter_until(odd.session, "nic.teardown.drop.reset", |count| count != 0)?;
    ends_well(odd)?;
    let asked = odd.counter("nic.teardown.challenge")? - before;
    ensure!(asked == 0, "it was answered");
    Ok(())
}

fn resets_elsewhere(odd: &mut Odd<'_>, offset: u32) -> Result<()> {
    takes_all(odd)?;
    odd.peer("reset", &json!({"offset": offset}))
}

/// The card has it still, and it ends as any.
fn ends_well(odd: &mut Odd<'_>) -> Result<()> {
    let used = odd.counter("nic.table.flows.used")?;
    ensure!(used == 1, "the card has {used} connections");
    odd.peer("finish", &json!({}))
}
