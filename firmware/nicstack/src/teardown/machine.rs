// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rules by which a connection ends (RFC 9293 section 3.10.7.4): a segment or the time in, segments out.
//!
//! * Data, then FIN, as far as the peer's window and the congestion window let (the FIN, as with Linux, whatever the
//!   congestion window says); no small segment while data is under way that a larger one could follow.
//! * Retransmission after the host's RTO, doubled each time (RFC 6298), up to a number of times. After three
//!   duplicate acknowledgements at once, then segment by segment (RFC 6582). SACK blocks are not looked at,
//!   which RFC 2018 section 8 allows.
//! * A closed window is probed as Linux does: by a segment before it, which any peer acknowledges.
//! * Data that comes after the close has nobody to read it: RST (RFC 9293 section 3.6.1 leaves it open, RFC 1122
//!   section 4.2.2.13 asks for it; so does Linux).
//! * RST, SYN and acknowledgements out of place are challenged (RFC 5961), no more often than each
//!   [`CHALLENGE_MS`], as Linux does (`tcp_invalid_ratelimit`).
//! * Timestamps protect against old segments (RFC 7323 section 5); ECN is answered (RFC 3168).

use super::tcb::{flag, State, Tcb, Timer};
use crate::stats::Counter;
use crate::wire::options::Timestamps;
use crate::wire::seq::before;
use crate::wire::tcp::{Flags, TcpHeader};
use acceltcp_abi::teardown::HandOver;

/// The longest retransmission timeout that a host may ask for (`TCP_RTO_MAX` of Linux).
pub const MAX_RTO_MS: u32 = HandOver::RTO_MAX as u32 * 10;
/// Shortest time between two answers to segments that are out of place.
pub const CHALLENGE_MS: u32 = 500;
/// Most segments that are sent at a time; more would take more data than a hand-over brings.
const BURST: usize = 64;

/// A segment from the peer.
#[derive(Debug, Clone, Copy)]
pub struct Incoming {
    /// Its header.
    pub header: TcpHeader,
    /// Bytes of data.
    pub len: u32,
    /// Its timestamps.
    pub timestamps: Option<Timestamps>,
    /// The network marked it (RFC 3168: congestion experienced).
    pub marked: bool,
}

/// A segment to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Sequence number of its data.
    pub seq: u32,
    /// Bytes of data, from `seq` on.
    pub len: u16,
    /// Control bits. With RST alone there is no acknowledgement, no window and no timestamp.
    pub flags: Flags,
    /// It is new data and goes as ECN-capable.
    pub ecn_capable: bool,
}

/// Where what the machine does goes to.
pub trait Effects {
    /// Sends a segment of the connection.
    fn send(&mut self, tcb: &Tcb, segment: Outgoing);

    /// Counts.
    fn count(&mut self, counter: Counter);
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Stay,
    /// It is in TIME-WAIT.
    TimeWait,
    /// It has ended, for a reason.
    End(Counter),
}

impl Tcb {
    /// Starts: sends what the host has not sent, and an acknowledgement by itself if one is due.
    pub fn start(&mut self, now: u32, ack_due: bool, effects: &mut impl Effects) {
        let before_sent = self.nxt;
        if self.state() == State::FinWait2 {
            self.set_timer(Timer::FinWait, now.wrapping_add(self.fin_wait_ms));
        } else {
            self.transmit(effects);
            self.watch(now, true);
        }
        if ack_due && self.nxt == before_sent {
            self.ack(effects);
        }
    }

