// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Many connections over bad wires, which the card ends.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::{observe::statistic, peer::Peer},
    Context,
};
use crate::session::Session;

/// Wires, and connections for each.
const WIRES: [(&str, u64); 4] = [
    ("", 200),
    ("seed=1,loss=0.01,reorder=0.05,dup=0.05", 120),
    ("seed=2,loss=0.05,reorder=0.05,dup=0.05", 80),
    ("seed=3,loss=0.2,reorder=0.05,dup=0.05", 40),
];
const HOSTS: [&str; 2] = ["10.99.0.2", "fd99:0::2"];

/// Echo servers that close last; every byte is checked by the clients.
pub(super) fn faults(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = Peer::guest(&session)?;
    server.listen(&json!({"name": "a", "port": 7000, "flags": 3, "backlog": 256}))?;
    let mut made = 0;
    for (spec, count) in WIRES {
        session.card(0)?.faults(spec)?;
        let mut running = Vec::new();
        for host in HOSTS {
            let set = json!({
                "host": host, "port": 7000, "count": count / 2, "parallel": 10, "size": 12_000,
                "timeout": 240,
            });
            let client = Peer::wire(&session)?.patience(Duration::from_secs(500));
            client.start_clients(&set)?;
            running.push((client, set));
        }
        for (mut client, set) in running {
            client
                .finish_clients(&set)
                .with_context(|| spec.to_owned())?;
        }
        made += count;
        session.card(0)?.faults("")?;
        drained(&session).with_context(|| spec.to_owned())?;
    }
    server.close("a")?;
    let given = statistic(&session, "teardown_handed_over")?;
    // What has a hole, or was reset by a client that has given up, stays with the host.
    let kept = statistic(&session, "teardown_out_of_order")?;
    ensure!(given + kept == made, "{given} and {kept} of {made}");
    context.finish(session)
}

/// The table is empty within the time that a peer has to answer.
fn drained(session: &Session) -> Result<()> {
    let end = std::time::Instant::now() + Duration::from_secs(150);
    loop {
        let used = session.card(0)?.counter("nic.table.flows.used")?;
        if used == 0 {
            return Ok(());
        }
        ensure!(
            std::time::Instant::now() < end,
            "{used} connections are left on the card"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
