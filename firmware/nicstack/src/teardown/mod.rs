// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection teardown: the host closes, hands over and forgets; the card ends the connection by the rules of TCP.
//!
//! * [`tcb`] and [`machine`]: what is known of a connection, and the rules, without memory or frames.
//! * `flows`, [`time_wait`]: the tables. `list`: both of them for the host to see. `owners`: whose connections have ended.
//!
//! # Who may touch a connection
//!
//! Segments of a connection, its timer and commands may come to any workers at the same time. Whoever works on it holds
//! the lock of its chain, found by the hash of the tuple, from the lookup until its state is back and its segments
//! are sent. On the way to TIME-WAIT the lock of the other table is taken while the first is held, never the other
//! way round; so a tuple is always in one table or the other to whoever looks first into the one and then into
//! the other.

mod flows;
mod list;
pub mod machine;
mod owners;
mod sender;
pub mod tcb;
pub mod time_wait;
mod waiting;

use self::flows::{Flows, Record};
use self::machine::{Incoming, Next};
use self::owners::Owners;
use self::sender::Sender;
use self::tcb::{State, Tcb, Template};
use self::time_wait::{Entry, TimeWait};
use crate::buffers::{Buffers, Data};
use crate::chains::Chain;
use crate::clock::Latest;
use crate::cookie::Tuple;
use crate::hash::{HalfSipHash, Key};
use crate::memory::{Capacity, Partition, Region, Usage};
use crate::path::Path;
use crate::setup::{tuple_back, tuple_of};
use crate::stats::Counter;
use crate::wire::ipv6::Extensions;
use crate::wire::options::Options;
use crate::wire::segment::{Content, Segment};
use crate::wire::tcp::Flags;
use crate::{Instant, Memory, Nic, Output};
use acceltcp_abi::teardown::{hand_over, Credits, HandOver};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Most bytes of data in a segment: jumbo frames.
pub const MAX_MSS: u16 = 9000;
/// Most bytes of data that a hand-over brings: what fits an IP packet.
pub const MAX_DATA: u32 = 0xffff;
/// Time between two notices of credits in nanoseconds, while there is something to tell.
const NOTICE_NS: u64 = 50_000_000;

/// The tables and what has come back to the host.
#[derive(Debug, Default)]
pub(crate) struct Teardown {
    flows: Flows,
    pub(crate) buffers: Buffers,
    time_wait: TimeWait,
    latest: Latest,
    salt: AtomicU64,
    /// The driver asked for credits.
    on: AtomicBool,
    flows_done: AtomicU32,
    buffers_done: AtomicU32,
    /// The host has not been told of all that has come back.
    untold: AtomicBool,
    /// When it was told last.
    told: AtomicU64,
    owners: Owners,
}

/// What becomes of a frame from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is of a connection of the card, and done with.
    Card,
    /// The card has no connection of its tuple.
    Other,
}

impl Teardown {
    /// Words of IMEM and EMEM for tables of `capacity`.
    pub(crate) const fn words(capacity: &Capacity) -> [usize; 2] {
        let [imem, records] = Flows::words(capacity.flows);
        let [chains, entries] = TimeWait::parts(capacity.time_wait);
        let buffers = Buffers::words(capacity.buffers);
        [imem, records + buffers + chains + entries]
    }

    /// Words of EMEM that the table of `flows` takes.
    pub(crate) const fn flow_emem_words(flows: u32) -> usize {
        Flows::words(flows)[1]
    }

    /// Empty tables in the next parts of both memories.
    pub(crate) fn new(
        (imem, in_imem): (&[AtomicU64], &mut Partition),
        (emem, in_emem): (&[AtomicU64], &mut Partition),
        capacity: &Capacity,
    ) -> Self {
        let [chains, wheel] = Flows::parts(capacity.flows).map(|words| in_imem.take(words));
        let records = in_emem.take(Flows::words(capacity.flows)[1]);
        let buffers = in_emem.take(Buffers::words(capacity.buffers));
        let waiting: [Region; 2] =
            TimeWait::parts(capacity.time_wait).map(|words| in_emem.take(words));
        Self {
            flows: Flows::new(imem, [chains, wheel], records, capacity.flows),
            buffers: Buffers::new(buffers, capacity.buffers),
            time_wait: TimeWait::new(emem, waiting, capacity.time_wait),
            ..Self::default()
        }
    }

