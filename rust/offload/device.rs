// SPDX-License-Identifier: GPL-2.0

//! Cards, as the offloads see them.

use super::{
    credits::Credits,
    rules::Published,
    splice::pairs::Pairs, //
};
use crate::net::{
    device::DeviceId,
    global::global,
    skb::SkBuff,
    weak::Port,
    work::Worker, //
};
use acceltcp_abi::{
    setup::ListenRule,
    splice::Splice,
    teardown::HandOver, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A card with the AccelTCP firmware. It may outlive the hardware, and has no ports then.
pub(crate) trait OffloadDevice: Send + Sync {
    /// Where its frames come out (process context).
    fn ports(&self) -> Result<KVec<Port>>;

    /// Has it compare its rules with what is wanted, soon. Any context.
    fn wake(&self);

    /// What it is known to have.
    fn published(&self) -> &Published;

    /// Its network device.
    fn id(&self) -> DeviceId;

    /// What may be handed over to it.
    fn credits(&self) -> &Credits;

    /// Hands a connection over, with a template that has `len` bytes of data, and takes the credits (process context).
    /// In failure the card knows nothing of it: `ENOSPC` for want of credits, `ENETDOWN` when its link is down.
    fn hand_over(&self, template: SkBuff, message: &HandOver, len: usize) -> Result;

    /// The pairs that it relays.
    fn pairs(&self) -> &Worker<Pairs>;

    /// Hands a pair over, with the templates of both connections and so many bytes of data of each, and takes the credits
    /// (process context). In failure the card knows nothing of it: `ENOSPC` for want of credits, `ENETDOWN` when
    /// its link is down.
    fn splice(&self, templates: SkBuff, message: &Splice, data: [usize; 2]) -> Result;

    /// Tells it to do something with a pair that it has (process context).
    fn splice_command(&self, message: &Splice) -> Result;
}

/// Commands to a card, which may sleep.
pub(crate) trait Commands {
    /// Adds a rule and returns its handle. `ENOSPC` when the card has no room.
    fn add(&mut self, rule: &ListenRule) -> Result<u32>;

    /// Puts a rule of the same key in the place of another.
    fn replace(&mut self, handle: u32, rule: &ListenRule) -> Result;

    /// Removes a rule.
    fn remove(&mut self, handle: u32) -> Result;
}

type Card = Arc<dyn OffloadDevice>;

global! {
    static CARDS: Spin<KVec<Card>> = KVec::new();
}

/// A card that is known to the offloads until this is dropped.
pub(crate) struct Registration {
    card: Card,
}

impl Registration {
    /// Makes `card` known.
    pub(crate) fn new(card: Card) -> Result<Self> {
        CARDS.lock().push(card.clone(), GFP_ATOMIC)?;
        Ok(Self { card })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = {
            let mut cards = CARDS.lock();
            let position = cards.iter().position(|card| Arc::ptr_eq(card, &self.card));
            let removed = position.and_then(|position| cards.remove(position).ok());
            let empty = cards.is_empty();
            (removed, empty.then(|| core::mem::take(&mut *cards)))
        };
        drop(removed);
        // Its last reference may not be the worker's.
        self.card.pairs().halt();
    }
}

/// The cards at this moment (process context).
pub(crate) fn all() -> Result<KVec<Card>> {
    let mut copy = KVec::new();
    loop {
        let count = {
            let cards = CARDS.lock();
            if copy.capacity() >= cards.len() {
                for card in cards.iter() {
                    copy.push(card.clone(), GFP_ATOMIC)?;
                }
                return Ok(copy);
            }
            cards.len()
        };
        copy.reserve(count, GFP_KERNEL)?;
    }
}

/// The card whose network device this is (process context).
pub(super) fn find(id: DeviceId) -> Option<Card> {
    let cards = CARDS.lock();
    let found = cards.iter().find(|card| card.id() == id);
    found.cloned()
}

/// Has all cards compare their rules with what is wanted. Any process context.
pub(crate) fn wake_all() {
    for card in CARDS.lock().iter() {
        card.wake();
    }
}
