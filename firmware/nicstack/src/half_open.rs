// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Half-open connections of servers that speak first.
//!
//! A client whose final ACK is lost waits for the server's greeting, and the server, which knows nothing of the
//! client, for the ACK: a SYN cookie alone would hang for ever. For such listeners the SYN-ACK is kept and
//! sent again, 1, 3, 7, 15 and 31 s after the SYN as by Linux, until an ACK or RST comes. A client that is
//! established answers any SYN-ACK with its ACK (RFC 9293 section 3.10.7.4). When there is no room the
//! answer is stateless.
//!
//! The table is a hash with `Chains`, whose locks are held for some ten loads and stores. Who does not get one in
//! time does without the entry, which costs a retransmission at most. Timers are in a [`Wheel`].

use crate::chains::{Chain, Chains, Pool};
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

/// Words of an entry: the SYN-ACK, [`STATE`].
const ENTRY: usize = SynAck::WORDS + 1;
/// The slot of the timer, retransmissions so far, and the time of the next.
const STATE: usize = SynAck::WORDS;
const SLOT_SHIFT: u32 = 40;
const RETRIES_SHIFT: u32 = 32;

/// Nanoseconds of a tick of the wheel: what a retransmission may be late by, beside the time between polls.
const TICK_NS: u64 = 32_000_000;
const MS: u64 = 1_000_000;

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
    chains: Chains,
    pool: Pool,
    wheel: Wheel,
    used: AtomicU32,
    refused: AtomicU32,
    salt: AtomicU64,
}

/// The words of the table.
struct Parts<'m> {
    chains: &'m [AtomicU64],
    entries: &'m [AtomicU64],
    wheel: &'m [AtomicU64],
}

impl<'m> Parts<'m> {
    fn entry(&self, number: u32) -> Option<&'m Entry> {
        let start = (number as usize).checked_mul(ENTRY)?;
        self.entries.get(start..)?.first_chunk()
    }
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

impl HalfOpen {
    /// Words that a table of `capacity` entries takes.
    pub const fn words(capacity: u32) -> usize {
        Chains::words(capacity) + capacity as usize * ENTRY + Wheel::words(capacity)
    }

    /// An empty table of `capacity` entries in `region` of `memory`.
    pub fn new(region: Region, memory: &[AtomicU64], capacity: u32) -> Self {
        let parts = Self::split(region.of(memory), capacity);
        Self {
            region,
            chains: Chains::new(parts.chains, capacity),
            pool: Pool::new(capacity),
            wheel: Wheel::new(parts.wheel, capacity, TICK_NS),
            ..Self::default()
        }
    }

