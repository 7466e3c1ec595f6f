// SPDX-License-Identifier: GPL-2.0 OR MIT

//! BPF programs at the egress of a cgroup: the device sends nothing that they deny.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::{observe::statistic, peer::Peer},
    pair::{Pair, FLAGS, SCRIPT},
    Context,
};

/// What an egress program may return.
const DROP: u32 = 0;
const PASS: u32 = 1;
/// The packet passes, and TCP is to reduce its window.
const PASS_SLOWER: u32 = 3;

const REFUSED: &str = "teardown_cgroup_bpf";

pub(super) fn cgroup(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut guest = Peer::guest_script(&session, SCRIPT)?;
    guest.ask(&json!({"do": "enter_group"}))?;
    let mut pair = Pair::of(&session, guest, FLAGS)?;
    for host in ["10.99.0.2", "fd99:0::2"] {
        for (verdict, refused) in [(PASS, false), (DROP, true), (PASS_SLOWER, true)] {
            closed(&mut pair, host, verdict, refused)
                .with_context(|| format!("verdict {verdict}, {host}"))?;
        }
    }
    pair.card_is_free()?;
    context.finish(session)
}

/// A connection that is closed while a program with this verdict is attached.
fn closed(pair: &mut Pair<'_>, host: &str, verdict: u32, refused: bool) -> Result<()> {
    let session = pair.session;
    let taken = || session.card(0)?.counter("nic.teardown.taken");
    let before = (statistic(session, REFUSED)?, taken()?);
    pair.open(host)?;
    pair.peer(&json!({"do": "send", "name": "s", "size": 100}))?;
    pair.host(&json!({"do": "receive", "name": "s", "size": 100}))?;
    pair.host(&json!({"do": "send", "name": "s", "size": 500}))?;
    pair.peer(&json!({"do": "receive", "name": "s", "size": 500}))?;
    pair.host(&json!({"do": "attach", "direction": "egress", "verdict": verdict}))?;
    pair.host(&json!({"do": "close", "name": "s"}))?;
    let counted = statistic(session, REFUSED)? - before.0;
    ensure!(
        counted == u64::from(refused),
        "{REFUSED} has grown by {counted}"
    );
    // What was dropped the host sends again.
    pair.host(&json!({"do": "detach", "direction": "egress"}))?;
    let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(end == json!({"kind": "end", "bytes": 500}), "{end}");
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    let taken = taken()? - before.1;
    ensure!(
        taken == u64::from(!refused),
        "the card has taken {taken} connections"
    );
    Ok(())
}
