// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What tests see of a guest and of a card, and how they wait for it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context as _, Result};

use serde_json::Value;

use crate::{
    report::offload::TOOL,
    session::{patience, Action, Cmd, Process, Session},
};

/// Time for what the card and the driver do by themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a counter of the card is as it ought to be.
pub(super) fn counter_until(
    session: &Session,
    name: &str,
    good: impl Fn(u64) -> bool,
) -> Result<()> {
    const INTERVAL: Duration = Duration::from_millis(10);
    let start = Instant::now();
    loop {
        let value = session.card(0)?.counter(name)?;
        if good(value) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < patience(PATIENCE),
            "{name} stays at {value}"
        );
        thread::sleep(INTERVAL);
    }
}

/// Waits until `good` holds for the number of rules with which the card answers SYNs.
/// `nic.table.listeners.used` also counts rules that pass SYNs to the host.
pub(super) fn answering_until(session: &Session, good: impl Fn(u64) -> bool) -> Result<()> {
    let start = Instant::now();
    loop {
        let text = session.guest().run_ok(format!("{TOOL} -j status"))?;
        let status: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let count = status["devices"][0]["rules"].as_u64();
        let count = count.with_context(|| text.clone())?;
        if good(count) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < patience(PATIENCE),
            "the card answers with {count} rules"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until `line`, run in the guest, succeeds.
pub(super) fn guest_until(session: &Session, what: &str, line: &str) -> Result<()> {
    let start = Instant::now();
    while !session.guest().run(line)?.status.success() {
        ensure!(
            start.elapsed() < patience(PATIENCE),
            "waited in vain: {what}"
        );
    }
    Ok(())
}

/// Value of a statistic of `ethtool -S`.
pub(super) fn statistic(session: &Session, name: &str) -> Result<u64> {
    let text = session.guest().run_ok("ethtool -S nic0")?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "))
        .and_then(|value| value.parse().ok())
        .with_context(|| format!("no statistic {name}"))
}

/// Waits until a statistic of `ethtool -S` is as it ought to be.
pub(super) fn statistic_until(
    session: &Session,
    name: &str,
    good: impl Fn(u64) -> bool,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let value = statistic(session, name)?;
        if good(value) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < patience(PATIENCE),
            "{name} stays at {value}"
        );
    }
}

/// Events of the guest, from when this begins to listen, which takes a moment.
pub(super) struct Events {
    process: Process,
}

impl Events {
    const FILE: &str = "/tmp/events";

    pub(super) fn new(session: &Session) -> Result<Self> {
        const LONGEST: Duration = Duration::from_secs(600);
        let command = format!("exec /build/bin/acceltcp -j monitor > {}", Self::FILE);
        let process = session
            .guest()
            .spawn(Cmd::from(command.as_str()).timeout(LONGEST))?;
        guest_until(session, "events", &format!("test -e {}", Self::FILE))?;
        Ok(Self { process })
    }

    /// The first one that is as it ought to be; none when it does not come soon.
    pub(super) fn find(
        &self,
        session: &Session,
        good: impl Fn(&Value) -> bool,
    ) -> Result<Option<Value>> {
        const LOOKS: u32 = 20;
        for _ in 0..LOOKS {
            let text = session.guest().read_file(Self::FILE)?;
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                // The last one may be cut.
                match serde_json::from_slice::<Value>(line) {
                    Ok(event) if good(&event) => return Ok(Some(event)),
                    _ => {}
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(None)
    }

    pub(super) fn stop(self) -> Result<()> {
        self.process.signal(libc::SIGKILL)?;
        self.process.limit(PATIENCE).wait().map(drop)
    }
}

/// How a card loses its connections, and its name.
pub(super) type Loss = (&'static str, fn(&Session) -> Result<()>);

/// Those that any driver with offloads lives through.
pub(super) const LOSSES: [Loss; 3] = [
    ("reset", |session| session.card(0)?.action(Action::Reset)),
    ("death", |session| {
        session.card(0)?.action(Action::Die)?;
        guest_until(session, "death", "grep -q 0 /sys/class/net/nic0/carrier")?;
        session.card(0)?.action(Action::Revive)
    }),
    ("down", |session| {
        session
            .guest()
            .run_ok("ip link set nic0 down && ip link set nic0 up")?;
        session.configure()
    }),
];
