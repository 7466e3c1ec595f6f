// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All interleavings of arming, disarming and scanning a timer, up to a number of switches between the threads.
//!
//! Run with more switches: `LOOM_MAX_PREEMPTIONS=4 cargo test -p nicstack --release --test wheel_loom`.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    reason = "the source is compiled a second time, with loom's atomics"
)]

#[path = "../src/wheel.rs"]
mod wheel;

/// In place of the crate's.
mod sync {
    pub(crate) use loom::sync::atomic::{fence, AtomicU64, Ordering};
}

/// In place of the crate's.
mod clock {
    #[derive(Debug, Clone, Copy)]
    pub struct Instant(pub u64);
}

use clock::Instant;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicU32, Ordering};
use sync::AtomicU64;
use wheel::Wheel;

const TICK: u64 = 10;
const TIMER: u32 = 3;

struct Shared {
    words: Vec<AtomicU64>,
    wheel: Wheel,
    /// How often the timer fired. Not loom's: counting is no part of the model.
    fired: AtomicU32,
}

impl Shared {
    fn new() -> Arc<Self> {
        let words: Vec<_> = (0..Wheel::words(TIMER + 1))
            .map(|_| AtomicU64::new(0))
            .collect();
        let wheel = Wheel::new(&words, TIMER + 1, TICK);
        Arc::new(Self {
            words,
            wheel,
            fired: AtomicU32::new(0),
        })
    }

    fn arm(&self, at: u64) -> u8 {
        self.wheel.arm(&self.words, TIMER, Instant(at))
    }

    fn scan(&self, now: u64) {
        self.wheel.scan(&self.words, Instant(now), 0, |timer, _| {
            assert_eq!(timer, TIMER);
            self.fired.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn fired(&self) -> u32 {
        self.fired.load(Ordering::Relaxed)
    }
}

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(f);
}

#[test]
fn a_timer_armed_during_a_scan_is_not_lost() {
    model(|| {
        let shared = Shared::new();
        let scanner = {
            let shared = shared.clone();
            thread::spawn(move || shared.scan(TICK))
        };
        shared.arm(TICK);
        scanner.join().unwrap();
        shared.scan(2 * TICK);
        assert_eq!(shared.fired(), 1);
    });
}

#[test]
fn disarming_and_firing_exclude_each_other() {
    model(|| {
        let shared = Shared::new();
        let slot = shared.arm(TICK);
        let scanner = {
            let shared = shared.clone();
            thread::spawn(move || shared.scan(TICK))
        };
        let disarmed = shared.wheel.disarm(&shared.words, TIMER, slot);
        scanner.join().unwrap();
        shared.scan(2 * TICK);
        assert_eq!(shared.fired() + u32::from(disarmed), 1);
    });
}

#[test]
fn two_scans_fire_a_timer_once() {
    model(|| {
        let shared = Shared::new();
        let scanners = [1, 2].map(|ticks| {
            let shared = shared.clone();
            thread::spawn(move || shared.scan(ticks * TICK))
        });
        shared.arm(TICK);
        for scanner in scanners {
            scanner.join().unwrap();
        }
        shared.scan(3 * TICK);
        assert_eq!(shared.fired(), 1);
    });
}

#[test]
fn arming_again_from_a_scan() {
    model(|| {
        let shared = Shared::new();
        shared.arm(TICK);
        let scanner = {
            let shared = shared.clone();
            thread::spawn(move || {
                let again = |_, _| {
                    shared.arm(2 * TICK);
                };
                shared.wheel.scan(&shared.words, Instant(TICK), 0, again);
            })
        };
        shared.scan(2 * TICK);
        scanner.join().unwrap();
        shared.scan(3 * TICK);
        assert_eq!(shared.fired(), 1, "by one of the later scans");
    });
}
