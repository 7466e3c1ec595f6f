// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The counter file.

use std::{
    io,
    ops::{Add, Sub},
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::repeat::Entry;

/// vCPUs that the file has room for; later ones are not counted.
pub(crate) const MAX_VCPUS: usize = 64;

/// Size of the counter file in bytes.
pub const FILE_SIZE: usize = MAX_VCPUS * size_of::<Line>();

/// The counters of one vCPU, on a cache line of their own. Only that vCPU's thread writes them.
#[repr(C, align(64))]
#[derive(Default)]
pub(crate) struct Line {
    user: AtomicU64,
    kernel: AtomicU64,
    /// [`Entry::repeated`] of the last block.
    repeated: AtomicU64,
}

impl Line {
    /// Whether the block of `entry`, which has so many instructions, goes on with the repeated string
    /// instruction that the block before it has begun. It counts for nothing then.
    pub(crate) fn continues(&self, entry: Entry, instructions: u64) -> bool {
        let repeated = u64::from(entry.repeated());
        let before = self.repeated.load(Ordering::Relaxed);
        if before != repeated {
            self.repeated.store(repeated, Ordering::Relaxed);
        }
        repeated != 0 && before == repeated && instructions == 1
    }

    /// Counts a block of `instructions`.
    pub(crate) fn add(&self, instructions: u64, kernel: bool) {
        let counter = if kernel { &self.kernel } else { &self.user };
        // One writer: no need for a locked addition.
        let sum = counter.load(Ordering::Relaxed).wrapping_add(instructions);
        counter.store(sum, Ordering::Relaxed);
    }
}

/// Guest instructions so far, all vCPUs together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Instructions at addresses with the top bit set.
    pub kernel: u64,
    /// All others.
    pub user: u64,
}

impl Counts {
    /// Reads the counter file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is shorter than [`FILE_SIZE`].
    pub fn read(file: &impl FileExt) -> io::Result<Self> {
        let mut bytes = [0; FILE_SIZE];
        file.read_exact_at(&mut bytes, 0)?;
        let word = |line: &[u8], at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&line[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        Ok(bytes
            .chunks_exact(size_of::<Line>())
            .map(|line| Self {
                user: word(line, 0),
                kernel: word(line, 8),
            })
            .fold(Self::default(), Add::add))
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            kernel: self.kernel.wrapping_add(other.kernel),
            user: self.user.wrapping_add(other.user),
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            kernel: self.kernel.wrapping_sub(other.kernel),
            user: self.user.wrapping_sub(other.user),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file of the plugin in memory.
    pub(crate) struct Memory(pub(crate) Vec<u8>);

    impl FileExt for Memory {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }

        fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn lines_are_summed() {
        let mut bytes = vec![0; FILE_SIZE];
        bytes[0..8].copy_from_slice(&5_u64.to_ne_bytes());
        bytes[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[64..72].copy_from_slice(&100_u64.to_ne_bytes());
        bytes[FILE_SIZE - 56..FILE_SIZE - 48].copy_from_slice(&1000_u64.to_ne_bytes());
        let counts = Counts::read(&Memory(bytes)).unwrap();
        assert_eq!(
            counts,
            Counts {
                kernel: 1007,
                user: 105
            }
        );
    }

    #[test]
    fn short_file_is_refused() {
        let error = Counts::read(&Memory(vec![0; FILE_SIZE - 1])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn repeated_instruction_counts_once() {
        let rep: &[u8] = &[0xf3, 0xaa];
        let line = Line::default();
        let enter = |instructions, last| !line.continues(Entry::new(0, last), instructions);
        // The block before the loop ends with the instruction; its iterations follow.
        assert!(enter(3, Some((0x1000, rep))));
        assert!(!enter(1, Some((0x1000, rep))));
        assert!(!enter(1, Some((0x1000, rep))));
        // The next one is another instruction.
        assert!(enter(1, Some((0x1002, rep))));
        assert!(!enter(1, Some((0x1002, rep))));
        // An interrupt comes between, and a loop comes back to the instruction.
        assert!(enter(9, None));
        assert!(enter(1, Some((0x1002, rep))));
        assert!(enter(3, Some((0x1002, rep))));
        assert!(enter(3, Some((0x1002, rep))));
        assert!(enter(1, None));
        assert!(enter(1, None));
    }

    #[test]
    fn kernel_and_user_are_apart() {
        let line = Line::default();
        line.add(3, true);
        line.add(4, false);
        line.add(5, true);
        assert_eq!(line.kernel.load(Ordering::Relaxed), 8);
        assert_eq!(line.user.load(Ordering::Relaxed), 4);
        assert_eq!(size_of::<Line>(), 64);
    }
}
