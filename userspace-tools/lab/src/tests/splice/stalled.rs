// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Users that keep their sockets locked: nobody else waits for them.

use anyhow::{ensure, Result};
use serde_json::json;

use super::{
    super::{
        control::policy::{offloaded, told, tool},
        observe::{counter_until, statistic},
    },
    middle::{Middle, PORT, V4},
    Context,
};

/// A listener whose user keeps it locked, and one that is free.
const STALLED: u16 = 7201;
const FREE: u16 = 7202;

pub(super) fn stalled(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut middle = Middle::new(&session, 0)?;
    middle.open(V4)?;
    let connect = |name: &str| json!({"do": "connect", "name": name, "host": V4[0], "port": PORT});
    for name in ["d", "e"] {
        middle.client(&connect(name))?;
        middle.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
    }
    let other = json!({"do": "splice", "name": "d", "other": "e"});
    middle.splice()?;
    middle.host(&other)?;
    for (name, port) in [("stalled", STALLED), ("free", FREE)] {
        middle.host(&json!({"do": "listen", "name": name, "port": port, "flags": null}))?;
    }
    for name in ["a", "stalled"] {
        middle.host(&json!({"do": "stall", "name": name}))?;
    }

    // Another pair comes back; listeners are listed, and get what the policy says.
    middle.host(&json!({"do": "unsplice", "name": "d"}))?;
    middle.host(&other)?;
    tool(&session, "policy add --port 7201-7202 --offload setup")?;
    ensure!(offloaded(&session, FREE)?, "the free listener has no rule");
    let listeners = told(&session, "listeners")?;
    let mut of_port = listeners.as_array().into_iter().flatten();
    let listener = of_port.find(|one| one["port"] == STALLED);
    ensure!(
        listener.is_some_and(|one| one["reason"] == "not-asked"),
        "{listeners}"
    );
    ensure!(statistic(&session, "policy_stalled")? > 0);
    tool(&session, "policy flush")?;
    let added = "policy add --port 7201-7202 --offload setup";
    tool(&session, added)?;

    // All pairs are lost, under RTNL.
    session
        .guest()
        .run_ok("ip link set nic0 mtu 1400 && ip link set nic0 down && ip link set nic0 up")?;
    for name in ["b", "d", "e"] {
        let found = middle.host(&json!({"do": "over", "name": name}))?;
        ensure!(found["kind"] == "ENETRESET", "{name}: {found}");
    }
    ensure!(statistic(&session, "splice_stalled")? == 1);

    // Who let others wait gets what the others have got already.
    middle.host(&json!({"do": "unstall", "name": "a"}))?;
    let found = middle.host(&json!({"do": "over", "name": "a"}))?;
    ensure!(found["kind"] == "ENETRESET", "{found}");
    middle.host(&json!({"do": "unstall", "name": "stalled"}))?;
    counter_until(&session, "nic.table.listeners.used", |used| used == 4)?;
    ensure!(
        offloaded(&session, STALLED)?,
        "the listener has no rule though it is free"
    );

    // Nor does the end of a process wait, or the module that nobody uses then.
    middle.host(&json!({"do": "stall", "name": "stalled"}))?;
    middle.guest.kill()?;
    session.unload_driver(context.driver)?;
    context.finish(session)
}