    /// Flows, buffers and entries in TIME-WAIT.
    pub(crate) fn usage(&self) -> [Usage; 3] {
        [
            self.flows.usage(),
            self.buffers.usage(),
            self.time_wait.usage(),
        ]
    }

    /// Flows in each state.
    pub(crate) fn by_state(&self) -> [(State, u32); State::ALL.len()] {
        self.flows.by_state()
    }

    /// Takes `key` as salt, if there is none: peers cannot choose who shares a chain.
    pub(crate) fn salt(&self, key: Key) {
        if self.flows.is_empty() && self.time_wait.is_empty() {
            let _ = self
                .salt
                .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Says whether the driver asked for credits, and for those of owners; counting starts anew.
    pub(crate) fn attach(&self, on: bool, owners: bool) {
        self.owners.attach(on && owners);
        self.on.store(on, Ordering::Relaxed);
        self.flows_done.store(0, Ordering::Relaxed);
        self.buffers_done.store(0, Ordering::Relaxed);
        self.untold.store(false, Ordering::Relaxed);
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.time_wait.is_empty()
    }

    /// Whether time alone may change something.
    pub(crate) fn needs_poll(&self) -> bool {
        !self.is_empty() || self.untold.load(Ordering::Relaxed)
    }

    /// What has come back.
    pub(crate) fn credits(&self) -> Credits {
        Credits {
            version: Credits::VERSION,
            reserved: [0; 3],
            flows: self.flows_done.load(Ordering::Relaxed).into(),
            buffers: self.buffers_done.load(Ordering::Relaxed).into(),
        }
    }

    pub(crate) fn give_back(&self, flows: u32, buffers: u32) {
        self.flows_done.fetch_add(flows, Ordering::Relaxed);
        self.buffers_done.fetch_add(buffers, Ordering::Relaxed);
        if flows | buffers != 0 {
            self.untold.store(true, Ordering::Relaxed);
        }
    }

    fn hash(&self, tuple: &Tuple) -> u32 {
        let salt = self.salt.load(Ordering::Relaxed);
        tuple.hash_into(HalfSipHash::new(salt)).finish()
    }
}

/// An entry whose chain is locked.
struct Held<'m> {
    chain: Chain<'m>,
    number: u32,
    hash: u32,
    record: Record,
}

impl<M: Memory> Nic<M> {
    /// Takes over the connection of which `frame` is the template. What cannot be taken is counted, and its
    /// credits come back.
    pub fn hand_over(&self, now: Instant, message: &HandOver, frame: &[u8], out: &mut impl Output) {
        if !self.teardown.on.load(Ordering::Relaxed) {
            return self.stats.count(Counter::TeardownNotAttached);
        }
        let taken = self.take_over(now, message, frame, out);
        match taken {
            Ok(()) => self.stats.count(Counter::TeardownTaken),
            Err((counter, buffers)) => {
                self.stats.count(counter);
                if let Some(owner) = self.teardown.owners.named(message.owner.get()) {
                    self.teardown.owners.ended(owner);
                }
                self.teardown.give_back(1, buffers);
            }
        }
    }

