// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards that are not to be filled.

use anyhow::{ensure, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{statistic, statistic_until, Events},
        peer::Peer,
    },
    flows::{hold, serve, CLIENTS},
    Context,
};

/// Connections that the card has room for, and those that it gets with the marks of the test.
const FLOWS: u64 = 20;
const GIVEN: u64 = 10;
/// Connections that there are at a time.
const ALL: u64 = 15;
/// The first events may come before anybody listens.
const ROUNDS: u64 = 20;

/// An event of the table of connections.
fn crossed(event: &Value, above: bool) -> bool {
    let used = event["used"].as_u64().unwrap_or(u64::MAX);
    let level = if above { used >= GIVEN } else { used < 6 };
    event["event"] == "watermark"
        && event["table"] == "flows"
        && event["capacity"] == FLOWS
        && event["above"] == above
        && level
}

/// With marks at 50 and 30 per cent.
pub(super) fn watermarks(context: &Context<'_>) -> Result<()> {
    let flows = FLOWS.to_string();
    let session = context.start(context.session().model_args(["--flows", &flows]))?;
    let marks = |high: u32, low: u32| {
        session.guest().run_ok(format!(
            "sysctl -w net.acceltcp.sram_high={high} net.acceltcp.sram_low={low}"
        ))
    };
    marks(50, 30)?;
    let events = Events::new(&session)?;
    let server = serve(&session)?;
    let mut clients = Peer::wire_script(&session, CLIENTS)?;
    let mut seen = [false; 2];
    for round in 1..=ROUNDS {
        clients.ask(&hold("10.99.0.2", ALL))?;
        ensure!(statistic(&session, "teardown_handed_over")? == round * GIVEN);
        ensure!(statistic(&session, "teardown_watermark")? == round * (ALL - GIVEN));
        ensure!(statistic(&session, "teardown_flow_credits")? == FLOWS - GIVEN);
        let up = events.find(&session, |event| crossed(event, true))?;
        clients.ask(&json!({"do": "release"}))?;
        statistic_until(&session, "teardown_flow_credits", |left| left == FLOWS)?;
        let down = events.find(&session, |event| crossed(event, false))?;
        seen = [up.is_some(), down.is_some()];
        if seen == [true; 2] {
            break;
        }
    }
    ensure!(seen == [true; 2], "up and down were told: {seen:?}");

    // Between both marks it gets none, though it would have got them had it not been above.
    let before = statistic(&session, "teardown_handed_over")?;
    clients.ask(&hold("10.99.0.2", ALL))?;
    clients.ask(&json!({"do": "release", "count": 2}))?;
    statistic_until(&session, "teardown_flow_credits", |left| left == FLOWS - 8)?;
    clients.ask(&hold("10.99.0.2", 1))?;
    ensure!(statistic(&session, "teardown_handed_over")? == before + GIVEN);
    // Without marks it gets all.
    marks(100, 30)?;
    clients.ask(&hold("10.99.0.2", 4))?;
    ensure!(statistic(&session, "teardown_handed_over")? == before + GIVEN + 4);
    clients.ask(&json!({"do": "release"}))?;
    statistic_until(&session, "teardown_flow_credits", |left| left == FLOWS)?;
    events.stop()?;
    server.stop()?;
    context.finish(session)
}
