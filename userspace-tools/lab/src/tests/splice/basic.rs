// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a spliced pair does while all goes well.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::{driver::left_behind, observe::counter_until},
    middle::{Middle, V4, V6},
    Context,
};

/// Both families, with and without offloads of the listener, and the ends in both orders.
pub(super) fn basic(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for flags in [0, 1, 3] {
        let mut middle = Middle::new(&session, flags)?;
        if flags != 0 {
            counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
        }
        for hosts in [V4, V6] {
            for client_first in [true, false] {
                let case = format!(
                    "{}, offloads {flags}, client first: {client_first}",
                    hosts[0]
                );
                counted(&mut middle, hosts, client_first).context(case)?;
            }
            early(&mut middle, hosts).with_context(|| format!("{}, early data", hosts[0]))?;
        }
        middle.guest.kill()?;
        if flags != 0 {
            counter_until(&session, "nic.table.listeners.used", |used| used == 0)?;
        }
    }
    session.unload_driver(context.driver)?;
    let left = left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}

/// All is said after the splice: the kernel's numbers are those of the peers.
fn counted(middle: &mut Middle<'_>, hosts: [&str; 2], client_first: bool) -> Result<()> {
    const UP: u64 = 150_000;
    const DOWN: u64 = 90_000;
    const REST: u64 = 7000;
    middle.open_spliced(hosts)?;
    middle.up(UP)?;
    middle.down(DOWN)?;
    for name in ["a", "b"] {
        middle.host(&json!({"do": "quiet", "name": name, "milliseconds": 50}))?;
        middle.refused(&json!({"do": "writable", "name": name}), "EBUSY")?;
    }
    // The second one goes on for a while.
    let (up, down) = if client_first {
        middle.client(&json!({"do": "shutdown", "name": "c"}))?;
        middle.sees(false, "end", UP)?;
        middle.down(REST)?;
        middle.host(&json!({"do": "quiet", "name": "a", "milliseconds": 50}))?;
        middle.server(&json!({"do": "shutdown", "name": "s"}))?;
        middle.sees(true, "end", DOWN + REST)?;
        (UP, DOWN + REST)
    } else {
        middle.server(&json!({"do": "shutdown", "name": "s"}))?;
        middle.sees(true, "end", DOWN)?;
        middle.up(REST)?;
        middle.host(&json!({"do": "quiet", "name": "b", "milliseconds": 50}))?;
        middle.client(&json!({"do": "shutdown", "name": "c"}))?;
        middle.sees(false, "end", UP + REST)?;
        (UP + REST, DOWN)
    };
    let kinds = middle.over("closed")?;
    ensure!(kinds == ["end", "end"], "{kinds:?}");
    for (name, rx, tx) in [("a", up, down), ("b", down, up)] {
        let info = middle.info(name)?;
        ensure!(
            info["rx_bytes"] == rx && info["tx_bytes"] == tx,
            "{name}: {info}"
        );
        for (segments, bytes) in [("rx_segments", rx), ("tx_segments", tx)] {
            let least = bytes / 1460;
            let found = info[segments].as_u64();
            ensure!(found.is_some_and(|found| found > least), "{name}: {info}");
        }
    }
    middle.close(true, true)
}

/// What has come before the splice, and what the guest has sent before, is not lost, doubled or reordered.
fn early(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    // No more than the buffers of a socket hold, as nobody receives it.
    for size in [1, 1000, 20_000, 60_000] {
        middle.open(hosts)?;
        middle.client(&json!({"do": "stream", "name": "c", "size": size}))?;
        middle.server(&json!({"do": "stream", "name": "s", "size": size}))?;
        // A part of it the guest passes on itself.
        let part = size / 3;
        middle.host(&json!({"do": "copy", "name": "a", "other": "b", "size": part}))?;
        middle.host(&json!({"do": "copy", "name": "b", "other": "a", "size": part}))?;
        middle.splice()?;
        middle.client(&json!({"do": "stream", "name": "c", "size": 5000}))?;
        middle.server(&json!({"do": "stream", "name": "s", "size": 5000}))?;
        middle.client(&json!({"do": "shutdown", "name": "c"}))?;
        middle.sees(false, "end", size + 5000)?;
        middle.server(&json!({"do": "shutdown", "name": "s"}))?;
        middle.sees(true, "end", size + 5000)?;
        let kinds = middle.over("closed")?;
        ensure!(kinds == ["end", "end"], "{kinds:?}");
        middle.close(true, true)?;
    }
    Ok(())
}
