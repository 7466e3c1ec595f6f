// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card: its state and the register accesses of the host.

use super::config_space::{ConfigSpace, MSIX_PBA};
use super::datapath::{Condition, Datapath, Link};
use super::imem::{self, Stack};
use super::interrupts::Interrupts;
use super::memory::GuestMemory;
use super::queues::{Queue, QueueController};
use super::registers::{Identity, Registers};
use super::rx::RxRing;
use super::settings::{Limits, Settings};
use super::stats::Stats;
use super::timer::Timer;
use super::tx::TxRing;
use super::worker::Waker;
use crate::counters::{Counter, Counters, Snapshot};
use crate::offload::filter::Filter;
use crate::wire::{Capture, FlowQueues, WirePort};
use acceltcp_abi::pci::CTRL_BAR_SIZE;
use acceltcp_abi::regs::{self, sts};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Place of the cause registers.
const ICR: std::ops::Range<usize> = regs::icr(0)..regs::icr(256);
/// Rate code of 25 Gbit/s.
const RATE_25G: u16 = 4;

/// What a card is made of.
pub struct Parts {
    /// What it shows to the host.
    pub identity: Identity,
    /// Its TCP stack.
    pub nic: Stack,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Its port.
    pub wire: Arc<dyn WirePort>,
    /// Capture of what it and the host exchange.
    pub host_capture: Option<Capture>,
    /// What it counts.
    pub counters: Arc<Counters>,
}

/// The card.
pub struct Card {
    identity: Identity,
    config: Mutex<ConfigSpace>,
    pub(super) regs: Mutex<Registers>,
    pub(super) datapath: RwLock<Datapath>,
    pub(super) tx: Vec<Mutex<TxRing>>,
    pub(super) rx: Vec<Mutex<RxRing>>,
    pub(super) queues: QueueController,
    pub(super) irqs: Interrupts,
    pub(super) stats: Stats,
    pub(super) status: AtomicU16,
    pub(super) nic: Stack,
    pub(super) clock: Timer,
    pub(super) flows: FlowQueues,
    pub(super) wire: Arc<dyn WirePort>,
    pub(super) host_capture: Option<Capture>,
    pub(super) counters: Arc<Counters>,
    pub(super) wakers: Vec<Waker>,
    started: Instant,
}

