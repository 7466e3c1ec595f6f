// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections in TIME-WAIT (RFC 9293 section 3.6, RFC 6191).
//!
//! Entries are given out round and round: they stand in the order of their age. The oldest makes room for a new one when
//! the table has gone round, which is counted, and the end of their time needs no timer but a look at the
//! oldest. An entry that begins anew takes a new place.

use super::tcb::{flag, Tcb};
use crate::chains::{Chain, Chains};
use crate::cookie::Tuple;
use crate::memory::{Region, Usage};
use crate::path::{options, set_label, Path};
use crate::wire::ip::{Addresses, IpHeader};
use crate::wire::options::Options;
use crate::wire::segment::{Segment, SegmentHeader, MAX_HEADERS};
use crate::wire::seq::before;
use crate::wire::tcp::{Flags, TcpHeader};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use zerocopy::transmute;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

const WORDS: usize = size_of::<Entry>() / size_of::<u64>();
/// Instead of a VLAN.
const NO_VLAN: u16 = 0xffff;
/// Entries that one poll lets go at most.
const REAP: usize = 4096;

/// The chain's word of an entry that is done with, and was the `order`th.
const fn done(order: u32) -> u64 {
    (order as u64) << 32 | 1 << 30
}

/// What is left of a connection.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
pub(super) struct Entry {
    /// The peer's and our address.
    src: [u8; 16],
    dst: [u8; 16],
    ports: [u16; 2],
    vlans: [u16; 2],
    label: u32,
    nxt: u32,
    rcv_nxt: u32,
    rcv_wnd: u32,
    ts_recent: u32,
    ts_offset: u32,
    /// Milliseconds of the time, and when it ends.
    time_ms: u32,
    deadline: u32,
    /// Which of the entries that were ever given out, modulo 2^32.
    order: u32,
    window: u16,
    ttl: u8,
    class: u8,
    v6: u8,
    timestamps: u8,
    reserved: [u8; 6],
}

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ends here.
    Drop,
    /// It is acknowledged.
    Answer,
    /// It is acknowledged, and the time begins anew.
    Restart,
    /// The connection is forgotten, and the segment dropped.
    Reset,
    /// The connection is forgotten, and the segment begins a new one.
    Reuse,
}

impl Entry {
    /// What is left of a connection at `now`.
    pub(super) fn of(tcb: &Tcb, path: &Path, now: u32) -> Self {
        let tuple = path.tuple();
        let (v6, src, dst) = match tuple.addresses {
            Addresses::V4 { src, dst } => (0, widen(src), widen(dst)),
            Addresses::V6 { src, dst } => (1, src, dst),
        };
        let (ttl, class, label) = path.ip_fields();
        Self {
            src,
            dst,
            ports: [tuple.src_port, tuple.dst_port],
            vlans: tuple.vlans.map(|vlan| vlan.unwrap_or(NO_VLAN)),
            label,
            nxt: tcb.nxt,
            rcv_nxt: tcb.rcv_nxt,
            rcv_wnd: tcb.rcv_wnd,
            ts_recent: tcb.ts_recent,
            ts_offset: tcb.ts_offset,
            time_ms: tcb.time_wait_ms,
            deadline: now.wrapping_add(tcb.time_wait_ms),
            order: 0,
            window: tcb.window,
            ttl,
            class,
            v6,
            timestamps: u8::from(tcb.has(flag::TIMESTAMPS)),
            reserved: [0; 6],
        }
    }

    pub(super) fn tuple(&self) -> Tuple {
        let addresses = if self.v6 != 0 {
            Addresses::V6 {
                src: self.src,
                dst: self.dst,
            }
        } else {
            Addresses::V4 {
                src: [self.src[0], self.src[1], self.src[2], self.src[3]],
                dst: [self.dst[0], self.dst[1], self.dst[2], self.dst[3]],
            }
        };
        Tuple {
            addresses,
            src_port: self.ports[0],
            dst_port: self.ports[1],
            vlans: self.vlans.map(|vlan| (vlan != NO_VLAN).then_some(vlan)),
        }
    }

    /// Begins the time anew.
    pub(super) fn restart(&mut self, now: u32) {
        self.deadline = now.wrapping_add(self.time_ms);
    }

    /// Milliseconds that are left of its time at `now`; `None` when it is over.
    pub(super) fn left(&self, now: u32) -> Option<u32> {
        (!self.is_over(now)).then(|| self.deadline.wrapping_sub(now))
    }

    fn is_over(&self, now: u32) -> bool {
        !before(now, self.deadline)
    }

