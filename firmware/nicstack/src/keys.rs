// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The two keys of cookies.
//!
//! Cookies are made with the current key and say by one bit which of the two they were made with. Rotation
//! replaces the older one, so that a cookie is good until the second rotation after it was made.
//! Workers read without locks; the control path is the only writer.

use crate::hash::Key;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// In the state: the number of the current key.
const CURRENT: u32 = 1;
/// In the state: key 0 is good; key 1 is the next bit.
const GOOD: u32 = 2;

/// The current and the previous key.
#[derive(Debug, Default)]
pub struct Keys {
    slots: [AtomicU64; 2],
    state: AtomicU32,
}

impl Keys {
    /// Makes `key` the only one.
    pub fn set(&self, key: Key) {
        self.renew(key, false);
    }

    /// Makes `key` the current one and keeps the one before.
    pub fn rotate(&self, key: Key) {
        self.renew(key, true);
    }

    /// Forgets both keys.
    pub fn clear(&self) {
        self.state.store(0, Ordering::Release);
        for slot in &self.slots {
            slot.store(0, Ordering::Release);
        }
    }

    fn renew(&self, key: Key, keep: bool) {
        let state = self.state.load(Ordering::Acquire);
        let old = state & CURRENT;
        let new = old ^ 1;
        // Nobody makes cookies with this slot now. Old ones that name it fail from here on, as they must.
        self.slots[new as usize].store(key, Ordering::Release);
        let kept = if keep { state & GOOD << old } else { 0 };
        self.state
            .store(new | GOOD << new | kept, Ordering::Release);
    }

    /// Number (0 or 1) and value of the key for new cookies, if one was set.
    pub fn current(&self) -> Option<(u32, Key)> {
        let number = self.state.load(Ordering::Acquire) & CURRENT;
        Some((number, self.get(number)?))
    }

    /// The key with `number`, of which only the lowest bit counts.
    pub fn get(&self, number: u32) -> Option<Key> {
        let number = number & 1;
        let good = self.state.load(Ordering::Acquire) & GOOD << number != 0;
        good.then(|| self.slots[number as usize].load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_one_old_key() {
        let keys = Keys::default();
        assert_eq!(keys.current(), None);
        keys.rotate(11);
        let (first, key) = keys.current().unwrap();
        assert_eq!(key, 11);
        assert_eq!(keys.get(first ^ 1), None, "no key 0 by accident");
        keys.rotate(22);
        assert_eq!(keys.current(), Some((first ^ 1, 22)));
        assert_eq!(keys.get(first), Some(11));
        keys.rotate(33);
        assert_eq!(keys.current(), Some((first, 33)));
        assert_eq!(keys.get(first ^ 1), Some(22));
    }

    #[test]
    fn set_drops_the_old_key() {
        let keys = Keys::default();
        keys.set(11);
        let (old, _) = keys.current().unwrap();
        keys.set(22);
        assert_eq!(keys.get(old), None);
        assert_eq!(keys.current(), Some((old ^ 1, 22)));
        keys.clear();
        assert_eq!((keys.get(0), keys.get(1)), (None, None));
    }
}
