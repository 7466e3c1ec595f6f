// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NIC's memory and how the tables share it.
//!
//! A port hands in words of the memories that the chip would use: IMEM (SRAM that all cores reach) for what every
//! frame needs, EMEM (DRAM) for the rest of a connection and its data. The stack divides them once, by [`Capacity`],
//! and every table holds exactly what it was given: what does not fit is refused and counted. All access is by atomic words, as on the chip, and by any number of cores.

use crate::acl::table::Acl;
use crate::connecting::Connecting;
use crate::half_open::HalfOpen;
use crate::listen::Listeners;
use crate::recent::Recent;
use crate::splice::Splicing;
use crate::teardown::Teardown;
use core::ops::Range;
use core::sync::atomic::AtomicU64;

/// How many entries the tables have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Rules for listeners. At most [`Capacity::MAX`].
    pub listeners: u32,
    /// Connections delivered lately that are remembered against replays. Rounded up to a power of two, at
    /// most [`Capacity::MAX`].
    pub recent: u32,
    /// Half-open connections of servers that speak first. At most [`Capacity::MAX`].
    pub half_open: u32,
    /// Connections that the NIC ends. At most [`Capacity::MAX`].
    pub flows: u32,
    /// Buffers in EMEM for data of connections that are ended or spliced. At most [`Capacity::MAX`].
    pub buffers: u32,
    /// Connections in TIME-WAIT, in EMEM. At most [`Capacity::MAX`].
    pub time_wait: u32,
    /// Pairs of connections that are spliced. At most [`Capacity::MAX`].
    pub spliced_pairs: u32,
    /// Rules of the access list. At most [`Capacity::MAX`].
    pub acl: u32,
}

impl Default for Capacity {
    /// 131,072 connections in 6 MB of IMEM: 73,728 that are ended and 28,672 pairs that are spliced; beside 4,096
    /// listeners, 65,536 recent and 3,584 half-open connections, and 1,024 rules of the access list. In EMEM as many
    /// buffers as connections, and 1,048,576 connections in TIME-WAIT.
    fn default() -> Self {
        Self {
            listeners: 4096,
            recent: 1 << 16,
            half_open: 3584,
            flows: 73_728,
            buffers: 73_728,
            time_wait: 1 << 20,
            spliced_pairs: 28_672,
            acl: 1024,
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
        flows: 0,
        buffers: 0,
        time_wait: 0,
        spliced_pairs: 0,
        acl: 0,
    };

    /// Words of IMEM that the tables take.
    pub const fn words(&self) -> usize {
        Listeners::words(self.listeners)
            + Connecting::words(self.listeners)
            + Recent::words(self.recent)
            + HalfOpen::words(self.half_open)
            + Teardown::words(self)[0]
            + self.splice_words()
            + Acl::words(self.acl)
    }

    /// Words of EMEM that the tables take.
    pub const fn emem_words(&self) -> usize {
        Teardown::words(self)[1] + self.splice_emem_words()
    }

    /// Of these, words of what the table of flows has in EMEM.
    pub const fn flow_emem_words(&self) -> usize {
        Teardown::flow_emem_words(self.flows)
    }

    /// Words of IMEM that the table of pairs takes.
    pub const fn splice_words(&self) -> usize {
        Splicing::words(self.spliced_pairs)[0]
    }

    /// Words of EMEM that it takes.
    pub const fn splice_emem_words(&self) -> usize {
        Splicing::words(self.spliced_pairs)[1]
    }

    /// Whether no table is larger than [`Capacity::MAX`].
    pub const fn is_valid(&self) -> bool {
        self.listeners <= Self::MAX
            && self.recent <= Self::MAX
            && self.half_open <= Self::MAX
            && self.flows <= Self::MAX
            && self.buffers <= Self::MAX
            && self.time_wait <= Self::MAX
            && self.spliced_pairs <= Self::MAX
            && self.acl <= Self::MAX
    }
}

/// Why the tables could not be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// The IMEM or the EMEM is too small.
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
        let default = Capacity::default();
        assert!(default.words() * 8 <= 6 << 20);
        assert!(default.flows + 2 * default.spliced_pairs >= 1 << 17);
        assert_eq!(Capacity::NONE.words(), 0);
        assert_eq!(Capacity::NONE.emem_words(), 0);
    }

    #[test]
    fn without_splicing_there_is_room_for_more() {
        let capacity = Capacity {
            flows: 196_608,
            spliced_pairs: 0,
            ..Capacity::default()
        };
        assert!(capacity.words() * 8 <= 6 << 20);
    }
}
