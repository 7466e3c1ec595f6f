// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `TCP_ULP` in all states of a socket.

use anyhow::{ensure, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{counter_until, statistic},
        peer::Peer,
        splice::middle::{Middle, V4},
    },
    races::goes,
    Context, SCRIPT,
};

const PORT: u16 = 7000;
const FLAGS: u32 = 3;

/// `TCP_ULP` on a socket of the guest's.
fn ulp(name: &str, value: &str) -> Value {
    json!({"do": "ulp", "name": name, "value": value})
}

/// A step of the guest fails so.
fn refused(guest: &mut Peer, step: &Value, error: &str) -> Result<()> {
    let found = guest.refused(step)?;
    ensure!(found == error, "{step}: {found} instead of {error}");
    Ok(())
}

/// The socket has the ULP, and asks for what it asked for before.
fn as_before(guest: &mut Peer, name: &str) -> Result<()> {
    let which = guest.ask(&json!({"do": "which", "name": name}))?;
    ensure!(which == "acceltcp", "{name}: {which}");
    let flags = guest.ask(&json!({"do": "offload", "name": name}))?;
    ensure!(flags == FLAGS, "{name}: {flags}");
    Ok(())
}

/// Connects the client to the guest, and has each side say a byte.
fn open(guest: &mut Peer, client: &mut Peer, name: &str) -> Result<()> {
    client.ask(&json!({"do": "connect", "name": name, "host": "10.99.0.2", "port": PORT}))?;
    guest.ask(&json!({"do": "accept", "name": name, "listener": "l"}))?;
    talk(guest, client, name)
}

fn talk(guest: &mut Peer, client: &mut Peer, name: &str) -> Result<()> {
    for (from, to) in [(0, 1), (1, 0)] {
        let ends = [&mut *guest, &mut *client];
        ends[from].ask(&json!({"do": "send", "name": name, "size": 1000}))?;
        ends[to].ask(&json!({"do": "receive", "name": name, "size": 1000}))?;
    }
    Ok(())
}

fn close(guest: &mut Peer, client: &mut Peer, name: &str) -> Result<()> {
    for end in [guest, client] {
        end.ask(&json!({"do": "close", "name": name}))?;
    }
    Ok(())
}

pub(super) fn exists(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut guest = Peer::guest_script(&session, SCRIPT)?;
    let mut client = Peer::wire_script(&session, SCRIPT)?;
    guest.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": FLAGS}))?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
    open(&mut guest, &mut client, "c")?;
    for name in ["l", "c"] {
        refused(&mut guest, &ulp(name, "acceltcp"), "EEXIST")?;
        refused(&mut guest, &ulp(name, "mptcp"), "EEXIST")?;
        refused(&mut guest, &ulp(name, "nosuch"), "ENOENT")?;
        refused(&mut guest, &ulp(name, ""), "EINVAL")?;
        as_before(&mut guest, name)?;
    }
    session.guest().run("modprobe tls")?;
    refused(&mut guest, &ulp("l", "tls"), "ENOTCONN")?;
    as_before(&mut guest, "l")?;

    // Of no use for kTLS any more: it stays with the card.
    client.ask(&json!({"do": "shutdown", "name": "c"}))?;
    guest.ask(&json!({"do": "end", "name": "c"}))?;
    refused(&mut guest, &ulp("c", "tls"), "ENOTCONN")?;
    as_before(&mut guest, "c")?;
    close(&mut guest, &mut client, "c")?;
    let handed_over = statistic(&session, "teardown_handed_over")?;
    ensure!(handed_over == 1, "{handed_over} handed over");

    // Without keys it passes on what it gets.
    open(&mut guest, &mut client, "t")?;
    guest.ask(&ulp("t", "tls"))?;
    let which = guest.ask(&json!({"do": "which", "name": "t"}))?;
    ensure!(which == "tls", "{which}");
    refused(
        &mut guest,
        &json!({"do": "offload", "name": "t"}),
        "ENOPROTOOPT",
    )?;
    refused(&mut guest, &ulp("t", "acceltcp"), "EEXIST")?;
    talk(&mut guest, &mut client, "t")?;
    close(&mut guest, &mut client, "t")?;
    let count = statistic(&session, "fallback_other_ulp")?;
    ensure!(count == 1, "{count} were given to another ULP");
    ensure!(statistic(&session, "teardown_handed_over")? == handed_over);

    guest.kill()?;
    goes(context, &session)?;
    context.finish(session)
}

pub(super) fn pair(context: &Context<'_>) -> Result<()> {
    const SOCKETS: u32 = 200;
    let session = context.start(context.session())?;
    session.guest().run("modprobe tls")?;
    let mut middle = Middle::new(&session, 0)?;
    middle.open_spliced(V4)?;
    for name in ["a", "b"] {
        for value in ["tls", "acceltcp", "nosuch"] {
            middle.refused(&ulp(name, value), "EBUSY")?;
        }
    }
    middle.active()?;
    middle.up(5000)?;
    middle.down(5000)?;
    middle.host(&json!({"do": "take_back", "name": "a"}))?;
    for name in ["a", "b"] {
        let info = middle.info(name)?;
        ensure!(info["state"] == "returned", "{info}");
        middle.host(&ulp(name, "tls"))?;
    }
    middle.client(&json!({"do": "stream", "name": "c", "size": 2000}))?;
    middle.host(&json!({"do": "copy", "name": "a", "other": "b", "size": 2000}))?;
    middle.server(&json!({"do": "receive", "name": "s", "size": 2000}))?;
    middle.close(true, true)?;
    middle.host(&json!({"do": "nothing_told", "count": SOCKETS}))?;
    middle.guest.kill()?;
    goes(context, &session)?;
    context.finish(session)
}
