// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The timer bitmap wheel: one timer for each of a fixed number of table entries.
//!
//! A slot stands for a tick of time and is a bitmap over the entries. To arm a timer sets a bit, to disarm it clears
//! one: two atomic operations at most, without locks, by any worker. Words that summarise 64 words of a bitmap
//! make the scan of an empty slot one load for 4,096 timers.
//!
//! # The scan
//!
//! Timers are divided into blocks of [`BLOCK`], each with a cursor: the last tick that was scanned. Whoever moves a
//! cursor on has the ticks in between to himself. So workers share the wheel without being told how: they start at
//! different blocks and skip what another one has scanned. A worker that is held up delays the block that it is
//! in and no other one.
//!
//! # What a timer promises
//!
//! It fires once, not later than a tick, plus the time between scans, after the time it was armed for. It may fire
//! early: one that is further away than [`SLOTS`] - 1 ticks fires at the end of that span, and one that is armed
//! while its slot is being scanned may fire at once. Hence the owner keeps the exact time, compares, and arms the
//! timer again when the time has not come; what lies far ahead goes round by round. A timer that is disarmed while
//! it is being scanned may fire yet. The owner tells by the [slot](Wheel::arm) whether it is the one that it armed
//! last.
//!
//! # Why none is lost
//!
//! Two may miss each other: who arms a timer for a tick, and who scans that tick at the same time. The one sets the bit
//! and then looks at the cursor; the other moves the cursor and then looks at the bits; fences order the two. Thus
//! either the scan sees the bit, or the cursor is seen to have passed, and the bit is moved to the next tick.
//! `tests/wheel_loom.rs` tries all interleavings.

use crate::clock::Instant;
use crate::sync::{fence, AtomicU64, Ordering};

/// Ticks of a round.
pub const SLOTS: usize = 32;
/// Timers of a block.
pub const BLOCK: u32 = 4096;

/// Bits of a word.
const BITS: usize = 64;
/// Words of a block's head: the cursor and a summary for each slot.
const HEAD: usize = 1 + SLOTS;

/// A wheel of some timers, in memory that its owner hands in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wheel {
    timers: u32,
    tick_ns: u64,
}

/// The words of a block.
struct Block<'m> {
    cursor: &'m AtomicU64,
    summaries: &'m [AtomicU64; SLOTS],
}

impl Wheel {
    /// Words of the bitmap of a slot.
    const fn leaves(timers: u32) -> usize {
        (timers as usize).div_ceil(BITS)
    }

    const fn blocks_of(timers: u32) -> usize {
        timers.div_ceil(BLOCK) as usize
    }

    /// Words of memory that a wheel of `timers` takes.
    pub const fn words(timers: u32) -> usize {
        Self::blocks_of(timers) * HEAD + SLOTS * Self::leaves(timers)
    }

    /// A wheel of `timers` with ticks of `tick_ns`, not 0, whose `words` are cleared.
    pub fn new(words: &[AtomicU64], timers: u32, tick_ns: u64) -> Self {
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        Self {
            timers,
            tick_ns: if tick_ns == 0 { 1 } else { tick_ns },
        }
    }

    /// Blocks that a scan walks over.
    pub const fn blocks(&self) -> usize {
        Self::blocks_of(self.timers)
    }

    /// Nanoseconds of a tick: how much later than armed a timer may fire, beside the time between scans.
    pub const fn tick_ns(&self) -> u64 {
        self.tick_ns
    }

