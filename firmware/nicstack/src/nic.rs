// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The stack of one vNIC as its port sees it.

use crate::acl::table::Acl;
use crate::clock::{HostClock, Instant};
use crate::connecting::Connecting;
use crate::half_open::HalfOpen;
use crate::keys::Keys;
use crate::listen::Listeners;
use crate::lock::Lock;
use crate::memory::{Capacity, MemoryError, Partition, Usage};
use crate::recent::Recent;
use crate::splice::{pair, Splicing};
use crate::stats::{Counter, Stats};
use crate::teardown::tcb::State;
use crate::teardown::{Owner, Teardown};
use crate::wire::segment::Content;
use acceltcp_abi::cmd;
use acceltcp_abi::setup::Handshake;
use acceltcp_abi::splice::SpliceEvent;
use acceltcp_abi::teardown::{Credits, OwnerCredits};
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64};

/// What the stack has the port do. Calls are made in the order in which the effects must appear.
pub trait Output {
    /// Delivers a frame (Ethernet header first, no FCS) to the host.
    fn to_host(&mut self, frame: &[u8]);

    /// Sends a frame (Ethernet header first, no FCS, checksums filled in) on the wire.
    fn to_wire(&mut self, frame: &[u8]);

    /// Delivers a frame with the metadata [`acceltcp_abi::meta::RxMeta::handshake`]. Only a host that asked for
    /// it gets such frames. A port that does not know the metadata delivers the frame without.
    fn to_host_with(&mut self, frame: &[u8], handshake: &Handshake) {
        let _ = handshake;
        self.to_host(frame);
    }

    /// Delivers the metadata [`acceltcp_abi::meta::RxMeta::credits`], of no frame. Only a host that asked for it gets
    /// it. What does not get through is made up for by the next one.
    fn credits(&mut self, credits: &Credits) {
        let _ = credits;
    }

    /// Delivers the metadata [`acceltcp_abi::meta::RxMeta::owner`], of no frame. Only a host that asked for it gets it. False
    /// when it did not get through: the stack tries again.
    fn owner_credits(&mut self, credits: &OwnerCredits) -> bool {
        let _ = credits;
        true
    }

    /// Delivers the metadata [`acceltcp_abi::meta::RxMeta::splice`], of no frame. Only a host that asked for it gets it. False
    /// when it did not get through: the stack tries again.
    fn splice_event(&mut self, event: &SpliceEvent) -> bool {
        let _ = event;
        true
    }
}

/// Words of memory for the tables.
pub trait Memory: Deref<Target = [AtomicU64]> {}

impl<M: Deref<Target = [AtomicU64]>> Memory for M {}

/// The stack of one vNIC.
#[derive(Debug)]
pub struct Nic<M = &'static [AtomicU64]> {
    pub(crate) memory: M,
    pub(crate) emem: M,
    capacity: Capacity,
    pub(crate) control: AtomicBool,
    pub(crate) attached: AtomicBool,
    pub(crate) keys: Keys,
    pub(crate) clock: HostClock,
    pub(crate) acl: Acl,
    pub(crate) listeners: Listeners,
    pub(crate) connecting: Connecting,
    pub(crate) recent: Recent,
    pub(crate) half_open: HalfOpen,
    pub(crate) teardown: Teardown,
    pub(crate) splicing: Splicing,
    pub(crate) stats: Stats,
}

impl Default for Nic {
    fn default() -> Self {
        Self {
            memory: &[],
            emem: &[],
            capacity: Capacity::NONE,
            control: AtomicBool::default(),
            attached: AtomicBool::default(),
            keys: Keys::default(),
            clock: HostClock::default(),
            acl: Acl::default(),
            listeners: Listeners::default(),
            connecting: Connecting::default(),
            recent: Recent::default(),
            half_open: HalfOpen::default(),
            teardown: Teardown::default(),
            splicing: Splicing::default(),
            stats: Stats::default(),
        }
    }
}

impl Nic {
    /// A stack without memory, which passes all frames.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<M: Memory> Nic<M> {
    /// Counters in one reply at most; those that are left are for the next.
    const COUNTERS: usize = if Counter::COUNT < 40 {
        Counter::COUNT
    } else {
        40
    };

    /// Bytes that a reply may take.
    pub const REPLY_MAX: usize = cmd::Header::SIZE + cmd::StatsReply::SIZE + Self::COUNTERS * 8;

