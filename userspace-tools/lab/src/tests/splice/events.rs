// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is told of pairs to those that listen.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::observe::{statistic, Events},
    middle::{Middle, PORT, SERVER, V4},
    Context,
};

/// Bytes that the client sends.
const BYTES: u64 = 5000;
/// The first events may come before anybody listens.
const ROUNDS: u64 = 20;

/// The mark is at one of ten pairs.
pub(super) fn events(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().model_args(["--spliced-pairs", "10"]))?;
    session
        .guest()
        .run_ok("sysctl -w net.acceltcp.sram_high=10 net.acceltcp.sram_low=10")?;
    let events = Events::new(&session)?;
    let mut middle = Middle::new(&session, 0)?;
    let (mut ended, mut marks) = (None, [false; 2]);
    for round in 1..=ROUNDS {
        middle.open_spliced(V4)?;
        for name in ["d", "e"] {
            middle.client(&json!({"do": "connect", "name": name, "host": V4[0], "port": PORT}))?;
            middle.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
        }
        let others = json!({"do": "splice", "name": "d", "other": "e"});
        middle
            .refused(&others, "ENOSPC")
            .context("above the mark")?;
        ensure!(statistic(&session, "splice_watermark")? == round);
        middle.up(BYTES)?;
        middle.client(&json!({"do": "reset", "name": "c"}))?;
        middle.over("reset")?;
        for name in ["d", "e"] {
            middle.host(&json!({"do": "close", "name": name}))?;
            middle.client(&json!({"do": "close", "name": name}))?;
        }
        middle.close(false, true)?;
        ended = events.find(&session, |event| event["event"] == "splice")?;
        for (seen, above) in marks.iter_mut().zip([true, false]) {
            let crossed = |event: &Value| {
                event["event"] == "watermark"
                    && event["table"] == "spliced-pairs"
                    && event["above"] == above
                    && event["capacity"] == 10
            };
            *seen = events.find(&session, crossed)?.is_some();
        }
        if ended.is_some() && marks == [true; 2] {
            break;
        }
    }
    let ended = ended.context("the end of no pair was told")?;
    ensure!(marks == [true; 2], "up and down were told: {marks:?}");
    let [client, server] = [0, 1].map(|place| &ended["ends"][place]);
    let good = ended["reason"] == "reset"
        && client["local"] == V4[0]
        && client["local_port"] == PORT
        && client["remote"] == V4[1]
        && server["remote"] == V4[1]
        && server["remote_port"] == SERVER
        && ended["bytes"] == json!([BYTES, 0])
        && ended["segments"][0].as_u64().is_some_and(|count| count > 1);
    ensure!(good, "{ended}");
    ensure!(statistic(&session, "splice_not_reported")? == 0);
    events.stop()?;
    context.finish(session)
}
