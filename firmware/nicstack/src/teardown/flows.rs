// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of connections that the card ends.
//!
//! In IMEM an entry has a word of its chain and its bits of the wheel, 16 bytes with its share of the heads; what is
//! needed only once a segment was found to belong to it is in EMEM. The lock of the chain guards all of it.

use super::tcb::{State, Tcb, Timer};
use crate::buffers::Data;
use crate::chains::{Chain, Chains, Pool};
use crate::clock::Instant;
use crate::cookie::Tuple;
use crate::memory::{Region, Usage};
use crate::path::Path;
use crate::wheel::Wheel;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use zerocopy::transmute;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// Nanoseconds of a tick of the wheel: what a retransmission may be late by, beside the time between polls.
const TICK_NS: u64 = 32_000_000;

/// Words of a [`Record`].
pub(super) const WORDS: usize = size_of::<Record>() / size_of::<u64>();

/// An entry as it is in EMEM.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
pub(super) struct Record {
    pub(super) tcb: Tcb,
    pub(super) path: Path,
    first: u32,
    len: u32,
}

impl Record {
    pub(super) const fn new(tcb: Tcb, path: Path, data: Data) -> Self {
        Self {
            tcb,
            path,
            first: data.first,
            len: data.len,
        }
    }

    pub(super) const fn data(&self) -> Data {
        Data {
            first: self.first,
            len: self.len,
        }
    }

