// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pairs of a network namespace: its quota, its idle time, and its end.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::observe::{guest_until, statistic, statistic_until},
    middle::{Middle, PORT, V4},
    Context,
};
use crate::session::Session;

/// `ACCELTCP_SPLICE_DETACH`.
const DETACH: u32 = 2;

pub(super) fn netns(context: &Context<'_>) -> Result<()> {
    // The other card stays in the initial namespace, so that its statistics can be asked for.
    let session = context.start(context.session().cards(2))?;
    session.guest().run_ok(
        "set -e; ip netns add a; ip link set nic0 netns a; ip link set nic1 name nic0; \
         ip -n a address add 10.99.0.2/24 dev nic0; \
         ip -n a link set lo up; ip -n a link set nic0 up",
    )?;
    guest_until(
        &session,
        "carrier",
        "ip -n a link show nic0 | grep -q LOWER_UP",
    )?;
    // What the initial namespace allows is of no account in another one.
    session
        .guest()
        .run_ok("sysctl -q -w net.acceltcp.quota_pairs=0 net.acceltcp.offloads=0")?;
    let mut middle = Middle::in_netns(&session, "a", 0)?;
    quota(&mut middle).context("quota")?;
    idle(&mut middle).context("idle time")?;
    outlived(middle).context("a pair without its namespace")?;
    session.unload_driver(context.driver)?;
    let left = super::super::driver::left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}

fn set(session: &Session, name: &str, value: u32) -> Result<()> {
    let line = format!("ip netns exec a sysctl -q -w net.acceltcp.{name}={value}");
    session.guest().run_ok(line).map(drop)
}

/// One pair at a time, however the one before has ended.
fn quota(middle: &mut Middle<'_>) -> Result<()> {
    let both = json!({"do": "splice", "name": "a", "other": "b"});
    set(middle.session, "quota_pairs", 0)?;
    middle.open(V4)?;
    middle.refused(&both, "EDQUOT").context("none allowed")?;
    let info = middle.info("a")?;
    ensure!(info["state"] == "none", "{info}");
    set(middle.session, "quota_pairs", 1)?;
    middle.splice()?;

    // Another one has to wait for its end.
    for name in ["d", "e"] {
        middle.client(&json!({"do": "connect", "name": name, "host": V4[0], "port": PORT}))?;
        middle.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
    }
    let others = json!({"do": "splice", "name": "d", "other": "e"});
    middle.refused(&others, "EDQUOT").context("one allowed")?;
    let refused = statistic(middle.session, "splice_quota")?;
    ensure!(refused == 2, "{refused} counted");
    middle.up(5000)?;
    middle.host(&json!({"do": "take_back", "name": "a"}))?;
    middle.host(&others).context("taken back")?;
    middle.refused(&both, "EDQUOT").context("of the others")?;
    middle.client(&json!({"do": "reset", "name": "d"}))?;
    middle.host(&json!({"do": "over", "name": "d"}))?;
    middle.splice().context("reset")?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    middle.close(false, true)?;
    middle.client(&json!({"do": "close", "name": "e"}))?;
    for name in ["d", "e"] {
        middle.host(&json!({"do": "close", "name": name}))?;
    }
    Ok(())
}

/// For pairs whose callers name none.
fn idle(middle: &mut Middle<'_>) -> Result<()> {
    const OWN_MS: u32 = 600_000;
    set(middle.session, "splice_idle", 1)?;
    middle.open_spliced(V4)?;
    middle.sees(true, "reset", 0)?;
    middle.sees(false, "reset", 0)?;
    middle.over("idle")?;
    middle.close(true, true)?;

    middle.open(V4)?;
    middle.host(&json!({"do": "splice", "name": "a", "other": "b", "idle": OWN_MS}))?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    middle.active().context("with an idle time of its own")?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    middle.close(false, true)?;
    set(middle.session, "splice_idle", 0)
}

/// The card goes back to the initial namespace, and loses the pair, when nobody has the namespace any more.
fn outlived(mut middle: Middle<'_>) -> Result<()> {
    let lost = statistic(middle.session, "splice_lost")?;
    middle.open(V4)?;
    middle.host(&json!({"do": "splice", "name": "a", "other": "b", "flags": DETACH}))?;
    middle.guest.kill()?;
    let guest = middle.session.guest();
    guest.run_ok("ip netns delete a")?;
    statistic_until(middle.session, "splice_lost", |count| count == lost + 1)
}
