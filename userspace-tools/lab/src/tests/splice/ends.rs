// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How spliced connections end, other than by both peers' closing.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::driver::left_behind,
    middle::{Middle, V4, V6},
    Context,
};

const DETACH: u32 = 2;

pub(super) fn ends(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for hosts in [V4, V6] {
        let mut middle = Middle::new(&session, 0)?;
        resets(&mut middle, hosts).context("reset")?;
        idle(&mut middle, hosts).context("idle")?;
        closed(&mut middle, hosts).context("one is closed")?;
        detached(&mut middle, hosts).context("detached")?;
        exit(middle, hosts, false).context("exit")?;
        exit(Middle::new(&session, 0)?, hosts, true).context("exit, detached")?;
    }
    session.unload_driver(context.driver)?;
    let left = left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}

/// By either peer.
fn resets(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    for client in [true, false] {
        middle.open_spliced(hosts)?;
        middle.up(5000)?;
        middle.down(5000)?;
        match client {
            true => middle.client(&json!({"do": "reset", "name": "c"}))?,
            false => middle.server(&json!({"do": "reset", "name": "s"}))?,
        };
        middle.sees(!client, "reset", 5000)?;
        let kinds = middle.over("reset")?;
        ensure!(kinds == ["ECONNRESET", "ECONNRESET"], "{kinds:?}");
        let info = middle.info("a")?;
        ensure!(
            info["rx_bytes"] == 5000 && info["tx_bytes"] == 5000,
            "{info}"
        );
        middle.close(!client, client)?;
    }
    Ok(())
}

/// Both peers say nothing for longer than was allowed, but not before.
fn idle(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    const IDLE_MS: u32 = 1500;
    middle.open(hosts)?;
    middle.host(&json!({"do": "splice", "name": "a", "other": "b", "idle": IDLE_MS}))?;
    for _ in 0..4 {
        middle.up(100)?;
        std::thread::sleep(Duration::from_millis((IDLE_MS / 2).into()));
        middle.active()?;
    }
    middle.sees(true, "reset", 0)?;
    middle.sees(false, "reset", 400)?;
    let kinds = middle.over("idle")?;
    ensure!(kinds.iter().all(|kind| kind != "end"), "{kinds:?}");
    middle.close(true, true)
}

/// One of the sockets is closed by the guest: the pair is reset.
fn closed(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    for (gone, other) in [("a", "b"), ("b", "a")] {
        middle.open_spliced(hosts)?;
        // Its acknowledgement has not come when the pair is reset.
        let patient = json!({
            "do": "option", "name": "s", "level": libc::IPPROTO_TCP, "number": libc::TCP_QUICKACK, "value": 0,
        });
        middle.server(&patient)?;
        middle.up(1000)?;
        middle.host(&json!({"do": "close", "name": gone}))?;
        middle.sees(true, "reset", 0)?;
        middle.sees(false, "reset", 1000)?;
        let found = middle.host(&json!({"do": "over", "name": other}))?;
        ensure!(found["kind"] != "end", "{found}");
        let info = middle.info(other)?;
        ensure!(
            info["state"] == "ended" && info["reason"] == "aborted",
            "{info}"
        );
        middle.host(&json!({"do": "close", "name": other}))?;
        middle.client(&json!({"do": "close", "name": "c"}))?;
        middle.server(&json!({"do": "close", "name": "s"}))?;
    }
    Ok(())
}

/// Peers of a pair that nobody has any more.
fn alone(middle: &mut Middle<'_>) -> Result<()> {
    middle.up(200_000)?;
    middle.down(100_000)?;
    middle.server(&json!({"do": "shutdown", "name": "s"}))?;
    middle.sees(true, "end", 100_000)?;
    middle.up(1000)?;
    middle.client(&json!({"do": "shutdown", "name": "c"}))?;
    middle.sees(false, "end", 201_000)?;
    middle.client(&json!({"do": "close", "name": "c"}))?;
    middle
        .server(&json!({"do": "close", "name": "s"}))
        .map(drop)
}

fn detached(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    middle.open(hosts)?;
    middle.host(&json!({"do": "splice", "name": "a", "other": "b", "flags": DETACH}))?;
    middle.host(&json!({"do": "close", "name": "b"}))?;
    middle.host(&json!({"do": "close", "name": "a"}))?;
    alone(middle)
}

/// The guest's process is killed.
fn exit(mut middle: Middle<'_>, hosts: [&str; 2], detach: bool) -> Result<()> {
    middle.open(hosts)?;
    let flags = if detach { DETACH } else { 0 };
    middle.host(&json!({"do": "splice", "name": "a", "other": "b", "flags": flags}))?;
    if detach {
        // The others of the script are needed yet.
        let Middle {
            session,
            client,
            guest,
            server,
        } = middle;
        guest.kill()?;
        let guest = super::super::peer::Peer::guest(session)?;
        return alone(&mut Middle {
            session,
            client,
            guest,
            server,
        });
    }
    middle.up(3000)?;
    let Middle {
        mut client,
        guest,
        mut server,
        ..
    } = middle;
    guest.kill()?;
    let end = |name: &str| json!({"do": "end", "name": name});
    let found = [client.ask(&end("c"))?, server.ask(&end("s"))?];
    let wanted = [
        json!({"kind": "reset", "bytes": 0}),
        json!({"kind": "reset", "bytes": 3000}),
    ];
    ensure!(found == wanted, "{found:?}");
    Ok(())
}
