// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The profile file: how often each block of the kernel was entered.
//!
//! It is an array of words of this machine: how many slots are used, how many instructions found
//! none, and the slots, of three words each. A slot stays with its block for good, so that the
//! same block, translated again, is counted on, and two snapshots differ in the last words only.

use std::{
    collections::HashMap,
    io,
    os::unix::fs::FileExt,
    sync::{
        atomic::{AtomicU64, Ordering},
        Mutex, PoisonError,
    },
};

/// Slots of a file of [`PROFILE_SIZE`] bytes: several times the blocks of a kernel that has booted
/// and served.
const CAPACITY: usize = 1 << 19;

/// Words before the slots.
const HEAD: usize = 2;

/// Words of a slot: address, instructions, executions.
const SLOT: usize = 3;

const WORD: usize = size_of::<AtomicU64>();

/// Size of a profile file in bytes. What is not used of it takes no space.
pub const PROFILE_SIZE: usize = (HEAD + CAPACITY * SLOT) * WORD;

/// The profile file as the plugin sees it.
#[derive(Debug)]
pub(crate) struct Slots<'a> {
    used: &'a AtomicU64,
    lost: &'a AtomicU64,
    slots: &'a [AtomicU64],
    /// Where a block has its slot, by address and instructions: what is translated at an address may
    /// be shorter one time than another.
    known: Mutex<HashMap<(u64, u64), u32>>,
}

impl<'a> Slots<'a> {
    /// `None` if `words` are too few for a slot.
    pub(crate) fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let (head, slots) = words.split_at_checked(HEAD)?;
        match head {
            [used, lost] if slots.len() >= SLOT => Some(Self {
                used,
                lost,
                slots,
                known: Mutex::default(),
            }),
            _ => None,
        }
    }

    /// The slot of a block; `None` if all are taken.
    pub(crate) fn find(&self, address: u64, instructions: u64) -> Option<u32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(known.len()).ok()?;
        if let Some(&slot) = known.get(&(address, instructions)) {
            return Some(slot);
        }
        let [place, length, _] = self.slot(next)?;
        place.store(address, Ordering::Relaxed);
        length.store(instructions, Ordering::Relaxed);
        known.insert((address, instructions), next);
        self.used.store(u64::from(next) + 1, Ordering::Release);
        Some(next)
    }

    fn slot(&self, index: u32) -> Option<&[AtomicU64; SLOT]> {
        let start = usize::try_from(index).ok()?.checked_mul(SLOT)?;
        self.slots.get(start..)?.first_chunk()
    }

    /// Instructions of a slot's block.
    pub(crate) fn instructions(&self, slot: u32) -> u64 {
        self.slot(slot)
            .map_or(0, |[_, length, _]| length.load(Ordering::Relaxed))
    }

    /// Counts an execution of a slot's block.
    pub(crate) fn enter(&self, slot: u32) {
        if let Some([_, _, executions]) = self.slot(slot) {
            // Unlike the counters, a block may be entered by several vCPUs at once.
            executions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an execution of a block that has no slot.
    pub(crate) fn lose(&self, instructions: u64) {
        self.lost.fetch_add(instructions, Ordering::Relaxed);
    }
}

/// A block of the kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// Virtual address of its first instruction.
    pub address: u64,
    /// Its instructions.
    pub instructions: u64,
    /// How often it was entered.
    pub executions: u64,
}

/// The blocks of the kernel that were translated so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Profile {
    /// The blocks, in the order of their first translation.
    pub blocks: Vec<Block>,
    /// Instructions executed in blocks that found no slot.
    pub lost: u64,
}

impl Profile {
    /// Reads the profile file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is shorter than it says.
    pub fn read(file: &impl FileExt) -> io::Result<Self> {
        let word = |bytes: &[u8]| {
            let mut word = [0; WORD];
            word.copy_from_slice(bytes);
            u64::from_ne_bytes(word)
        };
        let mut head = [0; HEAD * WORD];
        file.read_exact_at(&mut head, 0)?;
        let used = usize::try_from(word(&head[..WORD])).unwrap_or(usize::MAX);
        let length = used
            .checked_mul(SLOT * WORD)
            .filter(|&length| length <= PROFILE_SIZE);
        let mut bytes = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        file.read_exact_at(&mut bytes, head.len() as u64)?;
        let block = |slot: &[u8]| Block {
            address: word(&slot[..WORD]),
            instructions: word(&slot[WORD..2 * WORD]),
            executions: word(&slot[2 * WORD..]),
        };
        Ok(Self {
            blocks: bytes.chunks_exact(SLOT * WORD).map(block).collect(),
            lost: word(&head[WORD..]),
        })
    }