impl Card {
    /// A card after power-on, with its cable in.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            identity,
            nic,
            workers,
            wire,
            host_capture,
            counters,
        } = parts;
        let regs = Registers::new(&identity);
        let rings = identity.rings;
        let vectors = identity.vectors();
        let datapath = Datapath {
            memory: GuestMemory::default(),
            may_dma: false,
            condition: Condition::Running,
            link: Link {
                cable: true,
                peer: true,
            },
            settings: Settings::off(&regs),
            filter: Filter::new(identity.mac),
        };
        Self {
            identity,
            config: Mutex::new(ConfigSpace::new(vectors)),
            regs: Mutex::new(regs),
            datapath: RwLock::new(datapath),
            tx: (0..rings).map(|_| Mutex::default()).collect(),
            rx: (0..rings).map(|_| Mutex::default()).collect(),
            queues: QueueController::new(rings),
            irqs: Interrupts::new(vectors, counters.clone()),
            stats: Stats::new(rings),
            status: AtomicU16::new(status(true)),
            nic,
            clock: Timer::default(),
            flows: FlowQueues::new(wire.queues()),
            wire,
            host_capture,
            counters,
            wakers: (0..workers.max(1)).map(|_| Waker::default()).collect(),
            started: Instant::now(),
        }
    }

    /// What the card is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Time since power-on.
    pub fn now(&self) -> nicstack::Instant {
        nicstack::Instant(self.started.elapsed().as_nanos() as u64)
    }

    /// All that is counted: by the card, by its stack, what the stack's tables use, connections and pairs by state.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.counters.snapshot();
        for counter in nicstack::stats::Counter::ALL {
            let name = format!("nic.{}", counter.name());
            snapshot.insert(name.into(), self.nic.stats().get(*counter));
        }
        for (table, usage) in imem::tables(&self.nic) {
            for (what, count) in [
                ("used", usage.used),
                ("capacity", usage.capacity),
                ("refused", usage.refused),
            ] {
                let name = format!("nic.table.{table}.{what}");
                snapshot.insert(name.into(), count.into());
            }
        }
        for (state, count) in self.nic.flows_by_state() {
            let name = format!("nic.teardown.state.{}", state.name());
            snapshot.insert(name.into(), count.into());
        }
        for (state, count) in self.nic.pairs_by_state() {
            let name = format!("nic.splice.state.{}", state.name());
            snapshot.insert(name.into(), count.into());
        }
        snapshot
    }

    /// What a configuration may ask for.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            rings: self.identity.rings,
            vectors: self.irqs.count(),
            format: self.identity.format,
        }
    }

    /// Reads configuration space.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.config.lock().read(offset, data);
    }

    /// Writes configuration space.
    pub fn config_write(&self, offset: u64, data: &[u8]) {
        let mut config = self.config.lock();
        let could_dma = config.may_dma();
        let effects = config.write(offset, data);
        let may_dma = config.may_dma();
        if may_dma != could_dma {
            self.datapath.write().may_dma = may_dma;
        }
        drop(config);
        if effects.flr {
            self.function_reset();
        }
        if may_dma && !could_dma {
            self.wake_all();
        }
    }

    /// Reads BAR 0.
    pub fn control_read(&self, offset: u64, data: &mut [u8]) {
        self.counters.add(Counter::MmioReads, 1);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if at < CTRL_BAR_SIZE {
            self.regs.lock().read(at, data);
        } else {
            data.fill(0);
        }
        self.stats.read(at, data);
        for (at, byte) in (at..=usize::MAX).zip(data) {
            if let Some(live) = self.live_byte(at) {
                *byte = live;
            }
        }
    }

    /// Byte `at` of BAR 0 when it is neither a stored register nor part of a counter.
    fn live_byte(&self, at: usize) -> Option<u8> {
        if at == regs::STS || at == regs::STS + 1 {
            let status = self.status.load(Ordering::Acquire);
            Some(status.to_le_bytes()[at - regs::STS])
        } else if ICR.contains(&at) {
            Some(self.irqs.cause(at - ICR.start))
        } else if at >= MSIX_PBA {
            Some(self.irqs.pending_byte(at - MSIX_PBA))
        } else {
            None
        }
    }

    /// Writes BAR 0.
    pub fn control_write(&self, offset: u64, data: &[u8]) {
        self.counters.add(Counter::MmioWrites, 1);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if at >= CTRL_BAR_SIZE {
            return;
        }
        if !ICR.contains(&at) {
            self.regs.lock().write(at, data);
        }
        for (at, &byte) in (at..=usize::MAX).zip(data) {
            if ICR.contains(&at) {
                self.irqs.set_cause(at - ICR.start, byte);
            }
        }
    }

    /// Reads BAR 2.
    pub fn queue_read(&self, offset: u64, data: &mut [u8]) {
        self.counters.add(Counter::MmioReads, 1);
        match usize::try_from(offset) {
            Ok(at) => self.queues.read(at, data),
            Err(_) => data.fill(0),
        }
    }

    /// Writes BAR 2.
    pub fn queue_write(&self, offset: u64, data: &[u8]) {
        self.counters.add(Counter::MmioWrites, 1);
        let queue = usize::try_from(offset)
            .ok()
            .and_then(|at| self.queues.write(at, data));
        if queue.is_some() {
            self.counters.add(Counter::Doorbells, 1);
        }
        match queue {
            Some(Queue::Tx(ring)) => self.wake(ring),
            Some(Queue::Config) => self.reconfigure(),
            // Buffers are taken when a frame needs one.
            Some(Queue::Freelist(_)) | None => {}
        }
    }

    /// Has the worker of TX ring `ring` look at it.
    pub(super) fn wake(&self, ring: usize) {
        self.wakers[ring % self.wakers.len()].wake(1 << ring);
    }

    /// Has everybody look for work: an obstacle is gone.
    pub(super) fn wake_all(&self) {
        self.start_clock();
        for ring in 0..self.tx.len() {
            self.wake(ring);
        }
    }

    /// Changes the memory that the host has mapped. Returns when nothing uses the old map any more.
    pub fn change_memory<T>(&self, change: impl FnOnce(&mut GuestMemory) -> T) -> T {
        change(&mut self.datapath.write().memory)
    }

    /// Function level reset: back to power-on, but for the memory map, the cable and a fault of the card.
    pub fn function_reset(&self) {
        *self.config.lock() = ConfigSpace::new(self.identity.vectors());
        let mut regs = self.regs.lock();
        let mut datapath = self.datapath.write();
        datapath.may_dma = false;
        self.reset_state(&mut regs, &mut datapath);
    }

    /// Forgets everything that the host has set, but for configuration space.
    pub(super) fn reset_state(&self, regs: &mut Registers, datapath: &mut Datapath) {
        *regs = Registers::new(&self.identity);
        datapath.settings = Settings::off(regs);
        datapath.filter = Filter::new(self.identity.mac);
        self.stop_rings();
        self.nic.reset();
        self.queues.reset();
        self.irqs.reset();
        self.stats.reset();
        self.show_link(datapath);
    }

    /// Turns all rings off. The caller holds the datapath for writing.
    pub(super) fn stop_rings(&self) {
        for (index, ring) in self.tx.iter().enumerate() {
            ring.lock().configure(None, self.queues.tx(index));
        }
        for (index, ring) in self.rx.iter().enumerate() {
            ring.lock().configure(None, self.queues.freelist(index));
        }
        self.irqs.forget_held();
    }

    /// Pulls the cable or plugs it in.
    pub fn set_cable(&self, up: bool) {
        self.change_link(|link| link.cable = up);
    }

    /// The other end of the wire is there, or is not.
    pub fn set_peer(&self, up: bool) {
        self.change_link(|link| link.peer = up);
    }

    /// Changes the link, and tells the host when that made it go up or down.
    fn change_link(&self, change: impl FnOnce(&mut Link)) {
        let mut datapath = self.datapath.write();
        let was_up = datapath.link.is_up();
        change(&mut datapath.link);
        self.show_link(&datapath);
        if datapath.link.is_up() != was_up {
            self.irqs.raise(datapath.settings.lsc_vector, regs::ICR_LSC);
            self.start_clock();
        }
    }

    /// Shows the true link state to the host.
    pub(super) fn show_link(&self, datapath: &Datapath) {
        let status = status(datapath.link.is_up());
        self.status.store(status, Ordering::Release);
    }
}

/// Value of [`regs::STS`].
fn status(link_up: bool) -> u16 {
    if link_up {
        sts::LINK | RATE_25G << sts::RATE_SHIFT
    } else {
        0
    }
}
