// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What has become of connections.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        atomic::{AtomicU64, Ordering},
        Mutex, PoisonError,
    },
};

use acceltcp_socket::SpliceReason;

/// Counters of all connections.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Connections of clients.
    pub(crate) accepted: AtomicU64,
    /// Requests that were answered here.
    pub(crate) refused: AtomicU64,
    /// Connections that ended otherwise than both peers wished.
    pub(crate) failed: AtomicU64,
    /// Calls that have spliced.
    pub(crate) spliced: AtomicU64,
    /// Calls that have taken back.
    pub(crate) taken_back: AtomicU64,
    /// Bytes that this program has copied.
    pub(crate) copied_bytes: AtomicU64,
    /// Bytes that the card has relayed, as it told at the end.
    pub(crate) relayed_bytes: AtomicU64,
    /// Calls that have not spliced, by errno: what came then was copied.
    not_spliced: Mutex<BTreeMap<i32, u64>>,
    /// Ends of spliced pairs.
    ended: Mutex<BTreeMap<SpliceReason, u64>>,
}

impl Stats {
    pub(crate) fn count(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn not_spliced(&self, error: &io::Error) {
        let mut counts = self
            .not_spliced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *counts.entry(error.raw_os_error().unwrap_or(0)).or_insert(0) += 1;
    }

    pub(crate) fn ended(&self, reason: SpliceReason) {
        let mut counts = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_insert(0) += 1;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("accepted", &self.accepted),
            ("refused", &self.refused),
            ("failed", &self.failed),
            ("spliced", &self.spliced),
            ("taken back", &self.taken_back),
            ("copied bytes", &self.copied_bytes),
            ("relayed bytes", &self.relayed_bytes),
        ];
        for (name, counter) in lines {
            writeln!(f, "{name}: {}", counter.load(Ordering::Relaxed))?;
        }
        for (errno, count) in &*self
            .not_spliced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            writeln!(
                f,
                "not spliced, {}: {count}",
                io::Error::from_raw_os_error(*errno)
            )?;
        }
        for (reason, count) in &*self.ended.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(f, "ended, {reason}: {count}")?;
        }
        Ok(())
    }
}
