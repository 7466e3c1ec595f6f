// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Half-open connections of servers that speak first.
//!
//! A client whose final ACK is lost waits for the server's greeting, and the server, which knows nothing of the
//! client, for the ACK: a SYN cookie alone would hang for ever. For such listeners the SYN-ACK is kept and
//! sent again, 1, 3, 7, 15 and 31 s after the SYN as by Linux, until an ACK or RST comes. A client that is
//! established answers any SYN-ACK with its ACK (RFC 9293 section 3.10.7.4). When there is no room the
//! answer is stateless.
//!
//! The table is a hash with chains over a fixed number of entries, a lock in each chain's head, and a
//! list of free entries. A lock is held for some ten loads and stores. Who does not get it in time does
//! without the entry, which costs a retransmission at most. Timers are in a [`Wheel`].

use crate::clock::Instant;
use crate::cookie::Tuple;
use crate::hash::{HalfSipHash, Key};
use crate::memory::{Region, Usage};
use crate::synack::SynAck;
use crate::wheel::Wheel;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How often a SYN-ACK is sent again (`tcp_synack_retries` of Linux).
pub const RETRIES: u32 = 5;
/// Milliseconds to the first retransmission (RFC 6298); doubled each time.
pub const FIRST_RETRY_MS: u32 = 1000;

/// Words of an entry: the SYN-ACK, [`LINK`], [`STATE`].
const ENTRY: usize = 12;
/// Number of the next entry plus 1; 0 ends the chain.
const LINK: usize = SynAck::WORDS;
/// 0 in a free entry; otherwise [`USED`], the slot of the timer, retransmissions so far, and the time of the next.
const STATE: usize = LINK + 1;
const USED: u64 = 1 << 63;
const SLOT_SHIFT: u32 = 40;
const RETRIES_SHIFT: u32 = 32;

/// Nanoseconds of a tick of the wheel: what a retransmission may be late by, beside the time between polls.
const TICK_NS: u64 = 32_000_000;
const MS: u64 = 1_000_000;

/// In a head: the chain is locked.
const LOCKED: u64 = 1 << 63;
/// Tries for a lock.
const SPINS: usize = 1000;

/// What became of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has an entry now.
    New,
    /// It was sent again; the entry that it has goes on.
    Known,
    /// It has none.
    Full,
}

/// What is to be done with an entry whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The SYN-ACK is to be sent again.
    Retransmit(SynAck),
    /// It was sent often enough; the entry is gone.
    TimedOut,
}

type Entry = [AtomicU64; ENTRY];

/// The table.
#[derive(Debug, Default)]
pub struct HalfOpen {
    region: Region,
    capacity: u32,
    buckets: u32,
    used: AtomicU32,
    refused: AtomicU32,
    salt: AtomicU64,
    /// Number of the first free entry plus 1 in the low half, in the high half a count of the changes.
    free: AtomicU64,
    wheel: Wheel,
}

/// The words of the table.
struct Parts<'m> {
    heads: &'m [AtomicU64],
    entries: &'m [AtomicU64],
    wheel: &'m [AtomicU64],
}

fn entry(entries: &[AtomicU64], link: u64) -> Option<&Entry> {
    let place = usize::try_from(link.checked_sub(1)?).ok()?;
    entries.get(place.checked_mul(ENTRY)?..)?.first_chunk()
}

fn syn_ack(entry: &Entry) -> SynAck {
    SynAck::from_words(&core::array::from_fn(|word| {
        entry[word].load(Ordering::Relaxed)
    }))
}

fn fill(entry: &Entry, syn_ack: &SynAck) {
    for (slot, word) in entry.iter().zip(syn_ack.words()) {
        slot.store(word, Ordering::Relaxed);
    }
}

/// The slot in a state.
fn slot_of(state: u64) -> u8 {
    (state >> SLOT_SHIFT & 0xff) as u8
}