    /// A stack whose tables have `capacity` in `memory` (IMEM) and `emem`, which must be nobody else's.
    pub fn with_memory(memory: M, emem: M, capacity: Capacity) -> Result<Self, MemoryError> {
        if !capacity.is_valid() {
            return Err(MemoryError::TooManyEntries);
        }
        let needed = [capacity.words(), capacity.emem_words()];
        for (needed, given) in needed.into_iter().zip([memory.len(), emem.len()]) {
            if needed > given {
                return Err(MemoryError::TooSmall { needed, given });
            }
        }
        let mut partition = Partition::new(needed[0]);
        let mut external = Partition::new(needed[1]);
        let listeners = partition.take(Listeners::words(capacity.listeners));
        let connecting = partition.take(Connecting::words(capacity.listeners));
        let recent = partition.take(Recent::words(capacity.recent));
        let half_open = partition.take(HalfOpen::words(capacity.half_open));
        let teardown = Teardown::new((&memory, &mut partition), (&emem, &mut external), &capacity);
        let splicing = Splicing::new(
            (&memory, &mut partition),
            (&emem, &mut external),
            capacity.spliced_pairs,
        );
        let acl = partition.take(Acl::words(capacity.acl));
        Ok(Self {
            control: AtomicBool::default(),
            attached: AtomicBool::default(),
            keys: Keys::default(),
            clock: HostClock::default(),
            acl: Acl::new(acl, &memory, capacity.acl),
            listeners: Listeners::new(listeners, &memory, capacity.listeners),
            connecting: Connecting::new(connecting, &memory),
            recent: Recent::new(recent, &memory, capacity.recent),
            half_open: HalfOpen::new(half_open, &memory, capacity.half_open),
            teardown,
            splicing,
            stats: Stats::default(),
            memory,
            emem,
            capacity,
        })
    }

    /// Takes a frame that came from the wire and passed the vNIC's L2 filters.
    pub fn from_wire(&self, now: Instant, frame: &[u8], out: &mut impl Output) {
        if self.denied(frame) {
            return;
        }
        let setup = !(self.listeners.is_empty() && self.recent.is_empty());
        let owns = !(self.teardown.is_empty() && self.splicing.is_empty());
        if !setup && !owns {
            self.stats.count(Counter::WirePassed);
            return out.to_host(frame);
        }
        let counter = match Content::parse(frame) {
            Ok(Content::Tcp(segment)) => {
                // Who owns the tuple comes before who would like to have it.
                if owns && self.owned_from_wire(now, &segment, frame, out) == Owner::Card {
                    return;
                }
                return self.setup_from_wire(now, &segment, frame, out);
            }
            Ok(Content::Fragment) => Counter::WireFragment,
            Ok(Content::Other) if !self.splicing.is_empty() && self.splice_icmp(frame, out) => {
                return
            }
            Ok(Content::Other) => Counter::WirePassed,
            Err(_) => Counter::WireMalformed,
        };
        self.stats.count(counter);
        out.to_host(frame);
    }

    /// Takes a frame that the host sends; segmented, with checksums filled in.
    pub fn from_host(&self, now: Instant, frame: &[u8], out: &mut impl Output) {
        let owns = !(self.teardown.is_empty() && self.splicing.is_empty());
        let setup = !(self.listeners.is_empty() && self.recent.is_empty());
        if setup || owns {
            if let Ok(Content::Tcp(segment)) = Content::parse(frame) {
                self.setup_from_host(now, &segment);
                let passes = self.teardown_from_host(now, &segment, out)
                    && self.splice_from_host(now, &segment, out);
                if !passes {
                    return;
                }
            }
        }
        self.stats.count(Counter::HostPassed);
        out.to_wire(frame);
    }

    /// Does what is due by time alone. To be called every 10 to 100 ms, by one worker or several.
    pub fn poll(&self, now: Instant, out: &mut impl Output) {
        self.setup_poll(now, out);
        self.teardown_poll(now, out);
        self.splice_poll(now, out);
    }

    /// Whether time alone can give the stack something to do. While not, [`Nic::poll`] need not be called; only
    /// [`Nic::from_wire`], [`Nic::hand_over`] and [`Nic::splice`] change that.
    pub fn needs_poll(&self) -> bool {
        !self.half_open.is_empty() || self.teardown.needs_poll() || !self.splicing.is_empty()
    }

    /// The datapath is off, or was turned on anew: all that the driver said of connections is forgotten. The access list
    /// stays: it is there before the first frame.
    pub fn disconnect(&self) {
        let _guard = Lock::take(&self.control);
        self.forget_host();
    }

    /// The device was reset: all that the driver said is forgotten, with the access list.
    pub fn reset(&self) {
        let _guard = Lock::take(&self.control);
        self.forget_host();
        self.acl.clear(&self.memory);
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many entries the tables have.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// What the tables use: listeners, recent and half-open connections, connections that are ended, buffers,
    /// TIME-WAIT, pairs, and the access list; buffers and TIME-WAIT are in EMEM alone, what is said of the others is of the IMEM.
    pub fn usage(&self) -> [Usage; 8] {
        let [flows, buffers, time_wait] = self.teardown.usage();
        let mut listeners = self.listeners.usage();
        listeners.words += Connecting::words(self.capacity.listeners);
        [
            listeners,
            self.recent.usage(),
            self.half_open.usage(),
            flows,
            buffers,
            time_wait,
            self.splicing.usage(),
            self.acl.usage(),
        ]
    }

    /// How many pairs are in each state.
    pub fn pairs_by_state(&self) -> [(pair::State, u32); pair::State::ALL.len()] {
        self.splicing.by_state()
    }

    /// How many of the connections that are ended are in each state.
    pub fn flows_by_state(&self) -> [(State, u32); State::ALL.len()] {
        self.teardown.by_state()
    }
}
