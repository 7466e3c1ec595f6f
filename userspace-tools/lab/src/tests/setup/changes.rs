// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What changes behind the back of a listener.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    agree, answering_until, counter_until,
    peer::{reason, Peer},
    statistic, Context,
};
use crate::session::Session;

const RULES: &str = "nic.table.listeners.used";

pub(super) fn changes(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    let mut server = Peer::guest(&session)?;
    let mut client = Peer::wire(&session)?;
    let mut made = 0;

    server.open(&json!({"name": "lo", "port": 7001, "device": "lo"}))?;
    server.wait_status("lo", reason::NO_DEVICE)?;
    server.listen(&json!({"name": "a", "port": 7000}))?;
    counter_until(&session, RULES, |used| used == 2)?;

    // Nobody asks for the status: the driver notices by itself.
    for (setting, other) in [
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ip_forward", 1),
        ("net.ipv4.conf.nic0.forwarding", 1),
    ] {
        let left = if setting.contains("nic0") { 1 } else { 0 };
        guest.run_ok(format!("sysctl -w {setting}={other}"))?;
        answering_until(&session, |rules| rules == left)?;
        guest.run_ok(format!("sysctl -w {setting}={}", 1 - other))?;
        answering_until(&session, |rules| rules == 2)?;
    }
    // A bridge takes the frames, which may be for anyone behind it.
    guest.run_ok("ip link add br0 type bridge && ip link set nic0 master br0")?;
    counter_until(&session, RULES, |used| used == 0)?;
    server.wait_status("a", reason::NO_DEVICE)?;
    guest.run_ok("ip link delete br0")?;
    counter_until(&session, RULES, |used| used == 2)?;
    for device in ["lo", "nic0", "lo"] {
        server.ask(&json!({"do": "bind", "name": "a", "device": device}))?;
        let used = if device == "lo" { 0 } else { 2 };
        counter_until(&session, RULES, |now| now == used)?;
    }
    server.wait_status("a", reason::NO_DEVICE)?;
    serve(&session, &mut client, None)?;
    server.ask(&json!({"do": "bind", "name": "a", "device": ""}))?;

    // A status that says "none" is about the rule as it has to be now.
    for (setting, option) in [
        ("net.ipv4.tcp_timestamps", "timestamps"),
        ("net.ipv4.tcp_sack", "sack"),
        ("net.ipv4.tcp_window_scaling", "wscale"),
    ] {
        for on in [false, true] {
            guest.run_ok(format!("sysctl -w {setting}={}", u8::from(on)))?;
            server.wait_status("a", reason::NONE)?;
            made += 3;
            serve(&session, &mut client, Some(made))?;
            let found = server.accepted("a")?;
            let child = &found[found.len() - 1];
            let has = match option {
                "timestamps" => child.timestamps,
                "sack" => child.sack,
                _ => child.wscale,
            };
            ensure!(has == on, "{setting}={on}: {child:?}");
        }
    }
    let clients = client.clients(&json!({"host": "fd99:0::2", "port": 7000, "count": 3}))?;
    for (child, client) in server.ends("a", &clients)? {
        agree(&child, &client)?;
    }
    ensure!(statistic(&session, "rules_failed")? == 0);
    for name in ["a", "lo"] {
        server.close(name)?;
    }
    counter_until(&session, RULES, |used| used == 0)?;
    context.finish(session)
}

/// Three clients of port 7000, which the card serves if `delivered` says so; otherwise nobody does.
fn serve(session: &Session, client: &mut Peer, delivered: Option<u64>) -> Result<()> {
    let set = json!({"host": "10.99.0.2", "port": 7000, "count": 3});
    let Some(delivered) = delivered else {
        let mut command = set;
        command["do"] = json!("clients");
        let found = client.ask(&command)?;
        ensure!(found["connections"] == json!([]), "served: {found}");
        return Ok(());
    };
    client.clients(&set)?;
    let found = statistic(session, "setup_delivered")?;
    ensure!(
        found == delivered,
        "{found} connections by the card, not {delivered}"
    );
    Ok(())
}
