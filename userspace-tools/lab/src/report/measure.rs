// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measuring one load in a running session.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use lab_count::Counts;

use super::{load, Load, Nic, Row};
use crate::session::{Cmd, Counters, Output, Piece, Session};

/// For how long the idle guest is watched before a counted load.
const IDLE: Duration = Duration::from_secs(2);

/// A load.
#[derive(Clone, Debug)]
pub struct Client {
    /// Name of the row.
    pub workload: String,
    /// Command line in the guest, for the row.
    pub server: String,
    /// Command line on the wire side.
    pub client: String,
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
}

/// Measures loads in one session.
#[derive(Clone, Copy, Debug)]
pub struct Meter<'a> {
    session: &'a Session,
    driver: &'a str,
    vcpus: u32,
    counted: bool,
}

/// Counters of the guest and of all cards at one time.
struct Reading {
    at: Instant,
    insns: Option<Counts>,
    nic: Counters,
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
        let idle = match self.counted {
            true => {
                let before = self.session.instructions()?;
                let start = Instant::now();
                thread::sleep(IDLE);
                Some((self.session.instructions()? - before, start.elapsed()))
            }
            false => None,
        };
        let before = self.read()?;
        let cmd = Cmd::from(&client.client).timeout(client.timeout);
        let mut process = self.session.wire().spawn(cmd)?;
        process.watch(sink);
        let output = process.wait()?;
        let after = self.read()?;

        let load = load::parse(&client.client, &output.stdout, &output.stderr).unwrap_or_default();
        let row = self.row(client, load, &before, &after, idle);
        Ok(Measured { row, output })
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
            nic,
        })
    }

    fn row(
        &self,
        client: &Client,
        load: Load,
        before: &Reading,
        after: &Reading,
        idle: Option<(Counts, Duration)>,
    ) -> Row {
        let transactions = client.transactions.or(load.transactions);
        let per_tx = |amount: f64| {
            let transactions = transactions.filter(|&transactions| transactions > 0)?;
            Some(amount / transactions as f64)
        };
        let insns = |pick: fn(Counts) -> u64| {
            let (idle, idle_time) = idle?;
            let total = pick(after.insns? - before.insns?) as f64;
            let rate = pick(idle) as f64 / idle_time.as_secs_f64();
            per_tx(total - rate * (after.at - before.at).as_secs_f64())
        };
        let nic = |name: &str| {
            let value = |reading: &Reading| reading.nic.get(name).copied();
            per_tx(value(after)?.saturating_sub(value(before).unwrap_or(0)) as f64)
        };
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
            kernel_insns_per_tx: insns(|counts| counts.kernel),
            user_insns_per_tx: insns(|counts| counts.user),
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
