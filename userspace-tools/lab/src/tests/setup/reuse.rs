// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Clients that come back with addresses and ports that the host still knows.

use anyhow::{ensure, Result};
use serde_json::{json, Value};

use super::{
    answering_until, guest_until,
    peer::{raw_targets, reason, Peer},
    statistic, Context,
};
use crate::session::Session;

pub(super) fn reuse(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut raw = Peer::raw(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    for target in raw_targets(&session)? {
        forgotten(&session, &mut server, &mut raw, &target)?;
        half_open(&session, &mut server, &mut raw, &target)?;
        for name in ["new", "half"] {
            raw.ask(&json!({"do": "end", "name": name}))?;
        }
        guest_until(
            &session,
            "end of the connections",
            "[ -z \"$(ss -Htn state established sport = :7000)\" ]",
        )?;
    }
    context.finish(session)
}

/// The client forgets its connection, and nobody is told.
fn forgotten(session: &Session, server: &mut Peer, raw: &mut Peer, target: &Value) -> Result<()> {
    let counted = |name| statistic(session, name);
    let (replaced, delivered) = (counted("setup_replaced")?, counted("setup_delivered")?);
    let (accepted, ended) = found(server)?;
    raw.ask(&syn(target, "old", 40000))?;
    raw.ask(&echo("old", "first"))?;
    // The same once more is the first connection's, and no other.
    raw.ask(&json!({"do": "data", "name": "old", "text": ""}))?;
    raw.ask(&echo("old", "second"))?;
    ensure!(counted("setup_replaced")? == replaced);

    for round in 1..=3 {
        raw.ask(&syn(target, "new", 40000))?;
        raw.ask(&echo("new", "hello again"))?;
        ensure!(counted("setup_replaced")? == replaced + round);
        ensure!(counted("setup_delivered")? == delivered + round + 1);
        let (now, errors) = found(server)?;
        ensure!(now == accepted + round + 1, "{now} connections");
        ensure!(
            errors.len() as u64 >= ended.len() as u64 + round
                && errors.iter().all(|e| e.contains("reset")),
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
    Ok(())
}

/// The host has answered the SYN, and then the card answers it, too.
fn half_open(session: &Session, server: &mut Peer, raw: &mut Peer, target: &Value) -> Result<()> {
    let delivered = statistic(session, "setup_delivered")?;
    let (before, _) = found(server)?;
    server.ask(&json!({"do": "offload", "name": "a", "flags": 0}))?;
    answering_until(session, |rules| rules == 0)?;
    raw.ask(&syn(target, "half", 40001))?;
    server.ask(&json!({"do": "offload", "name": "a", "flags": 1}))?;
    server.wait_status("a", reason::NONE)?;
    let mut again = syn(target, "half", 40001);
    again["again"] = json!(true);
    raw.ask(&again)?;
    raw.ask(&echo("half", "whose?"))?;
    ensure!(statistic(session, "setup_delivered")? == delivered + 1);
    let (accepted, _) = found(server)?;
    ensure!(accepted == before + 1, "{accepted} connections");
    Ok(())
}

fn syn(target: &Value, name: &str, sport: u16) -> Value {
    let mut command = target.clone();
    command["do"] = json!("syn");
    command["name"] = json!(name);
    command["sport"] = json!(sport);
    command
}

fn echo(name: &str, text: &str) -> Value {
    json!({"do": "echo", "name": name, "text": text})
}

/// How many connections were accepted, and the errors that they ended with.
fn found(server: &mut Peer) -> Result<(u64, Vec<String>)> {
    let found = server.ask(&json!({"do": "accepted", "name": "a"}))?;
    let errors = serde_json::from_value(found["errors"].clone())?;
    let accepted = found["connections"].as_array().map_or(0, Vec::len);
    Ok((accepted as u64, errors))
}
