// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of pairs.
//!
//! In IMEM a pair has two entries in hash chains (entry `2 * pair + end` is found by the tuple of the frames of that
//! end's peer), its bits of the wheel, and what a segment of IPv4 takes ([`Hot`]). Addresses of IPv6, statistics and what is
//! seldom needed are in EMEM.
//!
//! # Locks
//!
//! A pair has one lock, in the word with its state. Who has it has all of the pair in both memories to himself. The lock of a chain
//! may be taken by who has one of a pair, never the other way round, and nobody has two of a kind. So who finds an entry
//! in a chain lets go of the chain, takes the pair, and looks whether it is the same yet. The tuples of a pair are written
//! before it is put into chains, and stay until it is taken out.

use super::pair::{flag, Hot, Last, Pair, State};
use super::residual::Residual;
use crate::chains::Chains;
use crate::clock::Instant;
use crate::cookie::Tuple;
use crate::hash::{HalfSipHash, Key};
use crate::memory::{Partition, Region, Usage};
use crate::path::Path;
use crate::wheel::Wheel;
use crate::wire::ip::Addresses;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use zerocopy::transmute;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// Nanoseconds of a tick of the wheel.
const TICK_NS: u64 = 32_000_000;
/// Tries for the lock of a pair; see [`crate::chains`].
const SPINS: u32 = 1 << 22;

const HOT: usize = size_of::<Hot>() / size_of::<u64>();
const LAST: usize = size_of::<Last>() / size_of::<u64>();
const COLD: usize = size_of::<Cold>() / size_of::<u64>();
/// The word of [`Hot`] with the state and the lock.
const STATE: usize = HOT - 1;

/// The part in EMEM that few segments need.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
pub(super) struct Cold {
    /// How frames get to each end.
    pub(super) paths: [Path; 2],
    pub(super) residual: [Residual; 2],
    pub(super) generation: u32,
    pub(super) idle_ms: u32,
    pub(super) linger_ms: u32,
    /// When lingering ends, or the host is told again.
    pub(super) until: u32,
    /// What the wheel was armed for.
    pub(super) due: u32,
    pub(super) armed: u8,
    pub(super) slot: u8,
    /// What the host has not been told: kind and reason of the event, and whose fault it was.
    pub(super) owed: u8,
    pub(super) reason: u8,
    pub(super) second: u8,
    pub(super) reserved: [u8; 3],
    /// When the card last answered a segment that was no use.
    pub(super) answered: u32,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    capacity: u32,
    chains: Chains,
    wheel: Wheel,
    of_chains: Region,
    of_wheel: Region,
    of_hot: Region,
    of_last: Region,
    of_cold: Region,
    salt: AtomicU64,
    used: AtomicU32,
    states: [AtomicU32; State::ALL.len()],
    refused: AtomicU32,
}

/// A pair that is locked; dropped, it is free.
pub(super) struct Guard<'m> {
    word: &'m AtomicU64,
    /// What is in the word without the lock.
    state: u64,
    pub(super) number: u32,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.word.store(self.state, Ordering::Release);
    }
}

/// The state word of `hot`.
const fn state_word(hot: &Hot) -> u64 {
    // As the words of the structure are laid out in memory.
    let (low, high) = (hot.flags as u64, hot.heard as u64);
    if cfg!(target_endian = "little") {
        high << 32 | low
    } else {
        low << 32 | high
    }
}

/// The bit of the lock in it.
const LOCKED: u64 = state_word(&Hot {
    flags: flag::LOCKED,
    keys: [[0; 2]; 2],
    macs: [[[0; 6]; 2]; 2],
    seq_delta: [0; 2],
    ts_delta: [0; 2],
    acked: [0; 2],
    high: [0; 2],
    ttl: [0; 2],
    class: [0; 2],
    snd_wscale: [0; 2],
    rcv_wscale: [0; 2],
    heard: 0,
});

