// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the host left to be sent to a peer, and the rules by which that is done.
//!
//! As with connections that the card ends ([`crate::teardown::machine`]): within the peer's window and the congestion window,
//! again after the host's RTO, doubled each time, or after three duplicate acknowledgements. A closed window is probed by a
//! segment before it.

use super::pair::AckKind;
use crate::buffers::Data;
use crate::stats::Counter;
use crate::wire::seq::before;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// The longest retransmission timeout.
const MAX_RTO_MS: u64 = 120_000;
/// Most segments that are sent at a time.
const BURST: usize = 64;

/// State of the sender; all of it 0 while there is nothing to send.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub(super) struct Residual {
    /// The data, as in [`Data`]; it ends at [`super::pair::Last::end`].
    first: u32,
    len: u32,
    /// SND.NXT.
    nxt: u32,
    cwnd: u32,
    /// SND.NXT when the recovery began.
    recover: u32,
    rto_ms: u32,
    /// When the timer fires, while it is armed.
    deadline: u32,
    mss: u16,
    retries: u8,
    /// Retransmissions and probes without an answer.
    tries: u8,
    /// How often the RTO was doubled.
    backoff: u8,
    dupacks: u8,
    recovering: u8,
    armed: u8,
}

/// What the host says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) nxt: u32,
    pub(super) cwnd: u32,
    pub(super) rto_ms: u32,
    pub(super) mss: u16,
    pub(super) retries: u8,
}

/// What the peer has said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// SND.UNA.
    pub(super) una: u32,
    /// SND.WND in bytes.
    pub(super) wnd: u32,
    /// Where the data ends.
    pub(super) end: u32,
}

/// Where segments go to.
pub(super) trait Effects {
    /// Sends `len` bytes of data from `seq` on; none is a probe.
    fn send(&mut self, seq: u32, data: Data, end: u32, len: u16);

    fn count(&mut self, counter: Counter);
}

impl Residual {
    pub(super) fn new(start: &Start, data: Data) -> Self {
        Self {
            first: data.first,
            len: data.len,
            nxt: start.nxt,
            cwnd: start.cwnd.max(start.mss.into()),
            rto_ms: start.rto_ms,
            mss: start.mss,
            retries: start.retries,
            ..Self::default()
        }
    }

    pub(super) const fn data(&self) -> Data {
        Data {
            first: self.first,
            len: self.len,
        }
    }

    /// When it wants to be looked at.
    pub(super) fn deadline(&self) -> Option<u32> {
        (self.armed != 0).then_some(self.deadline)
    }

    /// Sends what may be sent at first.
    pub(super) fn start(&mut self, now: u32, peer: &Peer, effects: &mut impl Effects) {
        self.transmit(peer, effects);
        self.arm(now);
    }

    /// The peer has acknowledged something, not all of it, or has said something else.
    pub(super) fn acknowledged(
        &mut self,
        now: u32,
        kind: AckKind,
        peer: &Peer,
        effects: &mut impl Effects,
    ) {
        self.tries = 0;
        match kind {
            AckKind::New(bytes) => {
                self.backoff = 0;
                self.dupacks = 0;
                if before(self.nxt, peer.una) {
                    self.nxt = peer.una;
                }
                self.cwnd = self.cwnd.saturating_add(bytes);
                if self.recovering != 0 {
                    if before(peer.una, self.recover) {
                        self.again(peer, effects);
                    } else {
                        self.recovering = 0;
                    }
                }
                self.arm(now);
            }
            AckKind::Duplicate if self.nxt != peer.una && self.recovering == 0 => {
                self.dupacks = self.dupacks.saturating_add(1);
                if self.dupacks == 3 {
                    self.recover(peer);
                    self.cwnd = (self.cwnd / 2).max(2 * u32::from(self.mss));
                    effects.count(Counter::SpliceFastRetransmit);
                    self.again(peer, effects);
                    self.arm(now);
                }
            }
            AckKind::Duplicate | AckKind::Other => {}
        }
        self.transmit(peer, effects);
    }

    /// The time of the timer has come. False when there is no point in going on.
    pub(super) fn expired(&mut self, now: u32, peer: &Peer, effects: &mut impl Effects) -> bool {
        if self.tries >= self.retries {
            return false;
        }
        self.tries += 1;
        self.backoff = self.backoff.saturating_add(1);
        self.dupacks = 0;
        if self.nxt == peer.una {
            effects.count(Counter::SpliceProbe);
            effects.send(peer.una.wrapping_sub(1), self.data(), peer.end, 0);
            // The window may have opened unseen.
            self.transmit(peer, effects);
        } else {
            self.recover(peer);
            self.cwnd = self.mss.into();
            effects.count(Counter::SpliceRetransmit);
            self.again(peer, effects);
        }
        self.arm(now);
        true
    }

    fn recover(&mut self, _: &Peer) {
        self.recovering = 1;
        self.recover = self.nxt;
    }

    fn arm(&mut self, now: u32) {
        let timeout = u64::from(self.rto_ms) << self.backoff.min(20);
        self.deadline = now.wrapping_add(timeout.min(MAX_RTO_MS) as u32);
        self.armed = 1;
    }

    /// Sends the first segment again.
    fn again(&mut self, peer: &Peer, effects: &mut impl Effects) {
        let sent = self.nxt.wrapping_sub(peer.una);
        let len = sent.min(self.mss.into()) as u16;
        effects.send(peer.una, self.data(), peer.end, len);
    }

    /// Sends what windows let.
    fn transmit(&mut self, peer: &Peer, effects: &mut impl Effects) {
        for _ in 0..BURST {
            let flight = self.nxt.wrapping_sub(peer.una);
            let left = peer.end.wrapping_sub(self.nxt);
            let room = peer.wnd.min(self.cwnd).saturating_sub(flight);
            let len = left.min(room).min(self.mss.into());
            // No small segment while a larger one may follow.
            let small = len < left && len < self.mss.into() && flight != 0;
            if len == 0 || small {
                return;
            }
            effects.send(self.nxt, self.data(), peer.end, len as u16);
            self.nxt = self.nxt.wrapping_add(len);
        }
    }
}
