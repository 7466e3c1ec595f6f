// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A card gone mad: random descriptors, pointers, causes and link states, for drivers that must survive it.
//!
//! Even a mad card writes only where the host said it may: into the buffers and rings that the host gave it. What
//! it writes there, and how much of it, is random. Ordinary traffic goes on beside.

use super::card::Card;
use super::datapath::{Condition, Datapath};
use super::dma::Dma;
use crate::counters::FaultKind;
use acceltcp_abi::nfd3::{RxDesc, RX_DD};
use acceltcp_abi::regs;
use fastrand::Rng;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use zerocopy::little_endian::U16;

/// Time between two strokes.
const PAUSE: Duration = Duration::from_millis(1);

/// The thread that torments the host.
pub struct Hostile {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Hostile {
    /// Starts; equal seeds make equal decisions.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(card: Arc<Card>, seed: u64) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("hostile".to_owned())
            .spawn(move || {
                let mut rng = Rng::with_seed(seed);
                while !stopped.load(Ordering::Acquire) {
                    card.torment(&mut rng);
                    thread::park_timeout(PAUSE);
                }
                card.calm_down();
            })?;
        Ok(Self { stop, thread })
    }

    /// Stops, and has the registers show the truth again.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // A thread that panicked has said so.
        let _ = self.thread.join();
    }
}

impl Card {
    /// Does one random thing to the host.
    pub fn torment(&self, rng: &mut Rng) {
        let datapath = self.datapath.read();
        if datapath.condition != Condition::Running || !datapath.may_dma {
            return;
        }
        self.counters.fault(FaultKind::Garbage);
        let ring = rng.usize(..self.rx.len());
        match rng.u8(..8) {
            0..=3 => self.random_frame(&datapath, ring, rng),
            4 => self.random_write_back(&datapath, ring, rng),
            5 => self.queues.tx(ring).set_read(rng.u32(..)),
            6 => {
                let vector = rng.usize(..self.irqs.count());
                self.irqs.force(vector, rng.u8(..));
            }
            _ => {
                self.status.store(rng.u16(..), Ordering::Release);
                let lsc = datapath.settings.lsc_vector;
                self.irqs.force(usize::from(lsc), regs::ICR_LSC);
            }
        }
    }

    /// Random bytes in the next buffer, with a descriptor that may or may not fit them.
    fn random_frame(&self, datapath: &Datapath, ring: usize, rng: &mut Rng) {
        let mut rx = self.rx[ring].lock();
        let Some(config) = rx.config() else {
            return;
        };
        let mut bytes = [0; 256];
        rng.fill(&mut bytes);
        let bytes = &bytes[..rng.usize(..=bytes.len().min(config.buffer_size))];
        let data_len = match rng.u8(..3) {
            0 => rng.u16(..),
            1 => rng.u16(..=config.buffer_size.min(0xffff) as u16),
            _ => bytes.len() as u16,
        };
        let meta_len = if rng.bool() { 8 } else { rng.u8(..0x80) };
        let desc = RxDesc {
            data_len: U16::new(data_len),
            reserved: rng.u8(..),
            meta_len_dd: meta_len | RX_DD,
            flags: U16::new(rng.u16(..)),
            vlan: U16::new(rng.u16(..)),
        };
        let dma = Dma::new(&datapath.memory, &self.counters);
        // No buffer, no frame.
        let _ = rx.put(&config, &[bytes], desc, dma, self.queues.freelist(ring));
        self.irqs.raise(config.vector, regs::ICR_RXTX);
    }

    /// A random read pointer where the host looks for it.
    fn random_write_back(&self, datapath: &Datapath, ring: usize, rng: &mut Rng) {
        let tx = self.tx[ring].lock();
        let Some(addr) = tx.write_back() else {
            return;
        };
        let value = match rng.bool() {
            true => rng.u64(..),
            false => u64::from(tx.read_pointer().wrapping_add(rng.u32(..64))),
        };
        // An address that went bad is found by the ring itself.
        let _ = Dma::new(&datapath.memory, &self.counters).store_u64(addr, value);
    }

    /// Shows the true link state and pointers again.
    fn calm_down(&self) {
        let datapath = self.datapath.read();
        self.show_link(&datapath);
        for (index, tx) in self.tx.iter().enumerate() {
            let tx = tx.lock();
            self.queues.tx(index).set_read(tx.read_pointer());
            if let Some(addr) = tx.write_back().filter(|_| datapath.may_dma) {
                let value = u64::from(tx.read_pointer() & acceltcp_abi::qc::PTR_MASK);
                let _ = Dma::new(&datapath.memory, &self.counters).store_u64(addr, value);
            }
        }
        self.irqs.raise(datapath.settings.lsc_vector, regs::ICR_LSC);
    }
}
