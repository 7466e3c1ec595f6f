// SPDX-License-Identifier: GPL-2.0

//! The pairs of a card by their numbers, and what the card says of them.
//!
//! What it says comes in atomic context, and is kept here until the worker has time for it. The lock of the table is innermost.

use super::super::{
    counters::Counter,
    netns::Netns,
    watermark::{
        self,
        Gate,
        Level, //
    }, //
};
use super::{
    pair::Pair,
    slots::{
        Name,
        Room,
        Slots, //
    }, //
};
use crate::net::work::{
    Job,
    Worker, //
};
use acceltcp_abi::{
    cmd::SpliceReply,
    splice::SpliceEvent, //
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

struct Table {
    /// Pairs that the card has room for; 0 when it takes none.
    capacity: u32,
    max_frame: usize,
    slots: Slots<Arc<Pair>>,
}

/// The pairs of a card.
#[pin_data]
pub(crate) struct Pairs {
    #[pin]
    table: SpinLockIrq<Table>,
    gate: Gate,
}

/// Slots that there are at first; then twice as many whenever they do not suffice.
const FIRST: usize = 512;

impl Pairs {
    /// None, until [`Pairs::start`].
    pub(crate) fn new() -> Result<Arc<Worker<Self>>> {
        Worker::new(pin_init!(Self {
            table <- new_spinlock_irq!(Table {
                capacity: 0,
                max_frame: 0,
                slots: Slots::new(),
            }),
            gate: Gate::new(),
        }))
    }

    /// The card has told what it has.
    pub(crate) fn start(&self, reply: &SpliceReply) {
        let mut table = self.table.lock();
        table.capacity = reply.pairs.get();
        table.max_frame = reply.max_frame.get() as usize;
    }

    /// Most bytes of a frame with two templates; 0 when the card takes no pairs.
    pub(super) fn max_frame(&self) -> usize {
        let table = self.table.lock();
        if table.capacity == 0 {
            0
        } else {
            table.max_frame
        }
    }

    /// Pairs with the card, and room for others.
    pub(crate) fn gauges(&self) -> [u64; 2] {
        let table = self.table.lock();
        let used = table.slots.used();
        [
            used as u64,
            u64::from(table.capacity).saturating_sub(used as u64),
        ]
    }

    /// How full the card is of pairs.
    pub(crate) fn level(&self) -> Level {
        let (used, capacity) = {
            let table = self.table.lock();
            (table.slots.used(), table.capacity)
        };
        // There are no more slots than pairs.
        self.gate.level(used as u32, capacity)
    }

    /// Takes a name for a pair of `netns`, for which `make` makes the pair (process context).
    /// `ENOSPC` when the card has no room, or is not to be filled any more.
    /// [`watermark::tell_later`] is to follow.
    pub(super) fn enter(
        &self,
        netns: &Netns,
        make: impl FnOnce(Name) -> Result<Arc<Pair>>,
    ) -> Result<Arc<Pair>> {
        let level = self.level();
        if !self.gate.admits(level.used, level.capacity) {
            netns.count(Counter::splice_watermark);
            return Err(ENOSPC);
        }
        let name = loop {
            let used = {
                let mut table = self.table.lock();
                if let Some(name) = table.slots.take() {
                    break name;
                }
                if table.slots.len() >= table.capacity as usize {
                    return Err(ENOSPC);
                }
                table.slots.len()
            };
            self.grow(used)?;
        };
        let pair = make(name).inspect_err(|_| self.withdraw(name))?;
        let known = self.table.lock().slots.put(name, pair.clone());
        // Or the card was lost meanwhile.
        known.then_some(pair).ok_or(ENETDOWN)
    }

    /// The first pair from this number on.
    pub(crate) fn next_from(&self, from: u32) -> Option<(u32, Arc<Pair>)> {
        self.table.lock().slots.next_from(from)
    }

    /// Whether the pair of this name is still known: not when the card was lost since it was entered. Any context.
    pub(crate) fn expects(&self, number: u32, generation: u32) -> bool {
        self.table.lock().slots.knows((number, generation))
    }

    /// Makes room beyond `used` slots, unless somebody else has.
    fn grow(&self, used: usize) -> Result {
        let room = Room::new((2 * used).max(FIRST))?;
        let mut table = self.table.lock();
        let old = if table.slots.len() == used {
            let most = table.capacity as usize;
            table.slots.grow(room, most)
        } else {
            room
        };
        drop(table);
        drop(old);
        Ok(())
    }

    /// The card never heard of the pair of this name.
    pub(super) fn withdraw(&self, name: Name) {
        let pair = self.table.lock().slots.withdraw(name);
        drop(pair);
    }

    /// The card has lost all pairs, and takes none (process context). Returns how many.
    pub(crate) fn stop(&self) -> usize {
        self.table.lock().capacity = 0;
        // What it had said before counts.
        self.run();
        let slots = self.table.lock().slots.clear();
        let mut lost = 0;
        for pair in slots.into_pairs() {
            if pair.known().phase == super::pair::Phase::Active {
                lost += 1;
            }
            Pair::settle(&pair, None);
        }
        lost
    }
}

/// The card says what has become of a pair (any context). False when it cannot be.
pub(crate) fn told(pairs: &Worker<Pairs>, event: &SpliceEvent) -> bool {
    let known = pairs.table.lock().slots.keep(event);
    if known {
        pairs.queue();
    }
    known
}

impl Job for Pairs {
    fn run(&self) {
        loop {
            let next = self.table.lock().slots.next();
            let Some((pair, told)) = next else {
                break;
            };
            if let Some(told) = told {
                Pair::settle(&pair, Some(&told));
            }
        }
        let level = self.level();
        self.gate.falls(level.used, level.capacity);
        watermark::tell();
    }
}
