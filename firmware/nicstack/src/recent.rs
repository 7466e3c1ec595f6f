// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that were delivered lately, against replays.
//!
//! A cookie can be shown again as long as it lives. While the host has the connection it takes a duplicate
//! of the first segment like any other. After the end of the connection, a duplicate that the network held back
//! would make the host create it, and an application carry out a request, a second time. This table
//! remembers the cookies that were delivered, and which of their connections have ended since: by a FIN or
//! RST of the host, or an RST of the client. Their frames are no longer marked.
//!
//! It is a cache of sets of four words, in which the oldest makes room. What it has forgotten is as safe
//! as any SYN cookie. An entry is one word, so that no update is ever torn.
//!
//! ```text
//!  63 ... 32 | 31 .. 8 | 7 ..... 1 | 0
//!   cookie   |  tag    | time, 2 s | ended
//! ```

use crate::clock::Instant;
use crate::cookie::{Tuple, STEPS, STEP_NS};
use crate::hash::{HalfSipHash, Key};
use crate::memory::{Region, Usage};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Words of a set.
const WAYS: usize = 4;

const ENDED: u64 = 1;
const TIME_SHIFT: u32 = 1;
const TIME_MASK: u64 = 0x7f;
const TAG_SHIFT: u32 = 8;
const TAG_MASK: u64 = 0xff_ffff;
const COOKIE_SHIFT: u32 = 32;

/// Nanoseconds of a unit of time.
const UNIT_NS: u64 = 2_000_000_000;
/// Units after which no cookie is good any more.
const LIFE: u64 = STEP_NS * STEPS as u64 / UNIT_NS + 1;

/// The table.
#[derive(Debug, Default)]
pub struct Recent {
    region: Region,
    capacity: u32,
    used: AtomicU32,
    evicted: AtomicU32,
    salt: AtomicU64,
}

/// Where a tuple belongs.
struct Place<'m> {
    set: &'m [AtomicU64],
    tag: u64,
}

fn tag(word: u64) -> u64 {
    word >> TAG_SHIFT & TAG_MASK
}

fn time(now: Instant) -> u64 {
    (now.0 / UNIT_NS) & TIME_MASK
}

fn age(word: u64, time: u64) -> u64 {
    time.wrapping_sub(word >> TIME_SHIFT) & TIME_MASK
}

impl Recent {
    const fn capacity(wanted: u32) -> u32 {
        if wanted == 0 {
            0
        } else {
            let capacity = wanted.next_power_of_two();
            if capacity < WAYS as u32 {
                WAYS as u32
            } else {
                capacity
            }
        }
    }

    /// Words that a table of `wanted` entries takes.
    pub const fn words(wanted: u32) -> usize {
        Self::capacity(wanted) as usize
    }

    /// An empty table of `wanted` entries in `region` of `memory`.
    pub fn new(region: Region, memory: &[AtomicU64], wanted: u32) -> Self {
        let table = Self {
            region,
            capacity: Self::capacity(wanted),
            ..Self::default()
        };
        table.clear(memory);
        table
    }

    /// Forgets all entries.
    pub fn clear(&self, memory: &[AtomicU64]) {
        for word in self.region.of(memory) {
            word.store(0, Ordering::Relaxed);
        }
        self.used.store(0, Ordering::Relaxed);
    }

