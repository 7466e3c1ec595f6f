// SPDX-License-Identifier: GPL-2.0

//! Watermarks of the tables on a card: above the high one new work stays with the host, until the low one is reached.
//!
//! Who gives work to a card asks the [`Gate`] of the table, and who hears that some is done looks at it again; both may be in
//! any context. Operators are told by a worker ([`tell_later`], [`tell`]).

use super::{
    device,
    splice::pairs::Pairs, //
};
use crate::net::{
    sysctl::Value,
    work::Worker, //
};
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// Per cent of a table from which on it gets nothing new; with 100 until it is full.
pub(crate) static HIGH: Value = Value::new(100, 1, 100);
/// Per cent below which it does again; what is above [`HIGH`] counts as that.
pub(crate) static LOW: Value = Value::new(90, 1, 100);

/// A gate has been shut or opened, and nobody was told.
static CROSSED: Atomic<bool> = Atomic::new(false);

/// Whether a table gets new work.
pub(crate) struct Gate {
    shut: Atomic<bool>,
}

/// A table as its gate sees it.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    /// It gets nothing new.
    pub(crate) above: bool,
    /// Entries that the host knows to be in use.
    pub(crate) used: u32,
    /// Entries that there are.
    pub(crate) capacity: u32,
}

impl Gate {
    /// An open one.
    pub(super) const fn new() -> Self {
        Self {
            shut: Atomic::new(false),
        }
    }

    /// Whether a table of which so much is used gets more (any context). [`tell_later`] is to follow.
    pub(super) fn admits(&self, used: u32, capacity: u32) -> bool {
        self.looks(used, capacity, HIGH.get(), LOW.get())
    }

    fn looks(&self, used: u32, capacity: u32, high: u32, low: u32) -> bool {
        let before = self.shut.load(Relaxed);
        let shut = is_shut(before, used, capacity, high, low);
        if shut != before && self.shut.xchg(shut, Full) != shut {
            CROSSED.store(true, Relaxed);
        }
        !shut
    }

    /// The same when some was given back, which shuts no gate.
    pub(super) fn falls(&self, used: u32, capacity: u32) {
        if self.shut.load(Relaxed) {
            self.admits(used, capacity);
        }
    }

    pub(super) fn level(&self, used: u32, capacity: u32) -> Level {
        Level {
            above: self.shut.load(Relaxed),
            used,
            capacity,
        }
    }
}

/// Whether a gate that was shut, or not, is from now on.
fn is_shut(before: bool, used: u32, capacity: u32, high: u32, low: u32) -> bool {
    let percent = if before { low.min(high) } else { high };
    high < 100 && capacity != 0 && u64::from(used) * 100 >= u64::from(capacity) * u64::from(percent)
}

/// Has the worker of a card tell of gates, if there is something to tell (any context).
pub(crate) fn tell_later(worker: &Worker<Pairs>) {
    if CROSSED.load(Relaxed) {
        worker.queue();
    }
}

/// Tells of gates, if there is something to tell (process context).
pub(super) fn tell() {
    if CROSSED.load(Relaxed) && CROSSED.xchg(false, Full) {
        device::look();
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_watermark)]
mod tests {
    use super::*;

    #[test]
    fn shut_above_and_open_below() {
        // Of 200, with marks at 190 and 180.
        for (before, used, shut) in [
            (false, 0, false),
            (false, 189, false),
            (false, 190, true),
            (false, 200, true),
            (true, 190, true),
            (true, 180, true),
            (true, 179, false),
            (true, 0, false),
        ] {
            assert_eq!(is_shut(before, used, 200, 95, 90), shut);
        }
    }

    #[test]
    fn marks_that_make_no_difference() {
        // None, a low one above the high one, no table, and a table of one entry.
        assert!(!is_shut(false, 200, 200, 100, 90) && !is_shut(true, 200, 200, 100, 90));
        assert!(is_shut(true, 100, 200, 50, 90) && !is_shut(true, 99, 200, 50, 90));
        assert!(!is_shut(false, 0, 0, 1, 1) && !is_shut(true, 0, 0, 1, 1));
        assert!(!is_shut(false, 0, 1, 95, 90) && is_shut(false, 1, 1, 95, 90));
        assert!(is_shut(false, u32::MAX, u32::MAX, 95, 90));
    }

    #[test]
    fn a_gate_remembers() {
        let gate = Gate::new();
        let admits = |used| gate.looks(used, 100, 95, 90);
        assert!(admits(94) && !admits(95) && !admits(92) && !admits(90));
        assert!(gate.level(90, 100).above);
        assert!(admits(89) && !gate.level(89, 100).above && admits(94));
        // What was given back shuts no gate.
        gate.falls(99, 100);
        assert!(!gate.level(99, 100).above);
    }
}
