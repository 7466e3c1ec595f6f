// SPDX-License-Identifier: GPL-2.0

//! A ring pair with its interrupt and its poll function.

use super::{
    regs::Regs,
    ring_rx::RxRing,
    ring_tx::{
        Consumer,
        Producer, //
    },
    stats::{
        RxStats,
        TxDoneStats,
        TxStats, //
    },
};
use crate::net::{
    device::NewDevice,
    irq,
    napi::{
        Napi,
        Poll,
        Polling, //
    },
    queue::{
        TxCell,
        TxQueue, //
    },
};
use acceltcp_abi::{
    pci as ids,
    regs, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Bytes that the stack may queue at least: what a card sends in 50 us at 10 Gb/s. With less, a burst of short
/// connections would wait in the queueing discipline, and not be handed over.
const LEAST_QUEUED: u32 = 64 << 10;

/// Looks after which a TX ring is stuck that has something to send and does not: as long as the stack's watchdog waits,
/// which knows only queues that are stopped.
const STUCK_AFTER: u32 = 5;

/// What was seen of a TX ring (one looker at a time).
struct Watch {
    /// Slots emptied at the last look.
    consumed: Atomic<u32>,
    /// Looks since anything has left.
    still: Atomic<u32>,
}

/// Counters of a ring pair.
#[derive(Default)]
pub(crate) struct VectorStats {
    pub(crate) rx: RxStats,
    pub(crate) tx: TxStats,
    pub(crate) tx_done: TxDoneStats,
}

/// What the poll function works on.
pub(crate) struct RingPair<'a> {
    pub(crate) rx: Option<RxRing<'a>>,
    pub(crate) tx: Option<Consumer<'a>>,
    regs: Arc<Regs<'a>>,
    queue: TxQueue,
    icr: usize,
    stats: Arc<VectorStats>,
    checksums: Arc<Atomic<bool>>,
}

impl Poll for RingPair<'_> {
    fn poll(&mut self, polling: &Polling<'_>) -> usize {
        if let Some(tx) = &mut self.tx {
            tx.complete(polling, self.queue, &self.stats.tx_done);
        }
        let budget = polling.budget() as usize;
        if budget == 0 {
            return 0;
        }
        let done = self.rx.as_mut().map_or(0, |rx| {
            rx.receive(polling, self.checksums.load(Relaxed), &self.stats.rx)
        });
        if done < budget && polling.complete(done) {
            // Unmasks; the card fires at once when something has come in the meantime.
            self.regs.write8(self.icr, regs::ICR_UNMASKED);
        }
        done
    }
}

/// A ring pair. Its rings are there while the datapath is up.
#[pin_data]
pub(crate) struct Vector<'a> {
    #[pin]
    pub(crate) napi: Napi<RingPair<'a>>,
    pub(crate) tx: TxCell<Option<Producer<'a>>>,
    pub(crate) stats: Arc<VectorStats>,
    watch: Watch,
    /// Number of the ring pair.
    pub(crate) index: u16,
}

impl<'a> Vector<'a> {
    /// MSI-X entry of ring pair `index`.
    pub(crate) const fn entry(index: u16) -> u16 {
        ids::VECTOR_RING0 + index
    }

    /// Ring pair `index` of `dev`, without rings. `checksums` says whether the card's checksums are used.
    pub(crate) fn new(
        dev: &NewDevice<'_>,
        regs: &Arc<Regs<'a>>,
        checksums: &Arc<Atomic<bool>>,
        index: u16,
    ) -> Result<Arc<Self>> {
        let queue = dev.tx_queue(index.into()).ok_or(EINVAL)?;
        queue.set_least(LEAST_QUEUED);
        let stats = Arc::new(VectorStats::default(), GFP_KERNEL)?;
        let pair = RingPair {
            rx: None,
            tx: None,
            regs: regs.clone(),
            queue,
            icr: regs::icr(Self::entry(index).into()),
            stats: stats.clone(),
            checksums: checksums.clone(),
        };
        Arc::pin_init(
            pin_init!(Self {
                napi <- Napi::new(dev, pair),
                tx: TxCell::new(queue, None),
                stats,
                watch: Watch {
                    consumed: Atomic::new(0),
                    still: Atomic::new(0),
                },
                index,
            }),
            GFP_KERNEL,
        )
    }

    /// Looks after the TX ring, which ought to be done once a second. Returns whether it has just been found stuck.
    pub(crate) fn is_stuck(&self) -> bool {
        let progress = self.tx.queue().with_lock(|locked| {
            let producer = self.tx.get(locked)?.as_ref()?;
            Some(producer.progress())
        });
        let (produced, consumed) = progress.unwrap_or_default();
        let moved = self.watch.consumed.xchg(consumed, Relaxed) != consumed;
        let still = match moved || produced == consumed {
            true => 0,
            false => self.watch.still.load(Relaxed) + 1,
        };
        let stuck = still == STUCK_AFTER;
        self.watch
            .still
            .store(if stuck { 0 } else { still }, Relaxed);
        stuck
    }

    /// Takes the rings out and frees them. The card must not use them any more, and the poll function must
    /// be disabled.
    pub(crate) fn drop_rings(&self) {
        let queue = self.tx.queue();
        let producer = queue.with_lock(|locked| self.tx.get(locked).and_then(Option::take));
        let consumer = self
            .napi
            .with_disabled(|pair| (pair.rx.take(), pair.tx.take()));
        drop((producer, consumer));
        queue.reset_bql();
    }
}

impl irq::Handler for Vector<'_> {
    fn handle(&self) {
        self.napi.schedule_irqoff();
    }
}
