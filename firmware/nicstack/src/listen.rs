// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of listener rules: a hash with chains over a fixed number of entries.
//!
//! Workers look rules up without locks while the control path changes them. An entry that is in a chain
//! never changes but for its link: a rule is replaced by a new entry in front of the old one, which is
//! then taken out. An entry that is filled or free has an odd generation. A reader that comes upon an odd or a
//! changed generation, or an entry of another chain, stands on an entry that was taken out under it, and
//! starts again: it uses a rule that was whole and in the table at some time of the lookup. A chain that ends
//! without the rule counts only when no entry was taken out meanwhile: the rule may have moved to the front,
//! behind the reader's back.
//!
//! A free entry more than the capacity makes that possible when the table is full.

use crate::memory::{Region, Usage};
use crate::rule::{Key, Rule};
use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

/// Words of an entry: key, rule, [`LINK`], [`GENERATION`].
const ENTRY: usize = 8;
const RULE: usize = Key::WORDS;
/// Number of the next entry plus 1; 0 ends the chain.
const LINK: usize = 5;
const GENERATION: usize = 6;

/// How often a lookup starts again before it gives up.
const TRIES: usize = 64;

/// The rules changed under the lookup each time that it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All entries are in use.
    Full,
    /// Another rule has the key.
    Exists,
    /// There is no such rule.
    Missing,
    /// The rule's key may not change.
    OtherKey,
}

/// The table. Only one caller at a time may use the methods that change it.
#[derive(Debug, Default)]
pub struct Listeners {
    region: Region,
    capacity: u32,
    buckets: u32,
    used: AtomicU32,
    refused: AtomicU32,
    free: AtomicU32,
    last_handle: AtomicU32,
    /// How many entries were taken out of their chains.
    removals: AtomicU32,
}

/// Entry `number` of `entries`, or `None` when the number is wrong.
fn entry(entries: &[AtomicU64], number: u64) -> Option<&[AtomicU64; ENTRY]> {
    let start = usize::try_from(number).ok()?.checked_mul(ENTRY)?;
    entries.get(start..)?.first_chunk()
}

fn key_of(entry: &[AtomicU64; ENTRY]) -> Key {
    Key::from_words(core::array::from_fn(|word| {
        entry[word].load(Ordering::Relaxed)
    }))
}

fn rule_of(entry: &[AtomicU64; ENTRY]) -> Rule {
    Rule::from_words(core::array::from_fn(|word| {
        entry[RULE + word].load(Ordering::Relaxed)
    }))
}

impl Listeners {
    const fn buckets(capacity: u32) -> u32 {
        if capacity == 0 {
            0
        } else {
            (capacity * 2).next_power_of_two()
        }
    }

    /// Words that a table of `capacity` rules takes.
    pub const fn words(capacity: u32) -> usize {
        if capacity == 0 {
            0
        } else {
            Self::buckets(capacity) as usize + (capacity as usize + 1) * ENTRY
        }
    }

    /// An empty table of `capacity` rules in `region` of `memory`.
    pub fn new(region: Region, memory: &[AtomicU64], capacity: u32) -> Self {
        let table = Self {
            region,
            capacity,
            buckets: Self::buckets(capacity),
            ..Self::default()
        };
        table.clear(memory);
        table
    }

