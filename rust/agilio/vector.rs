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

/// Bytes that the stack may queue at least: what a card sends in 0.2 ms at 10 Gb/s. With less, a burst of short
/// connections would wait in the queueing discipline, and not be handed over.
const LEAST_QUEUED: u32 = 256 << 10;

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
                index,
            }),
            GFP_KERNEL,
        )
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