fn is_due(state: u64, now: Instant) -> bool {
    state & USED != 0 && now.millis().wrapping_sub(state as u32) as i32 >= 0
}

impl HalfOpen {
    const fn buckets(capacity: u32) -> u32 {
        if capacity == 0 {
            0
        } else {
            capacity.next_power_of_two()
        }
    }

    /// Words that a table of `capacity` entries takes.
    pub const fn words(capacity: u32) -> usize {
        Self::buckets(capacity) as usize + capacity as usize * ENTRY + Wheel::words(capacity)
    }

    /// An empty table of `capacity` entries in `region` of `memory`.
    pub fn new(region: Region, memory: &[AtomicU64], capacity: u32) -> Self {
        let mut table = Self {
            region,
            capacity,
            buckets: Self::buckets(capacity),
            ..Self::default()
        };
        let Parts {
            heads,
            entries,
            wheel,
        } = table.parts(memory);
        table.wheel = Wheel::new(wheel, capacity, TICK_NS);
        for head in heads {
            head.store(0, Ordering::Relaxed);
        }
        for (place, entry) in entries.chunks_exact(ENTRY).enumerate() {
            let next = (place + 2) as u64;
            let last = next > u64::from(capacity);
            entry[STATE].store(0, Ordering::Relaxed);
            entry[LINK].store(if last { 0 } else { next }, Ordering::Relaxed);
        }
        table
            .free
            .store(u64::from(capacity.min(1)), Ordering::Release);
        table
    }