    fn split(words: &[AtomicU64], capacity: u32) -> Parts<'_> {
        let (chains, rest) = words.split_at(words.len().min(Chains::words(capacity)));
        let (entries, wheel) = rest.split_at(rest.len().min(capacity as usize * ENTRY));
        Parts {
            chains,
            entries,
            wheel,
        }
    }

    fn parts<'m>(&self, memory: &'m [AtomicU64]) -> Parts<'m> {
        Self::split(self.region.of(memory), self.chains.capacity())
    }

    /// Arms the timer of an entry that has been sent again `retries` times, and is to be next at `deadline`.
    fn arm(&self, parts: &Parts<'_>, now: Instant, number: u32, retries: u32, deadline: u32) {
        let left = deadline.wrapping_sub(now.millis()) as i32;
        let at = Instant(now.0 + u64::try_from(left).unwrap_or(0) * MS);
        let slot = self.wheel.arm(parts.wheel, number, at);
        let state = u64::from(slot) << SLOT_SHIFT
            | u64::from(retries) << RETRIES_SHIFT
            | u64::from(deadline);
        if let Some(entry) = parts.entry(number) {
            entry[STATE].store(state, Ordering::Relaxed);
        }
    }

    fn disarm(&self, parts: &Parts<'_>, number: u32, entry: &Entry) {
        let slot = slot_of(entry[STATE].load(Ordering::Relaxed));
        self.wheel.disarm(parts.wheel, number, slot);
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
        let capacity = self.chains.capacity();
        Usage {
            words: Self::words(capacity),
            used: self.used.load(Ordering::Relaxed),
            capacity,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Locks the chain of `tuple`.
    fn lock<'m>(&self, parts: &Parts<'m>, tuple: &Tuple) -> Option<Chain<'m>> {
        let hash = tuple.hash_into(HalfSipHash::new(self.salt.load(Ordering::Relaxed)));
        self.chains.lock(parts.chains, hash.finish())
    }

    /// The entry of `tuple` in its chain.
    fn find<'m>(
        parts: &Parts<'m>,
        chain: &Chain<'_>,
        tuple: &Tuple,
    ) -> Option<(u32, &'m Entry, SynAck)> {
        let mut found = None;
        chain.find(|number| {
            found = parts
                .entry(number)
                .map(|entry| (number, entry, syn_ack(entry)))
                .filter(|(_, _, syn_ack)| syn_ack.tuple() == *tuple);
            found.is_some()
        });
        found
    }

    /// Keeps `syn_ack`, which is sent now.
    pub fn keep(&self, memory: &[AtomicU64], now: Instant, new: &SynAck) -> Kept {
        let kept = self.try_keep(&self.parts(memory), now, new);
        kept.unwrap_or_else(|| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Kept::Full
        })
    }

    fn try_keep(&self, parts: &Parts<'_>, now: Instant, new: &SynAck) -> Option<Kept> {
        let deadline = now.millis().wrapping_add(FIRST_RETRY_MS);
        let tuple = new.tuple();
        let mut chain = self.lock(parts, &tuple)?;
        let (number, entry) = match Self::find(parts, &chain, &tuple) {
            Some((_, _, old)) if old.isn == new.isn => return Some(Kept::Known),
            Some((number, entry, _)) => {
                self.disarm(parts, number, entry);
                (number, entry)
            }
            None => {
                let word = |number| self.chains.word(parts.chains, number);
                let number = self.pool.take(word)?;
                self.used.fetch_add(1, Ordering::Relaxed);
                chain.insert(number);
                (number, parts.entry(number)?)
            }
        };
        fill(entry, new);
        self.arm(parts, now, number, 0, deadline);
        Some(Kept::New)
    }

    /// Forgets the connection of `tuple` if the client's ISN is `isn`, and says whether there was one.
    pub fn forget(&self, memory: &[AtomicU64], tuple: &Tuple, isn: u32) -> bool {
        let parts = self.parts(memory);
        let Some(mut chain) = self.lock(&parts, tuple) else {
            return false;
        };
        match Self::find(&parts, &chain, tuple) {
            Some((number, entry, syn_ack)) if syn_ack.isn == isn => {
                self.remove(&parts, &mut chain, number, entry);
                true
            }
            _ => false,
        }
    }

    /// Forgets all connections.
    pub fn clear(&self, memory: &[AtomicU64]) {
        let parts = self.parts(memory);
        for number in 0..self.chains.capacity() {
            if let Some((mut chain, entry)) = self.locked(&parts, number).flatten() {
                self.remove(&parts, &mut chain, number, entry);
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

    /// The entry `number` with the lock of its chain, if it is in one. `None` when the chain is busy.
    fn locked<'m>(&self, parts: &Parts<'m>, number: u32) -> Option<Option<(Chain<'m>, &'m Entry)>> {
        let Some(hash) = self.chains.hash_of(parts.chains, number) else {
            return Some(None);
        };
        let chain = self.chains.lock(parts.chains, hash)?;
        let found = chain.find(|other| other == number);
        let entry = found.and_then(|number| parts.entry(number));
        Some(entry.map(|entry| (chain, entry)))
    }

    /// The timer of the entry `number` came up in `slot`.
    fn fire(&self, parts: &Parts<'_>, now: Instant, number: u32, slot: u8) -> Option<Due> {
        let Some(found) = self.locked(parts, number) else {
            // Another time.
            self.wheel.arm(parts.wheel, number, now);
            return None;
        };
        let (mut chain, entry) = found?;
        let old = entry[STATE].load(Ordering::Relaxed);
        let retries = (old >> RETRIES_SHIFT & 0xff) as u32;
        let deadline = old as u32;
        if (now.millis().wrapping_sub(deadline) as i32) < 0 {
            // It goes round; unless this was an older timer.
            if slot_of(old) == slot {
                self.arm(parts, now, number, retries, deadline);
            }
            return None;
        }
        if retries >= RETRIES {
            self.remove(parts, &mut chain, number, entry);
            return Some(Due::TimedOut);
        }
        self.disarm(parts, number, entry);
        // From when it should have been: what a tick adds does not add up.
        let next = deadline.wrapping_add(FIRST_RETRY_MS << (retries + 1));
        self.arm(parts, now, number, retries + 1, next);
        Some(Due::Retransmit(syn_ack(entry)))
    }

    /// Takes an entry out of its chain and frees it.
    fn remove(&self, parts: &Parts<'_>, chain: &mut Chain<'_>, number: u32, entry: &Entry) {
        self.disarm(parts, number, entry);
        let word = self.chains.word(parts.chains, number);
        if let (true, Some(word)) = (chain.remove(number), word) {
            self.pool.give(number, word);
            self.used.fetch_sub(1, Ordering::Relaxed);
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
