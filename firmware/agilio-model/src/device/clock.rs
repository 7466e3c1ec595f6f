// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the stack has to do by time alone. While that is nothing, nothing wakes up.

use super::card::Card;
use std::time::{Duration, Instant};

/// How often the stack is told the time.
const PERIOD: Duration = Duration::from_millis(20);

impl Card {
    /// Sees to it that the stack is told the time, if it waits for that. To be called when it may have begun to
    /// wait, and when an obstacle to packet work is gone.
    pub(super) fn start_clock(&self) {
        if self.nic.needs_poll() {
            self.clock.arm(Instant::now() + PERIOD);
        }
    }

    /// The thread that tells the stack the time. Returns after [`Card::stop_clock`].
    pub fn serve_clock(&self) {
        self.clock.serve(|now| self.tick().then(|| now + PERIOD));
    }

    /// Ends [`Card::serve_clock`], for good.
    pub fn stop_clock(&self) {
        self.clock.stop();
    }
}
