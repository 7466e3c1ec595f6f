// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection splicing: the host joins two connections, and the card relays between them ([`acceltcp_abi::splice`]).
//!
//! * [`pair`]: what is known of a pair, and the rules, without memory or frames. `residual`: what the host left to be sent.
//! * `install`: from a message to a pair. `translate`: from a segment of one connection to one of the other.
//! * `table`: the memory, the locks and the timer; `end`: how a pair ends and how the host is told.
//! * `icmp`: what routers say of relayed segments.
//!
//! # What is not relayed
//!
//! * Segments with a bad checksum, with IP options or extension headers that a node may not skip, or too long for the card: dropped.
//! * Fragments: they go to the host like all fragments. Nobody there has the connection; a peer whose path needs fragments is not
//!   served (the host does not splice what would take them, and DF is kept).
//! * RSTs outside of the window: dropped (RFC 5961).
//!
//! SYNs on a connection in use are relayed; the other peer challenges them, and an RST follows if the connection is no more.

mod end;
mod icmp;
mod install;
pub mod pair;
mod residual;
mod table;
mod translate;

use self::pair::{flag, other, Action, Incoming, Pair, Received, Relay, State};
use self::residual::{Effects, Peer, Residual};
use self::table::{Busy, Cold, Guard, Table};
use self::translate::Target;
use crate::buffers::{Buffers, Data};
use crate::hash::Key;
use crate::memory::{Partition, Usage};
use crate::path::{Outgoing, Path};
use crate::setup::{tuple_back, tuple_of};
use crate::stats::{Counter, Stats};
use crate::teardown::{Owner, MAX_MSS};
use crate::wire::ethernet::Ethernet;
use crate::wire::ip::{Addresses, IpHeader};
use crate::wire::ipv6::Extensions;
use crate::wire::options::Options;
use crate::wire::segment::{Content, Segment, MAX_HEADERS};
use crate::wire::tcp::Flags;
use crate::{Instant, Memory, Nic, Output};
use acceltcp_abi::splice::{kind, reason, Splice};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most bytes of an IP packet's payload that is relayed: jumbo frames, and some more.
const MAX_SEGMENT: usize = 9600;
/// Those that most segments do with.
const USUAL_SEGMENT: usize = 1600;

/// Segments of a pair that are no use are answered so often at most: anybody can make them up.
const ANSWER_EVERY_MS: u32 = 100;

/// The table, and whether the driver asked for it.
#[derive(Debug, Default)]
pub(crate) struct Splicing {
    table: Table,
    on: AtomicBool,
}

impl Splicing {
    /// Words of IMEM and EMEM for `pairs`.
    pub(crate) const fn words(pairs: u32) -> [usize; 2] {
        [Table::words(pairs), Table::emem_words(pairs)]
    }

    /// An empty table in the next parts of both memories.
    pub(crate) fn new(
        imem: (&[AtomicU64], &mut Partition),
        emem: (&[AtomicU64], &mut Partition),
        pairs: u32,
    ) -> Self {
        Self {
            table: Table::new(imem, emem, pairs),
            on: AtomicBool::new(false),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        self.table.usage()
    }

    pub(crate) fn by_state(&self) -> [(State, u32); State::ALL.len()] {
        self.table.by_state()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn salt(&self, key: Key) {
        self.table.salt(key);
    }

    /// Says whether the driver asked for what becomes of pairs.
    pub(crate) fn attach(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }
}

/// A pair that is worked on. What is in EMEM and seldom needed is loaded when it is.
struct Held<'m> {
    guard: Guard<'m>,
    pair: Pair,
    cold: Cold,
}

/// Sends segments of the card's own to one end of a pair.
struct Sender<'a, O> {
    path: &'a mut Path,
    /// What they have in common.
    common: Outgoing,
    buffers: &'a Buffers,
    emem: &'a [AtomicU64],
    stats: &'a Stats,
    out: &'a mut O,
}

