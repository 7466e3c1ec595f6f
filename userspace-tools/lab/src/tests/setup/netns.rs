// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards in network namespaces, several of them, and cards that go.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    guest_until,
    peer::{reason, Peer},
    Context,
};
use crate::session::{patience, Session};

/// Time for what the driver does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clients of each set, one set for each family.
const COUNT: u64 = 3;

pub(super) fn netns(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().cards(2))?;
    let guest = session.guest();
    let mut client = Peer::wire(&session)?;
    let mut init = Peer::guest(&session)?;
    init.listen(&json!({"name": "a", "port": 7000}))?;
    rules(&session, &mut init, 4, [2, 2])?;
    served(&session, &mut client, 0, 7000)?;
    served(&session, &mut client, 1, 7000)?;

    // One card in a namespace of its own; the listeners here stay with the other.
    guest.run_ok("ip netns add a && ip netns add b")?;
    enter(&session, 0, "a")?;
    rules(&session, &mut init, 2, [0, 2])?;
    let mut inside = Peer::netns(&session, "a")?;
    inside.listen(&json!({"name": "a", "port": 7000}))?;
    rules(&session, &mut inside, 2, [2, 2])?;
    served(&session, &mut client, 0, 7000)?;
    served(&session, &mut client, 1, 7000)?;

    // Each namespace with a card, and the first one without.
    enter(&session, 1, "b")?;
    init.wait_status("a", reason::NO_DEVICE)?;
    rules(&session, &mut inside, 2, [2, 0])?;
    let mut other = Peer::netns(&session, "b")?;
    other.listen(&json!({"name": "a", "port": 7001}))?;
    rules(&session, &mut other, 2, [2, 2])?;
    served(&session, &mut client, 0, 7000)?;
    served(&session, &mut client, 1, 7001)?;
    ensure!(init.accepted("a")?.len() as u64 == 3 * 2 * COUNT);
    ensure!(inside.accepted("a")?.len() as u64 == 2 * 2 * COUNT);

    // With their namespaces gone, the cards come back, down and without rules.
    inside.kill()?;
    other.kill()?;
    guest.run_ok("ip netns delete a && ip netns delete b")?;
    for card in 0..2 {
        guest_until(
            &session,
            "return of the card",
            &format!("ip link show nic{card}"),
        )?;
        counter(&session, card, 0)?;
    }
    init.wait_status("a", reason::NO_DEVICE)?;
    session.configure()?;
    init.wait_status("a", reason::NONE)?;
    rules(&session, &mut init, 4, [2, 2])?;
    served(&session, &mut client, 0, 7000)?;

    // A card that is removed takes its rules with it.
    guest.run_ok("readlink -f /sys/class/net/nic1/device > /tmp/nic1")?;
    guest.run_ok("echo 1 > $(cat /tmp/nic1)/remove")?;
    init.wait_status("a", reason::NONE)?;
    rules(&session, &mut init, 2, [2, 0])?;
    served(&session, &mut client, 0, 7000)?;
    guest.run_ok("echo 1 > /sys/bus/pci/rescan")?;
    session.configure()?;
    init.wait_status("a", reason::NONE)?;
    rules(&session, &mut init, 4, [2, 2])?;
    served(&session, &mut client, 1, 7000)?;
    init.close("a")?;
    counter(&session, 0, 0)?;
    counter(&session, 1, 0)?;
    context.finish(session)
}

/// Moves a card to a namespace, and sets it up there.
fn enter(session: &Session, card: usize, netns: &str) -> Result<()> {
    session.guest().run_ok(format!(
        "ip link set nic{card} netns {netns} && for what in \
         'address add 10.99.{card}.2/24 dev nic{card}' \
         'address add fd99:{card}::2/64 dev nic{card} nodad' \
         'link set lo up' 'link set nic{card} up'; do ip -n {netns} $what || exit 1; done"
    ))?;
    guest_until(
        session,
        "carrier",
        &format!("ip -n {netns} link show nic{card} | grep -q LOWER_UP"),
    )
}

/// The listener has `count` rules, and the cards have these.
fn rules(session: &Session, server: &mut Peer, count: u64, cards: [u64; 2]) -> Result<()> {
    for (card, used) in cards.into_iter().enumerate() {
        counter(session, card, used)?;
    }
    server.wait_status("a", reason::NONE)?;
    let found = server.ask(&json!({"do": "status", "name": "a"}))?;
    ensure!(found["rules"] == count, "{found}, not {count} rules");
    Ok(())
}

fn counter(session: &Session, card: usize, used: u64) -> Result<()> {
    let start = Instant::now();
    loop {
        let now = session.card(card)?.counter("nic.table.listeners.used")?;
        if now == used {
            return Ok(());
        }
        ensure!(
            start.elapsed() < patience(PATIENCE),
            "card {card} has {now} rules, not {used}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Clients are served by this card.
fn served(session: &Session, client: &mut Peer, card: usize, port: u16) -> Result<()> {
    let answered = || session.card(card)?.counter("nic.syn.answered");
    let before = answered()?;
    for host in [format!("10.99.{card}.2"), format!("fd99:{card}::2")] {
        client.clients(&json!({"host": host, "port": port, "count": COUNT}))?;
    }
    let done = answered()? - before;
    ensure!(done == 2 * COUNT, "card {card} brought {done} connections");
    Ok(())
}
