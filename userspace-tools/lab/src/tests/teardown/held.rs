// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers that are held back for a moment, so that they leave with the end of their connection.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{super::observe::statistic, pair::Pair, Context};

const HOSTS: [&str; 2] = ["10.99.0.2", "fd99:0::2"];
const MSG_MORE: u32 = 0x8000;
const TCP_NODELAY: u32 = 1;

/// Flags of a listener: setup, teardown, and no write is held.
const NO_HOLD: u32 = 3 | 1 << 5;

/// Answers that a listener may hold in vain before it holds no more (`MOST` in rust/offload/forecast.rs).
const IN_VAIN: u64 = 16;
/// Tries until an answer and its close come close enough to each other: the guest may rest between them.
const TRIES: usize = 500;

/// Only what is expected to end is held; what is held leaves with the end, or by itself.
pub(super) fn held(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let run = |line: &str| session.guest().run_ok(line).map(drop);
    run("sysctl -w net.acceltcp.teardown_hold_us=10000")?;
    ensure!(
        run("sysctl -w net.acceltcp.teardown_hold_us=10001").is_err(),
        "the sysctl takes more than it says"
    );
    let mut pair = Pair::new(&session)?;
    answers(&mut pair, 1, &[])?;
    ensure!(statistic(&session, "teardown_held")? == 0, "held too early");
    for forms in [&[][..], &["parts"], &["more"], &["cork"], &["no delay"]] {
        with_the_end(&mut pair, forms).with_context(|| format!("{forms:?}"))?;
    }
    by_themselves(&mut pair).context("without an end")?;

    // Nothing is held where nobody wants it.
    with_the_end(&mut pair, &[])?;
    run("sysctl -w net.acceltcp.teardown_hold_us=0")?;
    let before = statistic(&session, "teardown_held")?;
    answers(&mut pair, 10, &[])?;
    ensure!(
        statistic(&session, "teardown_held")? == before,
        "switched off"
    );
    run("sysctl -w net.acceltcp.teardown_hold_us=10000")?;
    drop(pair);
    let mut pair = Pair::with(&session, NO_HOLD)?;
    answers(&mut pair, 10, &[])?;
    ensure!(statistic(&session, "teardown_held")? == before, "NO_HOLD");
    pair.host_is_free()?;
    pair.card_is_free()?;
    context.finish(session)
}

/// Connections that end with their answer, one after the other.
fn answers(pair: &mut Pair<'_>, count: usize, forms: &[&str]) -> Result<()> {
    let has = |form| forms.contains(&form);
    for host in HOSTS.iter().cycle().take(count) {
        pair.open(host)?;
        pair.peer(&json!({"do": "send", "name": "s", "size": 100}))?;
        pair.host(&json!({"do": "receive", "name": "s", "size": 100}))?;
        if has("no delay") {
            pair.host(
                &json!({"do": "option", "name": "s", "level": 6, "number": TCP_NODELAY, "value": 1}),
            )?;
        }
        let parts = has("parts") || has("more") || has("cork");
        let sizes = if parts { vec![300, 500] } else { vec![800] };
        let flags = if has("more") { MSG_MORE } else { 0 };
        pair.host(&json!({
            "do": "reply", "name": "s", "sizes": sizes, "flags": flags, "cork": has("cork"),
        }))?;
        sees_end(pair, 800)?;
    }
    Ok(())
}

/// Answers until some have left with the end of their connection. With a write that says when it wants to leave, the
/// first part leaves by itself.
fn with_the_end(pair: &mut Pair<'_>, forms: &[&str]) -> Result<()> {
    const ENOUGH: u64 = 3;
    let pushed = forms.iter().any(|form| ["more", "cork"].contains(form));
    let name = ["teardown_held_over", "teardown_held"][usize::from(pushed)];
    let before = statistic(pair.session, name)?;
    for _ in 0..TRIES {
        // What ends with the whole answer makes up for what was held in vain.
        answers(pair, 1, &[])?;
        answers(pair, 1, forms)?;
        if statistic(pair.session, name)? >= before + ENOUGH {
            return Ok(());
        }
    }
    anyhow::bail!("{name} stays at {}", statistic(pair.session, name)?)
}

/// The timer lets answers go that nothing follows, and after some in vain no more are held.
fn by_themselves(pair: &mut Pair<'_>) -> Result<()> {
    let before = statistic(pair.session, "teardown_held")?;
    for host in HOSTS.iter().cycle().take(2 * IN_VAIN as usize) {
        pair.open(host)?;
        pair.host(&json!({"do": "send", "name": "s", "size": 300}))?;
        pair.peer(&json!({"do": "receive", "name": "s", "size": 300}))?;
        pair.peer(&json!({"do": "shutdown", "name": "s"}))?;
        pair.host(&json!({"do": "end", "name": "s"}))?;
        pair.host(&json!({"do": "close", "name": "s"}))?;
        sees_end(pair, 300)?;
    }
    let held = statistic(pair.session, "teardown_held")? - before;
    ensure!(
        (1..=IN_VAIN).contains(&held),
        "{held} answers were held in vain"
    );
    Ok(())
}

fn sees_end(pair: &mut Pair<'_>, bytes: u32) -> Result<()> {
    let end: Value = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(end == json!({"kind": "end", "bytes": bytes}), "{end}");
    pair.peer(&json!({"do": "close", "name": "s"})).map(drop)
}
