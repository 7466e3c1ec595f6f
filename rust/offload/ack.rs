// SPDX-License-Identifier: GPL-2.0

//! Whether the acknowledgement of a first request may wait for the answer.
//!
//! Delaying it saves a segment where the answer follows at once, and costs a client up to 40 ms that writes its
//! request in two small parts with Nagle's algorithm: the second part waits for the acknowledgement of the first.
//! So children begin with quick acknowledgements, as those of any listener, until a run of connections in a row had
//! requests of one segment. A request of more ends that; if acknowledgements were being delayed, the next run has to
//! be twice as long, so that clients of both kinds at one listener soon get none delayed. It gets shorter again as
//! long as nothing speaks against it.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Length of the shortest run of connections.
const LEAST: u32 = 16;
/// Length of the longest one.
const MOST: u32 = 4096;

/// What the requests of a listener's connections were like. The connections share it.
pub(super) struct AckPredictor {
    /// Requests of one segment, in a row.
    run: Atomic<u32>,
    /// How many there must be.
    needed: Atomic<u32>,
}

impl AckPredictor {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            run: Atomic::new(0),
            needed: Atomic::new(LEAST),
        }
    }

    /// Whether acknowledgements may be delayed from the start of a connection.
    pub(super) fn may_delay(&self) -> bool {
        self.run.load(Relaxed) >= self.needed.load(Relaxed)
    }

    /// A request of one segment was answered. A number that two CPUs change at the same time may miss one change, which
    /// does not matter.
    pub(super) fn one_segment(&self) {
        let (run, needed) = (self.run.load(Relaxed) + 1, self.needed.load(Relaxed));
        if run < 2 * needed {
            self.run.store(run, Relaxed);
            return;
        }
        let shorter = (needed / 2).max(LEAST);
        self.needed.store(shorter, Relaxed);
        self.run.store(shorter, Relaxed);
    }

    /// A connection had more segments of data, which may have waited for acknowledgements.
    pub(super) fn more_segments(&self) {
        if self.may_delay() {
            let needed = self.needed.load(Relaxed);
            self.needed.store((2 * needed).min(MOST), Relaxed);
        }
        if self.run.load(Relaxed) != 0 {
            self.run.store(0, Relaxed);
        }
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_ack)]
mod tests {
    use super::*;

    fn learn(acks: &AckPredictor, count: u32) {
        for _ in 0..count {
            acks.one_segment();
        }
    }

    #[test]
    fn a_run_of_single_segments_allows_it() {
        let acks = AckPredictor::new();
        learn(&acks, LEAST - 1);
        assert!(!acks.may_delay());
        learn(&acks, 1);
        assert!(acks.may_delay());
        learn(&acks, 10 * MOST);
        assert!(acks.may_delay());
    }

    #[test]
    fn one_request_of_more_ends_it() {
        let acks = AckPredictor::new();
        learn(&acks, LEAST);
        acks.more_segments();
        assert!(!acks.may_delay());
        learn(&acks, LEAST);
        assert!(!acks.may_delay());
        learn(&acks, LEAST);
        assert!(acks.may_delay());
    }

    #[test]
    fn what_was_not_delayed_costs_nothing() {
        let acks = AckPredictor::new();
        for _ in 0..100 {
            acks.more_segments();
        }
        learn(&acks, LEAST);
        assert!(acks.may_delay());
    }

    #[test]
    fn it_is_tried_ever_less_often_among_requests_of_both_kinds() {
        let acks = AckPredictor::new();
        let mut harmed = 0;
        for number in 1..=100_000 {
            if number % 20 == 0 {
                harmed += u32::from(acks.may_delay());
                acks.more_segments();
            } else {
                acks.one_segment();
            }
        }
        assert_eq!(harmed, 1);
    }

    #[test]
    fn it_forgets_in_time() {
        let acks = AckPredictor::new();
        for _ in 0..20 {
            learn(&acks, MOST);
            assert!(acks.may_delay());
            acks.more_segments();
        }
        learn(&acks, MOST);
        assert!(acks.may_delay());
        learn(&acks, 8 * MOST);
        acks.more_segments();
        learn(&acks, 2 * LEAST);
        assert!(acks.may_delay());
    }
}
