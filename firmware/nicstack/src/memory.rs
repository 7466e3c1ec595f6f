// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NIC's memory and how the tables share it.
//!
//! A port hands in words of the memory that the chip would use (IMEM: SRAM that all cores reach). The stack
//! divides them once, by [`Capacity`], and every table holds exactly what it was given: what does not fit is
//! refused and counted. All access is by atomic words, as on the chip, and by any number of cores.

use crate::half_open::HalfOpen;
use crate::listen::Listeners;
use crate::recent::Recent;
use core::ops::Range;
use core::sync::atomic::AtomicU64;

/// How many entries the tables have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Listener rules, at most [`Capacity::MAX`].
    pub listeners: u32,
    /// Connections delivered lately that are remembered against replays; rounded up to a power of two, at
    /// most [`Capacity::MAX`].
    pub recent: u32,
    /// Half-open connections of servers that speak first; at most [`Capacity::MAX`].
    pub half_open: u32,
}

impl Default for Capacity {
    /// 4,096 listeners, 65,536 recent and 4,096 half-open connections: about 1.5 MB.
    fn default() -> Self {
        Self {
            listeners: 4096,
            recent: 1 << 16,
            half_open: 4096,
        }
    }
}

impl Capacity {
    /// Most entries of a table.
    pub const MAX: u32 = 1 << 20;

    /// No tables at all.
    pub const NONE: Self = Self {
        listeners: 0,
        recent: 0,
        half_open: 0,
    };

    /// Words of memory that the tables take.
    pub const fn words(&self) -> usize {
        Listeners::words(self.listeners)
            + Recent::words(self.recent)
            + HalfOpen::words(self.half_open)
    }

    /// Whether no table is larger than [`Capacity::MAX`].
    pub const fn is_valid(&self) -> bool {
        self.listeners <= Self::MAX && self.recent <= Self::MAX && self.half_open <= Self::MAX
    }
}

/// Why the tables could not be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// The memory is too small.
    TooSmall {
        /// Words that the capacity takes.
        needed: usize,
        /// Words that there are.
        given: usize,
    },
    /// A table is larger than [`Capacity::MAX`].
    TooManyEntries,
}

impl core::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooSmall { needed, given } => {
                write!(f, "the tables take {needed} words of memory, not {given}")
            }
            Self::TooManyEntries => {
                write!(f, "a table has at most {} entries", Capacity::MAX)
            }
        }
    }
}

impl core::error::Error for MemoryError {}

/// The part of the memory that belongs to a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region(Range<usize>);

impl Region {
    /// The words of the region.
    pub fn of<'m>(&self, memory: &'m [AtomicU64]) -> &'m [AtomicU64] {
        memory.get(self.0.clone()).unwrap_or(&[])
    }
}

/// Gives out regions one behind the other.
#[derive(Debug)]
pub struct Partition {
    next: usize,
    end: usize,
}

impl Partition {
    /// Divides the first `words` words.
    pub const fn new(words: usize) -> Self {
        Self {
            next: 0,
            end: words,
        }
    }

    /// The next `words` words, or as many as are left.
    pub fn take(&mut self, words: usize) -> Region {
        let start = self.next;
        self.next = self.end.min(start.saturating_add(words));
        Region(start..self.next)
    }
}

/// What a table uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Words of memory that the table takes as a whole.
    pub words: usize,
    /// Entries in use.
    pub used: u32,
    /// Entries that there are.
    pub capacity: u32,
    /// Entries refused for lack of room.
    pub refused: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap() {
        let memory: [AtomicU64; 10] = Default::default();
        let mut partition = Partition::new(memory.len());
        let (a, b, c) = (partition.take(4), partition.take(5), partition.take(9));
        assert_eq!((a.of(&memory).len(), b.of(&memory).len()), (4, 5));
        assert_eq!(c.of(&memory).len(), 1, "what is left");
        assert!(core::ptr::eq(&b.of(&memory)[0], &memory[4]));
        assert!(a.of(&[]).is_empty());
    }

    #[test]
    fn the_default_fits_the_imem() {
        assert!(Capacity::default().words() * 8 < 2 << 20);
        assert_eq!(Capacity::NONE.words(), 0);
    }
}
