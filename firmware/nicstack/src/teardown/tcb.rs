// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the card knows of a connection that it ends: the transmission control block (RFC 9293 section 3.3.1).

use super::machine::MAX_RTO_MS;
use crate::wire::seq;
use acceltcp_abi::teardown::{hand_over, HandOver};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// States of a connection (RFC 9293 section 3.3.2) after the host's close. TIME-WAIT is not among them: there the
/// connection is in [another table](super::time_wait).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Our FIN is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; the peer's has not come.
    FinWait2,
    /// The peer's FIN came after ours was sent, which is not acknowledged.
    Closing,
    /// The peer's FIN came first, and ours is not acknowledged.
    LastAck,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FinWait1, Self::FinWait2, Self::Closing, Self::LastAck];

    /// Name, for people and tools.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FinWait1 => "fin_wait_1",
            Self::FinWait2 => "fin_wait_2",
            Self::Closing => "closing",
            Self::LastAck => "last_ack",
        }
    }
}

/// What the timer of a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Nothing; it is not armed.
    None,
    /// A segment is not acknowledged.
    Retransmit,
    /// The peer's window is closed.
    Probe,
    /// The peer's FIN does not come.
    FinWait,
}

/// Bits of [`Tcb::flags`].
pub(crate) mod flag {
    /// Segments have timestamps.
    pub(crate) const TIMESTAMPS: u8 = 1 << 0;
    /// New data is sent as ECN-capable.
    pub(crate) const ECN: u8 = 1 << 1;
    /// The next new data has CWR: the window was reduced.
    pub(crate) const SEND_CWR: u8 = 1 << 2;
    /// Acknowledgements have ECE, until the peer's CWR.
    pub(crate) const SEND_ECE: u8 = 1 << 3;
    /// Lost segments are sent again, up to [`super::Tcb::recover`].
    pub(crate) const RECOVERY: u8 = 1 << 4;
    /// A challenge was sent, at [`super::Tcb::challenge`].
    pub(crate) const CHALLENGED: u8 = 1 << 5;
    /// The congestion window was reduced for ECN, once for what is before [`super::Tcb::recover`].
    pub(crate) const REDUCED: u8 = 1 << 6;
}

/// The block. Times are in milliseconds of the card's clock, modulo 2^32.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Tcb {
    /// The host's name for the connection.
    pub cookie: u64,
    /// SND.UNA.
    pub una: u32,
    /// SND.NXT.
    pub nxt: u32,
    /// Sequence number of our FIN, behind the last byte of data.
    pub fin: u32,
    /// SND.WND.
    pub wnd: u32,
    /// SND.WL1.
    pub wl1: u32,
    /// The largest window that the peer has announced.
    pub max_wnd: u32,
    /// Congestion window, in bytes.
    pub cwnd: u32,
    /// SND.NXT when the recovery began.
    pub recover: u32,
    /// RCV.NXT.
    pub rcv_nxt: u32,
    /// RCV.WND.
    pub rcv_wnd: u32,
    /// Milliseconds that our timestamps are ahead of the card's clock.
    pub ts_offset: u32,
    /// TS.Recent.
    pub ts_recent: u32,
    /// RTO without back-off.
    pub rto_ms: u32,
    /// The longest RTO with it.
    pub rto_max_ms: u32,
    /// Time in FIN-WAIT-2.
    pub fin_wait_ms: u32,
    /// Time in TIME-WAIT.
    pub time_wait_ms: u32,
    /// When the timer fires.
    pub deadline: u32,
    /// When a challenge was sent last.
    pub challenge: u32,
    /// Number of the connection's owner; 0 for none.
    pub owner: u16,
    /// Fills the word.
    reserved: u16,
    /// Most bytes of data in a segment.
    pub mss: u16,
    /// The window that we announce.
    pub window: u16,
    state: u8,
    timer: u8,
    pub(crate) flags: u8,
    /// Shift of the peer's windows.
    pub wscale: u8,
    /// Retransmissions before the card gives up.
    pub retries: u8,
    /// Retransmissions or probes so far.
    pub tries: u8,
    /// Duplicate acknowledgements so far; while the window is closed, and nothing under way, probes without an answer.
    pub dupacks: u8,
    /// Slot of the timer in the wheel, while it is armed.
    pub(crate) slot: u8,
}

