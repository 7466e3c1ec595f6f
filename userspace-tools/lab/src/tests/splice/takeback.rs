// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that come back from the card.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    load::{Load, Proxy},
    middle::{Middle, V4, V6},
    Context,
};

/// Connections that say less end before they come back.
const MIN_SIZE: u64 = 1_000_000;

/// Spliced, used by the host, and spliced again.
pub(super) fn takeback(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for hosts in [V4, V6] {
        let mut middle = Middle::new(&session, 0)?;
        cycles(&mut middle, hosts).context(hosts[0])?;
        middle.guest.kill()?;
    }
    context.finish(session)
}

/// The same a thousand times and more in all, as both peers send what they can. Wires are slow enough for connections to last.
pub(super) fn long(context: &Context<'_>) -> Result<()> {
    const CONNECTIONS: u64 = 120;
    // How often each connection comes back, and in all at least. What is on its way then is lost, and sent again: each time takes
    // longer than the one before, the more so on a wire that loses, too.
    const WIRES: [(&str, &str, u64); 2] = [
        ("seed=1,delay=5", "14", 1000),
        ("seed=1,delay=5,loss=0.01,reorder=0.02", "2", 100),
    ];
    let session = context.start(context.session())?;
    // What waits in the host would be more than the card takes over.
    session.guest().run_ok(
        "sysctl -w net.ipv4.tcp_rmem='4096 65536 65536' net.ipv4.tcp_wmem='4096 65536 65536'",
    )?;
    for (number, (spec, cycles, least)) in WIRES.into_iter().enumerate() {
        session.card(0)?.faults(spec)?;
        let options = ["--take-back-every", "2", "--cycles", cycles];
        let proxy = Proxy::start(&session, "splice", &options)?;
        let load = Load::new(CONNECTIONS)
            .seed(number as u64 + 1)
            .min_size(MIN_SIZE)
            .parallel(40);
        load.run(&session).context(spec)?;
        let stats = proxy.stop()?;
        stats.all_went_well(CONNECTIONS).context(spec)?;
        ensure!(stats.count("taken back") >= least, "{stats}");
    }
    context.finish(session)
}

fn cycles(middle: &mut Middle<'_>, hosts: [&str; 2]) -> Result<()> {
    const ROUNDS: u64 = 25;
    const SIZE: u64 = 30_000;
    middle.open(hosts)?;
    for round in 0..ROUNDS {
        middle.splice()?;
        middle.up(SIZE)?;
        middle.down(SIZE)?;
        // Either socket stands for the pair.
        let name = if round % 2 == 0 { "a" } else { "b" };
        // It is not the host's to close: nothing of this is left when it comes back.
        middle.host(&json!({"do": "shutdown", "name": name}))?;
        middle.host(&json!({"do": "take_back", "name": name}))?;
        for name in ["a", "b"] {
            let info = middle.info(name)?;
            ensure!(info["state"] == "returned", "{name}: {info}");
        }
        middle.refused(&json!({"do": "unsplice", "name": name}), "EINVAL")?;
        middle.client(&json!({"do": "stream", "name": "c", "size": 3000}))?;
        middle.host(&json!({"do": "copy", "name": "a", "other": "b", "size": 3000}))?;
        middle.server(&json!({"do": "receive", "name": "s", "size": 3000}))?;
        middle.server(&json!({"do": "stream", "name": "s", "size": 2000}))?;
        middle.host(&json!({"do": "copy", "name": "b", "other": "a", "size": 2000}))?;
        middle.client(&json!({"do": "receive", "name": "c", "size": 2000}))?;
    }
    // The host ends them as any others.
    middle.client(&json!({"do": "shutdown", "name": "c"}))?;
    let end = middle.host(&json!({"do": "over", "name": "a"}))?;
    ensure!(end["kind"] == "end", "{end}");
    middle.host(&json!({"do": "shutdown", "name": "b"}))?;
    middle.sees(false, "end", ROUNDS * (SIZE + 3000))?;
    middle.close(true, true)
}