impl<O: Output> Sender<'_, O> {
    fn emit(&mut self, segment: &Outgoing, data: &[u8]) {
        let mut frame = [0; MAX_HEADERS + MAX_MSS as usize];
        if let Some(len) = self.path.emit(segment, data, &mut frame) {
            self.stats.count(Counter::SpliceSent);
            self.out.to_wire(&frame[..len]);
        }
    }
}

impl<O: Output> Effects for Sender<'_, O> {
    fn send(&mut self, seq: u32, stored: Data, end: u32, len: u16) {
        let mut data = [0; MAX_MSS as usize];
        let data = &mut data[..usize::from(len.min(MAX_MSS))];
        let behind = end.wrapping_sub(seq) as usize;
        let offset = (stored.len as usize).wrapping_sub(behind);
        if !data.is_empty() && !self.buffers.load(self.emem, stored, offset, data) {
            return;
        }
        let last = behind == data.len() && !data.is_empty();
        let segment = Outgoing {
            seq,
            flags: Flags::ACK | if last { Flags::PSH } else { Flags(0) },
            ..self.common
        };
        self.emit(&segment, data);
    }

    fn count(&mut self, counter: Counter) {
        self.stats.count(counter);
    }
}

impl<M: Memory> Nic<M> {
    /// Takes what the host wants of a pair; `frame` is what came with the message.
    pub fn splice(&self, now: Instant, message: &Splice, frame: &[u8], out: &mut impl Output) {
        if !self.splicing.on.load(Ordering::Relaxed) {
            return self.stats.count(Counter::SpliceNotAttached);
        }
        match message.kind {
            kind::TAKE_BACK => self.splice_take_back(now, message, out),
            kind::ABORT => self.splice_abort(now, message, out),
            _ => match self.splice_install(now, message, frame, out) {
                Ok(()) => self.stats.count(Counter::SpliceTaken),
                Err(counter) => {
                    self.stats.count(counter);
                    self.teardown.give_back(0, install::spent(message, frame));
                    let taken = counter == Counter::SpliceNumberInUse;
                    self.splice_refuse(message, !taken, out);
                }
            },
        }
    }

    fn splice_install(
        &self,
        now: Instant,
        message: &Splice,
        frame: &[u8],
        out: &mut impl Output,
    ) -> Result<(), Counter> {
        let table = &self.splicing.table;
        let number = message.pair.get();
        if number >= table.capacity() {
            table.refuse();
            return Err(Counter::SpliceBadNumber);
        }
        let plan = install::plan(message, frame, now.millis());
        let busy = |_: Busy| Counter::SpliceBusy;
        if let Some(plan) = &plan {
            for tuple in &plan.tuples {
                // As by the host's FIN: a late copy of the first segment brings no connection any more.
                if !self.recent.is_empty() {
                    self.recent.end(&self.memory, tuple);
                }
                // The host has had a new connection of the tuple since.
                if let Some((guard, _)) =
                    table.find(&self.memory, &self.emem, tuple).map_err(busy)?
                {
                    self.splice_reuse(now, guard, out);
                }
            }
        }
        let mut guard = table
            .lock(&self.memory, number)
            .ok_or(Counter::SpliceBusy)?;
        let free = table.load(&self.memory, &self.emem, &guard);
        if free.is_none_or(|pair| pair.state() != State::Free) {
            table.refuse();
            return Err(Counter::SpliceNumberInUse);
        }
        let mut plan = plan.ok_or(Counter::SpliceBadTemplate)?;
        let mut stored = [Data::default(); 2];
        for end in 0..2 {
            let data = self.teardown.buffers.store(&self.emem, plan.left[end].data);
            let Some(data) = data else {
                self.teardown.buffers.free(&self.emem, stored[0]);
                return Err(Counter::SpliceNoBuffers);
            };
            stored[end] = data;
            if data.len != 0 {
                plan.cold.residual[end] = plan.left[end].residual(data);
            }
        }
        plan.pair.set_state(State::Active);
        table.save(&self.memory, &self.emem, &mut guard, &plan.pair);
        table.save_cold(&self.emem, number, &plan.cold);
        let enlisted = table.enlist(&self.memory, &self.emem, &guard, &plan.tuples);
        if enlisted != Ok(true) {
            for data in stored {
                self.teardown.buffers.free(&self.emem, data);
            }
            table.save(&self.memory, &self.emem, &mut guard, &Pair::default());
            return Err(enlisted.map_or_else(busy, |_| Counter::SpliceTupleInUse));
        }
        table.moved(State::Free, State::Active);
        // From now on segments find the pair, and wait for its lock.
        for tuple in &plan.tuples {
            self.teardown_replace(now, tuple);
        }
        let mut held = Held {
            guard,
            pair: plan.pair,
            cold: plan.cold,
        };
        for end in 0..2 {
            self.with_residual(&mut held, end, out, |residual, peer, sender| {
                residual.start(now.millis(), peer, sender);
            });
        }
        self.splice_save(now, held);
        Ok(())
    }

