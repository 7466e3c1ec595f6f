// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The queue controller: write pointers that doorbells add to, and read pointers that the card moves.

use super::registers::{START_RXQ, START_TXQ};
use acceltcp_abi::qc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which queue a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// TX ring.
    Tx(usize),
    /// Freelist of an RX ring.
    Freelist(usize),
    /// The configuration queue.
    Config,
}

/// Pointers of one queue.
#[derive(Debug, Default)]
pub struct Pointers {
    read: AtomicU32,
    write: AtomicU32,
}

impl Pointers {
    /// Descriptors that the host has put in; free running over 32 bits.
    pub fn write(&self) -> u32 {
        self.write.load(Ordering::Acquire)
    }

    /// Shows `value` as the read pointer.
    pub fn set_read(&self, value: u32) {
        self.read.store(value, Ordering::Release);
    }

    /// Both pointers at 0.
    pub fn reset(&self) {
        self.read.store(0, Ordering::Release);
        self.write.store(0, Ordering::Release);
    }
}

/// All queues.
#[derive(Debug)]
pub struct QueueController {
    tx: Vec<Pointers>,
    freelists: Vec<Pointers>,
    config: Pointers,
}

impl QueueController {
    /// Queues for `rings` ring pairs.
    pub fn new(rings: usize) -> Self {
        let make = || (0..rings).map(|_| Pointers::default()).collect();
        Self {
            tx: make(),
            freelists: make(),
            config: Pointers::default(),
        }
    }

    /// Pointers of TX ring `ring`.
    pub fn tx(&self, ring: usize) -> &Pointers {
        &self.tx[ring]
    }

    /// Pointers of the freelist of RX ring `ring`.
    pub fn freelist(&self, ring: usize) -> &Pointers {
        &self.freelists[ring]
    }

    /// All pointers at 0.
    pub fn reset(&self) {
        let queues = self.tx.iter().chain(&self.freelists);
        queues.chain([&self.config]).for_each(Pointers::reset);
    }

    /// Which queue has the register at `offset` of the BAR, and the offset of the register in the queue.
    fn find(&self, offset: usize) -> Option<(Queue, &Pointers, usize)> {
        let number = offset / qc::QUEUE_SIZE;
        let register = offset % qc::QUEUE_SIZE;
        let ring = number / qc::QUEUE_STRIDE;
        let queue = match number % qc::QUEUE_STRIDE {
            START_TXQ => Queue::Tx(ring),
            START_RXQ => Queue::Freelist(ring),
            _ if number == START_TXQ + qc::CONFIG_QUEUE => Queue::Config,
            _ => return None,
        };
        let pointers = match queue {
            Queue::Tx(ring) => self.tx.get(ring)?,
            Queue::Freelist(ring) => self.freelists.get(ring)?,
            Queue::Config => &self.config,
        };
        Some((queue, pointers, register))
    }

    /// Reads bytes at `offset`. What is not a status register reads as 0. A register is read in one piece: the
    /// host must not see half of a pointer that moves.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        let mut word = (usize::MAX, [0; 4]);
        for (at, byte) in (offset..=usize::MAX).zip(data) {
            if word.0 != at & !3 {
                word = (at & !3, self.status(at & !3).to_le_bytes());
            }
            *byte = word.1[at % 4];
        }
    }

    /// The status register at `offset`, or 0.
    fn status(&self, offset: usize) -> u32 {
        let pointer = match self.find(offset) {
            Some((_, queue, qc::STS_LO)) => &queue.read,
            Some((_, queue, qc::STS_HI)) => &queue.write,
            _ => return 0,
        };
        pointer.load(Ordering::Acquire) & qc::PTR_MASK
    }

    /// Takes a write of `data` at `offset`; returns the queue when its write pointer moved.
    ///
    /// Only whole registers can be written, as on the card.
    pub fn write(&self, offset: usize, data: &[u8]) -> Option<Queue> {
        let (queue, pointers, register) = self.find(offset)?;
        let amount = u32::from_le_bytes(data.try_into().ok()?);
        match register {
            qc::ADD_WPTR => {
                pointers.write.fetch_add(amount, Ordering::AcqRel);
                Some(queue)
            }
            qc::ADD_RPTR => {
                pointers.read.fetch_add(amount, Ordering::AcqRel);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read32(queues: &QueueController, queue: usize, register: usize) -> u32 {
        let mut word = [0; 4];
        queues.read(qc::register(queue, register), &mut word);
        u32::from_le_bytes(word)
    }

    #[test]
    fn doorbells_add() {
        let queues = QueueController::new(2);
        let at = qc::register(qc::ring_queue(START_RXQ, 1), qc::ADD_WPTR);
        assert_eq!(
            queues.write(at, &16_u32.to_le_bytes()),
            Some(Queue::Freelist(1))
        );
        assert_eq!(
            queues.write(at, &16_u32.to_le_bytes()),
            Some(Queue::Freelist(1))
        );
        assert_eq!(queues.freelist(1).write(), 32);
        assert_eq!(queues.freelist(0).write(), 0);
        assert_eq!(read32(&queues, 6, qc::STS_HI), 32);
    }

    #[test]
    fn queues_are_where_the_driver_looks() {
        let queues = QueueController::new(2);
        let doorbell = |queue| queues.write(qc::register(queue, qc::ADD_WPTR), &[1, 0, 0, 0]);
        assert_eq!(doorbell(0), Some(Queue::Tx(0)));
        assert_eq!(doorbell(1), Some(Queue::Config));
        assert_eq!(doorbell(2), Some(Queue::Freelist(0)));
        assert_eq!(doorbell(3), None);
        assert_eq!(doorbell(4), Some(Queue::Tx(1)));
        assert_eq!(doorbell(5), None);
        assert_eq!(doorbell(8), None, "no such ring");
        assert_eq!(doorbell(255), None);
    }

    #[test]
    fn status_shows_18_bits() {
        let queues = QueueController::new(1);
        queues.tx(0).set_read(0x12_3456);
        assert_eq!(read32(&queues, 0, qc::STS_LO), 0x2_3456);
        let mut byte = [0];
        queues.read(qc::STS_LO + 1, &mut byte);
        assert_eq!(byte, [0x34]);
        queues.reset();
        assert_eq!(read32(&queues, 0, qc::STS_LO), 0);
    }

    #[test]
    fn odd_writes_do_nothing() {
        let queues = QueueController::new(1);
        assert_eq!(queues.write(qc::ADD_WPTR, &[1]), None);
        assert_eq!(queues.write(qc::ADD_WPTR + 1, &[1; 4]), None);
        assert_eq!(queues.write(qc::ADD_WPTR, &[1; 8]), None);
        assert_eq!(queues.write(usize::MAX, &[1; 4]), None);
        assert_eq!(queues.tx(0).write(), 0);
    }
}