/// A tuple packed; of IPv6 ports and VLANs alone.
pub(super) fn key(tuple: &Tuple) -> [u64; 2] {
    /// In the VLANs: the addresses are elsewhere.
    const V6: u64 = 1 << 31;
    let vlan = |id: Option<u16>| u64::from(id.unwrap_or(0));
    let vlans = vlan(tuple.vlans[0]) << 16 | vlan(tuple.vlans[1]);
    let rest = u64::from(tuple.src_port) << 48 | u64::from(tuple.dst_port) << 32 | vlans;
    match tuple.addresses {
        Addresses::V4 { src, dst } => {
            let [src, dst] = [src, dst].map(|address| u64::from(u32::from_be_bytes(address)));
            [src << 32 | dst, rest]
        }
        Addresses::V6 { .. } => [0, rest | V6],
    }
}

impl Table {
    /// Words of IMEM that a table of `capacity` takes.
    pub(super) const fn words(capacity: u32) -> usize {
        let [chains, wheel, hot] = Self::parts(capacity);
        chains + wheel + hot
    }

    /// Words of EMEM.
    pub(super) const fn emem_words(capacity: u32) -> usize {
        capacity as usize * (LAST + COLD)
    }

    const fn parts(capacity: u32) -> [usize; 3] {
        [
            Chains::words(capacity.saturating_mul(2)),
            Wheel::words(capacity),
            capacity as usize * HOT,
        ]
    }