    /// Takes a segment of the peer.
    pub fn segment(&mut self, now: u32, segment: &Incoming, effects: &mut impl Effects) -> Next {
        let header = &segment.header;
        let flags = header.flags;
        let syn = flags.has(Flags::SYN);
        let end = header
            .seq
            .wrapping_add(segment.len)
            .wrapping_add(u32::from(syn) + u32::from(flags.has(Flags::FIN)));

        if !flags.has(Flags::RST) && self.is_old(segment) {
            effects.count(Counter::TeardownPaws);
            self.challenge(now, segment.len != 0, effects);
            return Next::Stay;
        }
        let window_end = self.rcv_nxt.wrapping_add(self.rcv_wnd);
        let fits = !before(end, self.rcv_nxt) && !before(window_end, header.seq);
        if flags.has(Flags::RST) {
            return self.reset(now, header.seq, fits, effects);
        }
        if syn || !fits {
            self.challenge(now, segment.len != 0 && !syn, effects);
            return Next::Stay;
        }
        if !flags.has(Flags::ACK) {
            return Next::Stay;
        }
        // RFC 5961 section 5.2.
        let oldest = self.una.wrapping_sub(self.max_wnd);
        if before(self.nxt, header.ack) || before(header.ack, oldest) {
            self.challenge(now, false, effects);
            return Next::Stay;
        }
        self.note_marks(segment);
        if let Some(times) = segment.timestamps.filter(|_| self.has(flag::TIMESTAMPS)) {
            if !before(self.rcv_nxt, header.seq) && !before(times.value, self.ts_recent) {
                self.ts_recent = times.value;
            }
        }
        if let Some(next) = self.acknowledged(now, segment, effects) {
            return next;
        }
        self.received(now, segment, effects)
    }

    /// The time of the timer has come.
    pub fn expired(&mut self, now: u32, effects: &mut impl Effects) -> Next {
        match self.timer() {
            Timer::None => return Next::Stay,
            Timer::FinWait => return Next::End(Counter::TeardownFinWaitTimeout),
            Timer::Retransmit => {
                if self.tries >= self.retries {
                    return Next::End(Counter::TeardownTimeout);
                }
                self.set(flag::RECOVERY, true);
                self.recover = self.nxt;
                self.cwnd = self.mss.into();
                self.dupacks = 0;
                effects.count(Counter::TeardownRetransmit);
                self.retransmit(effects);
            }
            Timer::Probe => {
                // As with Linux: a peer that answers may take its time, until the probes are at their rarest; one that
                // does not has as much of it as for a segment.
                let rarest = self.tries >= self.retries && self.timeout() >= self.rto_max_ms;
                if rarest || self.dupacks >= self.retries {
                    return Next::End(Counter::TeardownTimeout);
                }
                self.dupacks = self.dupacks.saturating_add(1);
                effects.count(Counter::TeardownProbe);
                let seq = self.una.wrapping_sub(1);
                self.ack_from(seq, effects);
            }
        }
        self.tries = self.tries.saturating_add(1);
        self.set_timer(self.timer(), now.wrapping_add(self.timeout()));
        Next::Stay
    }

    /// RTO with back-off.
    fn timeout(&self) -> u32 {
        let backed_off = u64::from(self.rto_ms) << self.tries.min(20);
        backed_off.min(self.rto_max_ms.into()) as u32
    }

    /// Whether a segment is from before TS.Recent (PAWS; with the tick of slack that Linux gives).
    fn is_old(&self, segment: &Incoming) -> bool {
        self.has(flag::TIMESTAMPS)
            && segment
                .timestamps
                .is_some_and(|times| before(times.value.wrapping_add(1), self.ts_recent))
    }

    /// RFC 5961 section 3.2: an RST counts only where the next byte would be.
    fn reset(&mut self, now: u32, seq: u32, fits: bool, effects: &mut impl Effects) -> Next {
        let peer_fin = !matches!(self.state(), State::FinWait1 | State::FinWait2);
        // Some peers forget that their FIN has a number.
        let at_fin = peer_fin && seq == self.rcv_nxt.wrapping_sub(1);
        if seq == self.rcv_nxt || at_fin {
            return Next::End(Counter::TeardownReset);
        }
        if fits {
            self.challenge(now, false, effects);
        } else {
            effects.count(Counter::TeardownBadReset);
        }
        Next::Stay
    }