    /// Takes the data away.
    pub(super) fn take_data(&mut self) -> Data {
        let data = self.data();
        (self.first, self.len) = (0, 0);
        data
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Flows {
    chains: Chains,
    wheel: Wheel,
    pool: Pool,
    of_chains: Region,
    of_wheel: Region,
    records: Region,
    used: AtomicU32,
    /// Of these, how many are in each state.
    states: [AtomicU32; State::ALL.len()],
    refused: AtomicU32,
}

impl Flows {
    /// Words of IMEM and EMEM that a table of `capacity` takes.
    pub(super) const fn words(capacity: u32) -> [usize; 2] {
        [
            Chains::words(capacity) + Wheel::words(capacity),
            capacity as usize * WORDS,
        ]
    }

    /// An empty table whose chains, wheel and records are in these regions.
    pub(super) fn new(
        imem: &[AtomicU64],
        [of_chains, of_wheel]: [Region; 2],
        records: Region,
        capacity: u32,
    ) -> Self {
        Self {
            chains: Chains::new(of_chains.of(imem), capacity),
            wheel: Wheel::new(of_wheel.of(imem), capacity, TICK_NS),
            pool: Pool::new(capacity),
            of_chains,
            of_wheel,
            records,
            used: AtomicU32::new(0),
            states: Default::default(),
            refused: AtomicU32::new(0),
        }
    }

    /// Words of the chains and of the wheel.
    pub(super) const fn parts(capacity: u32) -> [usize; 2] {
        [Chains::words(capacity), Wheel::words(capacity)]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    pub(super) fn usage(&self) -> Usage {
        let capacity = self.chains.capacity();
        Usage {
            words: Self::words(capacity)[0],
            used: self.used.load(Ordering::Relaxed),
            capacity,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// How many entries are in each state. They move on meanwhile: only without workers do they add up.
    pub(super) fn by_state(&self) -> [(State, u32); State::ALL.len()] {
        State::ALL.map(|state| (state, self.states[state as usize].load(Ordering::Relaxed)))
    }

    /// The state of an entry is another one now.
    pub(super) fn moved(&self, old: State, new: State) {
        if old != new {
            self.states[new as usize].fetch_add(1, Ordering::Relaxed);
            self.states[old as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lock<'m>(&self, imem: &'m [AtomicU64], hash: u32) -> Option<Chain<'m>> {
        self.chains.lock(self.of_chains.of(imem), hash)
    }

    fn record<'m>(&self, emem: &'m [AtomicU64], number: u32) -> Option<&'m [AtomicU64; WORDS]> {
        let start = (number as usize).checked_mul(WORDS)?;
        self.records.of(emem).get(start..)?.first_chunk()
    }

    fn load(&self, emem: &[AtomicU64], number: u32) -> Option<Record> {
        let record = self.record(emem, number)?;
        let words: [u64; WORDS] =
            core::array::from_fn(|place| record[place].load(Ordering::Relaxed));
        Some(transmute!(words))
    }

    pub(super) fn save(&self, emem: &[AtomicU64], number: u32, record: &Record) {
        let words: [u64; WORDS] = transmute!(*record);
        for (slot, word) in self.record(emem, number).into_iter().flatten().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// The entry of `tuple` in its chain.
    pub(super) fn find(
        &self,
        emem: &[AtomicU64],
        chain: &Chain<'_>,
        tuple: &Tuple,
    ) -> Option<(u32, Record)> {
        let mut found = None;
        chain.find(|number| {
            found = self
                .load(emem, number)
                .filter(|record| record.path.tuple() == *tuple)
                .map(|record| (number, record));
            found.is_some()
        });
        found
    }

    /// The entry `number`, if it is in `chain`.
    pub(super) fn entry(
        &self,
        emem: &[AtomicU64],
        chain: &Chain<'_>,
        number: u32,
    ) -> Option<Record> {
        chain.find(|other| other == number)?;
        self.load(emem, number)
    }

    /// The hash of the entry `number`, while there is one.
    pub(super) fn hash_of(&self, imem: &[AtomicU64], number: u32) -> Option<u32> {
        self.chains.hash_of(self.of_chains.of(imem), number)
    }

    /// Above the numbers of all entries that there ever were.
    pub(super) fn end(&self) -> u32 {
        self.pool.ever_taken()
    }

    /// Puts an entry in `state` into its chain; [`Flows::save`] is to follow. `None` when there is no room.
    pub(super) fn insert(
        &self,
        imem: &[AtomicU64],
        chain: &mut Chain<'_>,
        state: State,
    ) -> Option<u32> {
        let words = self.of_chains.of(imem);
        let Some(number) = self.pool.take(|number| self.chains.word(words, number)) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.used.fetch_add(1, Ordering::Relaxed);
        self.states[state as usize].fetch_add(1, Ordering::Relaxed);
        chain.insert(number);
        Some(number)
    }

    /// Takes an entry out of its chain, and frees it; `record` is as it was saved.
    pub(super) fn remove(
        &self,
        imem: &[AtomicU64],
        chain: &mut Chain<'_>,
        number: u32,
        record: &Record,
    ) {
        if record.tcb.timer() != Timer::None {
            self.wheel
                .disarm(self.of_wheel.of(imem), number, record.tcb.slot);
        }
        let word = self.chains.word(self.of_chains.of(imem), number);
        if let (true, Some(word)) = (chain.remove(number), word) {
            self.pool.give(number, word);
            self.used.fetch_sub(1, Ordering::Relaxed);
            self.states[record.tcb.state() as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Arms the timer of an entry as `record` says; it was as `old` says.
    pub(super) fn arm(
        &self,
        imem: &[AtomicU64],
        now: Instant,
        number: u32,
        old: Option<&Tcb>,
        tcb: &mut Tcb,
    ) {
        let words = self.of_wheel.of(imem);
        if let Some(old) = old.filter(|old| old.timer() != Timer::None) {
            if tcb.timer() != Timer::None && old.deadline == tcb.deadline {
                return;
            }
            self.wheel.disarm(words, number, old.slot);
        }
        if tcb.timer() != Timer::None {
            let left = tcb.deadline.wrapping_sub(now.millis()) as i32;
            let at = Instant(now.0 + u64::try_from(left).unwrap_or(0) * 1_000_000);
            tcb.slot = self.wheel.arm(words, number, at);
        }
    }

    /// Calls `fire` with each entry whose timer may have come.
    pub(super) fn scan(&self, imem: &[AtomicU64], now: Instant, fire: impl FnMut(u32, u8)) {
        self.wheel.scan(self.of_wheel.of(imem), now, 0, fire);
    }

    /// Has the entry `number` come up again at the next tick.
    pub(super) fn again(&self, imem: &[AtomicU64], now: Instant, number: u32) {
        self.wheel.arm(self.of_wheel.of(imem), number, now);
    }
}