    fn block<'m>(&self, words: &'m [AtomicU64], block: usize) -> Option<Block<'m>> {
        if block >= self.blocks() {
            return None;
        }
        let (cursor, rest) = words.get(block * HEAD..)?.split_first()?;
        Some(Block {
            cursor,
            summaries: rest.first_chunk()?,
        })
    }

    fn leaf<'m>(&self, words: &'m [AtomicU64], slot: usize, leaf: usize) -> Option<&'m AtomicU64> {
        let leaves = Self::leaves(self.timers);
        words.get(self.blocks() * HEAD + slot * leaves + leaf)
    }

    /// Arms `timer` for `at` and returns its slot, below [`SLOTS`]. A number that the wheel does not have is never
    /// fired.
    ///
    /// A timer that is armed already keeps its other slot too, unless it is [disarmed](Self::disarm) first.
    pub fn arm(&self, words: &[AtomicU64], timer: u32, at: Instant) -> u8 {
        let wanted = at.0.div_ceil(self.tick_ns);
        let place = timer as usize / BITS;
        let bit = 1 << (timer as usize % BITS);
        let (Some(block), true) = (self.block(words, place / BITS), timer < self.timers) else {
            return 0;
        };
        loop {
            let cursor = block.cursor.load(Ordering::Acquire);
            // The cursor's own slot may still be scanned.
            let tick = wanted.clamp(cursor + 1, cursor + SLOTS as u64 - 1);
            let slot = (tick % SLOTS as u64) as usize;
            let Some(leaf) = self.leaf(words, slot, place) else {
                return 0;
            };
            leaf.fetch_or(bit, Ordering::AcqRel);
            block.summaries[slot].fetch_or(1 << (place % BITS), Ordering::AcqRel);
            fence(Ordering::SeqCst);
            let missed = block.cursor.load(Ordering::Relaxed) >= tick;
            // Who takes the bit decides: the scan fires it, or it goes to a later slot.
            if !missed || leaf.fetch_and(!bit, Ordering::AcqRel) & bit == 0 {
                return slot as u8;
            }
        }
    }

    /// Disarms `timer` in the `slot` that [`Wheel::arm`] returned. False when it has been fired, or is about to be.
    pub fn disarm(&self, words: &[AtomicU64], timer: u32, slot: u8) -> bool {
        let (place, bit) = (timer as usize / BITS, 1 << (timer as usize % BITS));
        if timer >= self.timers || usize::from(slot) >= SLOTS {
            return false;
        }
        // The summary stays, which costs the next scan one more load.
        self.leaf(words, slot.into(), place)
            .is_some_and(|leaf| leaf.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
    }

    /// Calls `fire` with number and slot of each timer whose tick has passed at `now`, from the block `first` on.
    pub fn scan(
        &self,
        words: &[AtomicU64],
        now: Instant,
        first: usize,
        mut fire: impl FnMut(u32, u8),
    ) {
        let (tick, blocks) = (now.0 / self.tick_ns, self.blocks());
        for block in 0..blocks {
            self.scan_block(words, (first + block) % blocks, tick, &mut fire);
        }
    }

    fn scan_block(
        &self,
        words: &[AtomicU64],
        number: usize,
        tick: u64,
        fire: &mut impl FnMut(u32, u8),
    ) {
        let Some(block) = self.block(words, number) else {
            return;
        };
        let from = block.cursor.load(Ordering::Acquire);
        let claimed = from < tick
            && block
                .cursor
                .compare_exchange(from, tick, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if !claimed {
            return;
        }
        fence(Ordering::SeqCst);
        // After a pause of a round and more each slot is due.
        for past in (0..(tick - from).min(SLOTS as u64)).rev() {
            let slot = ((tick - past) % SLOTS as u64) as usize;
            let summary = &block.summaries[slot];
            if summary.load(Ordering::Relaxed) == 0 {
                continue;
            }
            for bit in ones(summary.swap(0, Ordering::AcqRel)) {
                let place = number * BITS + bit;
                let Some(leaf) = self.leaf(words, slot, place) else {
                    continue;
                };
                for bit in ones(leaf.swap(0, Ordering::AcqRel)) {
                    fire((place * BITS + bit) as u32, slot as u8);
                }
            }
        }
    }
}

/// The places of the bits that are set in `word`.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = word.checked_ilog2()?;
        word &= !(1 << bit);
        Some(bit as usize)
    })
}