    /// The heads of the chains and the entries.
    fn parts<'m>(&self, memory: &'m [AtomicU64]) -> (&'m [AtomicU64], &'m [AtomicU64]) {
        let words = self.region.of(memory);
        words.split_at(words.len().min(self.buckets as usize))
    }

    fn head<'m>(&self, heads: &'m [AtomicU64], key: &Key) -> Option<&'m AtomicU64> {
        heads.get((key.spread() & u64::from(self.buckets.wrapping_sub(1))) as usize)
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// Rules that still fit.
    pub fn free(&self) -> u32 {
        self.capacity
            .saturating_sub(self.used.load(Ordering::Relaxed))
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

    /// Finds the rule with the first of `keys` that has one.
    pub fn find(&self, memory: &[AtomicU64], keys: &[Key]) -> Result<Option<Rule>, Busy> {
        for key in keys {
            if let Some(rule) = self.find_one(memory, key)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    fn find_one(&self, memory: &[AtomicU64], key: &Key) -> Result<Option<Rule>, Busy> {
        let (heads, entries) = self.parts(memory);
        let Some(head) = self.head(heads, key) else {
            return Ok(None);
        };
        'lookup: for _ in 0..TRIES {
            let removals = self.removals.load(Ordering::Acquire);
            let mut link = head.load(Ordering::Acquire);
            for _ in 0..=self.capacity {
                let Some(place) = link.checked_sub(1) else {
                    if self.removals.load(Ordering::Relaxed) != removals {
                        continue 'lookup;
                    }
                    return Ok(None);
                };
                let Some(entry) = entry(entries, place) else {
                    continue 'lookup;
                };
                let generation = entry[GENERATION].load(Ordering::Acquire);
                let found = key_of(entry);
                let rule = rule_of(entry);
                link = entry[LINK].load(Ordering::Acquire);
                fence(Ordering::Acquire);
                if generation % 2 != 0 || entry[GENERATION].load(Ordering::Relaxed) != generation {
                    continue 'lookup;
                }
                if found == *key {
                    return Ok(Some(rule));
                }
                let same_chain = self
                    .head(heads, &found)
                    .is_some_and(|other| core::ptr::eq(other, head));
                if !same_chain {
                    continue 'lookup;
                }
            }
        }
        Err(Busy)
    }

    /// Adds a rule and returns its handle.
    pub fn add(&self, memory: &[AtomicU64], key: &Key, rule: Rule) -> Result<u32, Refused> {
        let (heads, entries) = self.parts(memory);
        if self.find_entry(heads, entries, key).is_some() {
            return Err(Refused::Exists);
        }
        if self.free() == 0 {
            let refused = self.refused.load(Ordering::Relaxed);
            self.refused
                .store(refused.saturating_add(1), Ordering::Relaxed);
            return Err(Refused::Full);
        }
        let handle = self.new_handle(entries);
        self.put(heads, entries, key, Rule { handle, ..rule })?;
        let used = self.used.load(Ordering::Relaxed);
        self.used.store(used + 1, Ordering::Relaxed);
        Ok(handle)
    }

    /// Gives the rule `handle`, whose key is `key`, new content. No lookup misses it in between.
    pub fn replace(
        &self,
        memory: &[AtomicU64],
        handle: u32,
        key: &Key,
        rule: Rule,
    ) -> Result<(), Refused> {
        let (heads, entries) = self.parts(memory);
        let old = self.by_handle(entries, handle).ok_or(Refused::Missing)?;
        let same_key = entry(entries, old).is_some_and(|entry| key_of(entry) == *key);
        if !same_key {
            return Err(Refused::OtherKey);
        }
        self.put(heads, entries, key, Rule { handle, ..rule })?;
        self.unlink(heads, entries, old);
        Ok(())
    }

    /// Removes the rule `handle`.
    pub fn remove(&self, memory: &[AtomicU64], handle: u32) -> Result<(), Refused> {
        let (heads, entries) = self.parts(memory);
        let place = self.by_handle(entries, handle).ok_or(Refused::Missing)?;
        self.unlink(heads, entries, place);
        let used = self.used.load(Ordering::Relaxed);
        self.used.store(used.saturating_sub(1), Ordering::Relaxed);
        Ok(())
    }

    /// Removes all rules. Handles are not used again.
    pub fn clear(&self, memory: &[AtomicU64]) {
        let (heads, entries) = self.parts(memory);
        for head in heads {
            head.store(0, Ordering::Release);
        }
        self.free.store(0, Ordering::Relaxed);
        for (place, entry) in entries.chunks_exact(ENTRY).enumerate().rev() {
            if let Some(entry) = entry.first_chunk() {
                self.release(entry, place as u64);
            }
        }
        self.used.store(0, Ordering::Relaxed);
    }

    /// Number of the entry with `key`; for the control path, under which chains do not change.
    fn find_entry(&self, heads: &[AtomicU64], entries: &[AtomicU64], key: &Key) -> Option<u64> {
        let mut link = self.head(heads, key)?.load(Ordering::Relaxed);
        for _ in 0..=self.capacity {
            let place = link.checked_sub(1)?;
            let entry = entry(entries, place)?;
            if key_of(entry) == *key {
                return Some(place);
            }
            link = entry[LINK].load(Ordering::Relaxed);
        }
        None
    }

    /// Number of the entry in use with `handle`.
    fn by_handle(&self, entries: &[AtomicU64], handle: u32) -> Option<u64> {
        entries
            .chunks_exact(ENTRY)
            .filter_map(|entry| entry.first_chunk::<ENTRY>())
            .position(|entry| {
                entry[GENERATION].load(Ordering::Relaxed) % 2 == 0
                    && rule_of(entry).handle == handle
            })
            .map(|place| place as u64)
    }

    /// A handle that no rule has, never 0.
    fn new_handle(&self, entries: &[AtomicU64]) -> u32 {
        let mut handle = self.last_handle.load(Ordering::Relaxed);
        // Only after 2^32 rules can a handle be taken, by one of fewer than 2^21 others.
        for _ in 0..=self.capacity {
            handle = handle.wrapping_add(1).max(1);
            if self.by_handle(entries, handle).is_none() {
                break;
            }
        }
        self.last_handle.store(handle, Ordering::Relaxed);
        handle
    }

    /// Fills a free entry and puts it at the front of its chain.
    fn put(
        &self,
        heads: &[AtomicU64],
        entries: &[AtomicU64],
        key: &Key,
        rule: Rule,
    ) -> Result<(), Refused> {
        let head = self.head(heads, key).ok_or(Refused::Full)?;
        let free = self.free.load(Ordering::Relaxed);
        let place = u64::from(free).checked_sub(1).ok_or(Refused::Full)?;
        let entry = entry(entries, place).ok_or(Refused::Full)?;
        let next_free = entry[LINK].load(Ordering::Relaxed);
        self.free.store(next_free as u32, Ordering::Relaxed);

        // The generation is odd; readers do not look at what is written.
        let words = key.words().into_iter().chain(rule.words());
        for (slot, word) in entry.iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        entry[LINK].store(head.load(Ordering::Relaxed), Ordering::Relaxed);
        let generation = entry[GENERATION].load(Ordering::Relaxed);
        entry[GENERATION].store(generation.wrapping_add(1), Ordering::Release);
        head.store(place + 1, Ordering::Release);
        Ok(())
    }

    /// Takes an entry out of its chain and frees it.
    fn unlink(&self, heads: &[AtomicU64], entries: &[AtomicU64], place: u64) {
        let Some(old) = entry(entries, place) else {
            return;
        };
        let Some(mut link) = self.head(heads, &key_of(old)) else {
            return;
        };
        for _ in 0..=self.capacity {
            let next = link.load(Ordering::Relaxed);
            if next == place + 1 {
                // Seen by whoever sees the shorter chain.
                self.removals.fetch_add(1, Ordering::Release);
                link.store(old[LINK].load(Ordering::Relaxed), Ordering::Release);
                self.release(old, place);
                return;
            }
            match next.checked_sub(1).and_then(|next| entry(entries, next)) {
                Some(entry) => link = &entry[LINK],
                None => return,
            }
        }
    }

    /// Puts an entry that is in no chain on the list of free ones.
    fn release(&self, entry: &[AtomicU64; ENTRY], place: u64) {
        let generation = entry[GENERATION].load(Ordering::Relaxed);
        entry[GENERATION].store(generation.wrapping_add(1) | 1, Ordering::Relaxed);
        // The odd generation is seen before the link of the free list, or what fills the entry next.
        fence(Ordering::Release);
        let free = self.free.load(Ordering::Relaxed);
        entry[LINK].store(u64::from(free), Ordering::Relaxed);
        self.free.store(place as u32 + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::memory::Partition;
    use crate::rule::{from_host, tests::any_v4};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;
    use std::vec::Vec;

    struct Fixture {
        memory: Vec<AtomicU64>,
        table: Listeners,
    }

    impl Fixture {
        fn new(capacity: u32) -> Self {
            let words = Listeners::words(capacity);
            // What was in the memory before does not matter.
            let memory: Vec<_> = (0..words).map(|_| AtomicU64::new(0x55)).collect();
            let region = Partition::new(words).take(words);
            let table = Listeners::new(region, &memory, capacity);
            Self { memory, table }
        }

        fn add(&self, port: u16, rule: Rule) -> Result<u32, Refused> {
            self.table.add(&self.memory, &key(port), rule)
        }

        fn find(&self, port: u16) -> Option<Rule> {
            self.table.find(&self.memory, &[key(port)]).unwrap()
        }
    }

    fn key(port: u16) -> Key {
        from_host(&any_v4(port)).unwrap().0
    }

    fn rule() -> Rule {
        from_host(&any_v4(1)).unwrap().1
    }

    #[test]
    fn holds_exactly_its_capacity() {
        const CAPACITY: u32 = 4096;
        let fixture = Fixture::new(CAPACITY);
        let handles: Vec<_> = (1..=CAPACITY as u16)
            .map(|port| fixture.add(port, rule()).unwrap())
            .collect();
        assert_eq!(fixture.table.free(), 0);
        assert_eq!(fixture.add(5000, rule()), Err(Refused::Full));
        assert_eq!(fixture.table.usage().refused, 1);
        for (place, handle) in handles.iter().enumerate() {
            let found = fixture.find(place as u16 + 1).unwrap();
            assert_eq!(found.handle, *handle);
        }
        // A full table can still be changed.
        let new = Rule {
            mss: 1000,
            ..rule()
        };
        let replaced = fixture
            .table
            .replace(&fixture.memory, handles[6], &key(7), new);
        assert_eq!(replaced, Ok(()));
        assert_eq!(fixture.find(7).unwrap().mss, 1000);
        fixture.table.remove(&fixture.memory, handles[0]).unwrap();
        assert_eq!(fixture.find(1), None);
        let handle = fixture.add(5000, rule()).unwrap();
        assert!(!handles.contains(&handle), "handles are not used again");
        assert_eq!(fixture.add(5001, rule()), Err(Refused::Full));
    }

    #[test]
    fn refusals() {
        let fixture = Fixture::new(4);
        let handle = fixture.add(80, rule()).unwrap();
        assert_eq!(fixture.add(80, rule()), Err(Refused::Exists));
        let memory = &fixture.memory;
        let replace = |handle, port| fixture.table.replace(memory, handle, &key(port), rule());
        assert_eq!(replace(handle, 81), Err(Refused::OtherKey));
        assert_eq!(replace(handle + 1, 80), Err(Refused::Missing));
        let remove = |handle| fixture.table.remove(memory, handle);
        assert_eq!(remove(handle + 1), Err(Refused::Missing));
        assert_eq!(remove(0), Err(Refused::Missing));
        assert_eq!(remove(handle), Ok(()));
        assert_eq!(remove(handle), Err(Refused::Missing));
    }

    #[test]
    fn a_table_without_room_is_empty() {
        let fixture = Fixture::new(0);
        assert_eq!(fixture.find(80), None);
        assert_eq!(fixture.add(80, rule()), Err(Refused::Full));
    }

    #[test]
    fn the_first_key_wins() {
        let fixture = Fixture::new(4);
        let one = fixture.add(1, rule()).unwrap();
        let two = fixture.add(2, rule()).unwrap();
        let first = |keys: &[Key]| fixture.table.find(&fixture.memory, keys).unwrap().unwrap();
        assert_eq!(first(&[key(1), key(2)]).handle, one);
        assert_eq!(first(&[key(3), key(2)]).handle, two);
    }

    #[test]
    fn memory_that_turned_to_garbage_does_no_harm() {
        let fixture = Fixture::new(8);
        fixture.add(80, rule()).unwrap();
        for word in &fixture.memory {
            word.store(u64::MAX - 1, Ordering::Relaxed);
        }
        let found = fixture.table.find(&fixture.memory, &[key(80)]);
        assert_eq!(found, Err(Busy));
    }

    /// Workers look up while rules are replaced, removed and added in one long chain.
    #[test]
    fn no_torn_and_no_missed_rule_under_change() {
        const RULES: u16 = 8;
        let fixture = Fixture::new(12);
        let bucket = |port| key(port).spread() % u64::from(fixture.table.buckets);
        let ports: Vec<_> = (1..)
            .filter(|port| bucket(*port) == bucket(1))
            .take(RULES.into())
            .collect();
        // All fields of a rule are made from one number, which tells the port too.
        let rule_with = |number: u16| Rule {
            mss: number,
            window: number,
            ts_offset: u32::from(number) << 16 | u32::from(number),
            ..rule()
        };
        let mut handles: Vec<_> = (0..RULES)
            .map(|place| fixture.add(ports[usize::from(place)], rule_with(place)))
            .map(Result::unwrap)
            .collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        for (place, port) in ports.iter().enumerate() {
                            let found = fixture.table.find(&fixture.memory, &[key(*port)]);
                            let Ok(Some(rule)) = found else {
                                // Rules in even places are only ever replaced.
                                assert!(found == Err(Busy) || place % 2 == 1, "missed");
                                continue;
                            };
                            let number = rule.mss;
                            assert_eq!(usize::from(number % RULES), place, "another's");
                            assert_eq!(rule.window, number);
                            assert_eq!(rule.ts_offset, u32::from(number) * 0x1_0001);
                        }
                    }
                });
            }
            for round in 1..200_000u32 {
                let round = (round % 40_000) as u16;
                let place = round % RULES;
                let number = place + RULES * (round % 1000);
                let (memory, table) = (&fixture.memory, &fixture.table);
                let at = usize::from(place);
                let key = key(ports[at]);
                if place % 2 == 0 {
                    table
                        .replace(memory, handles[at], &key, rule_with(number))
                        .unwrap();
                } else {
                    table.remove(memory, handles[at]).unwrap();
                    handles[at] = table.add(memory, &key, rule_with(number)).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u16),
        Replace(u16, u16),
        Remove(u16),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        let port = || 1u16..24;
        prop_oneof![
            8 => port().prop_map(Step::Add),
            4 => (port(), any::<u16>()).prop_map(|(port, mss)| Step::Replace(port, mss)),
            4 => port().prop_map(Step::Remove),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec(step(), 0..200)) {
            const CAPACITY: usize = 16;
            let fixture = Fixture::new(CAPACITY as u32);
            let memory = &fixture.memory;
            let mut model: HashMap<u16, (u32, u16)> = HashMap::new();
            for step in steps {
                match step {
                    Step::Add(port) => {
                        let expected = if model.contains_key(&port) {
                            Err(Refused::Exists)
                        } else if model.len() == CAPACITY {
                            Err(Refused::Full)
                        } else {
                            Ok(())
                        };
                        let added = fixture.add(port, rule());
                        prop_assert_eq!(added.map(|_| ()), expected);
                        if let Ok(handle) = added {
                            model.insert(port, (handle, rule().mss));
                        }
                    }
                    Step::Replace(port, mss) => if let Some(known) = model.get_mut(&port) {
                        let new = Rule { mss, ..rule() };
                        fixture.table.replace(memory, known.0, &key(port), new).unwrap();
                        known.1 = mss;
                    },
                    Step::Remove(port) => if let Some((handle, _)) = model.remove(&port) {
                        fixture.table.remove(memory, handle).unwrap();
                    },
                    Step::Clear => {
                        fixture.table.clear(memory);
                        model.clear();
                    }
                }
                prop_assert_eq!(fixture.table.usage().used as usize, model.len());
                for port in 1..24 {
                    let found = fixture.find(port).map(|rule| (rule.handle, rule.mss));
                    prop_assert_eq!(found, model.get(&port).copied());
                }
            }
        }
    }
}
