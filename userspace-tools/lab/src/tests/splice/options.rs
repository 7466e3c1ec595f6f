// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that have agreed on different options.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    middle::{Middle, V4, V6},
    Context,
};

/// Sysctls of the guest, and whether a pair of which one connection has the option can be spliced.
const OPTIONS: [&str; 3] = ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"];

pub(super) fn options(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut middle = Middle::new(&session, 0)?;
    let set = |middle: &Middle<'_>, option: &str, value: u8| {
        let line = format!("sysctl -w net.ipv4.{option}={value}");
        middle.session.guest().run_ok(line).map(drop)
    };
    for hosts in [V4, V6] {
        for option in OPTIONS {
            for [client, server] in [[0, 0], [0, 1], [1, 0]] {
                let case = format!("{}: {option} {client} and {server}", hosts[0]);
                set(&middle, option, client)?;
                middle.open_client(hosts)?;
                set(&middle, option, server)?;
                middle.open_server(hosts)?;
                set(&middle, option, 1)?;
                let done = match client == server {
                    true => middle.splice(),
                    false => refused(&mut middle),
                };
                done.with_context(|| case.clone())?;
                if client == server {
                    talk(&mut middle).context(case)?;
                }
                middle.close(true, true)?;
            }
        }
        // The guest asks for ECN of the server, which agrees; the client has not asked.
        set(&middle, "tcp_ecn", 1)?;
        middle.open(hosts)?;
        set(&middle, "tcp_ecn", 2)?;
        refused(&mut middle).context("ECN")?;
        middle.close(true, true)?;
        windows(&mut middle, hosts)?;
    }
    context.finish(session)
}

/// It is refused, and both connections are as before.
fn refused(middle: &mut Middle<'_>) -> Result<()> {
    middle.refused(
        &json!({"do": "splice", "name": "a", "other": "b"}),
        "EOPNOTSUPP",
    )?;
    middle.client(&json!({"do": "stream", "name": "c", "size": 3000}))?;
    middle.host(&json!({"do": "copy", "name": "a", "other": "b", "size": 3000}))?;
    middle
        .server(&json!({"do": "receive", "name": "s", "size": 3000}))
        .map(drop)
}

fn talk(middle: &mut Middle<'_>) -> Result<()> {
    middle.up(300_000)?;
    middle.down(300_000)?;
    middle.up(1)?;
    middle.client(&json!({"do": "shutdown", "name": "c"}))?;
    middle.sees(false, "end", 300_001)?;
    middle.server(&json!({"do": "shutdown", "name": "s"}))?;
    middle.sees(true, "end", 300_000)?;
    middle.over("closed").map(drop)
}

/// Windows of both peers that are scaled differently from the host's.
fn windows(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    for size in [4096, 30_000, 200_000] {
        let connect = json!({
            "do": "connect", "name": "c", "host": hosts[0], "port": super::middle::PORT, "rcvbuf": size,
        });
        middle.client(&connect)?;
        middle.host(&json!({"do": "accept", "name": "a", "listener": "l"}))?;
        middle.open_server(hosts)?;
        middle.splice()?;
        talk(middle).with_context(|| format!("receive buffer {size}"))?;
        middle.close(true, true)?;
    }
    Ok(())
}