    /// Answers what is out of place with the numbers that are right. Data is always answered: it is no answer
    /// itself.
    fn challenge(&mut self, now: u32, data: bool, effects: &mut impl Effects) {
        let recent = self.has(flag::CHALLENGED) && now.wrapping_sub(self.challenge) < CHALLENGE_MS;
        if recent && !data {
            effects.count(Counter::TeardownChallengeLimited);
            return;
        }
        self.set(flag::CHALLENGED, true);
        self.challenge = now;
        effects.count(Counter::TeardownChallenge);
        self.ack(effects);
    }

    fn note_marks(&mut self, segment: &Incoming) {
        if !self.has(flag::ECN) {
            return;
        }
        let flags = segment.header.flags;
        if flags.has(Flags::CWR) {
            self.set(flag::SEND_ECE, false);
        }
        if segment.marked {
            self.set(flag::SEND_ECE, true);
        }
        if !before(segment.header.ack, self.recover) {
            self.set(flag::REDUCED, false);
        }
        if flags.has(Flags::ECE) && !self.has(flag::REDUCED) && !self.has(flag::RECOVERY) {
            self.cwnd = (self.cwnd / 2).max(self.mss.into());
            self.recover = self.nxt;
            self.set(flag::REDUCED | flag::SEND_CWR, true);
        }
    }

    /// Takes the acknowledgement and the window of a segment.
    fn acknowledged(
        &mut self,
        now: u32,
        segment: &Incoming,
        effects: &mut impl Effects,
    ) -> Option<Next> {
        let header = &segment.header;
        if before(header.ack, self.una) {
            return None;
        }
        let advanced = header.ack.wrapping_sub(self.una);
        let window = u32::from(header.window) << self.wscale;
        let same_window = window == self.wnd;
        let newer = before(self.wl1, header.seq) || header.seq == self.wl1 && window > self.wnd;
        let was_closed = self.timer() == Timer::Probe;
        if was_closed {
            self.dupacks = 0;
        }
        if advanced != 0 || newer {
            self.wnd = window;
            self.wl1 = header.seq;
            self.max_wnd = self.max_wnd.max(window);
        }

        let mut repair = false;
        if advanced != 0 {
            self.una = header.ack;
            self.tries = 0;
            self.dupacks = 0;
            if self.has(flag::RECOVERY) {
                // RFC 6582 section 3.2: a partial acknowledgement shows the next hole.
                repair = before(self.una, self.recover);
                self.set(flag::RECOVERY, repair);
            }
            self.cwnd = self.cwnd.saturating_add(advanced.min(self.mss.into()));
        } else if self.flight() != 0
            && segment.len == 0
            && same_window
            && !header.flags.has(Flags::FIN)
        {
            self.dupacks = self.dupacks.saturating_add(1);
            if self.dupacks == 3 && !self.has(flag::RECOVERY) {
                self.set(flag::RECOVERY, true);
                self.recover = self.nxt;
                self.cwnd = (self.flight() / 2).max(2 * u32::from(self.mss));
                effects.count(Counter::TeardownFastRetransmit);
                repair = true;
            }
        }

        if before(self.fin, self.una) {
            match self.state() {
                State::FinWait1 => {
                    self.set_state(State::FinWait2);
                    self.set_timer(Timer::FinWait, now.wrapping_add(self.fin_wait_ms));
                }
                State::FinWait2 => {}
                State::Closing => return Some(Next::TimeWait),
                State::LastAck => return Some(Next::End(Counter::TeardownDone)),
            }
            return None;
        }
        if was_closed && self.wnd != 0 {
            self.tries = 0;
        }
        if repair {
            self.retransmit(effects);
        }
        let before_sent = self.nxt;
        self.transmit(effects);
        let moved = advanced != 0 || repair || self.nxt != before_sent;
        self.watch(now, moved);
        None
    }

