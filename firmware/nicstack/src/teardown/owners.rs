// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whose connections have ended, for a host that limits how many of an owner's the card ends
//! (`acceltcp_abi::teardown`, "Owners").
//!
//! Any worker counts, and one at a time tells the host. A bit says that a count has changed since it was told: it is set
//! behind the count, and cleared before the count is read, so that no change is missed.

use acceltcp_abi::teardown::{OwnerCredits, OWNERS};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Maximum number of notices at once: each takes a descriptor of the host's ring.
const MOST: usize = 32;

/// Flows that have ended, by their owners.
#[derive(Debug)]
pub(super) struct Owners {
    /// The driver asked for them.
    on: AtomicBool,
    done: [AtomicU32; OWNERS],
    untold: [AtomicU64; OWNERS / 64],
}

impl Default for Owners {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            done: [const { AtomicU32::new(0) }; OWNERS],
            untold: [const { AtomicU64::new(0) }; OWNERS / 64],
        }
    }
}

impl Owners {
    /// Says whether the driver asked for them; counting starts anew.
    pub(super) fn attach(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
        for count in &self.done {
            count.store(0, Ordering::Relaxed);
        }
        for word in &self.untold {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The owner that the host names: 0 if the driver did not ask for owners, `None` if there is none of this number.
    pub(super) fn named(&self, owner: u16) -> Option<u16> {
        if !self.on.load(Ordering::Relaxed) {
            return Some(0);
        }
        (usize::from(owner) < OWNERS).then_some(owner)
    }

    /// Counts a flow of `owner` that has ended.
    pub(super) fn ended(&self, owner: u16) {
        let place = usize::from(owner);
        let (Some(count), Some(word)) = (self.done.get(place), self.untold.get(place / 64)) else {
            return;
        };
        if owner != 0 {
            count.fetch_add(1, Ordering::Relaxed);
            word.fetch_or(1 << (place % 64), Ordering::Release);
        }
    }

    /// Calls `tell` for owners whose counts have changed, until it fails. Returns whether there may be others.
    pub(super) fn tell(&self, mut tell: impl FnMut(&OwnerCredits) -> bool) -> bool {
        let mut left = MOST;
        for (index, word) in self.untold.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                if left == 0 {
                    return true;
                }
                left -= 1;
                let bit = bits & bits.wrapping_neg();
                bits ^= bit;
                word.fetch_and(!bit, Ordering::Acquire);
                let place = index * 64 + bit.trailing_zeros() as usize;
                let count = self.done.get(place);
                let notice = OwnerCredits {
                    version: OwnerCredits::VERSION,
                    reserved: 0,
                    owner: (place as u16).into(),
                    flows: count
                        .map_or(0, |count| count.load(Ordering::Relaxed))
                        .into(),
                };
                if !tell(&notice) {
                    word.fetch_or(bit, Ordering::Relaxed);
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn told(owners: &Owners) -> (Vec<(u16, u32)>, bool) {
        let mut all = Vec::new();
        let more = owners.tell(|notice| {
            assert!(notice.is_valid());
            all.push((notice.owner.get(), notice.flows.get()));
            true
        });
        (all, more)
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let owners = Owners::default();
        owners.attach(true);
        for owner in [0, 1, 1, 64, 255, 256, u16::MAX] {
            owners.ended(owner);
        }
        assert_eq!(told(&owners), ([(1, 2), (64, 1), (255, 1)].into(), false));
        assert_eq!(told(&owners), (Vec::new(), false));
        owners.ended(64);
        assert_eq!(told(&owners), ([(64, 2)].into(), false));
    }

    #[test]
    fn what_does_not_get_through_is_told_again() {
        let owners = Owners::default();
        owners.ended(3);
        owners.ended(4);
        assert!(owners.tell(|_| false));
        assert_eq!(told(&owners).0, [(3, 1), (4, 1)]);
    }

    #[test]
    fn many_are_told_bit_by_bit() {
        let owners = Owners::default();
        for owner in 1..OWNERS as u16 {
            owners.ended(owner);
        }
        let mut all = Vec::new();
        loop {
            let (some, more) = told(&owners);
            assert!(some.len() <= MOST);
            all.extend(some);
            if !more {
                break;
            }
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), OWNERS - 1);
    }

    #[test]
    fn owners_are_named_by_drivers_that_asked() {
        let owners = Owners::default();
        assert_eq!(owners.named(7), Some(0));
        owners.attach(true);
        assert_eq!((owners.named(7), owners.named(256)), (Some(7), None));
        owners.ended(7);
        owners.attach(true);
        assert_eq!(told(&owners).0, []);
    }
}
