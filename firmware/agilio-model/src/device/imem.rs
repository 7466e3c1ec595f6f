// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card's IMEM, and how the stack's tables divide it.
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
const TABLES: [&str; 3] = ["listeners", "recent", "half_open"];

/// The stack of a card.
pub type Stack = nicstack::Nic<Box<[AtomicU64]>>;

/// A stack whose tables have `capacity` in the card's IMEM.
///
/// # Errors
///
/// When they do not fit.
pub fn stack(capacity: Capacity) -> Result<Stack, MemoryError> {
    // Without the memory there is nothing to lay out.
    let imem = <[AtomicU64]>::new_box_zeroed_with_elems(WORDS).unwrap_or_default();
    Stack::with_memory(imem, capacity)
}

/// The stack of a plain NIC: without memory it passes all frames.
///
/// # Errors
///
/// Never: no table fits everywhere.
pub fn plain() -> Result<Stack, MemoryError> {
    Stack::with_memory(Box::default(), Capacity::NONE)
}

/// The tables of `stack` by name.
pub fn tables(stack: &Stack) -> impl Iterator<Item = (&'static str, Usage)> {
    TABLES.into_iter().zip(stack.usage())
}

/// How the tables of a stack divide the IMEM.
#[derive(Debug)]
pub struct Map([(&'static str, Usage); TABLES.len()]);

impl Map {
    /// The map of `stack`.
    pub fn of(stack: &Stack) -> Self {
        let usage = stack.usage();
        Self(std::array::from_fn(|table| (TABLES[table], usage[table])))
    }

    /// Bytes that nobody has.
    pub fn free(&self) -> usize {
        let taken: usize = self.0.iter().map(|(_, usage)| usage.words).sum();
        (WORDS - taken) * size_of::<u64>()
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name, entries: &dyn fmt::Display, bytes: &dyn fmt::Display| {
            writeln!(f, "{name:<12}{entries:>10}{bytes:>10}")
        };
        row("", &"entries", &"bytes")?;
        row("reserved", &"", &RESERVED)?;
        for (name, usage) in &self.0 {
            row(name, &usage.capacity, &(usage.words * size_of::<u64>()))?;
        }
        row("free", &"", &self.free())?;
        row("total", &"", &BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries and bytes of the row `name`.
    fn row(map: &str, name: &str) -> (Option<usize>, usize) {
        let line = map.lines().find(|line| line.starts_with(name)).unwrap();
        let mut numbers = line[name.len()..]
            .split_whitespace()
            .map(|number| number.parse().unwrap());
        let first = numbers.next().unwrap();
        match numbers.next() {
            Some(bytes) => (Some(first), bytes),
            None => (None, first),
        }
    }

    #[test]
    fn the_map_accounts_for_every_byte() {
        let default = Capacity::default();
        let small = Capacity {
            listeners: 1,
            recent: 3,
            half_open: 0,
        };
        for capacity in [default, small, Capacity::NONE] {
            let stack = stack(capacity).unwrap();
            let map = Map::of(&stack).to_string();
            let tables = TABLES.map(|name| row(&map, name));
            assert_eq!(tables[0].0, Some(capacity.listeners as usize));
            assert_eq!(tables[2].0, Some(capacity.half_open as usize));
            let taken: usize = tables.iter().map(|table| table.1).sum();
            assert_eq!(taken, capacity.words() * 8);
            let (reserved, free) = (row(&map, "reserved").1, row(&map, "free").1);
            assert_eq!(reserved + taken + free, row(&map, "total").1, "{map}");
        }
        assert!(default.listeners >= 4096);
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