/// What of a template belongs into the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window.
    pub window: u16,
    /// Value and echo of the timestamps.
    pub timestamps: Option<(u32, u32)>,
    /// Bytes of data.
    pub len: u32,
}

/// The host's name for a connection.
fn host_name([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Tcb {
    /// The block of a connection that is handed over at `now`; `None` when the numbers contradict each other.
    pub fn new(message: &HandOver, template: &Template, now: u32) -> Option<Self> {
        let has = |flag| message.flags & flag != 0;
        let (una, nxt) = (template.seq, message.snd_nxt.get());
        let acked = has(hand_over::FIN_ACKED);
        let fin = una
            .wrapping_add(template.len)
            .wrapping_sub(u32::from(acked));
        let end = fin.wrapping_add(u32::from(has(hand_over::FIN_SENT)));
        let sent = nxt.wrapping_sub(una);
        // A FIN that was sent is behind all of the data.
        let nxt_fits = if has(hand_over::FIN_SENT) {
            nxt == end
        } else {
            sent <= template.len
        };
        if !nxt_fits || acked && template.len != 0 {
            return None;
        }
        let state = match (has(hand_over::PEER_FIN), has(hand_over::CLOSING)) {
            // Both FINs are acknowledged: there is nothing left but TIME-WAIT, which the host keeps as well.
            (true, _) if acked => return None,
            (false, true) => return None,
            (true, true) if !has(hand_over::FIN_SENT) => return None,
            (true, true) => State::Closing,
            (true, false) => State::LastAck,
            (false, false) if acked => State::FinWait2,
            (false, false) => State::FinWait1,
        };
        let (ts_value, ts_recent) = template.timestamps.unwrap_or_default();
        let mut flags = 0;
        if template.timestamps.is_some() {
            flags |= flag::TIMESTAMPS;
        }
        if has(hand_over::ECN) {
            flags |= flag::ECN;
        }
        let mss = message.mss.get().min(super::MAX_MSS);
        Some(Self {
            cookie: host_name(message.cookie),
            una,
            nxt,
            fin,
            wnd: message.snd_wnd.get(),
            wl1: message.snd_wl1.get(),
            max_wnd: message.max_wnd.get(),
            cwnd: message.cwnd.get().max(mss.into()),
            recover: una,
            rcv_nxt: template.ack,
            rcv_wnd: message.rcv_wnd.get(),
            ts_offset: ts_value.wrapping_sub(now),
            ts_recent,
            rto_ms: message.rto_ms.get(),
            rto_max_ms: match message.rto_max.get() {
                0 => MAX_RTO_MS,
                hundredths => (u32::from(hundredths) * 10).min(MAX_RTO_MS),
            },
            fin_wait_ms: message.fin_wait_ms.get(),
            time_wait_ms: message.time_wait_ms.get(),
            deadline: 0,
            challenge: 0,
            owner: 0,
            reserved: 0,
            mss,
            window: template.window,
            state: state as u8,
            timer: Timer::None as u8,
            flags,
            wscale: message.snd_wscale,
            retries: message.retries,
            tries: 0,
            dupacks: 0,
            slot: 0,
        })
    }

    /// The state.
    pub const fn state(&self) -> State {
        match self.state {
            0 => State::FinWait1,
            1 => State::FinWait2,
            2 => State::Closing,
            _ => State::LastAck,
        }
    }

    pub(crate) const fn set_state(&mut self, state: State) {
        self.state = state as u8;
    }

    /// What the timer is for.
    pub const fn timer(&self) -> Timer {
        match self.timer {
            0 => Timer::None,
            1 => Timer::Retransmit,
            2 => Timer::Probe,
            _ => Timer::FinWait,
        }
    }

    pub(crate) const fn set_timer(&mut self, timer: Timer, deadline: u32) {
        self.timer = timer as u8;
        self.deadline = deadline;
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    /// Whether our FIN has been sent.
    pub const fn fin_sent(&self) -> bool {
        seq::before(self.fin, self.nxt)
    }

    /// Bytes and FIN that are sent and not acknowledged.
    pub const fn flight(&self) -> u32 {
        self.nxt.wrapping_sub(self.una)
    }

    /// The timestamps of a segment that is sent at `now`.
    pub const fn timestamps(&self, now: u32) -> Option<(u32, u32)> {
        if self.has(flag::TIMESTAMPS) {
            Some((now.wrapping_add(self.ts_offset), self.ts_recent))
        } else {
            None
        }
    }
}
