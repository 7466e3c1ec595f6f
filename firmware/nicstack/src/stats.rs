// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters: one for each outcome ([`Counter`]), shared by all workers.

pub use acceltcp_abi::counter::Counter;
use core::sync::atomic::{AtomicU64, Ordering};

/// The values of all counters.
#[derive(Debug)]
pub struct Stats {
    values: [AtomicU64; Counter::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            values: [const { AtomicU64::new(0) }; Counter::COUNT],
        }
    }
}

impl Stats {
    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.values[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Value of `counter`.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    /// All values, by the number of their counter. Counters go on while they are read.
    pub fn snapshot(&self) -> [u64; Counter::COUNT] {
        core::array::from_fn(|number| self.values[number].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let stats = Stats::default();
        stats.count(Counter::SynAnswered);
        stats.count(Counter::SynAnswered);
        assert_eq!(stats.get(Counter::SynAnswered), 2);
        let snapshot = stats.snapshot();
        assert_eq!(snapshot[Counter::SynAnswered as usize], 2);
        assert_eq!(snapshot.iter().sum::<u64>(), 2);
    }
}