    /// What becomes of `segment` (RFC 9293 section 3.10.7.4 for TIME-WAIT, RFC 6191; RFC 1337 as Linux has it by
    /// default: an RST with the right number ends it).
    pub(super) fn judge(&self, segment: &Segment<'_>) -> Verdict {
        let header = &segment.tcp.header;
        let flags = header.flags;
        let times = Options::parse(segment.tcp.options)
            .timestamps
            .filter(|_| self.timestamps != 0);
        let old = times.is_some_and(|times| before(times.value, self.ts_recent));
        if flags.has(Flags::RST) {
            return if !old && header.seq == self.rcv_nxt {
                Verdict::Reset
            } else {
                Verdict::Drop
            };
        }
        if flags.has(Flags::SYN) && !flags.has_any(Flags::ACK | Flags::FIN) {
            let newer = times.is_some_and(|times| before(self.ts_recent, times.value));
            if !old && (newer || before(self.rcv_nxt, header.seq)) {
                return Verdict::Reuse;
            }
            return Verdict::Answer;
        }
        if flags.has(Flags::FIN) && !old {
            return Verdict::Restart;
        }
        // A bare acknowledgement where it belongs needs no answer. Nor does one from before the FIN, which can only have
        // been overtaken: a peer that has closed sends its FIN again, or nothing, and has often forgotten the
        // connection by now, so that an answer would bring an RST.
        let bare = segment.tcp.data.is_empty() && !flags.has(Flags::SYN);
        let window_end = self.rcv_nxt.wrapping_add(self.rcv_wnd);
        let fits = !before(header.seq, self.rcv_nxt) && !before(window_end, header.seq);
        let overtaken = before(header.seq, self.rcv_nxt);
        if bare && (overtaken || fits && !old) || !flags.has(Flags::ACK) {
            Verdict::Drop
        } else {
            Verdict::Answer
        }
    }

    /// Writes the acknowledgement of `segment`, and returns its length.
    pub(super) fn answer(
        &self,
        now: u32,
        segment: &Segment<'_>,
        out: &mut [u8; MAX_HEADERS],
    ) -> Option<usize> {
        let times =
            (self.timestamps != 0).then_some((now.wrapping_add(self.ts_offset), self.ts_recent));
        let header = SegmentHeader {
            ethernet: segment.ethernet.answer(),
            ip: IpHeader {
                addresses: segment.ip.addresses.answer(),
                traffic_class: self.class,
                ttl: self.ttl,
            },
            tcp: TcpHeader {
                src_port: self.ports[1],
                dst_port: self.ports[0],
                seq: self.nxt,
                ack: self.rcv_nxt,
                flags: Flags::ACK,
                window: self.window,
            },
            options: options(times),
        };
        let len = header.emit(&[], out)?;
        if self.v6 != 0 {
            set_label(out.get_mut(header.ethernet.header_len()..)?, self.label)?;
        }
        Some(len)
    }
}

/// An address of IPv4 in the place of one of IPv6.
pub(super) fn widen(address: [u8; 4]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..4].copy_from_slice(&address);
    wide
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct TimeWait {
    chains: Chains,
    of_chains: Region,
    entries: Region,
    used: AtomicU32,
    evicted: AtomicU32,
    /// Entries that were ever given out.
    hand: AtomicU64,
    /// Of these, the oldest that may not be over.
    tail: AtomicU64,
}

impl TimeWait {
    /// Words of the chains and of the entries.
    pub(super) const fn parts(capacity: u32) -> [usize; 2] {
        [Chains::words(capacity), capacity as usize * WORDS]
    }

    pub(super) fn new(
        emem: &[AtomicU64],
        [of_chains, entries]: [Region; 2],
        capacity: u32,
    ) -> Self {
        Self {
            chains: Chains::new(of_chains.of(emem), capacity),
            of_chains,
            entries,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// What the table uses. Refused are those that were let go early.
    pub(super) fn usage(&self) -> Usage {
        let capacity = self.chains.capacity();
        let [chains, entries] = Self::parts(capacity);
        Usage {
            words: chains + entries,
            used: self.used.load(Ordering::Relaxed),
            capacity,
            refused: self.evicted.load(Ordering::Relaxed),
        }
    }

    pub(super) fn lock<'m>(&self, emem: &'m [AtomicU64], hash: u32) -> Option<Chain<'m>> {
        self.chains.lock(self.of_chains.of(emem), hash)
    }

