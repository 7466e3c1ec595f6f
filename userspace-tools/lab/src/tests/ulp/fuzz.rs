// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random system calls of many threads on shared sockets, as a user without privileges, while the operator's rules come
//! and go: on connections through the loopback and the card, some of which the card sets up, relays and ends.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use nix::libc::SIGKILL;

use super::{races::goes, Context, NOBODY};
use crate::{report::offload::TOOL, session::Cmd};

/// Calls of which some must succeed, or the run was worth nothing.
const NEEDED: &[&str] = &[
    "listen", "connect", "accept", "ulp", "offload", "look", "send", "receive", "shutdown", "relay",
];

/// How many times as long as it should a run may take, which goes on until all of them have succeeded.
const SLOWEST: u32 = 12;

pub(super) fn short(context: &Context<'_>) -> Result<()> {
    fuzz(context, &[(1, Duration::from_secs(30))])
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
    guest.run("modprobe tls")?;
    let all: Duration = runs.iter().map(|(_, time)| *time * SLOWEST).sum();
    let limit = all + Duration::from_secs(60);
    let peer = session.wire().spawn(
        Cmd::from(
            "exec lab-fuzz peer --to 10.99.0.2:7101 --to [fd99:0::2]:7102 --to 10.99.0.2:7103 \
             --listen [::]:9000",
        )
        .timeout(limit),
    )?;
    let rules = guest.spawn(
        Cmd::from(format!(
            "while :; do {TOOL} policy add --port 7100-7103 --offload setup,teardown >/dev/null; \
             {TOOL} policy flush; done"
        ))
        .timeout(limit),
    )?;
    for (seed, time) in runs {
        let seconds = time.as_secs();
        let until: String = NEEDED
            .iter()
            .map(|name| format!(" --until {name}"))
            .collect();
        let line = format!(
            "exec lab-fuzz sockets --seed {seed} --seconds {seconds} --uid {NOBODY} \
             --host 127.0.0.1:7100 --host 10.99.0.2:7101 --host [fd99:0::2]:7102 \
             --host 10.99.0.2:7103 --server 10.99.0.1:9000 --server [fd99:0::1]:9000{until}"
        );
        let text = guest.run_ok(Cmd::from(line).timeout(*time * SLOWEST))?;
        eprintln!("seed {seed}:\n{text}");
        for name in NEEDED {
            let line = text.lines().find(|line| line.starts_with(name));
            let good = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            let good = good.with_context(|| format!("nothing is told of {name}: {text}"))?;
            ensure!(good > 0, "seed {seed}: {name} never succeeded:\n{text}");
        }
    }
    for process in [rules, peer] {
        process.signal(SIGKILL)?;
        process.wait()?;
    }
    guest.run_ok(format!("{TOOL} policy flush"))?;
    goes(context, &session)?;
    context.finish(session)
}
