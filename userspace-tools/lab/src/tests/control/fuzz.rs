// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random netlink requests of many threads, well formed and not, from namespaces that come and go with listeners.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};

use super::{
    super::{driver::left_behind, Context},
    policy::tool,
};
use crate::session::Cmd;

/// How many times as long as it should a run may take, which goes on until each kind of request was done.
const SLOWEST: u32 = 12;

pub(super) fn short(context: &Context<'_>) -> Result<()> {
    fuzz(context, &[(1, Duration::from_secs(15))])
}

pub(super) fn long(context: &Context<'_>) -> Result<()> {
    let minute = Duration::from_secs(60);
    let runs: Vec<_> = (100..120).map(|seed| (seed, minute)).collect();
    fuzz(context, &runs)
}

/// Runs with these seeds, each for a time.
fn fuzz(context: &Context<'_>, runs: &[(u64, Duration)]) -> Result<()> {
    let session = context.start(context.session().vcpus(2))?;
    let guest = session.guest();
    for (seed, time) in runs {
        let line = format!(
            "exec lab-fuzz netlink --seed {seed} --seconds {}",
            time.as_secs()
        );
        let text = guest.run_ok(Cmd::from(line).timeout(*time * SLOWEST))?;
        eprintln!("seed {seed}:\n{text}");
        let mut kinds = 0;
        for line in text.lines() {
            let mut words = line.split(' ');
            let name = words.next();
            let good = words.next_back().and_then(|word| word.parse::<u64>().ok());
            let good = good.with_context(|| format!("a line without number: {line}"))?;
            ensure!(good > 0, "seed {seed}: {name:?} was never done:\n{text}");
            kinds += 1;
        }
        ensure!(kinds > 10, "{text}");
    }
    // It still does what it is asked for.
    tool(&session, "policy flush")?;
    let rules = tool(&session, "policy add --port 80 --offload setup")?;
    ensure!(tool(&session, "policy list")?.contains("80"), "{rules}");
    tool(&session, "acl flush dev nic0")?;
    session.unload_driver(context.driver)?;
    let left = left_behind(&session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    context.finish(session)
}
