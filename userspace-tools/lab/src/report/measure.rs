// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measuring one load in a running session.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab_count::{Counts, Profile};

use super::{comparison::median, load, Load, Nic, Row};
use crate::session::{Cmd, Counters, Output, Piece, Session};

/// The idle guest is watched before a counted load for this many windows ...
const IDLE_WINDOWS: usize = 8;

/// ... of this length. The median is taken, so that a burst does not count, such as the rest of a
/// server's start.
const IDLE_WINDOW: Duration = Duration::from_millis(250);

/// A load.
#[derive(Clone, Debug)]
pub struct Client {
    /// Name of the row.
    pub workload: String,
    /// Command line in the guest, for the row.
    pub server: String,
    /// Command line on the wire side.
    pub client: String,
    /// Command line that is run before the measurement, for what only the first requests cost.
    pub warm_up: Option<String>,
    /// Offloads that are on, for the row.
    pub offload: Vec<String>,
    /// Number of transactions, if the client's output does not tell.
    pub transactions: Option<u64>,
    /// Time limit of the client.
    pub timeout: Duration,
}

/// What a load did and cost.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The row.
    pub row: Row,
    /// What the client left.
    pub output: Output,
    /// Where the kernel's instructions went, if the session tells.
    pub profile: Option<Profiled>,
}

/// The kernel's instructions during a load, those of the idle guest among them.
#[derive(Clone, Debug)]
pub struct Profiled {
    /// All of them, as the plain counter has it.
    pub counted: u64,
    /// By blocks.
    pub blocks: Profile,
}

/// Measures loads in one session.
#[derive(Clone, Copy, Debug)]
pub struct Meter<'a> {
    session: &'a Session,
    driver: &'a str,
    vcpus: u32,
    counted: bool,
}

/// Instructions per second of an idle guest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Idle {
    kernel: f64,
    user: f64,
}

impl Idle {
    /// The medians of several windows.
    fn of(windows: &[(Counts, Duration)]) -> Self {
        let rate = |pick: fn(&Counts) -> u64| {
            let rates = windows
                .iter()
                .map(|(counts, time)| pick(counts) as f64 / time.as_secs_f64());
            median(rates).unwrap_or(0.0)
        };
        Self {
            kernel: rate(|counts| counts.kernel),
            user: rate(|counts| counts.user),
        }
    }
}

/// Counters of the guest and of all cards at one time.
struct Reading {
    at: Instant,
    insns: Option<Counts>,
    profile: Option<Profile>,
    nic: Counters,
}

/// What was counted from the begin of some work to its end.
pub struct Span {
    before: Reading,
    after: Reading,
}

impl Span {
    fn seconds(&self) -> f64 {
        (self.after.at - self.before.at).as_secs_f64()
    }

    /// What the guest has executed.
    fn instructions(&self) -> Option<Counts> {
        Some(self.after.insns? - self.before.insns?)
    }

    /// What a counter of the cards has counted.
    fn nic(&self, name: &str) -> Option<f64> {
        let value = |reading: &Reading| reading.nic.get(name).copied();
        let before = value(&self.before).unwrap_or(0);
        Some(value(&self.after)?.saturating_sub(before) as f64)
    }

    /// Where the kernel's instructions went, if the session tells.
    pub fn profile(&self) -> Option<Profiled> {
        self.after.profile_since(&self.before)
    }

    /// The rates of an idle guest.
    fn idle(&self) -> Option<Idle> {
        let counts = self.instructions()?;
        Some(Idle::of(&[(counts, self.after.at - self.before.at)]))
    }
}

impl Reading {
    /// What was executed after an earlier reading.
    fn profile_since(&self, before: &Self) -> Option<Profiled> {
        let blocks = self.profile.as_ref()?.since(before.profile.as_ref()?);
        let counted = self.insns? - before.insns?;
        Some(Profiled {
            counted: counted.kernel,
            blocks,
        })
    }
}

impl<'a> Meter<'a> {
    /// A meter for `session`; `driver` and `vcpus` go into its rows.
    pub fn new(session: &'a Session, driver: &'a str, vcpus: u32, counted: bool) -> Self {
        Self {
            session,
            driver,
            vcpus,
            counted,
        }
    }

