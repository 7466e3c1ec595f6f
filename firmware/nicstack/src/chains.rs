// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A hash with chains over a fixed number of entries, with a lock in each chain's head.
//!
//! The head of an entry is one word: the number of the next entry and the hash. Whatever else belongs to the entry is
//! where its owner keeps it, by the entry's number. Who holds the lock of a hash has all entries of that hash
//! to himself, wherever their parts are; a lock is held for the work on one frame. Who does not get it after
//! [`SPINS`] tries does without.

use core::sync::atomic::{AtomicU64, Ordering};

/// Tries for a lock: a tenth of a second or two. Cores of a card never leave what they hold alone; where the workers are
/// threads, one may be off its core meanwhile for many milliseconds.
const SPINS: u32 = 1 << 22;

/// In a head: the chain is locked.
const LOCKED: u64 = 1 << 63;
/// In the word of an entry: it is in a chain.
const USED: u64 = 1 << 31;
const LINK: u64 = USED - 1;
/// The word of an entry that is reserved.
const CLAIMED: u64 = 1;
const HASH_SHIFT: u32 = 32;

/// The shape of a table; its words are handed in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chains {
    capacity: u32,
}

/// A chain that is locked; dropped, it is free.
pub(crate) struct Chain<'m> {
    head: &'m AtomicU64,
    entries: &'m [AtomicU64],
    hash: u32,
    /// Number of the first entry plus 1.
    first: u64,
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        self.head.store(self.first, Ordering::Release);
    }
}

impl Chains {
    /// Two entries share a head when all are used.
    const fn buckets(capacity: u32) -> u32 {
        capacity.div_ceil(2)
    }

    /// Words that a table of `capacity` entries takes.
    pub(crate) const fn words(capacity: u32) -> usize {
        Self::buckets(capacity) as usize + capacity as usize
    }

    /// An empty table; clears `words`.
    pub(crate) fn new(words: &[AtomicU64], capacity: u32) -> Self {
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
        Self { capacity }
    }

