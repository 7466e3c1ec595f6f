// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Peers whose frames come in by another network device than the connection goes out by.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::observe::{statistic, statistic_until},
    pair::Pair,
    Context,
};
use crate::session::Session;

/// The peer's way to the guest's first address: by the second card.
const DETOUR: &str = "10.99.0.2/32 via 10.99.1.2 dev wire1 src 10.99.0.1";

pub(super) fn paths(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().cards(2))?;
    session
        .guest()
        .run_ok("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")?;
    let mut pair = Pair::new(&session)?;
    asymmetric(&mut pair).context("another way in than out")?;
    changed(&mut pair).context("another way in since the hand-over")?;
    context.finish(session)
}

fn detour(session: &Session, what: &str) -> Result<()> {
    let line = format!("ip route {what} {DETOUR}");
    session.wire().run_ok(line).map(drop)
}

/// The card by which the answers go out does not see what the peer says to them: the host ends the connection.
fn asymmetric(pair: &mut Pair<'_>) -> Result<()> {
    detour(pair.session, "add")?;
    pair.open("10.99.0.2")?;
    pair.peer(&json!({"do": "send", "name": "s", "size": 100}))?;
    pair.host(&json!({"do": "receive", "name": "s", "size": 100}))?;
    pair.host(&json!({"do": "send", "name": "s", "size": 5000}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    ensure!(statistic(pair.session, "teardown_other_path")? == 1);
    ensure!(statistic(pair.session, "teardown_handed_over")? == 0);
    let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(end == json!({"kind": "end", "bytes": 5000}), "{end}");
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    detour(pair.session, "del")
}

/// What comes by another device than that of the card that has the connection is neither answered nor sent out there.
fn changed(pair: &mut Pair<'_>) -> Result<()> {
    pair.open("10.99.0.2")?;
    pair.host(&json!({"do": "send", "name": "s", "size": 500}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    ensure!(statistic(pair.session, "teardown_handed_over")? == 1);
    let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(end == json!({"kind": "end", "bytes": 500}), "{end}");
    detour(pair.session, "add")?;
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    statistic_until(pair.session, "late_other_path", |count| count > 0)?;
    detour(pair.session, "del")?;
    // The peer's FIN comes again, by the first card.
    pair.card_is_free()?;
    ensure!(statistic(pair.session, "late_given_back")? == 0);
    let resets = pair
        .session
        .guest()
        .run_ok("nstat -asz TcpOutRsts | awk '/TcpOutRsts/ {print $2}'")?;
    ensure!(resets.trim() == "0", "the host has sent {resets} RSTs");
    Ok(())
}
