// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buffers in EMEM for what connections have still to send.
//!
//! The data of a connection is in a chain of buffers. Who holds the lock of the connection has its chain to himself.

use crate::chains::Pool;
use crate::memory::{Region, Usage};
use acceltcp_abi::teardown::{buffers, BUFFER};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Words of a buffer: the data, and the link.
pub(crate) const WORDS: usize = BUFFER / WORD + 1;
const LINK: usize = WORDS - 1;

const _: () = assert!(BUFFER % WORD == 0);

/// The buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    region: Region,
    capacity: u32,
    pool: Pool,
    used: AtomicU32,
    refused: AtomicU32,
}

/// Data in buffers: number of the first plus 1 (0 for none), and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) first: u32,
    pub(crate) len: u32,
}

impl Buffers {
    pub(crate) const fn words(capacity: u32) -> usize {
        capacity as usize * WORDS
    }

    pub(crate) const fn new(region: Region, capacity: u32) -> Self {
        Self {
            region,
            capacity,
            pool: Pool::new(capacity),
            used: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            words: Self::words(self.capacity),
            used: self.used.load(Ordering::Relaxed),
            capacity: self.capacity,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn buffer<'m>(&self, memory: &'m [AtomicU64], number: u32) -> Option<&'m [AtomicU64; WORDS]> {
        let start = (number as usize).checked_mul(WORDS)?;
        self.region.of(memory).get(start..)?.first_chunk()
    }

    /// Stores `bytes`; `None` when there are too few buffers.
    pub(crate) fn store(&self, memory: &[AtomicU64], bytes: &[u8]) -> Option<Data> {
        let link = |number| self.buffer(memory, number).map(|buffer| &buffer[LINK]);
        let mut data = Data { first: 0, len: 0 };
        // From the end, so that each buffer links to one that is there.
        let last = bytes.len().saturating_sub(1) / BUFFER;
        for part in (0..buffers(bytes.len())).map(|place| last - place) {
            let part = &bytes[part * BUFFER..bytes.len().min((part + 1) * BUFFER)];
            let Some((number, buffer)) = self
                .pool
                .take(link)
                .and_then(|number| Some((number, self.buffer(memory, number)?)))
            else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.free(memory, data);
                return None;
            };
            self.used.fetch_add(1, Ordering::Relaxed);
            for (slot, chunk) in buffer.iter().zip(part.chunks(WORD)) {
                let mut word = [0; WORD];
                word[..chunk.len()].copy_from_slice(chunk);
                slot.store(u64::from_le_bytes(word), Ordering::Relaxed);
            }
            buffer[LINK].store(data.first.into(), Ordering::Relaxed);
            data.first = number + 1;
            data.len += part.len() as u32;
        }
        Some(data)
    }

    /// Copies the bytes of `data` from `offset` on to `out`. False when there are not as many.
    pub(crate) fn load(
        &self,
        memory: &[AtomicU64],
        data: Data,
        offset: usize,
        out: &mut [u8],
    ) -> bool {
        let end = offset.saturating_add(out.len());
        if end > data.len as usize {
            return false;
        }
        let (mut number, mut start) = (data.first, 0);
        while start < end {
            let Some(buffer) = number
                .checked_sub(1)
                .and_then(|number| self.buffer(memory, number))
            else {
                return false;
            };
            let from = offset.max(start);
            let to = end.min(start + BUFFER);
            let mut at = from;
            while at < to {
                let (word, byte) = ((at - start) / WORD, (at - start) % WORD);
                let len = (WORD - byte).min(to - at);
                let word = buffer[word].load(Ordering::Relaxed).to_le_bytes();
                out[at - offset..][..len].copy_from_slice(&word[byte..byte + len]);
                at += len;
            }
            number = buffer[LINK].load(Ordering::Relaxed) as u32;
            start += BUFFER;
        }
        true
    }

    /// Frees the buffers of `data` and returns how many there were.
    pub(crate) fn free(&self, memory: &[AtomicU64], data: Data) -> u32 {
        let (mut link, mut count) = (data.first, 0);
        while let Some(number) = link.checked_sub(1) {
            let Some(buffer) = self.buffer(memory, number) else {
                break;
            };
            link = buffer[LINK].load(Ordering::Relaxed) as u32;
            self.pool.give(number, &buffer[LINK]);
            count += 1;
        }
        self.used.fetch_sub(count, Ordering::Relaxed);
        count
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::memory::Partition;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn table(capacity: u32) -> (Vec<AtomicU64>, Buffers) {
        let words = Buffers::words(capacity);
        let memory = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
        let region = Partition::new(words).take(words);
        (memory, Buffers::new(region, capacity))
    }

    proptest! {
        #[test]
        fn keeps_what_it_is_given(
            bytes in proptest::collection::vec(any::<u8>(), 0..BUFFER * 3 + 9),
            other in 0..BUFFER * 2, from: proptest::sample::Index, to: proptest::sample::Index,
        ) {
            let (memory, table) = table(6);
            let first = table.store(&memory, &vec![7; other]).unwrap();
            let data = table.store(&memory, &bytes).unwrap();
            prop_assert_eq!(table.usage().used as usize, buffers(other) + buffers(bytes.len()));
            table.free(&memory, first);
            let (a, b) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            let mut out = vec![0; a.abs_diff(b)];
            prop_assert!(table.load(&memory, data, a.min(b), &mut out));
            prop_assert_eq!(&out[..], &bytes[a.min(b)..a.max(b)]);
            prop_assert!(!table.load(&memory, data, bytes.len(), &mut [0]));
            prop_assert_eq!(table.free(&memory, data) as usize, buffers(bytes.len()));
            prop_assert_eq!(table.usage().used, 0);
        }
    }

    #[test]
    fn nothing_is_lost_when_it_is_full() {
        let (memory, table) = table(3);
        for _ in 0..3 {
            let data = table.store(&memory, &[1; BUFFER * 2]).unwrap();
            assert_eq!(table.store(&memory, &[2; BUFFER * 2]), None);
            assert_eq!(table.usage().used, 2);
            let mut out = [0; BUFFER];
            assert!(table.load(&memory, data, BUFFER / 2, &mut out));
            assert_eq!(out, [1; BUFFER]);
            table.free(&memory, data);
        }
        assert_eq!(table.usage().refused, 3);
    }
}
