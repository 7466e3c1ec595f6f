// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listeners that the host serves, and why.

use anyhow::{ensure, Result};
use serde_json::{json, Value};

use super::{
    peer::{reason, Peer},
    statistic, Context,
};
use crate::session::Session;

const SETUP: u32 = 1;
const DEFER: u32 = 1 << 3;
const SERVER_FIRST: u32 = 1 << 4;

pub(super) fn fallback(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;

    server.open(&json!({"name": "a", "port": 7000, "flags": 0}))?;
    by_host(&session, &mut server, &mut client, Some(reason::NOT_ASKED))?;

    session
        .guest()
        .run_ok("sysctl -w net.ipv4.tcp_syncookies=0")?;
    server.open(&json!({"name": "a", "port": 7000}))?;
    by_host(&session, &mut server, &mut client, Some(reason::SYNCOOKIES))?;
    session
        .guest()
        .run_ok("sysctl -w net.ipv4.tcp_syncookies=1")?;

    session.guest().run_ok("sysctl -w net.ipv4.ip_forward=1")?;
    server.open(&json!({"name": "a", "port": 7000}))?;
    by_host(&session, &mut server, &mut client, Some(reason::FORWARDING))?;
    // An address of its own is no risk.
    server.listen(&json!({"name": "one", "port": 7001, "host": "10.99.0.2"}))?;
    server.close("one")?;
    session.guest().run_ok("sysctl -w net.ipv4.ip_forward=0")?;

    server.open(&json!({"name": "a", "port": 7000, "host": "0.0.0.0", "md5": "after"}))?;
    by_host(
        &session,
        &mut server,
        &mut client,
        Some(reason::AUTHENTICATED),
    )?;
    refused(
        &mut server,
        &json!({"host": "0.0.0.0", "md5": "before"}),
        "ENOTSUP",
    )?;

    // Multipath TCP lets no ULP come near its sockets.
    refused(&mut server, &json!({"mptcp": true}), "ENOPROTOOPT")?;
    server.open(&json!({"name": "a", "port": 7000, "mptcp": true, "flags": null}))?;
    by_host(&session, &mut server, &mut client, None)?;

    for flags in [
        4,
        1 << 6,
        SETUP | 1 << 5,
        1 << 31,
        DEFER,
        SERVER_FIRST,
        SETUP | DEFER | SERVER_FIRST,
    ] {
        refused(&mut server, &json!({"flags": flags}), "EINVAL")?;
    }
    ensure!(statistic(&session, "setup_delivered")? == 0);
    for name in ["authenticated", "syncookies", "forwarding"] {
        let count = statistic(&session, &format!("fallback_{name}"))?;
        ensure!(count > 0, "{name} was not counted");
    }
    // And all is well afterwards.
    server.listen(&json!({"name": "a", "port": 7000}))?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": 5}))?;
    ensure!(statistic(&session, "setup_delivered")? == 5);
    context.finish(session)
}

/// The listener "a", for the reason, serves without the card; then it is closed.
fn by_host(
    session: &Session,
    server: &mut Peer,
    client: &mut Peer,
    reason: Option<u32>,
) -> Result<()> {
    if let Some(reason) = reason {
        server.wait_status("a", reason)?;
    }
    let before = session.card(0)?.counter("nic.syn.answered")?;
    client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": 5}))?;
    let after = session.card(0)?.counter("nic.syn.answered")?;
    ensure!(before == after, "the card answered, reason {reason:?}");
    server.close("a")
}

fn refused(server: &mut Peer, listener: &Value, error: &str) -> Result<()> {
    let mut command = listener.clone();
    command["do"] = json!("listen");
    command["name"] = json!("refused");
    command["port"] = json!(7009);
    let found = server.refused(&command)?;
    ensure!(found == error, "{listener}: {found}, not {error}");
    Ok(())
}

pub(super) fn table_full(context: &Context<'_>) -> Result<()> {
    const ROOM: u16 = 4;
    const LISTENERS: u16 = 6;
    let args = ["--listeners".to_owned(), ROOM.to_string()];
    let session = context.start(context.session().model_args(args))?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    let name = |number: u16| format!("l{number}");
    for number in 0..LISTENERS {
        let listener = json!({"name": name(number), "port": 7000 + number, "host": "0.0.0.0"});
        if number < ROOM {
            server.listen(&listener)?;
        } else {
            server.open(&listener)?;
            server.wait_status(&name(number), reason::TABLE_FULL)?;
        }
    }
    for number in 0..LISTENERS {
        client.clients(&json!({"host": "10.99.0.2", "port": 7000 + number, "count": 3}))?;
    }
    ensure!(statistic(&session, "setup_delivered")? == 3 * u64::from(ROOM));
    // Who goes makes room for another.
    server.close(&name(0))?;
    server.wait_status(&name(ROOM), reason::NONE)?;
    context.finish(session)
}
