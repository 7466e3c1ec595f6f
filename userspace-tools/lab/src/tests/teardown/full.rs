// SPDX-License-Identifier: GPL-2.0 OR MIT

//! More connections than the card has room for, with the sizes that it has by itself.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::{
        observe::{counter_until, statistic, statistic_until},
        peer::Peer,
    },
    pair::card_is_free,
    Context,
};
use crate::{
    commands::workloads::NGINX,
    report::{Ready, Server},
};

const SCRIPT: &str = concat!(include_str!("crowd.py"), include_str!("../commands.py"));

/// Clients' processes: one has some ten thousand descriptors at most.
const CROWDS: u64 = 8;
/// Connections beyond what the card has room for.
const MORE: u64 = 2000;
/// What the web server answers.
const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";

/// The clients take everything, and leave their ends open: nothing comes back.
pub(super) fn full(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session
        .guest()
        .run_ok("sysctl -w net.ipv4.tcp_fin_timeout=3000")?;
    let card = session.card(0)?;
    let room = card.counter("nic.table.flows.capacity")?;
    ensure!(
        room >= 73_728,
        "the card has room for {room} connections only"
    );
    let offload = ["setup", "teardown"].map(String::from);
    let ready = Ready::Port(NGINX.port);
    // Both families have a rule.
    let command = NGINX
        .server
        .replace("listen 8080 ", "listen [::]:8080 ipv6only=off ");
    let server = Server::start(&session, &command, &offload, ready, |_| ())?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;

    let each = (room + MORE) / CROWDS;
    let all = each * CROWDS;
    let mut crowds = Vec::new();
    for number in 0..CROWDS {
        let host = ["10.99.0.2", "fd99:0::2"][usize::from(number % 2 == 1)];
        let crowd = Peer::wire_script(&session, SCRIPT)?.patience(Duration::from_secs(1500));
        crowd.start(&json!({
            "do": "hold", "host": host, "port": NGINX.port, "count": each, "body": BODY,
        }))?;
        crowds.push(crowd);
    }
    for crowd in &mut crowds {
        crowd.answer().context("not all were answered")?;
    }

    // Each has had its answer and the end of it, by whomever.
    let kept = all - room;
    ensure!(card.counter("nic.table.flows.used")? == room);
    ensure!(card.counter("nic.teardown.taken")? == room);
    ensure!(card.counter("nic.teardown.refused.full")? == 0);
    ensure!(statistic(&session, "teardown_handed_over")? == room);
    ensure!(statistic(&session, "teardown_with_card")? == room);
    ensure!(statistic(&session, "teardown_flow_credits")? == 0);
    ensure!(statistic(&session, "teardown_no_credit")? == kept);

    for crowd in &mut crowds {
        crowd.ask(&json!({"do": "release"}))?;
    }
    card_is_free(&session)?;
    statistic_until(&session, "teardown_flow_credits", |left| left == room)?;
    statistic_until(&session, "teardown_with_card", |count| count == 0)?;
    ensure!(card.counter("nic.teardown.end.done")? == room);
    server.stop()?;
    context.finish(session)
}