    fn words<'m>(&self, emem: &'m [AtomicU64], number: u32) -> Option<&'m [AtomicU64; WORDS]> {
        let start = (number as usize).checked_mul(WORDS)?;
        self.entries.of(emem).get(start..)?.first_chunk()
    }

    fn load(&self, emem: &[AtomicU64], number: u32) -> Option<Entry> {
        let entry = self.words(emem, number)?;
        let words: [u64; WORDS] =
            core::array::from_fn(|place| entry[place].load(Ordering::Relaxed));
        Some(transmute!(words))
    }

    /// The entry of `tuple` in its chain, unless its time is over.
    pub(super) fn find(
        &self,
        emem: &[AtomicU64],
        chain: &Chain<'_>,
        tuple: &Tuple,
        now: u32,
    ) -> Option<(u32, Entry)> {
        let mut found = None;
        chain.find(|number| {
            found = self
                .load(emem, number)
                .filter(|entry| entry.tuple() == *tuple && !entry.is_over(now))
                .map(|entry| (number, entry));
            found.is_some()
        });
        found
    }

    /// Above the numbers of all entries that there ever were.
    pub(super) fn end(&self) -> u32 {
        let ever = self.hand.load(Ordering::Acquire);
        // The smaller of both fits.
        ever.min(self.chains.capacity().into()) as u32
    }

    /// The hash of the entry `number`, while there is one.
    pub(super) fn hash_of(&self, emem: &[AtomicU64], number: u32) -> Option<u32> {
        self.chains.hash_of(self.of_chains.of(emem), number)
    }

    /// The entry `number`, if it is in `chain`.
    pub(super) fn entry(
        &self,
        emem: &[AtomicU64],
        chain: &Chain<'_>,
        number: u32,
    ) -> Option<Entry> {
        chain.find(|other| other == number)?;
        self.load(emem, number)
    }

    /// Forgets the entry `number` of the locked `chain`.
    pub(super) fn remove(&self, emem: &[AtomicU64], chain: &mut Chain<'_>, number: u32) -> bool {
        let order = self.load(emem, number).map_or(0, |entry| entry.order);
        let removed = chain.remove(number);
        if removed {
            self.used.fetch_sub(1, Ordering::Relaxed);
            if let Some(word) = self.chains.word(self.of_chains.of(emem), number) {
                // Fails when it was given out again already.
                let _ = word.compare_exchange(0, done(order), Ordering::Release, Ordering::Relaxed);
            }
        }
        removed
    }

    /// Keeps `entry` of `hash`, from now on. Nobody may hold a lock of this table. True when another one, or this one,
    /// had to be let go.
    pub(super) fn insert(&self, emem: &[AtomicU64], hash: u32, entry: &Entry) -> bool {
        let words = self.of_chains.of(emem);
        let hand = self.hand.fetch_add(1, Ordering::AcqRel);
        let number = hand.checked_rem(self.chains.capacity().into());
        let lost = match number {
            Some(number) => {
                let number = number as u32;
                let evicted = self.chains.hash_of(words, number).is_some_and(|hash| {
                    let chain = self.chains.lock(words, hash);
                    chain.is_some_and(|mut chain| self.remove(emem, &mut chain, number))
                });
                let order = hand as u32;
                let entry = Entry { order, ..*entry };
                let kept = self.fill(emem, number, hash, &entry);
                evicted || !kept
            }
            None => true,
        };
        if lost {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        lost
    }

    /// Writes `entry` to the free place `number`. False when another worker is at the same place, which takes a table
    /// smaller than the number of workers, or the chain is busy.
    fn fill(&self, emem: &[AtomicU64], number: u32, hash: u32, entry: &Entry) -> bool {
        let words = self.of_chains.of(emem);
        if !self.chains.claim(words, number) {
            return false;
        }
        let packed: [u64; WORDS] = transmute!(*entry);
        for (slot, word) in self.words(emem, number).into_iter().flatten().zip(packed) {
            slot.store(word, Ordering::Relaxed);
        }
        let Some(mut chain) = self.chains.lock(words, hash) else {
            if let Some(word) = self.chains.word(words, number) {
                word.store(done(entry.order), Ordering::Release);
            }
            return false;
        };
        chain.insert(number);
        self.used.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Lets go those whose time is over, up to some, and returns how many.
    pub(super) fn reap(&self, emem: &[AtomicU64], now: u32) -> u64 {
        self.let_go(emem, REAP, |entry| entry.is_over(now))
    }

    /// Lets go all of them.
    pub(super) fn clear(&self, emem: &[AtomicU64]) -> u64 {
        self.let_go(emem, usize::MAX, |_| true)
    }

    fn let_go(&self, emem: &[AtomicU64], most: usize, over: impl Fn(&Entry) -> bool) -> u64 {
        let words = self.of_chains.of(emem);
        let capacity = u64::from(self.chains.capacity());
        let mut count = 0;
        for _ in 0..most {
            let (tail, hand) = (
                self.tail.load(Ordering::Acquire),
                self.hand.load(Ordering::Acquire),
            );
            // What the hand has gone over has made room.
            let first = tail.max(hand.saturating_sub(capacity));
            if first >= hand {
                break;
            }
            let Some(number) = first.checked_rem(capacity).map(|place| place as u32) else {
                break;
            };
            let hash = self.chains.hash_of(words, number);
            let word = self.chains.word(words, number);
            let passed = match hash {
                Some(_) => self.load(emem, number).is_some_and(|entry| over(&entry)),
                // Otherwise it is only about to be filled.
                None => word.is_some_and(|word| word.load(Ordering::Acquire) == done(first as u32)),
            };
            if !passed {
                break;
            }
            // Another worker may be at it.
            let claimed =
                self.tail
                    .compare_exchange(tail, first + 1, Ordering::AcqRel, Ordering::Relaxed);
            let (true, Some(hash)) = (claimed.is_ok(), hash) else {
                continue;
            };
            let Some(mut chain) = self.chains.lock(words, hash) else {
                continue;
            };
            let over = self.load(emem, number).is_some_and(|entry| over(&entry));
            if over && self.remove(emem, &mut chain, number) {
                count += 1;
            }
        }
        count
    }
}
