// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The list: rules in a fixed number of slots, and their order, which is kept twice.
//!
//! Workers walk the order without locks while the control path changes it. Every change has a number, its version. An order
//! names all slots: those of the rules, in their order, and then the free ones. A change writes the order that is not in use, with the lowest
//! bit of the version as its number, and a rule to a free slot; then it publishes the version, with how many rules there are, by one store.
//! So a worker walks the list of before or that of after, and no rule but the one that goes is ever missing.
//!
//! What a worker walks stays as it is until the change after the next begins, which takes the same order, and may take
//! the slot of a rule that has gone. So a worker that is done looks which change has begun. When that is a later one than the next, it may
//! have read what is half written, and starts again. The version is stored before anything of the change and a release fence between them, while the
//! worker loads it behind all else and an acquire fence: whoever read but a word of the change sees that it has begun.
//!
//! A frame that is counted when its rule is gone may count for a rule in the same slot. The slot that is free for the longest time
//! is taken first.

use super::headers::Headers;
use super::rule::{self, Stored, WORDS};
use crate::memory::{Region, Usage};
use crate::sync::{fence, AtomicU32, AtomicU64, Ordering};

/// Words of a slot: rule, [`FRAMES`], [`BYTES`].
const SLOT: usize = WORDS + 2;
const FRAMES: usize = WORDS;
const BYTES: usize = WORDS + 1;

/// How often a worker starts again before it gives up.
const TRIES: usize = 64;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It is dropped.
    Deny,
}

/// The rules changed under the worker each time that it looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All slots are in use.
    Full,
    /// Another rule has the handle.
    Exists,
    /// No rule has the handle.
    Missing,
}

/// The list. Only one caller at a time may use the methods that change it.
#[derive(Debug, Default)]
pub struct Acl {
    region: Region,
    capacity: u32,
    /// Version in the high half, rules in the low half: all that a worker needs to begin.
    published: AtomicU64,
    /// Version of the last change that began.
    begun: AtomicU32,
    refused: AtomicU32,
}

/// The memory of the list.
struct Parts<'m> {
    orders: [&'m [AtomicU64]; 2],
    slots: &'m [AtomicU64],
}

impl<'m> Parts<'m> {
    /// The order of `version`.
    const fn order(&self, version: u32) -> &'m [AtomicU64] {
        self.orders[(version & 1) as usize]
    }

    /// The slot that `place` of an order names, and its number. `None` when the memory is not as it was left.
    fn slot(&self, place: &AtomicU64) -> Option<(u64, &'m [AtomicU64; SLOT])> {
        let number = place.load(Ordering::Relaxed);
        let start = usize::try_from(number).ok()?.checked_mul(SLOT)?;
        Some((number, self.slots.get(start..)?.first_chunk()?))
    }
}

