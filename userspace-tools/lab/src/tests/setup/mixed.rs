// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listeners of one port of which not all ask for setup.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    peer::{raw_targets, Peer},
    Context,
};

const ENDS: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("../commands.py")
);

/// Simultaneous open: the socket in SYN-SENT gets the peer's SYN, not the listener of its port.
pub(super) fn simultaneous(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    let mut ends = Peer::guest_script(&session, ENDS)?;
    let mut raw = Peer::raw(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "reuseport": true}))?;
    for target in raw_targets(&session)? {
        let mut call = target.clone();
        call["do"] = json!("called");
        call["name"] = json!("r");
        call["sport"] = json!(9000);
        raw.start(&call)?;
        ends.start(&json!({
            "do": "connect", "name": "s", "host": target["source"], "port": 9000, "sport": 7000,
            "reuseport": true,
        }))?;
        raw.answer()?;
        raw.ask(&json!({"do": "syn", "name": "r", "again": true}))?;
        raw.ask(&json!({"do": "request", "name": "r", "text": "hello"}))?;
        ends.answer()?;
        ends.ask(&json!({"do": "drain", "name": "s", "size": 5}))?;
        ends.ask(&json!({"do": "send", "name": "s", "size": 700}))?;
        raw.ask(&json!({"do": "collect", "name": "r", "size": 700}))?;
        raw.ask(&json!({"do": "end", "name": "r"}))?;
        ends.ask(&json!({"do": "close", "name": "s"}))?;
    }
    let passed = session.card(0)?.counter("nic.syn.host.connecting")?;
    ensure!(passed == 2, "{passed} SYNs passed to the host");
    ensure!(accepted(&mut server, "a")? == 0);
    context.finish(session)
}

fn accepted(server: &mut Peer, name: &str) -> Result<u64> {
    Ok(server.accepted(name)?.len() as u64)
}
