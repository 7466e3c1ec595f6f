// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Time: of the card, and of the timestamps that peers see (RFC 7323).

use core::sync::atomic::{AtomicU32, Ordering};

/// Time since the card started, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// Whole milliseconds, modulo 2^32.
    pub const fn millis(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }
}

/// The host's timestamp clock, which ticks in milliseconds.
///
/// The host sets it now and then, as the two clocks drift. It goes on from the card's clock in between.
#[derive(Debug, Default)]
pub struct HostClock {
    /// Milliseconds that the host's clock is ahead of the card's, modulo 2^32.
    ahead: AtomicU32,
}

impl HostClock {
    /// Says that the host's clock is `host_ms` at `now`.
    pub fn set(&self, now: Instant, host_ms: u32) {
        let ahead = host_ms.wrapping_sub(now.millis());
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// The host's clock at `now`.
    pub fn at(&self, now: Instant) -> u32 {
        now.millis()
            .wrapping_add(self.ahead.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_from_where_it_was_set() {
        let clock = HostClock::default();
        clock.set(Instant(5_000_000), u32::MAX - 1);
        assert_eq!(clock.at(Instant(5_000_000)), u32::MAX - 1);
        assert_eq!(clock.at(Instant(8_999_999)), 1);
    }
}
