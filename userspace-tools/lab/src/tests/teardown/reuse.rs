// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that the guest opens, and addresses and ports that come again while the card is in TIME-WAIT.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    super::observe::{counter_until, statistic},
    pair::{Pair, PORT},
    Context,
};

/// Port of the peer's listener.
const FAR: u16 = 7100;
/// The client's port.
const NEAR: u16 = 20_000;

/// The guest opens, and closes first or last.
pub(super) fn active(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut pair = Pair::new(&session)?;
    pair.peer(&json!({"do": "listen", "name": "far", "port": FAR, "flags": null}))?;
    let mut given = 0;
    for host in ["10.99.0.1", "fd99:0::1"] {
        for (round, first) in [true, true, false, true].into_iter().enumerate() {
            // TIME-WAIT of the card does not keep the host from the same port (RFC 6191), that of the peer would.
            let port = NEAR + u16::from(round == 3);
            pair.host(&json!({
                "do": "connect", "name": "s", "host": host, "port": FAR, "flags": 2, "sport": port,
            }))?;
            pair.peer(&json!({"do": "accept", "name": "s", "listener": "far"}))?;
            pair.host(&json!({"do": "send", "name": "s", "size": 5000}))?;
            pair.peer(&json!({"do": "send", "name": "s", "size": 3000}))?;
            pair.host(&json!({"do": "receive", "name": "s", "size": 3000}))?;
            let end = json!({"kind": "end", "bytes": 5000});
            if first {
                pair.host(&json!({"do": "close", "name": "s"}))?;
                let seen = pair.peer(&json!({"do": "end", "name": "s"}))?;
                ensure!(seen == end, "{seen}");
                pair.peer(&json!({"do": "close", "name": "s"}))?;
            } else {
                pair.peer(&json!({"do": "shutdown", "name": "s"}))?;
                pair.host(&json!({"do": "end", "name": "s"}))?;
                pair.host(&json!({"do": "close", "name": "s"}))?;
                let seen = pair.peer(&json!({"do": "end", "name": "s"}))?;
                ensure!(seen == end, "{seen}");
                pair.peer(&json!({"do": "close", "name": "s"}))?;
            }
            given += 1;
            ensure!(statistic(&session, "teardown_handed_over")? == given);
            pair.card_is_free()?;
            pair.host_is_free()?;
        }
    }
    counter_until(&session, "nic.time_wait.reused", |reused| reused == 4)?;
    refused(&mut pair)?;
    context.finish(session)
}

/// As long as the card waits for the peer's FIN, a new connection with the same addresses and ports is refused at once.
fn refused(pair: &mut Pair<'_>) -> Result<()> {
    const DROPPED: &str = "nic.teardown.drop.host";
    let connect = json!({
        "do": "connect", "name": "s", "host": "10.99.0.1", "port": FAR, "flags": 2, "sport": NEAR + 2,
    });
    pair.host(&connect)?;
    pair.peer(&json!({"do": "accept", "name": "s", "listener": "far"}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    counter_until(pair.session, "nic.teardown.state.fin_wait_2", |count| {
        count == 1
    })?;
    let before = pair.session.card(0)?.counter(DROPPED)?;
    let error = pair.guest.refused(&connect)?;
    ensure!(error == "ECONNREFUSED", "{error}");
    // A SYN that is sent again was not answered.
    let dropped = pair.session.card(0)?.counter(DROPPED)? - before;
    ensure!(dropped == 1, "{dropped} SYNs");
    // The old connection ends as it would have.
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    pair.card_is_free()?;
    pair.host(&connect)?;
    pair.peer(&json!({"do": "accept", "name": "s", "listener": "far"}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    pair.card_is_free()
}

/// A client comes back with the port of a connection that the card has in TIME-WAIT.
pub(super) fn passive(context: &Context<'_>) -> Result<()> {
    const ROUNDS: u64 = 5;
    let session = context.start(context.session())?;
    for flags in [3, 2] {
        let mut pair = Pair::with(&session, flags)?;
        let before = session.card(0)?.counter("nic.time_wait.reused")?;
        for host in ["10.99.0.2", "fd99:0::2"] {
            for _ in 0..ROUNDS {
                pair.peer(&json!({
                    "do": "connect", "name": "s", "host": host, "port": PORT, "sport": NEAR,
                }))?;
                pair.peer(&json!({"do": "send", "name": "s", "size": 700}))?;
                pair.host(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
                pair.host(&json!({"do": "receive", "name": "s", "size": 700}))?;
                pair.host(&json!({"do": "send", "name": "s", "size": 900}))?;
                pair.host(&json!({"do": "close", "name": "s"}))?;
                let seen = pair.peer(&json!({"do": "end", "name": "s"}))?;
                ensure!(seen == json!({"kind": "end", "bytes": 900}), "{seen}");
                pair.peer(&json!({"do": "close", "name": "s"}))?;
                pair.card_is_free()?;
            }
        }
        // All but the first of each family, and with the second listener all.
        let reused = session.card(0)?.counter("nic.time_wait.reused")? - before;
        let first = if flags == 3 { 2 } else { 0 };
        ensure!(reused == 2 * ROUNDS - first, "{reused} times");
        pair.host_is_free()?;
        pair.host(&json!({"do": "close", "name": "l"}))?;
    }
    ensure!(statistic(&session, "teardown_handed_over")? == 4 * ROUNDS);
    context.finish(session)
}