    /// Takes `key` as salt of the table, if it has none: peers cannot choose who shares a set.
    pub fn salt(&self, key: Key) {
        let _ = self
            .salt
            .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// What the table uses. Refused entries are those that made room too early.
    pub fn usage(&self) -> Usage {
        Usage {
            words: self.capacity as usize,
            used: self.used.load(Ordering::Relaxed),
            capacity: self.capacity,
            refused: self.evicted.load(Ordering::Relaxed),
        }
    }

    fn place<'m>(&self, memory: &'m [AtomicU64], tuple: &Tuple) -> Option<Place<'m>> {
        let sets = self.capacity as usize / WAYS;
        let hash = tuple.hash_into(HalfSipHash::new(self.salt.load(Ordering::Relaxed)));
        let set = hash.finish() as usize % sets.max(1);
        let set = self.region.of(memory).get(set * WAYS..(set + 1) * WAYS)?;
        let tag = u64::from(hash.word(0).finish()) & TAG_MASK;
        Some(Place { set, tag })
    }

    /// Remembers that the connection of `cookie` is delivered at `now`. False when it has ended already.
    pub fn deliver(&self, memory: &[AtomicU64], now: Instant, tuple: &Tuple, cookie: u32) -> bool {
        let Some(Place { set, tag }) = self.place(memory, tuple) else {
            return true;
        };
        let now = time(now);
        let mut oldest = (&set[0], 0, 0);
        for slot in set {
            let word = slot.load(Ordering::Relaxed);
            let live = word != 0 && age(word, now) <= LIFE;
            if live && self::tag(word) == tag {
                if (word >> COOKIE_SHIFT) as u32 == cookie {
                    return word & ENDED == 0;
                }
                // An earlier connection of the tuple: the client may reuse it only after its end.
                oldest = (slot, word, u64::MAX);
            }
            let age = if live { age(word, now) } else { u64::MAX - 1 };
            if age >= oldest.2 {
                oldest = (slot, word, age);
            }
        }
        let (slot, old, age) = oldest;
        let new = u64::from(cookie) << COOKIE_SHIFT | tag << TAG_SHIFT | now << TIME_SHIFT;
        // A worker that was faster has written about another connection; that one is remembered instead.
        let written = slot
            .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if written && old == 0 {
            self.used.fetch_add(1, Ordering::Relaxed);
        } else if written && age < LIFE {
            let evicted = self.evicted.load(Ordering::Relaxed);
            self.evicted
                .store(evicted.saturating_add(1), Ordering::Relaxed);
        }
        true
    }

    /// Remembers that the connection of `tuple` has ended, if it is known.
    pub fn end(&self, memory: &[AtomicU64], tuple: &Tuple) {
        let Some(Place { set, tag }) = self.place(memory, tuple) else {
            return;
        };
        for slot in set {
            let word = slot.load(Ordering::Relaxed);
            if word != 0 && self::tag(word) == tag {
                // Fails only when another worker has just written a newer connection.
                let _ =
                    slot.compare_exchange(word, word | ENDED, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::memory::Partition;
    use crate::wire::ip::Addresses;
    use std::vec::Vec;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            addresses: Addresses::V4 {
                src: [10, 0, 0, 1],
                dst: [10, 0, 0, 2],
            },
            src_port: port,
            dst_port: 80,
            vlans: [None; 2],
        }
    }

    fn table(wanted: u32) -> (Vec<AtomicU64>, Recent) {
        let words = Recent::words(wanted);
        let memory: Vec<_> = (0..words).map(|_| AtomicU64::new(3)).collect();
        let region = Partition::new(words).take(words);
        let table = Recent::new(region, &memory, wanted);
        table.salt(0x1234);
        (memory, table)
    }

    const NOW: Instant = Instant(77 * UNIT_NS);

    #[test]
    fn a_connection_that_ended_is_not_delivered_again() {
        let (memory, table) = table(64);
        assert!(table.deliver(&memory, NOW, &tuple(1), 5));
        assert!(
            table.deliver(&memory, NOW, &tuple(1), 5),
            "the host may have had no room for it"
        );
        table.end(&memory, &tuple(2));
        assert!(table.deliver(&memory, NOW, &tuple(1), 5));
        table.end(&memory, &tuple(1));
        assert!(!table.deliver(&memory, NOW, &tuple(1), 5));
        assert_eq!(table.usage().used, 1);
    }

    #[test]
    fn the_next_connection_of_a_tuple_is_another() {
        let (memory, table) = table(64);
        assert!(table.deliver(&memory, NOW, &tuple(1), 5));
        table.end(&memory, &tuple(1));
        assert!(table.deliver(&memory, NOW, &tuple(1), 6));
        assert!(table.deliver(&memory, NOW, &tuple(1), 6));
        table.end(&memory, &tuple(1));
        assert!(!table.deliver(&memory, NOW, &tuple(1), 6));
        assert_eq!(table.usage().used, 1, "in the same place");
    }

    #[test]
    fn the_oldest_makes_room() {
        let (memory, table) = table(WAYS as u32);
        let later = |units: u64| Instant(NOW.0 + units * UNIT_NS);
        for port in 0..WAYS as u16 {
            table.deliver(&memory, later(u64::from(port)), &tuple(port), 5);
            table.end(&memory, &tuple(port));
        }
        assert_eq!(table.usage().refused, 0);
        table.deliver(&memory, later(10), &tuple(9), 5);
        assert_eq!(table.usage().refused, 1);
        assert!(!table.deliver(&memory, later(10), &tuple(1), 5));
        assert!(table.deliver(&memory, later(10), &tuple(0), 5), "forgotten");
    }

    #[test]
    fn entries_outlive_their_cookies_only() {
        let (memory, table) = table(64);
        table.deliver(&memory, NOW, &tuple(1), 5);
        table.end(&memory, &tuple(1));
        let at = |ns: u64| Instant(NOW.0 + ns);
        assert!(!table.deliver(&memory, at(120_000_000_000), &tuple(1), 5));
        assert!(table.deliver(&memory, at(130_000_000_000), &tuple(1), 5));
    }

    #[test]
    fn no_table() {
        let (memory, table) = table(0);
        assert!(table.deliver(&memory, NOW, &tuple(1), 5));
        table.end(&memory, &tuple(1));
        assert!(table.is_empty());
    }
}