    /// Takes data and FIN of a segment.
    fn received(&mut self, now: u32, segment: &Incoming, effects: &mut impl Effects) -> Next {
        let header = &segment.header;
        let fin = header.flags.has(Flags::FIN);
        if segment.len == 0 && !fin {
            return Next::Stay;
        }
        let data_end = header.seq.wrapping_add(segment.len);
        if !matches!(self.state(), State::FinWait1 | State::FinWait2) {
            // Behind the peer's FIN nothing counts; what is in front of it was sent again.
            self.ack(effects);
            return Next::Stay;
        }
        if before(self.rcv_nxt, data_end) {
            effects.send(
                self,
                Outgoing {
                    seq: header.ack,
                    len: 0,
                    flags: Flags::RST,
                    ecn_capable: false,
                },
            );
            return Next::End(Counter::TeardownDataAfterClose);
        }
        if !fin || data_end != self.rcv_nxt {
            self.ack(effects);
            return Next::Stay;
        }
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        self.ack(effects);
        if self.state() == State::FinWait2 {
            return Next::TimeWait;
        }
        self.set_state(State::Closing);
        self.watch(now, false);
        Next::Stay
    }

    /// Sends what is new, as far as the windows let.
    fn transmit(&mut self, effects: &mut impl Effects) {
        let window_end = self.una.wrapping_add(self.wnd);
        for _ in 0..BURST {
            if self.fin_sent() {
                return;
            }
            let left = self.fin.wrapping_sub(self.nxt);
            let room = |end: u32| {
                let room = end.wrapping_sub(self.nxt);
                if before(end, self.nxt) {
                    0
                } else {
                    room
                }
            };
            let in_window = room(window_end);
            let allowed = in_window.min(room(self.una.wrapping_add(self.cwnd)));
            let len = left.min(self.mss.into()).min(allowed);
            // All that is left fits, and the FIN with it.
            let fin = len == left && in_window > len;
            if len == 0 && !fin {
                return;
            }
            // RFC 9293 section 3.8.6.2.1: rather wait for an acknowledgement than send a small part.
            let small = len < left && len < self.mss.into();
            if small && self.flight() != 0 {
                return;
            }
            self.emit(self.nxt, len as u16, fin, true, effects);
            self.nxt = self.nxt.wrapping_add(len + u32::from(fin));
        }
    }

    /// Sends the first segment that is not acknowledged again.
    fn retransmit(&mut self, effects: &mut impl Effects) {
        let sent = self.flight();
        let data = self.fin.wrapping_sub(self.una).min(sent);
        let len = data.min(self.mss.into());
        let fin = self.fin_sent() && len == data && before(self.una, self.nxt);
        if len != 0 || fin {
            self.emit(self.una, len as u16, fin, false, effects);
        }
    }

    fn emit(&mut self, seq: u32, len: u16, fin: bool, new: bool, effects: &mut impl Effects) {
        let mut flags = Flags::ACK | self.ece();
        if len != 0 && (fin || seq.wrapping_add(len.into()) == self.fin) {
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
        }
        let ecn_capable = self.has(flag::ECN) && new && len != 0;
        if ecn_capable && self.has(flag::SEND_CWR) {
            flags = flags | Flags::CWR;
            self.set(flag::SEND_CWR, false);
        }
        let segment = Outgoing {
            seq,
            len,
            flags,
            ecn_capable,
        };
        effects.send(self, segment);
    }

    fn ece(&self) -> Flags {
        if self.has(flag::SEND_ECE) {
            Flags::ECE
        } else {
            Flags::default()
        }
    }

    fn ack(&self, effects: &mut impl Effects) {
        self.ack_from(self.nxt, effects);
    }

    fn ack_from(&self, seq: u32, effects: &mut impl Effects) {
        let segment = Outgoing {
            seq,
            len: 0,
            flags: Flags::ACK | self.ece(),
            ecn_capable: false,
        };
        effects.send(self, segment);
    }

    /// Sets the timer for what is under way, or for the window to open. One that runs goes on, unless something has
    /// `moved`.
    fn watch(&mut self, now: u32, moved: bool) {
        let timer = if self.flight() != 0 {
            Timer::Retransmit
        } else if self.fin_sent() {
            return;
        } else {
            Timer::Probe
        };
        if moved || self.timer() != timer {
            self.set_timer(timer, now.wrapping_add(self.timeout()));
        }
    }
}
