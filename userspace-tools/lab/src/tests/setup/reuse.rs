// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Clients that come back with addresses and ports that the host still knows.

use anyhow::{ensure, Result};
use serde_json::{json, Value};

use super::{keys::raw_target, peer::Peer, statistic, Context};
use crate::session::Session;

pub(super) fn reuse(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut raw = Peer::raw(&session)?;
    let target = raw_target(&session)?;
    let syn = |name: &str, sport: u16| {
        let mut command = target.clone();
        command["do"] = json!("syn");
        command["name"] = json!(name);
        command["sport"] = json!(sport);
        command
    };
    let echo = |name: &str, text: &str| json!({"do": "echo", "name": name, "text": text});

    server.listen(&json!({"name": "a", "port": 7000}))?;
    raw.ask(&syn("old", 40000))?;
    raw.ask(&echo("old", "first"))?;
    // The same once more is the first connection's, and no other.
    raw.ask(&json!({"do": "data", "name": "old", "text": ""}))?;
    raw.ask(&echo("old", "second"))?;
    ensure!(statistic(&session, "setup_replaced")? == 0);

    // The client has forgotten all, and nobody was told.
    for round in 1..=3 {
        raw.ask(&syn("new", 40000))?;
        raw.ask(&echo("new", "hello again"))?;
        ensure!(statistic(&session, "setup_replaced")? == round);
        ensure!(statistic(&session, "setup_delivered")? == round + 1);
        let (accepted, errors) = found(&mut server)?;
        ensure!(accepted == round + 1, "{accepted} connections");
        ensure!(
            errors.len() as u64 == round && errors.iter().all(|e| e.contains("reset")),
            "the old connection did not end with a reset: {errors:?}"
        );
    }
    // What an old connection sends does not come near the new one.
    raw.ask(&json!({"do": "data", "name": "old", "text": "late"}))?;
    raw.ask(&echo("new", "still there"))?;
    let established = session
        .guest()
        .run_ok("ss -Htn state established sport = :7000 | wc -l")?;
    ensure!(
        established.trim() == "1",
        "{established} connections are left"
    );

    half_open(&session, &mut server, &mut raw, &syn("half", 40001))?;
    for name in ["new", "half"] {
        raw.ask(&json!({"do": "end", "name": name}))?;
    }
    context.finish(session)
}

/// The host has answered the SYN, and then the card answers it, too.
fn half_open(session: &Session, server: &mut Peer, raw: &mut Peer, syn: &Value) -> Result<()> {
    let delivered = statistic(session, "setup_delivered")?;
    let (before, _) = found(server)?;
    server.ask(&json!({"do": "offload", "name": "a", "flags": 0}))?;
    super::counter_until(session, "nic.table.listeners.used", |used| used == 0)?;
    raw.ask(syn)?;
    server.ask(&json!({"do": "offload", "name": "a", "flags": 1}))?;
    server.wait_status("a", super::peer::reason::NONE)?;
    let mut again = syn.clone();
    again["again"] = json!(true);
    raw.ask(&again)?;
    raw.ask(&json!({"do": "echo", "name": "half", "text": "whose?"}))?;
    ensure!(statistic(session, "setup_delivered")? == delivered + 1);
    let (accepted, _) = found(server)?;
    ensure!(accepted == before + 1, "{accepted} connections");
    Ok(())
}

/// How many connections were accepted, and the errors that they ended with.
fn found(server: &mut Peer) -> Result<(u64, Vec<String>)> {
    let found = server.ask(&json!({"do": "accepted", "name": "a"}))?;
    let errors = serde_json::from_value(found["errors"].clone())?;
    let accepted = found["connections"].as_array().map_or(0, Vec::len);
    Ok((accepted as u64, errors))
}
