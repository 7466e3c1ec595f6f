// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards that are lost with the connections that they relay, and what crosses the bus while they do.

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::{
        driver::left_behind,
        observe::{guest_until, statistic_until, Loss, LOSSES},
    },
    middle::{Middle, V4, V6},
    Context,
};

/// The driver is taken off the card, and comes back.
const UNBIND: Loss = ("unbind", |session| {
    session.guest().run_ok(
        "device=$(basename $(readlink -f /sys/class/net/nic0/device)) && \
         cd /sys/bus/pci/drivers/acceltcp && echo $device > unbind && echo $device > bind",
    )?;
    session.configure()
});

/// Both sockets hear of it, the card relays again when it is back, and the module goes when their process has.
pub(super) fn lost(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut middle = Middle::new(&session, 0)?;
    for (name, way) in LOSSES.into_iter().chain([UNBIND]) {
        for hosts in [V4, V6] {
            middle.open_spliced(hosts)?;
            middle.up(10_000)?;
            way(&session).context(name)?;
            let kinds = middle.over("lost").context(name)?;
            ensure!(kinds.iter().all(|kind| kind != "end"), "{name}: {kinds:?}");
            middle.close(true, true)?;
            guest_until(&session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
            statistic_until(&session, "teardown_flow_credits", |left| left > 1000)?;
            middle
                .open_spliced(hosts)
                .with_context(|| format!("after {name}"))?;
            middle.up(10_000)?;
            middle.client(&json!({"do": "reset", "name": "c"}))?;
            middle.over("reset")?;
            middle.close(false, true)?;
        }
    }
    // The last of them still has the pair when the module goes.
    middle.open_spliced(V4)?;
    middle.guest.kill()?;
    session.unload_driver(context.driver)?;
    let left = left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}

/// Nothing of what is relayed crosses the bus.
pub(super) fn dma(context: &Context<'_>) -> Result<()> {
    const SIZE: u64 = 20_000_000;
    // Neighbours are looked for now and then, and the end of a pair is told.
    const MOST: u64 = 20_000;
    let session = context.start(context.session())?;
    let mut middle = Middle::new(&session, 0)?;
    for hosts in [V4, V6] {
        middle.open_spliced(hosts)?;
        let bytes = || -> Result<u64> {
            let card = session.card(0)?;
            Ok(card.counter("dma.read.bytes")? + card.counter("dma.write.bytes")?)
        };
        let before = bytes()?;
        middle.up(SIZE)?;
        middle.down(SIZE)?;
        let crossed = bytes()? - before;
        ensure!(
            crossed < MOST,
            "{crossed} of {} bytes have crossed the bus",
            2 * SIZE
        );
        middle.client(&json!({"do": "shutdown", "name": "c"}))?;
        middle.sees(false, "end", SIZE)?;
        middle.server(&json!({"do": "shutdown", "name": "s"}))?;
        middle.sees(true, "end", SIZE)?;
        middle.over("closed")?;
        let info = middle.info("a")?;
        ensure!(
            info["rx_bytes"] == SIZE && info["tx_bytes"] == SIZE,
            "{info}"
        );
        middle.close(true, true)?;
    }
    context.finish(session)
}