    /// Entries that there are.
    pub(crate) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Locks the chain of `hash`. `None` when somebody has it for too long, or there is no table.
    pub(crate) fn lock<'m>(&self, words: &'m [AtomicU64], hash: u32) -> Option<Chain<'m>> {
        let buckets = Self::buckets(self.capacity);
        let (heads, entries) = words.split_at_checked(buckets as usize)?;
        let bucket = (u64::from(hash) * u64::from(buckets)) >> 32;
        let head = heads.get(bucket as usize)?;
        for _ in 0..SPINS {
            // Looking first keeps the line shared while another one has the lock.
            if head.load(Ordering::Relaxed) & LOCKED == 0 {
                let before = head.fetch_or(LOCKED, Ordering::Acquire);
                if before & LOCKED == 0 {
                    return Some(Chain {
                        head,
                        entries,
                        hash,
                        first: before,
                    });
                }
            }
            core::hint::spin_loop();
        }
        None
    }

    /// The word of the entry `number`; only of one that is in no chain may it be changed, to what is not [`USED`].
    pub(crate) fn word<'m>(&self, words: &'m [AtomicU64], number: u32) -> Option<&'m AtomicU64> {
        words.get(Self::buckets(self.capacity) as usize + number as usize)
    }

    /// Reserves the entry `number` for [`Chain::insert`], unless it is in a chain or reserved.
    pub(crate) fn claim(&self, words: &[AtomicU64], number: u32) -> bool {
        self.word(words, number).is_some_and(|word| {
            let free = word.load(Ordering::Acquire);
            free & USED == 0
                && free != CLAIMED
                && word
                    .compare_exchange(free, CLAIMED, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// The hash of the entry `number`, if it is in a chain now. Only who has its lock knows for longer.
    pub(crate) fn hash_of(&self, words: &[AtomicU64], number: u32) -> Option<u32> {
        let word = self.word(words, number)?.load(Ordering::Acquire);
        (word & USED != 0).then_some((word >> HASH_SHIFT) as u32)
    }
}

impl<'m> Chain<'m> {
    fn entry(&self, link: u64) -> Option<&'m AtomicU64> {
        self.entries
            .get(usize::try_from(link.checked_sub(1)?).ok()?)
    }

    /// The links of the entries of the chain's hash, each with the link of the entry in front (0 for none).
    fn links(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (mut before, mut link, mut left) = (0, self.first, self.entries.len());
        core::iter::from_fn(move || loop {
            // The count ends a chain that is a ring, which no chain is.
            left = left.checked_sub(1)?;
            let word = self.entry(link)?.load(Ordering::Relaxed);
            let found = (before, link);
            (before, link) = (link, word & LINK);
            if (word >> HASH_SHIFT) as u32 == self.hash {
                return Some(found);
            }
        })
    }

    /// The number of the first entry of the hash that `matches`.
    pub(crate) fn find(&self, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        self.links()
            .map(|(_, link)| (link - 1) as u32)
            .find(|number| matches(*number))
    }

    /// Puts the entry `number`, which is in no chain, into this one.
    pub(crate) fn insert(&mut self, number: u32) {
        let link = u64::from(number) + 1;
        if let Some(entry) = self.entry(link) {
            let word = u64::from(self.hash) << HASH_SHIFT | USED | self.first;
            entry.store(word, Ordering::Release);
            self.first = link;
        }
    }

    /// Takes the entry `number` out of this chain; false when it was not in it.
    pub(crate) fn remove(&mut self, number: u32) -> bool {
        let wanted = u64::from(number) + 1;
        let found = self.links().find(|(_, link)| *link == wanted);
        let (Some((before, _)), Some(entry)) = (found, self.entry(wanted)) else {
            return false;
        };
        let next = entry.swap(0, Ordering::Relaxed) & LINK;
        match self.entry(before) {
            Some(before) => {
                let word = before.load(Ordering::Relaxed);
                before.store(word & !LINK | next, Ordering::Relaxed);
            }
            None => self.first = next,
        }
        true
    }
}

/// A list of free numbers, whose links are where the owner keeps them. Numbers that were never taken are not in the
/// list: memory is not touched before it is used.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    capacity: u32,
    /// Number of the first free one plus 1 in the low half, in the high half a count of the changes.
    free: AtomicU64,
    /// How many were ever taken.
    fresh: AtomicU64,
}

impl Pool {
    /// All numbers below `capacity`.
    pub(crate) const fn new(capacity: u32) -> Self {
        Self {
            capacity,
            free: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        }
    }

    /// Takes a number; `link` is where the link of a free number is.
    pub(crate) fn take<'m>(&self, link: impl Fn(u32) -> Option<&'m AtomicU64>) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        while let Some(number) = (head as u32).checked_sub(1) {
            let next = link(number)?.load(Ordering::Relaxed) & 0xffff_ffff;
            // The count fails the exchange when the number was taken and freed in between.
            let new = (head >> 32).wrapping_add(1) << 32 | next;
            match self
                .free
                .compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(number),
                Err(now) => head = now,
            }
        }
        let capacity = u64::from(self.capacity);
        self.fresh
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < capacity).then_some(taken + 1)
            })
            .ok()
            .map(|number| number as u32)
    }

    /// How many numbers were ever taken: those below this one.
    pub(crate) fn ever_taken(&self) -> u32 {
        self.fresh.load(Ordering::Acquire) as u32
    }

    /// Gives `number` back.
    pub(crate) fn give(&self, number: u32, link: &AtomicU64) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            link.store(head & 0xffff_ffff, Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | (u64::from(number) + 1);
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
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn table(capacity: u32) -> (Vec<AtomicU64>, Chains) {
        let words: Vec<_> = (0..Chains::words(capacity))
            .map(|_| AtomicU64::new(u64::MAX))
            .collect();
        let table = Chains::new(&words, capacity);
        (words, table)
    }

    proptest! {
        #[test]
        fn as_a_map(steps in proptest::collection::vec((any::<bool>(), 0u32..8, 0u32..20), 1..200)) {
            let (words, table) = table(20);
            let mut map = BTreeMap::new();
            for (insert, hash, number) in steps {
                // Few hashes, some of which share a chain.
                let hash = hash * 0x1234_5678;
                let mut chain = table.lock(&words, *map.get(&number).unwrap_or(&hash)).unwrap();
                match (insert, map.get(&number).copied()) {
                    (true, None) => {
                        chain.insert(number);
                        map.insert(number, hash);
                    }
                    (_, Some(_)) => {
                        prop_assert!(chain.remove(number));
                        prop_assert!(!chain.remove(number));
                        map.remove(&number);
                    }
                    (false, None) => prop_assert!(!chain.remove(number)),
                }
                drop(chain);
                for number in 0..20 {
                    let hash = map.get(&number).copied();
                    prop_assert_eq!(table.hash_of(&words, number), hash);
                    let found = hash.is_some_and(|hash| {
                        let chain = table.lock(&words, hash).unwrap();
                        chain.find(|other| other == number).is_some()
                    });
                    prop_assert_eq!(found, hash.is_some());
                }
            }
        }
    }

    #[test]
    fn a_lock_excludes_others() {
        let (words, table) = table(2);
        let held = table.lock(&words, 7).unwrap();
        assert!(table.lock(&words, 7).is_none());
        drop(held);
        assert!(table.lock(&words, 7).is_some());
        assert!(Chains::new(&[], 0).lock(&[], 7).is_none(), "no table");
    }

    #[test]
    fn an_entry_is_claimed_once() {
        let (words, table) = table(2);
        assert!(table.claim(&words, 1) && !table.claim(&words, 1));
        assert_eq!(table.hash_of(&words, 1), None, "in no chain yet");
        table.lock(&words, 7).unwrap().insert(1);
        assert!(!table.claim(&words, 1));
        table.lock(&words, 7).unwrap().remove(1);
        assert!(table.claim(&words, 1));
        assert!(!table.claim(&words, 2), "there is none");
    }

    #[test]
    fn a_pool_gives_each_number_to_one() {
        const NUMBERS: u32 = 16;
        let links: Vec<_> = (0..NUMBERS).map(|_| AtomicU64::new(0)).collect();
        let owners: Vec<_> = (0..NUMBERS).map(|_| AtomicU64::new(0)).collect();
        let pool = Pool::new(NUMBERS);
        let link = |number: u32| links.get(number as usize);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..3000 {
                        let taken: Vec<u32> = (0..7).filter_map(|_| pool.take(link)).collect();
                        for number in taken {
                            let owner = &owners[number as usize];
                            assert_eq!(owner.fetch_add(1, Ordering::SeqCst), 0);
                            owner.fetch_sub(1, Ordering::SeqCst);
                            pool.give(number, &links[number as usize]);
                        }
                    }
                });
            }
        });
        let all: Vec<_> = (0..NUMBERS).filter_map(|_| pool.take(link)).collect();
        assert_eq!(all.len(), NUMBERS as usize, "none is lost");
        assert_eq!(pool.take(link), None);
    }
}
