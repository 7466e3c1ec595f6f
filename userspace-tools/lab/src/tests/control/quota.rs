// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Namespaces whose connections with cards are limited.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    super::{
        observe::{statistic, statistic_until},
        peer::Peer,
    },
    flows::{hold, serve, CLIENTS},
    Context,
};

/// Connections that the card has room for, and those that the namespace may have.
const FLOWS: u64 = 40;
const MOST: u64 = 6;
/// Connections that there are at a time.
const ALL: u64 = 10;

/// Connections beyond `quota_teardown` are ended by the host, until others have ended.
pub(super) fn teardown(context: &Context<'_>) -> Result<()> {
    let flows = FLOWS.to_string();
    let session = context.start(context.session().model_args(["--flows", &flows]))?;
    let limit = |most: u64| {
        session
            .guest()
            .run_ok(format!("sysctl -w net.acceltcp.quota_teardown={most}"))
    };
    let counts = || -> Result<[u64; 2]> {
        Ok([
            statistic(&session, "teardown_handed_over")?,
            statistic(&session, "teardown_quota")?,
        ])
    };
    let with_card = |count: u64| {
        statistic_until(&session, "teardown_flow_credits", |left| {
            left == FLOWS - count
        })
    };
    let server = serve(&session)?;
    let mut clients = Peer::wire_script(&session, CLIENTS)?;

    // Without a limit nothing is counted, also of what there is when it comes.
    clients.ask(&hold("10.99.0.2", 2))?;
    ensure!(counts()? == [2, 0], "{:?} without a limit", counts()?);
    limit(MOST)?;
    clients.ask(&hold("10.99.0.2", ALL))?;
    let full = [2 + MOST, ALL - MOST];
    ensure!(counts()? == full, "{:?}, not {full:?}", counts()?);
    with_card(2 + MOST)?;

    // The first two were nobody's; two of the others leave their places.
    clients.ask(&json!({"do": "release", "count": 2}))?;
    with_card(MOST)?;
    clients.ask(&hold("10.99.0.2", 1))?;
    ensure!(counts()? == [full[0], full[1] + 1], "{:?}", counts()?);
    clients.ask(&json!({"do": "release", "count": 4}))?;
    with_card(MOST - 4)?;
    for number in 1..=4 {
        clients.ask(&hold("10.99.0.2", 1))?;
        let now = statistic(&session, "teardown_handed_over")?;
        ensure!(now == full[0] + number, "{now} behind {number} releases");
    }
    with_card(MOST)?;

    // A lower limit takes nothing away, and none at all lets all through.
    limit(0)?;
    let before = counts()?;
    clients.ask(&hold("10.99.0.2", 1))?;
    ensure!(counts()? == [before[0], before[1] + 1], "{:?}", counts()?);
    limit(u64::from(u32::MAX))?;
    clients.ask(&hold("10.99.0.2", ALL))?;
    ensure!(
        statistic(&session, "teardown_handed_over")? == before[0] + ALL,
        "without a limit again"
    );
    clients.ask(&json!({"do": "release"}))?;
    with_card(0)?;

    // Everything has come back.
    limit(MOST)?;
    let before = counts()?;
    clients.ask(&hold("10.99.0.2", MOST))?;
    ensure!(
        counts()? == [before[0] + MOST, before[1]],
        "{:?}",
        counts()?
    );
    clients.ask(&json!({"do": "release"}))?;
    with_card(0)?;
    ensure!(statistic(&session, "rx0_bad_credits")? == 0);
    server.stop()?;
    context.finish(session)
}
