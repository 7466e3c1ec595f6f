// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measuring one load in a running session.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab_count::{Counts, Profile};

use super::{activity::Events, comparison::median, load, Kernel, Load, Nic, Row};
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

/// What an idle guest has per second of its clock.
///
/// While it is idle its clock follows the wall, whatever it follows otherwise: so the wall's time will
/// do to measure the rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Idle {
    kernel: f64,
    user: f64,
    events: [f64; 4],
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
            ..Self::default()
        }
    }

    /// Adds the rates of events that were counted for a while.
    fn with(self, events: Events, seconds: f64) -> Self {
        Self {
            events: figures(events).map(|count| count as f64 / seconds),
            ..self
        }
    }
}

/// Events in the order of [`Kernel`].
fn figures(events: Events) -> [u64; 4] {
    [
        events.interrupts,
        events.softirqs,
        events.context_switches,
        events.tlb_shootdowns,
    ]
}

/// What is left of an amount for each transaction, when an idle guest's is taken away.
fn net_per_tx(amount: f64, idle_rate: f64, seconds: f64, transactions: u64) -> Option<f64> {
    (transactions > 0).then(|| (amount - idle_rate * seconds) / transactions as f64)
}

/// The guest's clock and its kernel's counters.
#[derive(Clone, Copy, Debug)]
struct Guest {
    clock: Duration,
    events: Events,
}

impl Guest {
    fn read(session: &Session) -> Result<Self> {
        let activity = session.guest().activity()?;
        Ok(Self {
            clock: activity.clock,
            events: Events::parse(&activity)?,
        })
    }
}

/// Counters of the guest and of all cards at one time.
struct Reading {
    guest: Guest,
    insns: Option<Counts>,
    profile: Option<Profile>,
    nic: Counters,
}

/// What was counted from the begin of some work to its end.
pub struct Span {
    before: Reading,
    after: Reading,
    /// Events that the guest has because it is asked for them.
    overhead: Events,
}

impl Span {
    /// By the guest's clock.
    fn time(&self) -> Duration {
        self.after
            .guest
            .clock
            .saturating_sub(self.before.guest.clock)
    }

    /// What the guest's kernel has counted.
    fn events(&self) -> Events {
        self.after.guest.events - self.before.guest.events - self.overhead
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
        let idle = Idle::of(&[(counts, self.time())]);
        Some(idle.with(self.events(), self.time().as_secs_f64()))
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
        // Twice, as the second one shows what the first one costs.
        let first = Guest::read(self.session)?;
        let guest = Guest::read(self.session)?;
        let overhead = guest.events - first.events;
        let before = self.read(|| Ok(guest))?;
        let done = work()?;
        let after = self.read(|| Guest::read(self.session))?;
        Ok((
            done,
            Span {
                before,
                after,
                overhead,
            },
        ))
    }

    /// The row of a load that ran for a span; `idle` is one in which nothing was done.
    pub fn row_of(&self, client: &Client, load: Load, span: &Span, idle: &Span) -> Row {
        self.row(client, load, span, idle.idle())
    }

    /// What the idle guest executes.
    fn idle(&self) -> Result<Idle> {
        let (rates, span) = self.span(|| {
            let mut rates = Vec::new();
            let (mut before, mut start) = (self.session.instructions()?, Instant::now());
            for _ in 0..IDLE_WINDOWS {
                thread::sleep(IDLE_WINDOW);
                let (after, end) = (self.session.instructions()?, Instant::now());
                rates.push((after - before, end - start));
                (before, start) = (after, end);
            }
            Ok(rates)
        })?;
        Ok(Idle::of(&rates).with(span.events(), span.time().as_secs_f64()))
    }

    /// Reads all counters, the guest's instructions at once: `guest` is asked last, or was before.
    fn read(&self, guest: impl FnOnce() -> Result<Guest>) -> Result<Reading> {
        let insns = self
            .counted
            .then(|| self.session.instructions())
            .transpose()?;
        let profile = self.session.profile()?;
        let mut nic = BTreeMap::new();
        for card in self.session.cards() {
            for (name, value) in card.counters()? {
                *nic.entry(name).or_insert(0) += value;
            }
        }
        Ok(Reading {
            guest: guest()?,
            insns,
            profile,
            nic,
        })
    }

    fn row(&self, client: &Client, load: Load, span: &Span, idle: Option<Idle>) -> Row {
        let transactions = client.transactions.or(load.transactions);
        let per_tx = |amount: f64| {
            let transactions = transactions.filter(|&transactions| transactions > 0)?;
            Some(amount / transactions as f64)
        };
        let seconds = span.time().as_secs_f64();
        let net = |amount: u64, idle_rate: f64| {
            net_per_tx(amount as f64, idle_rate, seconds, transactions?)
        };
        let insns = |pick: fn(Counts) -> u64, idle_rate: fn(Idle) -> f64| {
            net(pick(span.instructions()?), idle_rate(idle?))
        };
        let (events, rates) = (figures(span.events()), idle.unwrap_or_default().events);
        let event = |index: usize| net(events[index], rates[index]);
        let nic = |name: &str| per_tx(span.nic(name)?);
        Row {
            workload: client.workload.clone(),
            server: client.server.clone(),
            client: client.client.clone(),
            driver: self.driver.into(),
            offload: client.offload.clone(),
            vcpus: self.vcpus,
            clock: self.session.clock().name().into(),
            guest_seconds: seconds,
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
            kernel: Kernel {
                interrupts_per_tx: event(0),
                softirqs_per_tx: event(1),
                context_switches_per_tx: event(2),
                tlb_shootdowns_per_tx: event(3),
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

    #[test]
    fn idle_rate_is_taken_for_the_time_of_the_guest() {
        // 1,000 transactions of 80,000 instructions, in a tenth of the time that the wall shows.
        let idle = Idle::of(&[(
            Counts {
                kernel: 500_000,
                user: 0,
            },
            Duration::from_secs(1),
        )]);
        let amount = 80_000_000.0 + 0.8 * 500_000.0;
        assert_eq!(net_per_tx(amount, idle.kernel, 0.8, 1000), Some(80_000.0));
        assert_eq!(net_per_tx(amount, idle.kernel, 0.8, 0), None);
    }

    #[test]
    fn events_have_idle_rates_too() {
        let events = Events {
            interrupts: 500,
            softirqs: 250,
            context_switches: 100,
            tlb_shootdowns: 0,
        };
        let idle = Idle::default().with(events, 2.0);
        assert_eq!(idle.events, [250.0, 125.0, 50.0, 0.0]);
    }
}
