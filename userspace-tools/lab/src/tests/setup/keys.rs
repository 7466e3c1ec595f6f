// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Keys of cookies that change.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    counter_until, guest_until,
    peer::{raw_targets, Peer},
    statistic, Context,
};
use crate::session::{patience, Session};

const DIRECTORY: &str = "/proc/sys/net/acceltcp";

/// Time for what the driver does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn keys(context: &Context<'_>) -> Result<()> {
    const COUNT: u64 = 200;
    const ROTATIONS: u64 = 4;
    let session = context.start(context.session())?;
    settings(&session)?;
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;

    // Connections keep coming while the keys change as often as they can.
    session
        .guest()
        .run_ok(format!("echo 1 > {DIRECTORY}/key_interval"))?;
    let before = statistic(&session, "keys_rotated")?;
    let start = Instant::now();
    let mut made = 0;
    while statistic(&session, "keys_rotated")? < before + ROTATIONS {
        ensure!(start.elapsed() < patience(PATIENCE), "keys are not rotated");
        client.clients(&json!({"host": "10.99.0.2", "port": 7000, "count": COUNT, "size": 500}))?;
        made += COUNT;
    }
    ensure!(statistic(&session, "setup_delivered")? == made);
    session
        .guest()
        .run_ok(format!("echo 300 > {DIRECTORY}/key_interval"))?;

    // A cookie outlives one rotation, but not two.
    let mut raw = Peer::raw(&session)?;
    let [target, _] = raw_targets(&session)?;
    for (sport, rotations) in [(40000, 0), (40001, 1), (40002, 2)] {
        let name = format!("c{rotations}");
        let mut syn = target.clone();
        syn["do"] = json!("syn");
        syn["name"] = json!(name);
        syn["sport"] = json!(sport);
        raw.ask(&syn)?;
        for _ in 0..rotations {
            rotate(&session)?;
        }
        let card = session.card(0)?;
        let bad = |session: &Session| {
            let card = session.card(0)?;
            Ok::<_, anyhow::Error>(
                card.counter("nic.ack.stale")? + card.counter("nic.ack.mismatch")?,
            )
        };
        let (good, refused) = (card.counter("nic.ack.verified")?, bad(&session)?);
        if rotations < 2 {
            raw.ask(&json!({"do": "echo", "name": name, "text": "hello"}))?;
            ensure!(card.counter("nic.ack.verified")? == good + 1);
            made += 1;
        } else {
            raw.ask(&json!({"do": "data", "name": name, "text": "hello"}))?;
            let start = Instant::now();
            while bad(&session)? == refused {
                ensure!(
                    start.elapsed() < patience(PATIENCE),
                    "the ACK was not refused"
                );
            }
            ensure!(card.counter("nic.ack.verified")? == good);
        }
        ensure!(statistic(&session, "setup_delivered")? == made);
        if rotations < 2 {
            ensure!(server.accepted("a")?.len() as u64 == made);
        }
    }
    counter_until(&session, "nic.table.listeners.used", |used| used == 2)?;
    context.finish(session)
}

/// Default, range and modes.
fn settings(session: &Session) -> Result<()> {
    let guest = session.guest();
    let interval = guest.run_ok(format!("cat {DIRECTORY}/key_interval"))?;
    ensure!(interval.trim() == "300", "{interval}");
    for refused in [
        format!("echo 0 > {DIRECTORY}/key_interval"),
        format!("echo 86401 > {DIRECTORY}/key_interval"),
        format!("echo -1 > {DIRECTORY}/key_interval"),
        format!("echo 0 > {DIRECTORY}/key_rotate"),
        format!("echo 2 > {DIRECTORY}/key_rotate"),
        format!("cat {DIRECTORY}/key_rotate"),
    ] {
        let status = guest.run(refused.clone())?.status;
        ensure!(!status.success(), "{refused}: was not refused");
    }
    guest.run_ok(format!(
        "echo 86400 > {DIRECTORY}/key_interval && echo 300 > {DIRECTORY}/key_interval"
    ))?;
    // Cards are not a namespace's own.
    let inside = guest.run(format!(
        "ip netns add x && ip netns exec x ls {DIRECTORY}; ip netns delete x"
    ))?;
    ensure!(
        !inside.stdout.contains("key_"),
        "another namespace has the sysctls"
    );
    Ok(())
}

/// Rotates on demand, and waits for it.
fn rotate(session: &Session) -> Result<()> {
    let next = statistic(session, "keys_rotated")? + 1;
    session
        .guest()
        .run_ok(format!("echo 1 > {DIRECTORY}/key_rotate"))?;
    guest_until(
        session,
        "rotation",
        &format!("ethtool -S nic0 | grep -qx ' *keys_rotated: {next}'"),
    )
}