    /// An empty table in the next parts of both memories.
    pub(super) fn new(
        (imem, in_imem): (&[AtomicU64], &mut Partition),
        (emem, in_emem): (&[AtomicU64], &mut Partition),
        capacity: u32,
    ) -> Self {
        let [of_chains, of_wheel, of_hot] = Self::parts(capacity).map(|words| in_imem.take(words));
        let [of_last, of_cold] = [LAST, COLD].map(|words| in_emem.take(capacity as usize * words));
        for word in of_hot.of(imem) {
            word.store(0, Ordering::Relaxed);
        }
        for word in of_last.of(emem).iter().chain(of_cold.of(emem)) {
            word.store(0, Ordering::Relaxed);
        }
        Self {
            capacity,
            chains: Chains::new(of_chains.of(imem), capacity.saturating_mul(2)),
            wheel: Wheel::new(of_wheel.of(imem), capacity, TICK_NS),
            of_chains,
            of_wheel,
            of_hot,
            of_last,
            of_cold,
            ..Self::default()
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            words: Self::words(self.capacity),
            used: self.used.load(Ordering::Relaxed),
            capacity: self.capacity,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many pairs are in each state in which a number is taken.
    pub(super) fn by_state(&self) -> [(State, u32); State::ALL.len()] {
        let mut states = State::ALL.iter().zip(&self.states);
        State::ALL.map(|state| {
            let count = states.next().map_or(0, |(_, n)| n.load(Ordering::Relaxed));
            (state, count)
        })
    }

    /// A pair changes from one state to the other.
    pub(super) fn moved(&self, old: State, new: State) {
        let cell = |state| {
            let place = State::ALL.iter().position(|other| *other == state)?;
            self.states.get(place)
        };
        if old == new {
            return;
        }
        match cell(new) {
            Some(count) => count.fetch_add(1, Ordering::Relaxed),
            None => self.used.fetch_sub(1, Ordering::Relaxed),
        };
        match cell(old) {
            Some(count) => count.fetch_sub(1, Ordering::Relaxed),
            None => self.used.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Takes `key` as salt, if there is none and nothing is in the table.
    pub(super) fn salt(&self, key: Key) {
        if self.is_empty() {
            let _ = self
                .salt
                .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn hash(&self, tuple: &Tuple) -> u32 {
        let salt = self.salt.load(Ordering::Relaxed);
        tuple.hash_into(HalfSipHash::new(salt)).finish()
    }

    fn hot<'m>(&self, imem: &'m [AtomicU64], number: u32) -> Option<&'m [AtomicU64; HOT]> {
        let start = (number as usize).checked_mul(HOT)?;
        self.of_hot.of(imem).get(start..)?.first_chunk()
    }

    /// Locks the pair `number`. `None` when somebody has it for too long, or there is no such number.
    pub(super) fn lock<'m>(&self, imem: &'m [AtomicU64], number: u32) -> Option<Guard<'m>> {
        let word = &self.hot(imem, number)?[STATE];
        for _ in 0..SPINS {
            if word.load(Ordering::Relaxed) & LOCKED == 0 {
                let state = word.fetch_or(LOCKED, Ordering::Acquire);
                if state & LOCKED == 0 {
                    return Some(Guard {
                        word,
                        state,
                        number,
                    });
                }
            }
            core::hint::spin_loop();
        }
        None
    }

    /// What every segment needs of the pair.
    pub(super) fn load(
        &self,
        imem: &[AtomicU64],
        emem: &[AtomicU64],
        guard: &Guard<'_>,
    ) -> Option<Pair> {
        let hot = self.hot(imem, guard.number)?;
        let mut words: [u64; HOT] =
            core::array::from_fn(|place| hot[place].load(Ordering::Relaxed));
        words[STATE] = guard.state;
        let last = load::<LAST>(self.of_last.of(emem), guard.number)?;
        Some(Pair {
            hot: transmute!(words),
            last: transmute!(last),
        })
    }

    pub(super) fn save(
        &self,
        imem: &[AtomicU64],
        emem: &[AtomicU64],
        guard: &mut Guard<'_>,
        pair: &Pair,
    ) {
        let words: [u64; HOT] = transmute!(pair.hot);
        for (slot, word) in self
            .hot(imem, guard.number)
            .into_iter()
            .flatten()
            .zip(words)
            .take(STATE)
        {
            slot.store(word, Ordering::Relaxed);
        }
        guard.state = state_word(&pair.hot) & !LOCKED;
        let words: [u64; LAST] = transmute!(pair.last);
        store(self.of_last.of(emem), guard.number, &words);
    }

    pub(super) fn cold(&self, emem: &[AtomicU64], number: u32) -> Option<Cold> {
        let words = load::<COLD>(self.of_cold.of(emem), number)?;
        Some(transmute!(words))
    }

    pub(super) fn save_cold(&self, emem: &[AtomicU64], number: u32, cold: &Cold) {
        let words: [u64; COLD] = transmute!(*cold);
        store(self.of_cold.of(emem), number, &words);
    }

    /// Whether the entry of a pair's end is of `tuple`.
    fn is_of(
        &self,
        imem: &[AtomicU64],
        emem: &[AtomicU64],
        entry: u32,
        key: &[u64; 2],
        tuple: &Tuple,
    ) -> bool {
        let (number, end) = (entry / 2, entry as usize % 2);
        let same = self.hot(imem, number).is_some_and(|hot| {
            (0..2).all(|word| hot[2 * end + word].load(Ordering::Relaxed) == key[word])
        });
        same && match tuple.addresses {
            Addresses::V4 { .. } => true,
            Addresses::V6 { .. } => self
                .cold(emem, number)
                .is_some_and(|cold| cold.paths[end].tuple() == *tuple),
        }
    }

    /// Locks the pair of which `tuple` is an end, and says which. `Err` when a lock was held for too long.
    pub(super) fn find<'m>(
        &self,
        imem: &'m [AtomicU64],
        emem: &[AtomicU64],
        tuple: &Tuple,
    ) -> Result<Option<(Guard<'m>, usize)>, Busy> {
        let (key, hash) = (key(tuple), self.hash(tuple));
        let chain = self
            .chains
            .lock(self.of_chains.of(imem), hash)
            .ok_or(Busy)?;
        let is_of = |entry| self.is_of(imem, emem, entry, &key, tuple);
        let entry = chain.find(is_of);
        drop(chain);
        let Some(entry) = entry else {
            return Ok(None);
        };
        let guard = self.lock(imem, entry / 2).ok_or(Busy)?;
        // Another worker may have ended it in between.
        let live = self.chains.hash_of(self.of_chains.of(imem), entry) == Some(hash);
        Ok((live && is_of(entry)).then_some((guard, entry as usize % 2)))
    }

    /// Puts both ends of a pair, whose parts are saved, into their chains. False when one of the tuples is there already, and
    /// nothing is changed.
    pub(super) fn enlist(
        &self,
        imem: &[AtomicU64],
        emem: &[AtomicU64],
        guard: &Guard<'_>,
        tuples: &[Tuple; 2],
    ) -> Result<bool, Busy> {
        for (end, tuple) in tuples.iter().enumerate() {
            let entry = 2 * guard.number + end as u32;
            let chain = self
                .chains
                .lock(self.of_chains.of(imem), self.hash(tuple))
                .ok_or(Busy);
            let key = key(tuple);
            let done = chain.map(|mut chain| {
                let known = chain.find(|entry| self.is_of(imem, emem, entry, &key, tuple));
                if known.is_none() {
                    chain.insert(entry);
                }
                known.is_none()
            });
            if done != Ok(true) {
                self.strike(imem, guard);
                return done;
            }
        }
        Ok(true)
    }

    /// Takes the ends of a pair out of their chains.
    pub(super) fn strike(&self, imem: &[AtomicU64], guard: &Guard<'_>) {
        let words = self.of_chains.of(imem);
        for entry in [2 * guard.number, 2 * guard.number + 1] {
            let Some(hash) = self.chains.hash_of(words, entry) else {
                continue;
            };
            // An entry that stayed would keep the number out of use, so this waits; whoever has a chain takes nothing else.
            let mut chain = loop {
                if let Some(chain) = self.chains.lock(words, hash) {
                    break chain;
                }
            };
            chain.remove(entry);
        }
    }

    /// Sees to it that the timer of a pair comes up at `due` (milliseconds), if so.
    pub(super) fn arm(
        &self,
        imem: &[AtomicU64],
        now: Instant,
        number: u32,
        due: Option<u32>,
        cold: &mut Cold,
    ) {
        let words = self.of_wheel.of(imem);
        if cold.armed != 0 {
            if due == Some(cold.due) {
                return;
            }
            self.wheel.disarm(words, number, cold.slot);
            cold.armed = 0;
        }
        if let Some(due) = due {
            let left = due.wrapping_sub(now.millis()) as i32;
            let at = Instant(now.0 + u64::try_from(left).unwrap_or(0) * 1_000_000);
            cold.due = due;
            cold.slot = self.wheel.arm(words, number, at);
            cold.armed = 1;
        }
    }

    /// Calls `fire` with each pair whose timer may have come.
    pub(super) fn scan(&self, imem: &[AtomicU64], now: Instant, fire: impl FnMut(u32, u8)) {
        self.wheel.scan(self.of_wheel.of(imem), now, 0, fire);
    }

    /// Has the pair come up again at the next tick.
    pub(super) fn again(&self, imem: &[AtomicU64], now: Instant, number: u32) {
        self.wheel.arm(self.of_wheel.of(imem), number, now);
    }
}

/// A lock was held for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

fn load<const N: usize>(words: &[AtomicU64], number: u32) -> Option<[u64; N]> {
    let words: &[AtomicU64; N] = words.get(number as usize * N..)?.first_chunk()?;
    Some(core::array::from_fn(|place| {
        words[place].load(Ordering::Relaxed)
    }))
}

fn store<const N: usize>(words: &[AtomicU64], number: u32, values: &[u64; N]) {
    let slots = words.get(number as usize * N..).unwrap_or_default();
    for (slot, value) in slots.iter().zip(values) {
        slot.store(*value, Ordering::Relaxed);
    }
}
