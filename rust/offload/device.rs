// SPDX-License-Identifier: GPL-2.0

//! Cards, as the offloads see them.

use super::{
    acl::Order,
    credits::Credits,
    flows::Listing,
    owners::Share,
    rules::Published,
    splice::pairs::Pairs, //
};
use crate::net::{
    device::DeviceId,
    genl::Event,
    global::global,
    skb::SkBuff,
    sock::NetId,
    weak::{
        Location,
        Port, //
    },
    work::Worker, //
};
use acceltcp_abi::{
    cmd::{
        table,
        MemoryUse, //
    },
    setup::ListenRule,
    splice::Splice,
    teardown::HandOver, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
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

    /// Hands a connection over, with a template that has `len` bytes of data, and takes the credits, and one
    /// of `share` (process context). In failure the card knows nothing of it: `ENOSPC` for want of credits,
    /// `EDQUOT` when the share is used up, `ENETDOWN` when its link is down.
    fn hand_over(
        &self,
        template: SkBuff,
        message: &HandOver,
        len: usize,
        share: Option<Share>,
    ) -> Result;

    /// The pairs that it relays.
    fn pairs(&self) -> &Worker<Pairs>;

    /// Hands a pair over, with the templates of both connections and so many bytes of data of each, and takes the credits
    /// (process context). In failure the card knows nothing of it: `ENOSPC` for want of credits, `ENETDOWN` when
    /// its link is down.
    fn splice(&self, templates: SkBuff, message: &Splice, data: [usize; 2]) -> Result;

    /// How it is (process context, RTNL not held). `ENODEV` when it is gone.
    fn report(&self) -> Result<Report>;

    /// Where its network device is at this moment (process context). `None` when it is gone. Asks neither
    /// the card nor for the RTNL.
    fn location(&self) -> Option<Location>;

    /// Goes on with the list of connections that it ends (process context, RTNL not held). `ENODEV` when it is gone, `ENETDOWN` when
    /// it ends none or does not list them.
    fn list(&self, listing: Listing) -> Result<Listing>;

    /// Tells those of its namespace that listen (process context, RTNL not held). `ENODEV` when it is gone.
    fn tell(&self, event: Event) -> Result;

    /// What it has counted, in the order of [`acceltcp_abi::counter::Counter::ALL`] (process context, RTNL not held). Empty
    /// when it does not answer.
    fn counters(&self) -> Result<KVVec<u64>>;

    /// Has it do something with its access list, if it is the card that is meant (process context, RTNL not held).
    /// `EOPNOTSUPP` when it has none, `ENODEV` when it is gone.
    fn acl(&self, order: &mut Order) -> Result;

    /// Tells it to do something with a pair that it has (process context).
    fn splice_command(&self, message: &Splice) -> Result;
}

/// State of a card.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Its network device is down.
    #[default]
    Down,
    /// It is up, and has no offloads.
    Plain,
    /// It is up, with its offloads.
    Attached,
    /// It does not answer.
    Dead,
}

/// A table in a card's memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Table {
    /// What the card says of it.
    pub(crate) memory: MemoryUse,
    /// Most entries that were in use when it was asked for.
    pub(crate) high_water: u32,
}

/// How a card is.
#[derive(Default)]
pub(crate) struct Report {
    /// Namespace of its network device.
    pub(crate) net: Option<NetId>,
    /// Number of that there.
    pub(crate) ifindex: u32,
    /// Its name, with zeros behind it.
    pub(crate) name: [u8; 16],
    /// Versions of the firmware, with zeros behind them.
    pub(crate) firmware: [u8; 32],
    /// Its state.
    pub(crate) state: State,
    /// Bits [`super::socket::flag::KINDS`] of what it can.
    pub(crate) capabilities: u32,
    /// Bytes of on-chip memory that tables share.
    pub(crate) sram_bytes: u32,
    /// Tables; none when the card does not answer.
    pub(crate) tables: KVec<Table>,
}

/// Tables that there may be.
pub(crate) const TABLES: usize = table::ACL as usize + 1;

/// High-water marks of a card's tables, by their numbers.
pub(crate) struct Marks([Atomic<u32>; TABLES]);

impl Marks {
    /// Nothing was in use yet.
    pub(crate) const fn new() -> Self {
        Self([const { Atomic::new(0) }; TABLES])
    }

    /// Takes what is in use into account, and tells the marks.
    pub(crate) fn raise(&self, report: &mut Report) {
        for table in &mut report.tables {
            let used = table.memory.used.get();
            if let Some(mark) = self.0.get(usize::from(table.memory.table.get())) {
                if used > mark.load(Relaxed) {
                    mark.store(used, Relaxed);
                }
                table.high_water = mark.load(Relaxed);
            }
        }
    }
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

/// Who is told that cards have come, gone, or changed their state.
pub(crate) trait Observer: Send + Sync {
    /// Something has changed. Any process context.
    fn changed(&self);
}

global! {
    static OBSERVER: Spin<Option<Arc<dyn Observer>>> = None;
}

/// Has `observer` be told from now on; the one before is not any more.
pub(crate) fn observe(observer: Option<Arc<dyn Observer>>) {
    let old = core::mem::replace(&mut *OBSERVER.lock(), observer);
    drop(old);
}

/// How often something about a card has changed.
static CHANGES: Atomic<u32> = Atomic::new(0);

/// Another one when a card may have come, gone or lost its state since.
pub(crate) fn generation() -> u32 {
    CHANGES.load(Acquire)
}

/// Something about a card has changed (process context).
pub(crate) fn changed() {
    CHANGES.fetch_add(1, Full);
    look();
}

/// There is something to tell of cards (process context).
pub(crate) fn look() {
    let observer = OBSERVER.lock().clone();
    if let Some(observer) = observer {
        observer.changed();
    }
}

type Card = Arc<dyn OffloadDevice>;

global! {
    static CARDS: Spin<KVec<Card>> = KVec::new();
}

/// Numbers of the cards' network devices, and of cards for which there is no place among these: for who asks at each
/// `close()`, and must not wait for others.
static NUMBERS: [Atomic<usize>; 16] = [const { Atomic::new(0) }; 16];
/// See [`NUMBERS`].
static UNNUMBERED: Atomic<u32> = Atomic::new(0);

/// The place of a card in [`NUMBERS`], until this is dropped.
struct Number(Option<&'static Atomic<usize>>);

impl Number {
    fn new(id: DeviceId) -> Self {
        let place = NUMBERS
            .iter()
            .find(|place| place.cmpxchg(0, id.number(), Full).is_ok());
        if place.is_none() {
            UNNUMBERED.fetch_add(1, Full);
        }
        Self(place)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        match self.0 {
            Some(place) => place.store(0, Relaxed),
            None => {
                UNNUMBERED.fetch_sub(1, Full);
            }
        }
    }
}

/// A card that is known to the offloads until this is dropped.
pub(crate) struct Registration {
    card: Card,
    _number: Number,
}

impl Registration {
    /// Makes `card` known.
    pub(crate) fn new(card: Card) -> Result<Self> {
        let number = Number::new(card.id());
        CARDS.lock().push(card.clone(), GFP_ATOMIC)?;
        changed();
        Ok(Self {
            card,
            _number: number,
        })
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

/// Whether this may be the network device of a card, or `None` one (any context). False if there is none.
pub(super) fn may_be(id: Option<DeviceId>) -> bool {
    let is_it = |number| id.map_or(number != 0, |id| number == id.number());
    NUMBERS.iter().any(|place| is_it(place.load(Relaxed))) || UNNUMBERED.load(Relaxed) != 0
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
