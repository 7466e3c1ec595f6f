// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's IMEM and EMEM, and how the stack's tables divide them.
//!
//! A table has the entries that it was given at the start and no others: what does not fit is refused, as it
//! would be on the card.

use nicstack::memory::{Capacity, MemoryError, Usage};
use std::fmt;
use std::sync::atomic::AtomicU64;
use zerocopy::FromZeros;

/// SRAM that all cores of an NFP-6000 reach: two internal memory units of 4 MiB.
pub const BYTES: usize = 8 << 20;
/// What the stack's tables do not get: the program's own variables, its rings of packet and work descriptors,
/// statistics, and the tables of the plain NIC (RSS, filters).
pub const RESERVED: usize = 2 << 20;

/// Words that the stack's tables share.
const WORDS: usize = (BYTES - RESERVED) / size_of::<u64>();
/// Names of the stack's tables, in the order of [`nicstack::Nic::usage`].
const TABLES: [&str; 8] = [
    "listeners",
    "recent",
    "half_open",
    "flows",
    "buffers",
    "time_wait",
    "spliced_pairs",
    "acl",
];
/// Those of them that are in IMEM, by their places.
const IN_IMEM: [usize; 6] = [0, 1, 2, 3, 6, 7];
/// Those that are in EMEM alone.
const IN_EMEM: [usize; 2] = [4, 5];

/// The stack of a card.
pub type Stack = nicstack::Nic<Box<[AtomicU64]>>;

/// A stack whose tables have `capacity` in the card's IMEM, and in as much EMEM as they take: a card has gigabytes of
/// it.
///
/// # Errors
///
/// When they do not fit.
pub fn stack(capacity: Capacity) -> Result<Stack, MemoryError> {
    // Without the memory there is nothing to lay out.
    let imem = <[AtomicU64]>::new_box_zeroed_with_elems(WORDS).unwrap_or_default();
    let emem = <[AtomicU64]>::new_box_zeroed_with_elems(capacity.emem_words()).unwrap_or_default();
    Stack::with_memory(imem, emem, capacity)
}

/// The stack of a plain NIC: without memory it passes all frames.
///
/// # Errors
///
/// Never: no table fits everywhere.
pub fn plain() -> Result<Stack, MemoryError> {
    Stack::with_memory(Box::default(), Box::default(), Capacity::NONE)
}

/// The tables of `stack` by name.
pub fn tables(stack: &Stack) -> impl Iterator<Item = (&'static str, Usage)> {
    TABLES.into_iter().zip(stack.usage())
}

/// How the tables of a stack divide the memories.
#[derive(Debug)]
pub struct Map {
    tables: [(&'static str, Usage); TABLES.len()],
    capacity: Capacity,
}

impl Map {
    /// The map of `stack`.
    pub fn of(stack: &Stack) -> Self {
        let usage = stack.usage();
        Self {
            tables: std::array::from_fn(|table| (TABLES[table], usage[table])),
            capacity: *stack.capacity(),
        }
    }

    /// Bytes of IMEM that nobody has.
    pub fn free(&self) -> usize {
        let taken = IN_IMEM.map(|table| self.tables[table].1.words);
        (WORDS - taken.iter().sum::<usize>()) * size_of::<u64>()
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WORD: usize = size_of::<u64>();
        let mut row = |name: &str, entries: &dyn fmt::Display, bytes: usize| {
            writeln!(f, "{name:<14}{entries:>10}{bytes:>12}")
        };
        let capacity = &self.capacity;
        row("imem", &"entries", BYTES)?;
        row("reserved", &"", RESERVED)?;
        for (name, usage) in IN_IMEM.map(|table| self.tables[table]) {
            row(name, &usage.capacity, usage.words * WORD)?;
        }
        row("free", &"", self.free())?;
        row("emem", &"entries", capacity.emem_words() * WORD)?;
        let records = capacity.flow_emem_words() * WORD;
        row("flow_records", &capacity.flows, records)?;
        let records = capacity.splice_emem_words() * WORD;
        row("pair_records", &capacity.spliced_pairs, records)?;
        for (name, usage) in IN_EMEM.map(|table| self.tables[table]) {
            row(name, &usage.capacity, usage.words * WORD)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries and bytes of the row `name`.
    fn row(map: &str, name: &str) -> (Option<u32>, usize) {
        let line = map.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let bytes = words.last().unwrap().parse().unwrap();
        (words[0].parse().ok().filter(|_| words.len() == 2), bytes)
    }

    #[test]
    fn the_map_accounts_for_every_byte() {
        let small = Capacity {
            listeners: 1,
            recent: 3,
            half_open: 0,
            flows: 70,
            buffers: 5,
            time_wait: 9,
            spliced_pairs: 1,
            acl: 3,
        };
        for capacity in [Capacity::default(), small, Capacity::NONE] {
            let stack = stack(capacity).unwrap();
            let map = Map::of(&stack).to_string();
            let bytes = |names: &[&str]| -> usize { names.iter().map(|n| row(&map, n).1).sum() };
            let entries = |name| row(&map, name).0;
            assert_eq!(entries("listeners"), Some(capacity.listeners));
            assert_eq!(entries("half_open"), Some(capacity.half_open));
            assert_eq!(entries("acl"), Some(capacity.acl));
            assert_eq!(entries("flows"), Some(capacity.flows));
            assert_eq!(entries("flow_records"), Some(capacity.flows));
            assert_eq!(entries("buffers"), Some(capacity.buffers));
            assert_eq!(entries("time_wait"), Some(capacity.time_wait));
            assert_eq!(entries("spliced_pairs"), Some(capacity.spliced_pairs));
            assert_eq!(entries("pair_records"), Some(capacity.spliced_pairs));
            let tables = bytes(&IN_IMEM.map(|table| TABLES[table]));
            assert_eq!(tables, capacity.words() * 8);
            assert_eq!(tables + bytes(&["reserved", "free"]), BYTES, "{map}");
            assert_eq!(bytes(&["imem"]), BYTES);
            let emem = bytes(&["flow_records", "pair_records", "buffers", "time_wait"]);
            assert_eq!(emem, bytes(&["emem"]), "{map}");
        }
    }

    #[test]
    fn the_card_holds_what_it_promises() {
        let default = Capacity::default();
        assert!(default.listeners >= 4096);
        assert!(default.flows >= 73_728 && default.spliced_pairs >= 28_672);
        assert!(default.time_wait >= 1 << 20);
        assert!(default.acl >= 1024);
        let teardown_only = Capacity {
            flows: 196_608,
            spliced_pairs: 0,
            ..default
        };
        assert!(stack(teardown_only).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        // An entry takes more than a word.
        let capacity = Capacity {
            half_open: WORDS as u32,
            ..Capacity::default()
        };
        assert!(matches!(
            stack(capacity),
            Err(MemoryError::TooSmall { given: WORDS, .. })
        ));
    }
}
