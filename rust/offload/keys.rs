// SPDX-License-Identifier: GPL-2.0

//! When cards get new keys for their cookies.
//!
//! A card has two keys: a cookie is good until the second rotation after it was made. So a handshake has the
//! time between two rotations at least.

use super::{
    counters::{
        count,
        Counter, //
    },
    device,
};
use crate::net::sysctl::Value;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// Seconds between two rotations, from 1 s to a day. Below 120 s, the most that a cookie lives, rotation shortens
/// its life.
pub(crate) static INTERVAL: Value = Value::new(300, 1, 86_400);
/// Least time between two rotations, so that demands in quick succession do not end handshakes under way.
const LEAST: Delta = Delta::from_secs(1);

static DEMANDS: Atomic<u64> = Atomic::new(0);

/// Has all cards rotate their keys.
pub(crate) fn demand() {
    DEMANDS.add(1, Relaxed);
    device::wake_all();
}

/// When a card got its last key.
pub(crate) struct Rotation {
    last: Instant<Monotonic>,
    demands: u64,
}

impl Rotation {
    /// Just now, and it was the first.
    pub(crate) fn new() -> Self {
        Self {
            last: Instant::now(),
            demands: DEMANDS.load(Relaxed),
        }
    }

    /// Has `rotate` give the card a new key, when one is due.
    pub(crate) fn run(&mut self, rotate: impl FnOnce() -> Result) -> Result {
        let demands = DEMANDS.load(Relaxed);
        let age = self.last.elapsed();
        let demanded = demands != self.demands && age >= LEAST;
        if demanded || age >= Delta::from_secs(INTERVAL.get().into()) {
            rotate()?;
            count(Counter::keys_rotated);
            self.last = Instant::now();
            self.demands = demands;
        }
        Ok(())
    }
}