/// The words of the rule in `slot`.
fn words(slot: &[AtomicU64; SLOT]) -> impl Fn(usize) -> u64 + Copy + use<'_> {
    |word| {
        slot.get(word)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl Acl {
    /// Words that a list of `capacity` rules takes.
    pub const fn words(capacity: u32) -> usize {
        capacity as usize * (SLOT + 2)
    }

    /// An empty list of `capacity` rules in `region` of `memory`.
    pub fn new(region: Region, memory: &[AtomicU64], capacity: u32) -> Self {
        let list = Self {
            region,
            capacity,
            ..Self::default()
        };
        for (place, slot) in list.parts(memory).order(0).iter().enumerate() {
            slot.store(place as u64, Ordering::Relaxed);
        }
        list
    }

    fn parts<'m>(&self, memory: &'m [AtomicU64]) -> Parts<'m> {
        let words = self.region.of(memory);
        let half = words.len().min(self.capacity as usize * 2) / 2;
        let (orders, slots) = words.split_at(half * 2);
        let (even, odd) = orders.split_at(half);
        Parts {
            orders: [even, odd],
            slots,
        }
    }

    /// The version of what is published, and how many rules it has.
    pub(super) fn published(&self, order: Ordering) -> (u32, u32) {
        let word = self.published.load(order);
        ((word >> 32) as u32, word as u32)
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.published(Ordering::Relaxed).1 == 0
    }

    /// What the list uses.
    pub fn usage(&self) -> Usage {
        Usage {
            words: Self::words(self.capacity),
            used: self.published(Ordering::Relaxed).1,
            capacity: self.capacity,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// What becomes of a frame of `len` bytes with `headers`. The rule that decides counts it.
    pub fn judge(
        &self,
        memory: &[AtomicU64],
        headers: &Headers,
        len: usize,
    ) -> Result<Verdict, Busy> {
        for _ in 0..TRIES {
            let Ok(first) = self.look(memory, headers) else {
                continue;
            };
            let Some((verdict, slot)) = first else {
                return Ok(Verdict::Allow);
            };
            slot[FRAMES].fetch_add(1, Ordering::Relaxed);
            slot[BYTES].fetch_add(len as u64, Ordering::Relaxed);
            return Ok(verdict);
        }
        Err(Busy)
    }

    /// The first rule for `headers`: what it says, and its slot. [`Busy`] when what was seen may be no list that there was.
    pub(super) fn look<'m>(
        &self,
        memory: &'m [AtomicU64],
        headers: &Headers,
    ) -> Result<Option<(Verdict, &'m [AtomicU64; SLOT])>, Busy> {
        let parts = self.parts(memory);
        let (version, used) = self.published(Ordering::Acquire);
        let mut first = None;
        for place in parts.order(version).iter().take(used as usize) {
            let (_, slot) = parts.slot(place).ok_or(Busy)?;
            if rule::matches(words(slot), headers) {
                let denies = rule::denies(words(slot));
                let verdict = if denies {
                    Verdict::Deny
                } else {
                    Verdict::Allow
                };
                first = Some((verdict, slot));
                break;
            }
        }
        fence(Ordering::Acquire);
        if self.begun.load(Ordering::Relaxed).wrapping_sub(version) > 1 {
            return Err(Busy);
        }
        Ok(first)
    }

    /// Adds a rule.
    pub fn add(&self, memory: &[AtomicU64], new: &Stored) -> Result<(), Refused> {
        let word = |place| new.word(place);
        if self.find(memory, rule::handle(word)).is_ok() {
            return Err(Refused::Exists);
        }
        let parts = self.parts(memory);
        let (version, used) = self.published(Ordering::Relaxed);
        let (old, count) = (parts.order(version), used as usize);
        let free = old.get(count).and_then(|place| parts.slot(place));
        let Some((number, slot)) = free else {
            let refused = self.refused.load(Ordering::Relaxed);
            self.refused
                .store(refused.saturating_add(1), Ordering::Relaxed);
            return Err(Refused::Full);
        };
        let rank = rule::rank(word);
        let at = old[..count]
            .iter()
            .filter_map(|place| parts.slot(place))
            .take_while(|(_, slot)| rule::rank(words(slot)) < rank)
            .count();

        let next = self.begin(version);
        for (slot, word) in slot.iter().zip(new.words().iter().chain(&[0, 0])) {
            slot.store(*word, Ordering::Relaxed);
        }
        self.publish(&parts, next, used + 1, |place| match place {
            _ if place == at => Some(number),
            _ if place > at && place <= count => load(old, place - 1),
            _ => load(old, place),
        });
        Ok(())
    }

    /// Removes the rule `handle`.
    pub fn remove(&self, memory: &[AtomicU64], handle: u32) -> Result<(), Refused> {
        let (at, _) = self.find(memory, handle)?;
        let parts = self.parts(memory);
        let (version, used) = self.published(Ordering::Relaxed);
        let old = parts.order(version);
        let next = self.begin(version);
        self.publish(&parts, next, used.saturating_sub(1), |place| match place {
            _ if place < at => load(old, place),
            _ if place + 1 < old.len() => load(old, place + 1),
            _ => load(old, at),
        });
        Ok(())
    }

    /// Removes all rules, at once.
    pub fn clear(&self, memory: &[AtomicU64]) {
        let (version, used) = self.published(Ordering::Relaxed);
        if used == 0 {
            return;
        }
        let parts = self.parts(memory);
        let old = parts.order(version);
        let next = self.begin(version);
        self.publish(&parts, next, 0, |place| load(old, place));
    }

    /// Frames that the rule `handle` has decided about, and their bytes.
    pub fn counts(&self, memory: &[AtomicU64], handle: u32) -> Result<[u64; 2], Refused> {
        let (_, slot) = self.find(memory, handle)?;
        Ok([FRAMES, BYTES].map(|word| slot[word].load(Ordering::Relaxed)))
    }

    /// Place and slot of the rule `handle`; for the control path, under which nothing changes.
    fn find<'m>(
        &self,
        memory: &'m [AtomicU64],
        handle: u32,
    ) -> Result<(usize, &'m [AtomicU64; SLOT]), Refused> {
        let parts = self.parts(memory);
        let (version, used) = self.published(Ordering::Relaxed);
        let rules = parts.order(version).iter().take(used as usize);
        rules
            .enumerate()
            .filter_map(|(at, place)| Some((at, parts.slot(place)?.1)))
            .find(|(_, slot)| rule::handle(words(slot)) == handle)
            .ok_or(Refused::Missing)
    }

    /// Begins the change after `version`: nothing of it is written before.
    pub(super) fn begin(&self, version: u32) -> u32 {
        let next = version.wrapping_add(1);
        self.begun.store(next, Ordering::Relaxed);
        fence(Ordering::Release);
        next
    }

    /// Writes the order of `version`, which has `used` rules and the slots that `slot_at` tells, and publishes it.
    fn publish(
        &self,
        parts: &Parts<'_>,
        version: u32,
        used: u32,
        slot_at: impl Fn(usize) -> Option<u64>,
    ) {
        for (at, place) in parts.order(version).iter().enumerate() {
            if let Some(slot) = slot_at(at) {
                place.store(slot, Ordering::Relaxed);
            }
        }
        let word = u64::from(version) << 32 | u64::from(used);
        self.published.store(word, Ordering::Release);
    }
}

/// The number at `place` of `order`.
fn load(order: &[AtomicU64], place: usize) -> Option<u64> {
    Some(order.get(place)?.load(Ordering::Relaxed))
}
