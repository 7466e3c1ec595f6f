// SPDX-License-Identifier: GPL-2.0

//! What the host may hand over to a card (`acceltcp_abi::teardown`).
//!
//! A card counts for ever what it has given back; here is what was spent. Who hands over takes first, so that
//! there is always room on the card for what it is sent.

use super::{
    owners::{
        Accounts,
        Share, //
    },
    watermark::{
        Gate,
        Level, //
    }, //
};
use acceltcp_abi::{
    cmd::TeardownReply,
    teardown, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    }, //
};

/// Credits of one kind. All numbers run freely.
struct Account {
    capacity: Atomic<u32>,
    spent: Atomic<u32>,
    returned: Atomic<u32>,
}

impl Account {
    const fn new() -> Self {
        Self {
            capacity: Atomic::new(0),
            spent: Atomic::new(0),
            returned: Atomic::new(0),
        }
    }

    fn start(&self, capacity: u32, returned: u32) {
        // Who still asks finds nothing until all is set.
        self.capacity.store(0, Release);
        self.spent.store(returned, Relaxed);
        self.returned.store(returned, Relaxed);
        self.capacity.store(capacity, Release);
    }

    /// What is with the card.
    fn outstanding(&self) -> u32 {
        let returned = self.returned.load(Relaxed);
        self.spent.load(Relaxed).wrapping_sub(returned)
    }

    fn left(&self) -> u32 {
        let capacity = self.capacity.load(Relaxed);
        capacity.saturating_sub(self.outstanding())
    }

    fn take(&self, count: u32) -> bool {
        loop {
            let capacity = self.capacity.load(Acquire);
            let returned = self.returned.load(Relaxed);
            let spent = self.spent.load(Relaxed);
            let left = capacity.saturating_sub(spent.wrapping_sub(returned));
            if left < count {
                return false;
            }
            let more = spent.wrapping_add(count);
            if self.spent.cmpxchg(spent, more, Full).is_ok() {
                return true;
            }
        }
    }

    fn give_back(&self, count: u32) {
        self.spent.fetch_sub(count, Full);
    }

    /// Whether the card may have given back `returned` by now.
    fn allows(&self, returned: u32) -> bool {
        let before = self.returned.load(Relaxed);
        returned.wrapping_sub(before) <= self.outstanding()
    }
}

/// The credits of a card.
pub(crate) struct Credits {
    max_data: Atomic<u32>,
    flows: Account,
    buffers: Account,
    gate: Gate,
    owners: Accounts,
}

impl Credits {
    /// None at all.
    pub(crate) const fn new() -> Self {
        Self {
            max_data: Atomic::new(0),
            flows: Account::new(),
            buffers: Account::new(),
            gate: Gate::new(),
            owners: Accounts::new(),
        }
    }

    /// The card has told what it has. Nobody may be taking.
    pub(crate) fn start(&self, reply: &TeardownReply) {
        let (flows, buffers) = (&reply.flows, &reply.buffers);
        self.flows.start(flows.get(), reply.flows_done.get());
        self.buffers.start(buffers.get(), reply.buffers_done.get());
        self.max_data.store(reply.max_data.get(), Relaxed);
        self.look();
    }

    /// The card takes nothing any more. Returns how many connections are with it.
    pub(crate) fn stop(&self) -> u32 {
        let outstanding = self.flows.outstanding();
        self.owners.stop();
        self.max_data.store(0, Relaxed);
        self.flows.start(0, 0);
        self.buffers.start(0, 0);
        self.look();
        outstanding
    }

    /// Most bytes of data of one connection; 0 when the card takes nothing.
    pub(crate) fn max_data(&self) -> usize {
        self.max_data.load(Relaxed) as usize
    }

    /// Whether a connection with `len` bytes of data could be handed over.
    pub(crate) fn has(&self, len: usize) -> bool {
        self.flows.left() != 0 && self.buffers.left() as usize >= teardown::buffers(len)
    }