    /// On refusal the reason and the buffers that the host has spent.
    fn take_over(
        &self,
        now: Instant,
        message: &HandOver,
        frame: &[u8],
        out: &mut impl Output,
    ) -> Result<(), (Counter, u32)> {
        const BAD: Counter = Counter::TeardownBadTemplate;
        let now = self.teardown.latest.of(now);
        let Ok(Content::Tcp(segment)) = Content::parse(frame) else {
            return Err((BAD, 0));
        };
        let spent = acceltcp_abi::teardown::buffers(segment.tcp.data.len()) as u32;
        let header = &segment.tcp.header;
        let ip = frame.get(segment.ethernet.header_len()..);
        let path = ip
            .and_then(|ip| Path::of(&segment, ip))
            .ok_or((BAD, spent))?;
        let template = Template {
            seq: header.seq,
            ack: header.ack,
            window: header.window,
            timestamps: Options::parse(segment.tcp.options)
                .timestamps
                .map(|times| (times.value, times.echo)),
            len: segment.tcp.data.len() as u32,
        };
        let plain = message.is_valid() && segment.ip.extensions == Extensions::Skipped;
        let owner = self.teardown.owners.named(message.owner.get());
        let tcb = Tcb::new(message, &template, now.millis()).filter(|_| plain);
        let (Some(mut tcb), Some(owner)) = (tcb, owner) else {
            return Err((BAD, spent));
        };
        tcb.owner = owner;

        let tuple = path.tuple();
        // As by the host's FIN: a late copy of the first segment brings no connection any more.
        if !self.recent.is_empty() {
            self.recent.end(&self.memory, &tuple);
        }
        let hash = self.teardown.hash(&tuple);
        let flows = &self.teardown.flows;
        let busy = (Counter::TeardownBusy, spent);
        let mut chain = flows.lock(&self.memory, hash).ok_or(busy)?;
        self.replace(&mut chain, &tuple);
        self.forget_waiting(hash, &tuple, now);
        let full = (Counter::TeardownFull, spent);
        let data = self.teardown.buffers.store(&self.emem, segment.tcp.data);
        let data = data.ok_or(full)?;
        let Some(number) = flows.insert(&self.memory, &mut chain, tcb.state()) else {
            self.teardown.buffers.free(&self.emem, data);
            return Err(full);
        };
        let mut held = Held {
            chain,
            number,
            hash,
            record: Record::new(tcb, path, data),
        };
        let ack_due = message.flags & hand_over::ACK_DUE != 0;
        self.run(now, &mut held, out, |tcb, effects| {
            tcb.start(now.millis(), ack_due, effects);
        });
        flows.arm(&self.memory, now, number, None, &mut held.record.tcb);
        flows.save(&self.emem, number, &held.record);
        Ok(())
    }

    /// Ends the connection of `tuple`: the host has had a new one since.
    fn replace(&self, chain: &mut Chain<'_>, tuple: &Tuple) {
        let flows = &self.teardown.flows;
        if let Some((number, mut record)) = flows.find(&self.emem, chain, tuple) {
            self.stats.count(Counter::TeardownReplaced);
            flows.remove(&self.memory, chain, number, &record);
            self.free(&mut record, true);
        }
    }

    /// The same for one that is spliced, in TIME-WAIT too.
    pub(crate) fn teardown_replace(&self, now: Instant, tuple: &Tuple) {
        let hash = self.teardown.hash(tuple);
        if let Some(mut chain) = self.teardown.flows.lock(&self.memory, hash) {
            self.replace(&mut chain, tuple);
        }
        self.forget_waiting(hash, tuple, now);
    }