    /// Runs `f` on what is left for `end`, if there is something.
    fn with_residual<O: Output, R>(
        &self,
        held: &mut Held<'_>,
        end: usize,
        out: &mut O,
        f: impl FnOnce(&mut Residual, &Peer, &mut Sender<'_, O>) -> R,
    ) -> Option<R> {
        if !held.pair.has(flag::RESIDUAL, end) {
            return None;
        }
        let peer = Peer {
            una: held.pair.hot.acked[end],
            wnd: held.pair.last.wnd[end],
            end: held.pair.last.end[end],
        };
        let Cold {
            paths, residual, ..
        } = &mut held.cold;
        let mut sender = self.splice_sender(&held.pair, end, &mut paths[end], out);
        Some(f(&mut residual[end], &peer, &mut sender))
    }

    fn splice_sender<'a, O: Output>(
        &'a self,
        pair: &Pair,
        end: usize,
        path: &'a mut Path,
        out: &'a mut O,
    ) -> Sender<'a, O> {
        let (ack, window) = pair.answer(end);
        Sender {
            path,
            common: Outgoing {
                ack,
                window,
                timestamps: pair.stamps(end),
                ..Outgoing::default()
            },
            buffers: &self.teardown.buffers,
            emem: &self.emem,
            stats: &self.stats,
            out,
        }
    }

    /// Tells `end`'s peer what the other one has acknowledged, unless that was just done.
    fn splice_answer(&self, now: Instant, held: &mut Held<'_>, end: usize, out: &mut impl Output) {
        if now.millis().wrapping_sub(held.cold.answered) < ANSWER_EVERY_MS {
            return;
        }
        held.cold.answered = now.millis();
        self.stats.count(Counter::SpliceAnswered);
        let mut sender = self.splice_sender(&held.pair, end, &mut held.cold.paths[end], out);
        let answer = Outgoing {
            seq: held.pair.hot.acked[end],
            flags: Flags::ACK,
            ..sender.common
        };
        sender.emit(&answer, &[]);
    }

    /// What `end`'s peer has said is taken up by what is left for it.
    fn splice_acknowledged(
        &self,
        now: Instant,
        held: &mut Held<'_>,
        end: usize,
        kind: pair::AckKind,
        out: &mut impl Output,
    ) {
        let (acked, all) = (held.pair.hot.acked[end], held.pair.last.end[end]);
        if !crate::wire::seq::before(acked, all) {
            return self.splice_free_residual(held, end);
        }
        self.with_residual(held, end, out, |residual, peer, sender| {
            residual.acknowledged(now.millis(), kind, peer, sender);
        });
    }

    fn splice_free_residual(&self, held: &mut Held<'_>, end: usize) {
        if held.pair.has(flag::RESIDUAL, end) {
            let data = held.cold.residual[end].data();
            let buffers = self.teardown.buffers.free(&self.emem, data);
            self.teardown.give_back(0, buffers);
            held.cold.residual[end] = Residual::default();
            held.pair.set(flag::RESIDUAL, end, false);
        }
    }

    /// Takes a frame that came from the wire to the host, just before the card took over its connection. What is of no connection
    /// of the card is dropped: the host has no use for it either.
    pub fn returned(&self, now: Instant, frame: &[u8], out: &mut impl Output) {
        let owned = match Content::parse(frame) {
            Ok(Content::Tcp(segment)) => {
                self.owned_from_wire(now, &segment, frame, out) == Owner::Card
            }
            _ => false,
        };
        self.stats.count(if owned {
            Counter::SpliceReturned
        } else {
            Counter::SpliceReturnedDropped
        });
    }

    /// Takes a segment from the wire, if it is of a connection of the card.
    pub(crate) fn owned_from_wire(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        frame: &[u8],
        out: &mut impl Output,
    ) -> Owner {
        if !self.teardown.is_empty() && self.teardown_from_wire(now, segment, out) == Owner::Card {
            return Owner::Card;
        }
        if self.splicing.is_empty() {
            return Owner::Other;
        }
        self.splice_from_wire(now, segment, frame, out)
    }

    fn splice_from_wire(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        frame: &[u8],
        out: &mut impl Output,
    ) -> Owner {
        let table = &self.splicing.table;
        let drop_for = |counter| {
            self.stats.count(counter);
            Owner::Card
        };
        let (guard, from) = match table.find(&self.memory, &self.emem, &tuple_of(segment)) {
            Ok(Some(found)) => found,
            Ok(None) => return Owner::Other,
            Err(Busy) => return drop_for(Counter::SpliceBusy),
        };
        if !segment.checksums_ok() {
            return drop_for(Counter::SpliceChecksum);
        }
        if segment.ip.extensions != Extensions::Skipped {
            return drop_for(Counter::SpliceIpOptions);
        }
        if segment.ip.payload.len() > MAX_SEGMENT {
            return drop_for(Counter::SpliceTooLong);
        }
        let Some(mut pair) = table.load(&self.memory, &self.emem, &guard) else {
            return Owner::Other;
        };
        let header = segment.tcp.header;
        let incoming = Incoming {
            header,
            len: segment.tcp.data.len() as u32,
            timestamps: Options::parse(segment.tcp.options).timestamps,
        };
        if pair.state() == State::Lingering && pair.begins_anew(from, &incoming) {
            self.splice_reuse(now, guard, out);
            return Owner::Other;
        }
        let Received {
            action,
            ack,
            answer,
        } = pair.receive(from, now.millis(), &incoming);
        let to = other(from);
        let reset = header.flags.has(Flags::RST);
        let ends = reset || pair.is_closed();
        let rare = ends
            || answer
            || pair.has(flag::RESIDUAL, from)
            || pair.has(flag::WIDE, to)
            || pair.is_returning();
        let cold = if rare {
            table.cold(&self.emem, guard.number)
        } else {
            None
        };
        match action {
            Action::BadReset => return drop_for(Counter::SpliceBadReset),
            Action::Beyond => self.stats.count(Counter::SpliceBeyond),
            Action::Absorb => self.stats.count(Counter::SpliceAbsorbed),
            Action::Relay(relay) => {
                self.stats.count(Counter::SpliceRelayed);
                if header.flags.has(Flags::SYN) {
                    self.stats.count(Counter::SpliceSyn);
                }
                if pair.state() == State::Lingering {
                    self.stats.count(Counter::SpliceLate);
                }
                let target = match &cold {
                    Some(cold) => wide_target(&cold.paths[to]),
                    None => target(&pair, to),
                };
                relay_to(segment, frame, &target, &relay, out);
            }
        }
        let Some(cold) = cold else {
            let mut guard = guard;
            table.save(&self.memory, &self.emem, &mut guard, &pair);
            return Owner::Card;
        };
        let mut held = Held { guard, pair, cold };
        if answer {
            self.splice_answer(now, &mut held, from, out);
        }
        if let Some(kind) = ack.filter(|_| pair.has(flag::RESIDUAL, from)) {
            self.splice_acknowledged(now, &mut held, from, kind, out);
        }
        if pair.state() == State::Active && reset {
            self.splice_end(now, held, reason::RESET, from == 1, out);
        } else if pair.state() == State::Active && pair.is_closed() {
            self.splice_linger(now, held, out);
        } else if held.pair.is_returning() && held.pair.may_go_back() && held.pair.is_quiet() {
            self.splice_return(now, held, out);
        } else {
            self.splice_save(now, held);
        }
        Owner::Card
    }

    /// Looks at a segment that the host sends. False when it may not go out: the card has the connection.
    pub(crate) fn splice_from_host(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        out: &mut impl Output,
    ) -> bool {
        let table = &self.splicing.table;
        if table.is_empty() {
            return true;
        }
        let guard = match table.find(&self.memory, &self.emem, &tuple_back(segment)) {
            Ok(Some((guard, _))) => guard,
            Ok(None) => return true,
            Err(Busy) => {
                self.stats.count(Counter::SpliceBusy);
                return false;
            }
        };
        let flags = segment.tcp.header.flags;
        let begins = flags.has(Flags::SYN) && !flags.has(Flags::ACK);
        if begins && self.splice_reuse(now, guard, out) {
            return true;
        }
        self.stats.count(Counter::SpliceHostDropped);
        false
    }

    /// Saves a pair that goes on, and sees to its timer.
    fn splice_save(&self, now: Instant, mut held: Held<'_>) {
        let table = &self.splicing.table;
        let number = held.guard.number;
        let due = held.due(now.millis());
        let sooner = due.is_some_and(|due| {
            held.cold.armed == 0 || crate::wire::seq::before(due, held.cold.due)
        });
        if sooner {
            table.arm(&self.memory, now, number, due, &mut held.cold);
        }
        table.save_cold(&self.emem, number, &held.cold);
        table.save(&self.memory, &self.emem, &mut held.guard, &held.pair);
    }
}