    fn parts<'m>(&self, memory: &'m [AtomicU64]) -> Parts<'m> {
        let words = self.region.of(memory);
        let (heads, rest) = words.split_at(words.len().min(self.buckets as usize));
        let (entries, wheel) = rest.split_at(rest.len().min(self.capacity as usize * ENTRY));
        Parts {
            heads,
            entries,
            wheel,
        }
    }

    /// Arms the timer of an entry that has been sent again `retries` times, and is to be next at `deadline`.
    fn arm(
        &self,
        wheel: &[AtomicU64],
        now: Instant,
        link: u64,
        entry: &Entry,
        retries: u32,
        deadline: u32,
    ) {
        let left = deadline.wrapping_sub(now.millis()) as i32;
        let at = Instant(now.0 + u64::try_from(left).unwrap_or(0) * MS);
        let slot = self.wheel.arm(wheel, (link - 1) as u32, at);
        let state = USED
            | u64::from(slot) << SLOT_SHIFT
            | u64::from(retries) << RETRIES_SHIFT
            | u64::from(deadline);
        entry[STATE].store(state, Ordering::Release);
    }

    fn disarm(&self, wheel: &[AtomicU64], link: u64, entry: &Entry) {
        let slot = slot_of(entry[STATE].load(Ordering::Relaxed));
        self.wheel.disarm(wheel, (link - 1) as u32, slot);
    }

    /// Takes `key` as salt of the table, if it has none: peers cannot choose who shares a chain.
    pub fn salt(&self, key: Key) {
        let _ = self
            .salt
            .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether no connection is half open.
    pub fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// What the table uses.
    pub fn usage(&self) -> Usage {
        Usage {
            words: Self::words(self.capacity),
            used: self.used.load(Ordering::Relaxed),
            capacity: self.capacity,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Runs `f` on the number of the first entry of the tuple's chain, while nobody else uses the chain.
    fn locked<R>(
        &self,
        heads: &[AtomicU64],
        tuple: &Tuple,
        f: impl FnOnce(&mut u64) -> R,
    ) -> Option<R> {
        let hash = tuple.hash_into(HalfSipHash::new(self.salt.load(Ordering::Relaxed)));
        let head = heads.get((hash.finish() & self.buckets.wrapping_sub(1)) as usize)?;
        for _ in 0..SPINS {
            let before = head.fetch_or(LOCKED, Ordering::Acquire);
            if before & LOCKED == 0 {
                let mut first = before;
                let result = f(&mut first);
                head.store(first & !LOCKED, Ordering::Release);
                return Some(result);
            }
            core::hint::spin_loop();
        }
        None
    }

    /// The entry of `tuple` in the chain from `first`, with the number of the one in front of it (0 for none).
    fn find<'m>(
        &self,
        entries: &'m [AtomicU64],
        first: u64,
        tuple: &Tuple,
    ) -> Option<(u64, u64, &'m Entry)> {
        let (mut before, mut link) = (0, first);
        for _ in 0..self.capacity {
            let entry = entry(entries, link)?;
            if syn_ack(entry).tuple() == *tuple {
                return Some((before, link, entry));
            }
            before = link;
            link = entry[LINK].load(Ordering::Relaxed);
        }
        None
    }

    /// Keeps `syn_ack`, which is sent now.
    pub fn keep(&self, memory: &[AtomicU64], now: Instant, new: &SynAck) -> Kept {
        let parts = self.parts(memory);
        let (entries, wheel) = (parts.entries, parts.wheel);
        let deadline = now.millis().wrapping_add(FIRST_RETRY_MS);
        let tuple = new.tuple();
        let kept = self.locked(parts.heads, &tuple, |first| {
            if let Some((_, link, entry)) = self.find(entries, *first, &tuple) {
                if syn_ack(entry).isn == new.isn {
                    return Kept::Known;
                }
                self.disarm(wheel, link, entry);
                fill(entry, new);
                self.arm(wheel, now, link, entry, 0, deadline);
                return Kept::New;
            }
            let Some((link, entry)) = self.pop(entries) else {
                return Kept::Full;
            };
            entry[LINK].store(*first, Ordering::Relaxed);
            fill(entry, new);
            self.arm(wheel, now, link, entry, 0, deadline);
            *first = link;
            self.used.fetch_add(1, Ordering::Relaxed);
            Kept::New
        });
        let kept = kept.unwrap_or(Kept::Full);
        if kept == Kept::Full {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        kept
    }

    /// Forgets the connection of `tuple` if the client's ISN is `isn`, and says whether there was one.
    pub fn forget(&self, memory: &[AtomicU64], tuple: &Tuple, isn: u32) -> bool {
        let parts = self.parts(memory);
        let forgotten = self.locked(parts.heads, tuple, |first| {
            match self.find(parts.entries, *first, tuple) {
                Some((before, link, entry)) if syn_ack(entry).isn == isn => {
                    self.unlink(&parts, first, before, link, entry);
                    true
                }
                _ => false,
            }
        });
        forgotten.unwrap_or(false)
    }

    /// Forgets all connections.
    pub fn clear(&self, memory: &[AtomicU64]) {
        for entry in self.parts(memory).entries.chunks_exact(ENTRY) {
            let Some(entry) = entry.first_chunk::<ENTRY>() else {
                continue;
            };
            if entry[STATE].load(Ordering::Acquire) & USED != 0 {
                let syn_ack = syn_ack(entry);
                self.forget(memory, &syn_ack.tuple(), syn_ack.isn);
            }
        }
    }

    /// Calls `f` for each entry whose time has come at `now`.
    pub fn poll(&self, memory: &[AtomicU64], now: Instant, mut f: impl FnMut(Due)) {
        if self.is_empty() {
            return;
        }
        let parts = self.parts(memory);
        self.wheel.scan(parts.wheel, now, 0, |number, slot| {
            if let Some(due) = self.fire(&parts, now, number, slot) {
                f(due);
            }
        });
    }

    /// The timer of the entry `number` came up in `slot`.
    fn fire(&self, parts: &Parts<'_>, now: Instant, number: u32, slot: u8) -> Option<Due> {
        let (entries, wheel) = (parts.entries, parts.wheel);
        let candidate = entry(entries, u64::from(number) + 1)?;
        if candidate[STATE].load(Ordering::Acquire) & USED == 0 {
            return None;
        }
        // Without the lock this may be a mixture of two entries: then it is not found below, and who writes the
        // other one arms its timer.
        let tuple = syn_ack(candidate).tuple();
        let due = self.locked(parts.heads, &tuple, |first| {
            let (before, link, entry) = self.find(entries, *first, &tuple)?;
            let old = entry[STATE].load(Ordering::Relaxed);
            let retries = (old >> RETRIES_SHIFT & 0xff) as u32;
            let deadline = old as u32;
            if !is_due(old, now) {
                // It goes round; unless this was an older timer.
                if link == u64::from(number) + 1 && slot_of(old) == slot {
                    self.arm(wheel, now, link, entry, retries, deadline);
                }
                return None;
            }
            if retries >= RETRIES {
                self.unlink(parts, first, before, link, entry);
                return Some(Due::TimedOut);
            }
            self.disarm(wheel, link, entry);
            // From when it should have been: what a tick adds does not add up.
            let next = deadline.wrapping_add(FIRST_RETRY_MS << (retries + 1));
            self.arm(wheel, now, link, entry, retries + 1, next);
            Some(Due::Retransmit(syn_ack(entry)))
        });
        if due.is_none() {
            // The chain is busy: another time.
            self.wheel.arm(wheel, number, now);
        }
        due.flatten()
    }

    /// Takes `entry` out of its locked chain and frees it.
    fn unlink(&self, parts: &Parts<'_>, first: &mut u64, before: u64, link: u64, removed: &Entry) {
        self.disarm(parts.wheel, link, removed);
        let next = removed[LINK].load(Ordering::Relaxed);
        match entry(parts.entries, before) {
            Some(before) => before[LINK].store(next, Ordering::Relaxed),
            None => *first = next,
        }
        removed[STATE].store(0, Ordering::Relaxed);
        self.push(removed, link);
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes an entry from the list of free ones.
    fn pop<'m>(&self, entries: &'m [AtomicU64]) -> Option<(u64, &'m Entry)> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let link = head & 0xffff_ffff;
            let entry = entry(entries, link)?;
            let next = entry[LINK].load(Ordering::Relaxed) & 0xffff_ffff;
            // The count of changes fails the exchange when the entry was taken and freed in between.
            let new = ((head >> 32).wrapping_add(1) << 32) | next;
            match self
                .free
                .compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some((link, entry)),
                Err(now) => head = now,
            }
        }
    }

    /// Puts an entry on the list of free ones.
    fn push(&self, entry: &Entry, link: u64) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            entry[LINK].store(head & 0xffff_ffff, Ordering::Relaxed);
            let new = ((head >> 32).wrapping_add(1) << 32) | link;
            match self
                .free
                .compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
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

    fn syn_ack(port: u16, isn: u32) -> SynAck {
        SynAck {
            macs: [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]],
            tags: [None; 2],
            addresses: Addresses::V4 {
                src: [10, 0, 0, 1],
                dst: [10, 0, 0, 2],
            },
            ports: [port, 25],
            isn,
            cookie: 7,
            mss: 1460,
            window: 64_240,
            ttl: 64,
            dscp: 0,
            wscale: None,
            sack: false,
            ecn: false,
            stamps: None,
        }
    }

    fn table(capacity: u32) -> (Vec<AtomicU64>, HalfOpen) {
        let words = HalfOpen::words(capacity);
        let memory: Vec<_> = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
        let region = Partition::new(words).take(words);
        let table = HalfOpen::new(region, &memory, capacity);
        table.salt(0x1234);
        (memory, table)
    }

    const NOW: Instant = Instant(1_000_000);

    fn after(ms: u64) -> Instant {
        Instant(NOW.0 + ms * 1_000_000)
    }

    #[test]
    fn retransmits_as_linux() {
        let (memory, table) = table(4);
        assert_eq!(table.keep(&memory, NOW, &syn_ack(1, 5)), Kept::New);
        let mut sent = Vec::new();
        let mut end = None;
        for ms in (0..100_000).step_by(100) {
            table.poll(&memory, after(ms), |due| match due {
                Due::Retransmit(again) => {
                    assert_eq!(again, syn_ack(1, 5));
                    sent.push(ms);
                }
                Due::TimedOut => end = Some(ms),
            });
        }
        // A tick of the wheel, and a step of the test.
        let late = |expected: u64, at: u64| (expected..=expected + 32 + 100).contains(&at);
        let expected = [1000, 3000, 7000, 15_000, 31_000];
        assert_eq!(sent.len(), expected.len());
        assert!(
            expected.into_iter().zip(&sent).all(|(e, at)| late(e, *at)),
            "{sent:?}"
        );
        assert!(end.is_some_and(|end| late(63_000, end)), "{end:?}");
        assert!(table.is_empty());
    }

    #[test]
    fn holds_exactly_its_capacity() {
        let (memory, table) = table(100);
        for port in 0..100 {
            assert_eq!(table.keep(&memory, NOW, &syn_ack(port, 5)), Kept::New);
        }
        assert_eq!(table.keep(&memory, NOW, &syn_ack(100, 5)), Kept::Full);
        assert_eq!(table.usage().refused, 1);
        assert_eq!(table.keep(&memory, NOW, &syn_ack(50, 5)), Kept::Known);
        assert!(!table.forget(&memory, &syn_ack(50, 5).tuple(), 6));
        assert!(table.forget(&memory, &syn_ack(50, 5).tuple(), 5));
        assert!(!table.forget(&memory, &syn_ack(50, 5).tuple(), 5));
        assert_eq!(table.keep(&memory, NOW, &syn_ack(100, 5)), Kept::New);
        table.clear(&memory);
        assert!(table.is_empty());
        for port in 0..100 {
            assert_eq!(table.keep(&memory, NOW, &syn_ack(port, 5)), Kept::New);
        }
    }

    #[test]
    fn a_new_attempt_of_the_client_starts_again() {
        let (memory, table) = table(4);
        table.keep(&memory, NOW, &syn_ack(1, 5));
        assert_eq!(table.keep(&memory, after(900), &syn_ack(1, 6)), Kept::New);
        assert_eq!(table.usage().used, 1);
        let mut due = 0;
        table.poll(&memory, after(1000), |_| due += 1);
        assert_eq!(due, 0);
        table.poll(&memory, after(1950), |_| due += 1);
        assert_eq!(due, 1);
    }

    #[test]
    fn no_table() {
        let (memory, table) = table(0);
        assert_eq!(table.keep(&memory, NOW, &syn_ack(1, 5)), Kept::Full);
        assert!(!table.forget(&memory, &syn_ack(1, 5).tuple(), 5));
        table.poll(&memory, after(9000), |_| panic!());
    }

    #[test]
    fn workers_share_the_table() {
        const EACH: u16 = 2000;
        let (memory, table) = table(64);
        std::thread::scope(|scope| {
            for worker in 0..3u16 {
                let (memory, table) = (&memory, &table);
                scope.spawn(move || {
                    for round in 0..EACH {
                        let new = syn_ack(worker * EACH + round % 16, u32::from(round));
                        if table.keep(memory, NOW, &new) == Kept::New && round % 3 != 0 {
                            table.forget(memory, &new.tuple(), new.isn);
                        }
                        table.poll(memory, after(u64::from(round)), |_| {});
                    }
                });
            }
        });
        table.clear(&memory);
        assert!(table.is_empty());
        // No entry was lost.
        for port in 0..64 {
            assert_eq!(table.keep(&memory, NOW, &syn_ack(port, 5)), Kept::New);
        }
        assert_eq!(table.keep(&memory, NOW, &syn_ack(64, 5)), Kept::Full);
    }
}
