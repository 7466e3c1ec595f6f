// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Other parts of the host that have their say.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::observe::{guest_until, statistic},
    pair::Pair,
    Context,
};

/// Connection tracking and NAT: the card gets the addresses of the wire, and no entry lingers.
pub(super) fn conntrack(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    guest.run_ok("modprobe nf_conntrack")?;
    guest.run_ok(
        "nft 'table inet t { \
         chain i { type filter hook input priority 0; ct state invalid drop; }; \
         chain p { type nat hook prerouting priority dstnat; \
         tcp dport 8000 redirect to :7000; }; }'",
    )?;
    let mut pair = Pair::new(&session)?;
    let mut given = 0;
    for host in ["10.99.0.2", "fd99:0::2"] {
        for port in [7000, 8000] {
            for first in [true, false] {
                pair.peer(&json!({"do": "connect", "name": "s", "host": host, "port": port}))?;
                pair.peer(&json!({"do": "send", "name": "s", "size": 700}))?;
                pair.host(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
                pair.host(&json!({"do": "receive", "name": "s", "size": 700}))?;
                if !first {
                    pair.peer(&json!({"do": "shutdown", "name": "s"}))?;
                    pair.host(&json!({"do": "end", "name": "s"}))?;
                }
                pair.host(&json!({"do": "send", "name": "s", "size": 20_000}))?;
                pair.host(&json!({"do": "close", "name": "s"}))?;
                let seen = pair.peer(&json!({"do": "end", "name": "s"}))?;
                ensure!(seen == json!({"kind": "end", "bytes": 20_000}), "{seen}");
                pair.peer(&json!({"do": "close", "name": "s"}))?;
                given += 1;
                ensure!(statistic(&session, "teardown_handed_over")? == given);
                pair.card_is_free()?;
            }
        }
    }
    pair.host_is_free()?;
    // As after an RST: 10 s, where a connection that has ended by itself would have two minutes.
    guest_until(
        &session,
        "conntrack has forgotten them",
        "sleep 0.5; ! grep -q 'tcp .*dport=[78]000' /proc/net/nf_conntrack",
    )?;
    for host in ["10.99.0.2", "fd99:0::2"] {
        refused(&mut pair, host).with_context(|| format!("refused, {host}"))?;
    }
    context.finish(session)
}

/// An offload that fails after connection tracking has seen the header template: the host's own FIN
/// finds the entry of a connection that goes on.
fn refused(pair: &mut Pair<'_>, host: &str) -> Result<()> {
    let guest = pair.session.guest();
    let before = statistic(pair.session, "teardown_neighbour")?;
    pair.open(host)?;
    pair.peer(&json!({"do": "send", "name": "s", "size": 700}))?;
    pair.host(&json!({"do": "receive", "name": "s", "size": 700}))?;
    pair.host(&json!({"do": "send", "name": "s", "size": 2000}))?;
    pair.peer(&json!({"do": "receive", "name": "s", "size": 2000}))?;
    guest.run_ok("ip neigh flush dev nic0")?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    let seen = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(seen == json!({"kind": "end", "bytes": 2000}), "{seen}");
    ensure!(statistic(pair.session, "teardown_neighbour")? == before + 1);
    let port = pair.peer(&json!({"do": "port", "name": "s"}))?;
    let entry = guest.run_ok(format!("grep 'sport={port} ' /proc/net/nf_conntrack"))?;
    // To connection tracking the host's FIN is that of the header template again.
    ensure!(!entry.contains(" CLOSE "), "{entry}");
    pair.peer(&json!({"do": "close", "name": "s"})).map(drop)
}
