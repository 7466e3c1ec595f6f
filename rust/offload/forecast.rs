// SPDX-License-Identifier: GPL-2.0

//! Whether the connections of a listener end with their first answer.
//!
//! Only then it is worth to hold an answer back for a moment: answer, FIN and the state of the connection leave in
//! one frame. A connection whose first answer is still unacknowledged when it is handed over speaks for it, an
//! answer that was held against it; so one that was held in vain is made good by one that was not, and listeners
//! whose connections go on hold nothing.

use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::NSEC_PER_USEC, //
};

/// Answers that are held in vain, one after the other, until no more are.
const MOST: u32 = 16;
/// What a connection counts that has ended with its answer.
const GAIN: u32 = 2;

/// What is expected. The connections of a listener share it.
pub(super) struct Forecast(Atomic<u32>);

impl Forecast {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How long the first answer of a connection may wait for the end, in nanoseconds, if it may for `hold_us`
    /// microseconds at most.
    pub(super) fn wait_ns(&self, hold_us: u32) -> u32 {
        match self.0.load(Relaxed) {
            0 => 0,
            _ => hold_us.saturating_mul(NSEC_PER_USEC as u32),
        }
    }

    /// An answer is held.
    pub(super) fn held(&self) {
        self.set(self.0.load(Relaxed).saturating_sub(1));
    }

    /// A connection has ended shortly after its first answer.
    pub(super) fn ended(&self) {
        self.set(self.0.load(Relaxed).saturating_add(GAIN).min(MOST));
    }

    /// A number that two CPUs change at the same time may miss one change, which does not matter.
    fn set(&self, value: u32) {
        self.0.store(value, Relaxed);
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_forecast)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_held_before_a_connection_has_ended() {
        assert_eq!(Forecast::new().wait_ns(250), 0);
    }

    #[test]
    fn answers_that_do_not_end_stop_it() {
        let forecast = Forecast::new();
        for _ in 0..100 {
            forecast.ended();
        }
        for _ in 0..MOST {
            assert!(forecast.wait_ns(250) != 0);
            forecast.held();
        }
        assert_eq!(forecast.wait_ns(250), 0);
        forecast.held();
        assert_eq!(forecast.wait_ns(250), 0);
    }

    #[test]
    fn answers_that_end_go_on() {
        let forecast = Forecast::new();
        forecast.ended();
        for _ in 0..100 {
            assert!(forecast.wait_ns(250) != 0);
            forecast.held();
            forecast.ended();
        }
    }
}