    /// Runs `f` on the connection.
    fn run<O: Output, R>(
        &self,
        now: Instant,
        held: &mut Held<'_>,
        out: &mut O,
        f: impl FnOnce(&mut Tcb, &mut Sender<'_, O>) -> R,
    ) -> R {
        let data = held.record.data();
        let mut sender = Sender {
            now: now.millis(),
            path: &mut held.record.path,
            data,
            buffers: &self.teardown.buffers,
            emem: &self.emem,
            stats: &self.stats,
            out,
        };
        f(&mut held.record.tcb, &mut sender)
    }

    /// Carries out what becomes of a connection; it was as `old` says.
    fn settle(&self, now: Instant, mut held: Held<'_>, old: &Tcb, next: Next) {
        let flows = &self.teardown.flows;
        match next {
            Next::Stay => {
                if held.record.tcb.una.wrapping_sub(held.record.tcb.fin) as i32 >= 0 {
                    self.free(&mut held.record, false);
                }
                let tcb = &mut held.record.tcb;
                flows.moved(old.state(), tcb.state());
                flows.arm(&self.memory, now, held.number, Some(old), tcb);
                flows.save(&self.emem, held.number, &held.record);
                return;
            }
            Next::TimeWait => {
                self.stats.count(Counter::TeardownDone);
                if held.record.tcb.time_wait_ms != 0 {
                    self.stats.count(Counter::TimeWaitEntered);
                    let entry = Entry::of(&held.record.tcb, &held.record.path, now.millis());
                    if self
                        .teardown
                        .time_wait
                        .insert(&self.emem, held.hash, &entry)
                    {
                        self.stats.count(Counter::TimeWaitEvicted);
                    }
                }
            }
            Next::End(reason) => self.stats.count(reason),
        }
        // The slot of the timer and the state are those that it was saved with.
        let armed = Record::new(*old, held.record.path, Data::default());
        flows.remove(&self.memory, &mut held.chain, held.number, &armed);
        self.free(&mut held.record, true);
    }

    /// Frees the data of a connection, and gives buffers back, and the flow if it has `ended`.
    fn free(&self, record: &mut Record, ended: bool) {
        let data = record.take_data();
        let buffers = self.teardown.buffers.free(&self.emem, data);
        if ended {
            self.teardown.owners.ended(record.tcb.owner);
        }
        self.teardown.give_back(ended.into(), buffers);
    }

    /// Takes a segment from the wire, if it is of a connection of the card.
    pub(crate) fn teardown_from_wire(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        out: &mut impl Output,
    ) -> Owner {
        let tuple = tuple_of(segment);
        let hash = self.teardown.hash(&tuple);
        let flows = &self.teardown.flows;
        if !flows.is_empty() {
            let Some(chain) = flows.lock(&self.memory, hash) else {
                self.stats.count(Counter::TeardownBusy);
                return Owner::Card;
            };
            if let Some((number, record)) = flows.find(&self.emem, &chain, &tuple) {
                if !segment.checksums_ok() {
                    self.stats.count(Counter::TeardownChecksum);
                    return Owner::Card;
                }
                let now = self.teardown.latest.of(now);
                let old = record.tcb;
                let mut held = Held {
                    chain,
                    number,
                    hash,
                    record,
                };
                let incoming = Incoming {
                    header: segment.tcp.header,
                    len: segment.tcp.data.len() as u32,
                    timestamps: Options::parse(segment.tcp.options).timestamps,
                    marked: segment.ip.traffic_class & 3 == 3,
                };
                self.stats.count(Counter::TeardownReceived);
                let next = self.run(now, &mut held, out, |tcb, effects| {
                    tcb.segment(now.millis(), &incoming, effects)
                });
                self.settle(now, held, &old, next);
                return Owner::Card;
            }
        }
        self.waiting_from_wire(now, segment, hash, &tuple, out)
    }

    /// Looks at a segment that the host sends. False when it may not go out: the card owns the connection, and of
    /// what the host still says of it RST and SYN would do harm. A SYN that begins a connection is refused.
    pub(crate) fn teardown_from_host(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        out: &mut impl Output,
    ) -> bool {
        let flags = segment.tcp.header.flags;
        if !flags.has_any(Flags::SYN | Flags::RST) || self.teardown.is_empty() {
            return true;
        }
        let tuple = tuple_back(segment);
        let hash = self.teardown.hash(&tuple);
        let flows = &self.teardown.flows;
        let begins = flags.has(Flags::SYN) && !flags.has(Flags::ACK);
        if !flows.is_empty() {
            let owned = flows
                .lock(&self.memory, hash)
                .map(|chain| flows.find(&self.emem, &chain, &tuple).is_some());
            match owned {
                Some(false) => {}
                // Another worker is at work there: the host sends it again.
                None => {
                    self.stats.count(Counter::TeardownHostDropped);
                    return false;
                }
                Some(true) => {
                    self.stats.count(Counter::TeardownHostDropped);
                    if begins {
                        self.refuse(segment, out);
                    }
                    return false;
                }
            }
        }
        if flags.has(Flags::RST) && self.with_waiting(hash, &tuple, now, |_, _| {}) {
            self.stats.count(Counter::TeardownHostDropped);
            return false;
        }
        if begins {
            // RFC 6191 from the active side: the host's SYN ends our TIME-WAIT; the peer has to agree.
            if self.forget_waiting(hash, &tuple, now) {
                self.stats.count(Counter::TimeWaitReused);
            }
        }
        true
    }

    /// Does what is due.
    pub(crate) fn teardown_poll(&self, now: Instant, out: &mut impl Output) {
        let flows = &self.teardown.flows;
        if !flows.is_empty() {
            flows.scan(&self.memory, now, |number, slot| {
                self.fire(now, number, slot, out);
            });
        }
        for _ in 0..self.teardown.time_wait.reap(&self.emem, now.millis()) {
            self.stats.count(Counter::TimeWaitOver);
        }
        self.tell(now, out);
    }

    /// The timer of the entry `number` came up in `slot`.
    fn fire(&self, now: Instant, number: u32, slot: u8, out: &mut impl Output) {
        let flows = &self.teardown.flows;
        let Some(hash) = flows.hash_of(&self.memory, number) else {
            return;
        };
        let Some(chain) = flows.lock(&self.memory, hash) else {
            flows.again(&self.memory, now, number);
            return;
        };
        let now = self.teardown.latest.of(now);
        let Some(mut record) = flows.entry(&self.emem, &chain, number) else {
            return;
        };
        if record.tcb.timer() == tcb::Timer::None {
            return;
        }
        let left = record.tcb.deadline.wrapping_sub(now.millis()) as i32;
        if left > 0 {
            // Too early; unless a timer of an earlier time was it.
            if slot == record.tcb.slot {
                flows.arm(&self.memory, now, number, None, &mut record.tcb);
                flows.save(&self.emem, number, &record);
            }
            return;
        }
        let old = record.tcb;
        let mut held = Held {
            chain,
            number,
            hash,
            record,
        };
        let next = self.run(now, &mut held, out, |tcb, effects| {
            tcb.expired(now.millis(), effects)
        });
        self.settle(now, held, &old, next);
    }

    /// Tells the host what has come back, now and then.
    fn tell(&self, now: Instant, out: &mut impl Output) {
        let teardown = &self.teardown;
        let told = teardown.told.load(Ordering::Relaxed);
        if !teardown.untold.load(Ordering::Relaxed) || now.0.wrapping_sub(told) < NOTICE_NS {
            return;
        }
        let first =
            teardown
                .told
                .compare_exchange(told, now.0, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() && teardown.untold.swap(false, Ordering::AcqRel) {
            self.stats.count(Counter::TeardownNotice);
            out.credits(&teardown.credits());
            if teardown.owners.tell(|notice| out.owner_credits(notice)) {
                teardown.untold.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Forgets all connections: there is no host any more whose connections they are.
    pub(crate) fn teardown_clear(&self) {
        let flows = &self.teardown.flows;
        for number in 0..flows.usage().capacity {
            let Some(hash) = flows.hash_of(&self.memory, number) else {
                continue;
            };
            let Some(mut chain) = flows.lock(&self.memory, hash) else {
                continue;
            };
            if let Some(mut record) = flows.entry(&self.emem, &chain, number) {
                flows.remove(&self.memory, &mut chain, number, &record);
                self.free(&mut record, true);
                self.stats.count(Counter::TeardownAborted);
            }
        }
        self.teardown.time_wait.clear(&self.emem);
        self.teardown.attach(false, false);
    }
}
