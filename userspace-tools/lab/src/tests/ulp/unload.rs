// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What may be left of a socket that has had the ULP when the module goes.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    super::{
        observe::{guest_until, statistic},
        peer::Peer,
    },
    races::goes,
    Context, SCRIPT,
};
use crate::report::offload::TOOL;

const PORT: u16 = 7000;

pub(super) fn call(context: &Context<'_>) -> Result<()> {
    const SIZE: u64 = 400_000;
    const SOL_SOCKET: u32 = 1;
    const SO_SNDBUF: u32 = 7;
    let session = context.start(context.session().vcpus(2))?;
    session.guest().run("modprobe tls")?;
    let mut guest = Peer::guest_script(&session, SCRIPT)?;
    let mut client = Peer::wire_script(&session, SCRIPT)?;
    guest.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": 2}))?;
    let connect = json!({
        "do": "connect", "name": "c", "host": "10.99.0.2", "port": PORT, "rcvbuf": 4096,
    });
    let accept = json!({"do": "accept", "name": "c", "listener": "l"});
    // Connections that end with their first answer, until one of them has waited for its end: the answer of the next
    // one may wait as well, and is written by the module. How many that takes depends on which is faster, the peer's
    // acknowledgement or the close.
    const MOST: u32 = 100;
    let mut ended = 0;
    while statistic(&session, "teardown_held_over")? == 0 {
        ensure!(ended < MOST, "no answer of {ended} was held");
        ended += 1;
        client.ask(&connect)?;
        guest.ask(&accept)?;
        guest.ask(&json!({"do": "reply", "name": "c", "sizes": [100]}))?;
        client.ask(&json!({"do": "end", "name": "c"}))?;
        client.ask(&json!({"do": "close", "name": "c"}))?;
    }
    client.ask(&connect)?;
    guest.ask(&accept)?;
    // Neither end has room for more than a part.
    guest.ask(&json!({
        "do": "option", "name": "c", "level": SOL_SOCKET, "number": SO_SNDBUF, "value": 16_384,
    }))?;
    guest.ask(&json!({"do": "start_sending", "name": "c", "size": SIZE}))?;
    guest_until(
        &session,
        "a full buffer",
        "ss -Htn state established 'sport = :7000' | awk '{exit !($2 > 5000)}'",
    )?;
    guest.ask(&json!({"do": "ulp", "name": "c", "value": "tls"}))?;
    guest.ask(&json!({"do": "close", "name": "l"}))?;
    // No socket has the ULP; only the call is left.
    let busy = session.guest().run("rmmod acceltcp")?;
    ensure!(!busy.status.success(), "unloaded under a call");
    ensure!(guest.ask(&json!({"do": "is_sending", "name": "c"}))? == true);
    client.ask(&json!({"do": "receive", "name": "c", "size": SIZE}))?;
    guest.ask(&json!({"do": "wait_sent", "name": "c"}))?;
    goes(context, &session)?;
    context.finish(session)
}

/// The requests have the operations of their listener, and nothing holds the module for them.
pub(super) fn requests(context: &Context<'_>) -> Result<()> {
    const STATE: &str = "state syn-recv 'sport = :7000'";
    let session = context.start(context.session())?;
    let guest = session.guest();
    let mut server = Peer::guest_script(&session, SCRIPT)?;
    server.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": null}))?;
    guest.run_ok(format!(
        "{TOOL} policy add --port {PORT} --offload teardown"
    ))?;
    guest.run_ok(
        "nft 'table ip t { chain input { type filter hook input priority 0; \
         tcp sport 7000 tcp flags & (syn|ack) == syn|ack drop; }; }'",
    )?;
    server.ask(&json!({"do": "half_open", "port": PORT}))?;
    guest_until(
        &session,
        "a half-open connection",
        &format!("ss -Htn {STATE} | grep -q ."),
    )?;
    guest.run_ok(format!("{TOOL} policy flush"))?;
    goes(context, &session)?;
    // It is there still, and is looked at by way of its operations.
    let killed = guest.run_ok(format!("ss -KHtn {STATE}"))?;
    ensure!(killed.contains(":7000"), "nothing was killed: {killed:?}");
    let left = guest.run_ok(format!("ss -Htn {STATE}"))?;
    ensure!(left.is_empty(), "left: {left}");
    server.kill()?;
    context.finish(session)
}