    /// What was executed after an earlier snapshot of the same file.
    pub fn since(&self, before: &Self) -> Self {
        let executed = |index: usize, block: &Block| {
            let known = before.blocks.get(index).map_or(0, |known| known.executions);
            block.executions.wrapping_sub(known)
        };
        let blocks = self.blocks.iter().enumerate().map(|(index, block)| Block {
            executions: executed(index, block),
            ..*block
        });
        Self {
            blocks: blocks.filter(|block| block.executions > 0).collect(),
            lost: self.lost.wrapping_sub(before.lost),
        }
    }

    /// All instructions in it, those of blocks without a slot too.
    pub fn instructions(&self) -> u64 {
        let blocks = self.blocks.iter();
        self.lost + blocks.map(Block::total).sum::<u64>()
    }
}

impl Block {
    /// Instructions of all its executions.
    pub fn total(&self) -> u64 {
        self.instructions.wrapping_mul(self.executions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::tests::Memory;

    fn words(slots: usize) -> Vec<AtomicU64> {
        (0..HEAD + slots * SLOT)
            .map(|_| AtomicU64::new(0))
            .collect()
    }

    fn read(words: &[AtomicU64]) -> Profile {
        let bytes = words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        Profile::read(&Memory(bytes.collect())).unwrap()
    }

    #[test]
    fn blocks_come_back_with_their_executions() {
        let words = words(4);
        let slots = Slots::new(&words).unwrap();
        let first = slots.find(0xffff_ffff_8100_0000, 5).unwrap();
        let second = slots.find(0xffff_ffff_8100_0040, 3).unwrap();
        assert_eq!([first, second].map(|slot| slots.instructions(slot)), [5, 3]);
        slots.enter(first);
        slots.enter(second);
        slots.enter(first);
        // Translated again, and once more but shorter.
        assert_eq!(slots.find(0xffff_ffff_8100_0000, 5), Some(first));
        let shorter = slots.find(0xffff_ffff_8100_0000, 2).unwrap();
        assert_ne!(shorter, first);
        slots.enter(shorter);

        let profile = read(&words);
        let block = |address, instructions, executions| Block {
            address,
            instructions,
            executions,
        };
        assert_eq!(
            profile.blocks,
            [
                block(0xffff_ffff_8100_0000, 5, 2),
                block(0xffff_ffff_8100_0040, 3, 1),
                block(0xffff_ffff_8100_0000, 2, 1)
            ]
        );
        assert_eq!((profile.lost, profile.instructions()), (0, 15));
    }

    #[test]
    fn overflow_is_counted() {
        let words = words(1);
        let slots = Slots::new(&words).unwrap();
        let slot = slots.find(1, 5).unwrap();
        assert_eq!(slots.find(2, 7), None);
        slots.lose(7);
        slots.lose(7);
        slots.enter(slot);
        let profile = read(&words);
        assert_eq!((profile.blocks.len(), profile.lost), (1, 14));
        assert_eq!(profile.instructions(), 19);
    }

    #[test]
    fn only_what_came_later_is_left() {
        let words = words(4);
        let slots = Slots::new(&words).unwrap();
        let (idle, busy) = (slots.find(1, 5).unwrap(), slots.find(2, 3).unwrap());
        slots.enter(idle);
        slots.enter(busy);
        slots.lose(1);
        let before = read(&words);
        slots.enter(busy);
        slots.enter(busy);
        let new = slots.find(3, 10).unwrap();
        slots.enter(new);
        slots.lose(2);
        let later = read(&words).since(&before);
        let seen: Vec<_> = later
            .blocks
            .iter()
            .map(|b| (b.address, b.executions))
            .collect();
        assert_eq!(seen, [(2, 2), (3, 1)]);
        assert_eq!((later.lost, later.instructions()), (2, 18));
        assert_eq!(before.since(&before), Profile::default());
    }

    #[test]
    fn file_that_is_too_short_is_refused() {
        assert!(Slots::new(&words(0)).is_none());
        let mut bytes = vec![0; HEAD * WORD];
        assert_eq!(
            Profile::read(&Memory(bytes.clone())).unwrap(),
            Profile::default()
        );
        bytes[..WORD].copy_from_slice(&1_u64.to_ne_bytes());
        let error = Profile::read(&Memory(bytes.clone())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        bytes[..WORD].copy_from_slice(&u64::MAX.to_ne_bytes());
        let error = Profile::read(&Memory(bytes)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
