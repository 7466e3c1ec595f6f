// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Time: of the card, and of the timestamps that peers see (RFC 7323).

use crate::hash::{HalfSipHash, Key};
use crate::wire::ip::Addresses;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Time since the card started, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// Whole milliseconds, modulo 2^32.
    pub const fn millis(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }
}

/// The latest time that a worker has worked at.
///
/// Workers look at the clock now and then, each for itself, and one may be held up between. The peer of a connection that
/// several of them have worked on must not see that: what carries an older timestamp is dropped (RFC 7323).
#[derive(Debug, Default)]
pub(crate) struct Latest(AtomicU64);

impl Latest {
    /// `now`, or the latest time if that is a later millisecond. What a lock keeps apart has its times in order, if each asks
    /// while it holds the lock.
    pub(crate) fn of(&self, now: Instant) -> Instant {
        const MS: u64 = 1_000_000;
        let millis = now.0 / MS;
        // Most calls of a millisecond only look.
        let latest = self.0.load(Ordering::Relaxed);
        if millis > latest {
            return match self.0.fetch_max(millis, Ordering::Relaxed) {
                other if other > millis => Instant(other * MS),
                _ => now,
            };
        }
        Instant(now.0.max(latest * MS))
    }
}

/// The host's timestamp clock, which ticks in milliseconds.
///
/// The host sets it now and then, as the two clocks drift. It goes on from the card's clock in between.
///
/// Peers do not see this clock, but one with an [offset](pair_offset) of their own.
#[derive(Debug, Default)]
pub struct HostClock {
    /// Milliseconds that the host's clock is ahead of the card's, modulo 2^32.
    ahead: AtomicU32,
    /// What the offsets are made with.
    secret: AtomicU64,
}

/// Offset of the timestamps between two addresses, as Linux' `secure_tcp_ts_off()` has it: no peer learns how long the
/// host is up, or what another peer sees (RFC 7323 section 5.4), and timestamps between the two still grow from one
/// connection to the next, whatever the client's port.
pub fn pair_offset(secret: Key, addresses: &Addresses) -> u32 {
    // With this word no input is as long as one that a cookie is made of.
    const OFFSET: u32 = u32::from_le_bytes(*b"toff");
    let hash: HalfSipHash = HalfSipHash::new(secret);
    match addresses {
        Addresses::V4 { src, dst } => hash.bytes(src).bytes(dst),
        Addresses::V6 { src, dst } => hash.bytes(src).bytes(dst),
    }
    .word(OFFSET)
    .finish()
}

impl HostClock {
    /// Says that the host's clock is `host_ms` at `now`.
    pub fn set(&self, now: Instant, host_ms: u32) {
        let ahead = host_ms.wrapping_sub(now.millis());
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Takes `key` as secret of the offsets, if it has none. Offsets stay as they are when keys change, so that
    /// connections do.
    pub fn salt(&self, key: Key) {
        let _ = self
            .secret
            .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Milliseconds that timestamps between `addresses` (the peer's first) are ahead of the host's clock.
    pub fn offset(&self, addresses: &Addresses) -> u32 {
        pair_offset(self.secret.load(Ordering::Relaxed), addresses)
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
    fn each_pair_has_an_offset_that_stays() {
        let pair = |last| Addresses::V4 {
            src: [10, 0, 0, last],
            dst: [10, 0, 1, 1],
        };
        let clock = HostClock::default();
        clock.salt(5);
        let offsets = [1, 2].map(|last| clock.offset(&pair(last)));
        assert_ne!(offsets[0], offsets[1]);
        assert_ne!(clock.offset(&pair(1).answer()), offsets[0]);
        clock.salt(6);
        assert_eq!(clock.offset(&pair(1)), offsets[0]);
        assert_ne!(pair_offset(6, &pair(1)), offsets[0]);
    }

    #[test]
    fn goes_on_from_where_it_was_set() {
        let clock = HostClock::default();
        clock.set(Instant(5_000_000), u32::MAX - 1);
        assert_eq!(clock.at(Instant(5_000_000)), u32::MAX - 1);
        assert_eq!(clock.at(Instant(8_999_999)), 1);
    }
}