    /// Runs a client and measures it. `sink` gets its output as it comes.
    ///
    /// # Errors
    ///
    /// The client cannot be started or takes too long, or the session broke down.
    pub fn measure(
        &self,
        client: &Client,
        sink: impl FnMut(Piece<'_>) + Send + 'static,
    ) -> Result<Measured> {
        if let Some(warm_up) = &client.warm_up {
            let cmd = Cmd::from(warm_up).timeout(client.timeout);
            self.session.wire().run_ok(cmd).context("warm up")?;
        }
        let idle = self.counted.then(|| self.idle()).transpose()?;
        let (output, span) = self.span(|| {
            let cmd = Cmd::from(&client.client).timeout(client.timeout);
            let mut process = self.session.wire().spawn(cmd)?;
            process.watch(sink);
            process.wait()
        })?;
        let load = load::parse(&client.client, &output.stdout, &output.stderr).unwrap_or_default();
        let row = self.row(client, load, &span, idle);
        let profile = span.profile();
        Ok(Measured {
            row,
            output,
            profile,
        })
    }

    /// Counts while some work is done.
    ///
    /// # Errors
    ///
    /// The work fails, or the session broke down.
    pub fn span<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Span)> {
        let before = self.read()?;
        let done = work()?;
        let after = self.read()?;
        Ok((done, Span { before, after }))
    }

    /// The row of a load that ran for a span; `idle` is one in which nothing was done.
    pub fn row_of(&self, client: &Client, load: Load, span: &Span, idle: &Span) -> Row {
        self.row(client, load, span, idle.idle())
    }

    /// What the idle guest executes.
    fn idle(&self) -> Result<Idle> {
        let mut rates = Vec::new();
        let (mut before, mut start) = (self.session.instructions()?, Instant::now());
        for _ in 0..IDLE_WINDOWS {
            thread::sleep(IDLE_WINDOW);
            let (after, end) = (self.session.instructions()?, Instant::now());
            rates.push((after - before, end - start));
            (before, start) = (after, end);
        }
        Ok(Idle::of(&rates))
    }

    fn read(&self) -> Result<Reading> {
        let mut nic = BTreeMap::new();
        for card in self.session.cards() {
            for (name, value) in card.counters()? {
                *nic.entry(name).or_insert(0) += value;
            }
        }
        Ok(Reading {
            at: Instant::now(),
            insns: self
                .counted
                .then(|| self.session.instructions())
                .transpose()?,
            profile: self.session.profile()?,
            nic,
        })
    }

    fn row(&self, client: &Client, load: Load, span: &Span, idle: Option<Idle>) -> Row {
        let transactions = client.transactions.or(load.transactions);
        let per_tx = |amount: f64| {
            let transactions = transactions.filter(|&transactions| transactions > 0)?;
            Some(amount / transactions as f64)
        };
        let seconds = span.seconds();
        let insns = |pick: fn(Counts) -> u64, idle_rate: fn(Idle) -> f64| {
            let total = pick(span.instructions()?) as f64;
            per_tx(total - idle_rate(idle?) * seconds)
        };
        let nic = |name: &str| per_tx(span.nic(name)?);
        Row {
            workload: client.workload.clone(),
            server: client.server.clone(),
            client: client.client.clone(),
            driver: self.driver.into(),
            offload: client.offload.clone(),
            vcpus: self.vcpus,
            transactions,
            errors: load.errors,
            rate_per_s: load.rate_per_s,
            kernel_insns_per_s: span
                .instructions()
                .map(|counts| counts.kernel as f64 / seconds),
            kernel_insns_per_tx: insns(|counts| counts.kernel, |idle| idle.kernel),
            user_insns_per_tx: insns(|counts| counts.user, |idle| idle.user),
            nic: Nic {
                rx_packets_per_tx: nic("host.rx.packets"),
                tx_packets_per_tx: nic("host.tx.packets"),
                rx_dma_bytes_per_tx: nic("dma.write.bytes"),
                tx_dma_bytes_per_tx: nic("dma.read.bytes"),
                irqs_per_tx: nic("interrupts"),
                doorbells_per_tx: nic("doorbells"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_not_the_idle_rate() {
        let window = |kernel, user| (Counts { kernel, user }, Duration::from_millis(250));
        let windows = [
            window(900_000, 4_000_000),
            window(1000, 500),
            window(1000, 500),
            window(1200, 0),
            window(900, 500),
        ];
        let idle = Idle::of(&windows);
        assert_eq!((idle.kernel, idle.user), (4000.0, 2000.0));
        assert_eq!(Idle::of(&[]), Idle::default());
    }
}
