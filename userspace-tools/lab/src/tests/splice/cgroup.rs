// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sockets of which BPF programs of a cgroup, or filters of their own, are to see each segment.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{observe::statistic, peer::Peer},
    middle::{Middle, SCRIPT, V4, V6},
    Context,
};

const PASS: u32 = 1;

pub(super) fn cgroup(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut guest = Peer::guest_script(&session, SCRIPT)?;
    guest.ask(&json!({"do": "enter_group"}))?;
    let mut middle = Middle::with(&session, guest, 0)?;
    let programs = ["ingress", "egress"].map(|direction| {
        [
            json!({"do": "attach", "direction": direction, "verdict": PASS}),
            json!({"do": "detach", "direction": direction}),
        ]
    });
    let filter = [
        json!({"do": "attach_filter", "name": "b"}),
        json!({"do": "detach_filter", "name": "b"}),
    ];
    for hosts in [V4, V6] {
        for [attach, detach] in programs.iter().chain([&filter]) {
            refused(&mut middle, hosts, attach, detach)
                .with_context(|| format!("{attach}, {}", hosts[0]))?;
        }
    }
    context.finish(session)
}

/// A pair is refused as long as something is attached, and spliced afterwards.
fn refused(
    middle: &mut Middle<'_>,
    hosts: [&str; 2],
    attach: &Value,
    detach: &Value,
) -> Result<()> {
    let before = statistic(middle.session, "splice_bpf")?;
    middle.open(hosts)?;
    middle.host(attach)?;
    middle.refused(
        &json!({"do": "splice", "name": "a", "other": "b"}),
        "EACCES",
    )?;
    let counted = statistic(middle.session, "splice_bpf")? - before;
    ensure!(counted == 1, "splice_bpf has grown by {counted}");
    middle.host(detach)?;
    middle.splice()?;
    middle.up(5000)?;
    middle.down(5000)?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    middle.close(false, true)
}
