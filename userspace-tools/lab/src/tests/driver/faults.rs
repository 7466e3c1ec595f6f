// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A wire that misbehaves.

use anyhow::{ensure, Result};

use super::{alive, transfer, Context, Way};

pub(super) fn bad_wire(context: &Context<'_>) -> Result<()> {
    const MEGABYTES: u32 = 1;
    let session = context.start(context.session())?;
    let card = session.card(0)?;
    for spec in [
        "seed=1,loss=0.01",
        "seed=2,reorder=0.05",
        "seed=3,dup=0.05",
        "seed=4,corrupt=0.01",
    ] {
        card.faults(spec)?;
        transfer(&session, Way::ToGuest, "10.99.0.2", MEGABYTES)?;
        transfer(&session, Way::ToWire, "10.99.0.1", MEGABYTES)?;
    }
    card.faults("")?;
    alive(&session)?;
    let counters = card.counters()?;
    for kind in ["loss", "reorder", "dup", "corrupt"] {
        let done: u64 = counters
            .iter()
            .filter(|(name, _)| name.starts_with("fault.") && name.contains(kind))
            .map(|(_, count)| count)
            .sum();
        ensure!(
            done > 0,
            "the wire never had the fault {kind}: {counters:?}"
        );
    }
    context.finish(session)
}