    /// Takes what a connection with `len` bytes of data needs. Returns whether it was there.
    pub(crate) fn take(&self, len: usize) -> bool {
        let buffers = teardown::buffers(len) as u32;
        if !self.flows.take(1) {
            return false;
        }
        if !self.buffers.take(buffers) {
            self.flows.give_back(1);
            return false;
        }
        true
    }

    /// Takes the same, and a connection of `share` if there is one.
    ///
    /// # Errors
    ///
    /// `EDQUOT` when the share is used up, `ENOSPC` when the card has no room.
    pub(crate) fn take_of(&self, share: Option<Share>, len: usize) -> Result {
        if share.is_some_and(|share| !self.owners.take(share)) {
            return Err(EDQUOT);
        }
        if self.take(len) {
            return Ok(());
        }
        if let Some(share) = share {
            self.owners.give_back(share);
        }
        Err(ENOSPC)
    }

    /// What the card has of each owner.
    pub(crate) fn owners(&self) -> &Accounts {
        &self.owners
    }

    /// Takes buffers for data of so many bytes each, of connections that take no flow.
    pub(crate) fn take_buffers<const N: usize>(&self, data: [usize; N]) -> bool {
        self.buffers
            .take(data.map(teardown::buffers).iter().sum::<usize>() as u32)
    }

    /// The card has said what has come back (one caller at a time). False when that cannot be.
    pub(crate) fn returned(&self, flows: u32, buffers: u32) -> bool {
        if !self.flows.allows(flows) || !self.buffers.allows(buffers) {
            return false;
        }
        self.flows.returned.store(flows, Relaxed);
        self.buffers.returned.store(buffers, Relaxed);
        self.look();
        true
    }

    /// Whether the watermarks let a connection pass. [`tell_later`](super::watermark::tell_later) is to follow, as it is when something
    /// has come back.
    pub(crate) fn admits(&self) -> bool {
        let level = self.level();
        self.gate.admits(level.used, level.capacity)
    }

    /// Opens the gate if there is room again.
    fn look(&self) {
        let level = self.level();
        self.gate.falls(level.used, level.capacity);
    }

    /// How full the card is of connections.
    pub(crate) fn level(&self) -> Level {
        let capacity = self.flows.capacity.load(Relaxed);
        self.gate.level(self.flows.outstanding(), capacity)
    }

    /// Connections with the card, and room for others and for data.
    pub(crate) fn gauges(&self) -> [u64; 3] {
        [
            self.flows.outstanding(),
            self.flows.left(),
            self.buffers.left(),
        ]
        .map(u64::from)
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_credits)]
mod tests {
    use super::*;

    fn with(flows: u32, buffers: u32, done: u32) -> Credits {
        let credits = Credits::new();
        credits.start(&TeardownReply {
            flows: flows.into(),
            buffers: buffers.into(),
            max_data: 65_535.into(),
            flows_done: done.into(),
            buffers_done: done.into(),
            ..TeardownReply::default()
        });
        credits
    }

    #[test]
    fn no_more_than_there_is() {
        let credits = with(2, 2, u32::MAX);
        assert!(credits.take(teardown::BUFFER) && !credits.take(2 * teardown::BUFFER));
        assert!(credits.take(1) && !credits.take(0));
        assert!(credits.returned(0, 0) && credits.has(1) && !credits.has(teardown::BUFFER + 1));
        assert_eq!(credits.stop(), 1);
        assert!(!credits.take(0));
    }

    #[test]
    fn nothing_comes_back_that_was_not_given() {
        let credits = with(4, 4, 7);
        assert!(credits.take(1));
        assert!(!credits.returned(9, 8) && !credits.returned(8, 9) && !credits.returned(6, 7));
        assert!(credits.returned(8, 8) && !credits.returned(7, 7));
        assert_eq!(credits.gauges(), [0, 4, 4]);
    }
}
