// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that the host opens from the port of a listener rule.
//!
//! If the peer opens the connection at the same time (simultaneous open, RFC 9293 section 3.5), its
//! SYN is for the host's socket in SYN-SENT, not for the listener. This table holds the peers to
//! which the host has sent a SYN lately; their SYNs go to the host.
//!
//! It is a cache of sets of four words, in which the oldest entry makes room. The listener rule
//! answers the SYN of an evicted peer. An entry is one word, so that no update is ever torn. Its
//! time wraps after 512 s: an old entry may then send a SYN to the host once more, which answers
//! it.
//!
//! ```text
//!  63 ... 8 | 7 ... 0
//!    tag    | time, 2 s
//! ```

use crate::clock::Instant;
use crate::cookie::Tuple;
use crate::hash::{HalfSipHash, Key};
use crate::memory::Region;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Words in a set.
const WAYS: usize = 4;
/// Maximum number of words in the table.
const MOST: usize = 512;

const TIME_MASK: u64 = 0xff;
const TAG_SHIFT: u32 = 8;

/// Nanoseconds in a unit of time.
const UNIT_NS: u64 = 2_000_000_000;
/// Units for which an entry is valid. Longer than the 64 s between the last two SYNs that Linux
/// sends by default (`net.ipv4.tcp_syn_retries` of 6), and than the 127 s after which it gives up.
const LIFE: u64 = 66;

/// The table.
#[derive(Debug, Default)]
pub struct Connecting {
    region: Region,
    /// An entry was written since the table was cleared.
    used: AtomicBool,
    salt: AtomicU64,
}

/// The set of a tuple, and its tag there.
struct Place<'m> {
    set: &'m [AtomicU64],
    tag: u64,
}

fn time(now: Instant) -> u64 {
    (now.0 / UNIT_NS) & TIME_MASK
}

fn age(word: u64, time: u64) -> u64 {
    time.wrapping_sub(word) & TIME_MASK
}

impl Connecting {
    /// Words of the table for a NIC with room for `listeners` rules.
    pub const fn words(listeners: u32) -> usize {
        if listeners == 0 {
            return 0;
        }
        let wanted = (listeners as usize).next_power_of_two();
        if wanted < WAYS {
            WAYS
        } else if wanted > MOST {
            MOST
        } else {
            wanted
        }
    }

    /// An empty table in `region` of `memory`.
    pub fn new(region: Region, memory: &[AtomicU64]) -> Self {
        let table = Self {
            region,
            ..Self::default()
        };
        table.clear(memory);
        table
    }

    /// Removes all entries.
    pub fn clear(&self, memory: &[AtomicU64]) {
        for word in self.region.of(memory) {
            word.store(0, Ordering::Relaxed);
        }
        self.used.store(false, Ordering::Relaxed);
    }

    /// Takes `key` as salt of the table, if it has none, so that peers cannot choose which tuples
    /// share a set.
    pub fn salt(&self, key: Key) {
        let _ = self
            .salt
            .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn place<'m>(&self, memory: &'m [AtomicU64], tuple: &Tuple) -> Option<Place<'m>> {
        let words = self.region.of(memory);
        let sets = words.len() / WAYS;
        let hash = tuple.hash_into(HalfSipHash::new(self.salt.load(Ordering::Relaxed)));
        let set = hash.finish() as usize % sets.max(1);
        let set = words.get(set * WAYS..(set + 1) * WAYS)?;
        let tag = u64::from(hash.word(0).finish()) | u64::from(hash.word(1).finish()) << 32;
        // Never 0, the word of a free entry.
        let tag = tag << TAG_SHIFT | 1 << TAG_SHIFT;
        Some(Place { set, tag })
    }

    /// Enters the peer of a SYN that the host sends at `now`; `tuple` is that of frames from the
    /// peer.
    pub fn remember(&self, memory: &[AtomicU64], now: Instant, tuple: &Tuple) {
        let Some(Place { set, tag }) = self.place(memory, tuple) else {
            return;
        };
        let now = time(now);
        // The entry of the tuple itself, then a free one, then the oldest.
        let slot = set
            .iter()
            .max_by_key(|slot| match slot.load(Ordering::Relaxed) {
                0 => TIME_MASK + 1,
                word if word & !TIME_MASK == tag => TIME_MASK + 2,
                word => age(word, now),
            });
        if let Some(slot) = slot {
            slot.store(tag | now, Ordering::Relaxed);
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the host has sent a SYN to the peer of `tuple` within the last 132 s; `tuple` is that of
    /// frames from the peer.
    pub fn has(&self, memory: &[AtomicU64], now: Instant, tuple: &Tuple) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            return false;
        }
        let Some(Place { set, tag }) = self.place(memory, tuple) else {
            return false;
        };
        set.iter().any(|slot| {
            let word = slot.load(Ordering::Relaxed);
            word & !TIME_MASK == tag && age(word, time(now)) <= LIFE
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::memory::Partition;
    use crate::wire::ip::Addresses;
    use std::vec::Vec;

    const NOW: Instant = Instant(254 * UNIT_NS);

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

    fn table(listeners: u32) -> (Vec<AtomicU64>, Connecting) {
        let words = Connecting::words(listeners);
        let memory: Vec<_> = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
        let region = Partition::new(words).take(words);
        let table = Connecting::new(region, &memory);
        table.salt(0x1234);
        (memory, table)
    }

    #[test]
    fn remembers_for_a_while() {
        let (memory, table) = table(64);
        let later = |units: u64| Instant(NOW.0 + units * UNIT_NS);
        assert!(!table.has(&memory, NOW, &tuple(1)));
        table.remember(&memory, NOW, &tuple(1));
        assert!(table.has(&memory, later(LIFE), &tuple(1)));
        assert!(!table.has(&memory, NOW, &tuple(2)));
        assert!(!table.has(&memory, later(LIFE + 1), &tuple(1)));
        // A SYN that is sent again counts anew.
        table.remember(&memory, later(30), &tuple(1));
        assert!(table.has(&memory, later(LIFE + 1), &tuple(1)));
        table.clear(&memory);
        assert!(!table.has(&memory, NOW, &tuple(1)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let (memory, table) = table(1);
        let later = |units: u64| Instant(NOW.0 + units * UNIT_NS);
        for port in 0..=WAYS as u16 {
            table.remember(&memory, later(u64::from(port)), &tuple(port));
        }
        assert!(!table.has(&memory, later(5), &tuple(0)));
        assert!((1..=WAYS as u16).all(|port| table.has(&memory, later(5), &tuple(port))));
    }

    #[test]
    fn no_table() {
        let (memory, table) = table(0);
        table.remember(&memory, NOW, &tuple(1));
        assert!(!table.has(&memory, NOW, &tuple(1)));
    }
}