/// Where frames of IPv4 without tags go to.
fn target(pair: &Pair, to: usize) -> Target {
    let hot = &pair.hot;
    let [addresses, rest] = hot.keys[to];
    let address = |high| ((addresses >> high) as u32).to_be_bytes();
    Target {
        ethernet: Ethernet {
            src: hot.macs[to][0],
            dst: hot.macs[to][1],
            ..Ethernet::default()
        },
        ip: IpHeader {
            // The key is of the peer's frames.
            addresses: Addresses::V4 {
                src: address(0),
                dst: address(32),
            },
            traffic_class: hot.class[to],
            ttl: hot.ttl[to],
        },
        label: 0,
        ports: [(rest >> 32) as u16, (rest >> 48) as u16],
    }
}

/// Where frames on `path` go to.
fn wide_target(path: &Path) -> Target {
    let (ethernet, ip) = path.headers();
    let tuple = path.tuple();
    Target {
        ethernet,
        ip,
        label: path.ip_fields().2,
        ports: [tuple.dst_port, tuple.src_port],
    }
}

fn relay_to(
    segment: &Segment<'_>,
    frame: &[u8],
    target: &Target,
    relay: &Relay,
    out: &mut impl Output,
) {
    // Room that is not used costs as much as data.
    if segment.ip.payload.len() <= USUAL_SEGMENT {
        emit::<{ MAX_HEADERS + USUAL_SEGMENT }>(segment, frame, target, relay, out);
    } else {
        emit::<{ MAX_HEADERS + MAX_SEGMENT }>(segment, frame, target, relay, out);
    }
}

fn emit<const ROOM: usize>(
    segment: &Segment<'_>,
    frame: &[u8],
    target: &Target,
    relay: &Relay,
    out: &mut impl Output,
) {
    let mut room = [0; ROOM];
    if let Some(len) = translate::rewrite(segment, frame, target, relay, &mut room) {
        out.to_wire(&room[..len]);
    }
}
