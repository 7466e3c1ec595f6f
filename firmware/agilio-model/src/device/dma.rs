// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DMA as the card does it: 40-bit addresses, every transaction counted.

use super::memory::{BadAddress, GuestMemory};
use crate::counters::{Counter, Counters};
use acceltcp_abi::nfd3::DMA_LIMIT;

/// Access to host memory for the time of one batch of work.
#[derive(Clone, Copy)]
pub struct Dma<'a> {
    memory: &'a GuestMemory,
    counters: &'a Counters,
}

impl<'a> Dma<'a> {
    /// DMA into `memory`.
    pub fn new(memory: &'a GuestMemory, counters: &'a Counters) -> Self {
        Self { memory, counters }
    }

    /// Reads `data.len()` bytes at `addr` in one transaction.
    pub fn read(&self, addr: u64, data: &mut [u8]) -> Result<(), BadAddress> {
        self.checked(reachable(addr, data.len()).and_then(|()| self.memory.read(addr, data)))?;
        self.counters.add(Counter::DmaReadTransactions, 1);
        self.counters.add(Counter::DmaReadBytes, data.len() as u64);
        Ok(())
    }

    /// Writes `parts` behind one another from `addr` on in one transaction.
    pub fn write(&self, addr: u64, parts: &[&[u8]]) -> Result<(), BadAddress> {
        let len = parts.iter().map(|part| part.len()).sum();
        self.checked(reachable(addr, len))?;
        let mut at = addr;
        for part in parts {
            self.checked(self.memory.write(at, part))?;
            at += part.len() as u64;
        }
        self.count_write(len);
        Ok(())
    }

    /// Stores `value` at `addr`, a multiple of 8, in one piece and behind all writes before.
    pub fn store_u64(&self, addr: u64, value: u64) -> Result<(), BadAddress> {
        self.checked(reachable(addr, 8).and_then(|()| self.memory.store_u64(addr, value)))?;
        self.count_write(8);
        Ok(())
    }

    fn count_write(&self, len: usize) {
        self.counters.add(Counter::DmaWriteTransactions, 1);
        self.counters.add(Counter::DmaWriteBytes, len as u64);
    }

    fn checked(&self, result: Result<(), BadAddress>) -> Result<(), BadAddress> {
        if result.is_err() {
            self.counters.add(Counter::DmaErrors, 1);
        }
        result
    }
}

/// Whether the card's address lines reach all of `addr..addr + len`.
pub fn reachable(addr: u64, len: usize) -> Result<(), BadAddress> {
    match addr.checked_add(len as u64) {
        Some(end) if end <= DMA_LIMIT => Ok(()),
        _ => Err(BadAddress),
    }
}
