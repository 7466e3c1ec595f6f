// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Namespaces and modules that go while their connections are being closed.

use std::fs;

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{counter_until, guest_until, statistic_until},
        peer::Peer,
    },
    pair::{FLAGS, PORT},
    Context,
};
use crate::session::Session;

/// What both ends run.
const SCRIPT: &str = concat!(
    include_str!("ends.py"),
    include_str!("rare.py"),
    include_str!("../commands.py")
);
const GUEST: &str = "10.99.0.2";
/// Bytes of an answer: some segments.
const ANSWER: u32 = 5000;

fn names(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("c{number}")).collect()
}

fn connect(wire: &mut Peer, name: &str) -> Result<()> {
    wire.ask(&json!({"do": "connect", "name": name, "host": GUEST, "port": PORT}))?;
    wire.ask(&json!({"do": "send", "name": name, "size": 1}))
        .map(drop)
}

/// So many clients see the whole answer and its end; then all of them close.
fn ended(wire: &mut Peer, names: &[String], count: u64) -> Result<()> {
    let sizes = wire.ask(&json!({"do": "ends", "names": names, "count": count}))?;
    let complete = |size: &Value| size.as_u64() == Some(ANSWER.into());
    let all = sizes.as_array().is_some_and(|all| all.iter().all(complete));
    ensure!(all, "answers of {sizes} bytes");
    for name in names {
        wire.ask(&json!({"do": "close", "name": name}))?;
    }
    Ok(())
}

/// The kernel has told how many connections were lost with a card.
fn told(session: &Session, count: u64, times: usize) -> Result<()> {
    let console = fs::read_to_string(session.console())?;
    let line = format!(" {count} connections that the card was ending are lost");
    let found = console.matches(&line).count();
    ensure!(found == times, "told {found} times of {count} connections");
    Ok(())
}

/// A namespace with a card goes, once behind the last of its processes, and once with it.
pub(super) fn netns(context: &Context<'_>) -> Result<()> {
    const OPEN: u64 = 4;
    let session = context.start(context.session())?;
    let mut lost = 0;
    for named in [true, false] {
        let round = if named { "by name" } else { "by its process" };
        namespace(&session, named, OPEN).context(round)?;
        lost += 2 * OPEN;
        statistic_until(&session, "teardown_lost", |count| count == lost).context(round)?;
        statistic_until(&session, "teardown_handed_over", |count| count == lost)?;
        told(&session, 2 * OPEN, usize::from(!named) + 1)?;
        session.configure()?;
    }
    session.unload_driver(context.driver)?;
    let left = super::super::driver::left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}

/// As many connections that the host has closed as such that its process has when it is killed.
fn namespace(session: &Session, named: bool, open: u64) -> Result<()> {
    let guest = session.guest();
    guest.run_ok(
        "set -e; ip netns add a; ip link set nic0 netns a; \
         ip -n a address add 10.99.0.2/24 dev nic0; \
         ip -n a address add fd99:0::2/64 dev nic0 nodad; \
         ip -n a link set lo up; ip -n a link set nic0 up",
    )?;
    guest_until(
        session,
        "carrier",
        "ip -n a link show nic0 | grep -q LOWER_UP",
    )?;
    let mut host = Peer::netns_script(session, "a", SCRIPT)?;
    let mut wire = Peer::wire_script(session, SCRIPT)?;
    host.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": FLAGS}))?;
    counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
    let names = names(2 * open);
    for (name, number) in names.iter().zip(0..) {
        connect(&mut wire, name)?;
        host.ask(&json!({"do": "accept", "name": name, "listener": "l"}))?;
        host.ask(&json!({"do": "receive", "name": name, "size": 1}))?;
        host.ask(&json!({"do": "send", "name": name, "size": ANSWER}))?;
        if number < open {
            host.ask(&json!({"do": "close", "name": name}))?;
        }
    }
    let waiting = |count| {
        counter_until(session, "nic.teardown.state.fin_wait_2", |found| {
            found == count
        })
    };
    waiting(open)?;
    if named {
        host.kill()?;
        waiting(2 * open)?;
        guest.run_ok("ip netns delete a")?;
    } else {
        guest.run_ok("ip netns delete a")?;
        host.kill()?;
    }
    guest_until(session, "return of the card", "ip link show nic0")?;
    counter_until(session, "nic.table.flows.used", |used| used == 0)?;
    guest_until(
        session,
        "no socket is left",
        "grep -q 'TCP: inuse [0-9]* orphan 0 tw 0 ' /proc/net/sockstat",
    )?;
    ended(&mut wire, &names, 2 * open)
}

/// The module goes while processes close their connections: not before the last of them.
pub(super) fn module(context: &Context<'_>) -> Result<()> {
    const ROUNDS: usize = 6;
    const COUNT: u64 = 24;
    let session = context.start(context.session().vcpus(2))?;
    let names = names(COUNT);
    let mut refused = 0;
    for round in 1..=ROUNDS {
        let card = |name: &str| session.card(0)?.counter(name);
        let before = [
            card("nic.teardown.taken")?,
            card("nic.teardown.end.aborted")?,
        ];
        let mut host = Peer::guest_script(&session, SCRIPT)?;
        let mut wire = Peer::wire_script(&session, SCRIPT)?;
        host.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": FLAGS}))?;
        counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
        host.start(&json!({"do": "crowd", "listener": "l", "count": COUNT, "size": ANSWER}))?;
        for name in &names {
            connect(&mut wire, name)?;
        }
        host.answer()?;
        let found = host.ask(&json!({"do": "unload", "listener": "l", "tries": 50}))?;
        ensure!(found[0] == 50, "unloaded under live sockets: {found}");
        refused += found[1].as_u64().context("a number")?;
        // The card has them all, or those that it had no time for are among the lost as well.
        told(&session, COUNT, round)?;
        let taken = card("nic.teardown.taken")? - before[0];
        let aborted = card("nic.teardown.end.aborted")? - before[1];
        ensure!(aborted == taken, "{aborted} of {taken} were aborted");
        counter_until(&session, "nic.table.flows.used", |used| used == 0)?;
        ended(&mut wire, &names, taken)?;
        let left = super::super::driver::left_behind(&session)?;
        ensure!(left.is_empty(), "left after rmmod:\n{left}");
        session.load_driver(context.driver, "")?;
    }
    ensure!(refused > 0, "never unloaded while a socket was closed");
    context.finish(session)
}
