// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the card knows of a pair, and the rules by which it changes: without memory or frames.
//!
//! The ends are 0 and 1. `from` is the end whose peer sent a segment, `to` the other one. Each connection has two
//! sequence spaces: what the peer sends (`Hot::high`), and what it is sent, as by the host (`Hot::acked`,
//! `Last::end`). The delta of an end takes the first to the second of the other end.
//!
//! # The floor
//!
//! While a peer has not acknowledged all that the host left to be sent to it, it has not acknowledged a byte of the other
//! peer. Its acknowledgements then go on as those of what the host had acknowledged, with a window as much smaller.
//!
//! # Old segments
//!
//! A peer whose window was closed with data on its way sends its next segments from where the window ends, and there the other
//! one may have been already: it takes them for old, with what they acknowledge. When that happens in both directions, neither
//! peer hears the other again, however often they retransmit. The card has followed both: it answers what is old itself, with
//! a number that the sender takes, and relays it besides.

use crate::wire::options::Timestamps;
use crate::wire::seq::before;
use crate::wire::tcp::{Flags, TcpHeader};
use acceltcp_abi::splice::EndState;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// What became of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none of this number.
    Free,
    /// It relays.
    Active,
    /// Both peers have closed; late segments are relayed.
    Lingering,
    /// It is over, and the host has not been told yet.
    Over,
}

impl State {
    /// Those in which a number is taken.
    pub const ALL: [Self; 3] = [Self::Active, Self::Lingering, Self::Over];

    /// Name, for people and tools.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Active => "active",
            Self::Lingering => "lingering",
            Self::Over => "over",
        }
    }
}

/// Bits of [`Hot::flags`]; those of the second end are one higher.
pub(super) mod flag {
    /// The state.
    pub(crate) const STATE: u32 = 3;
    /// The frames to this end need more than the IMEM has: IPv6, or VLAN tags.
    pub(crate) const WIDE: u32 = 1 << 4;
    /// Data of the host is left for this end.
    pub(crate) const RESIDUAL: u32 = 1 << 6;
    /// There was some, not long ago: old acknowledgements may come.
    pub(crate) const FLOOR: u32 = 1 << 8;
    /// The FIN of this end's peer was relayed.
    pub(crate) const FIN: u32 = 1 << 10;
    /// It was acknowledged by the other peer.
    pub(crate) const FIN_ACKED: u32 = 1 << 12;
    /// Both connections have timestamps.
    pub(crate) const TIMES: u32 = 1 << 14;
    /// The host wants the connections back: nothing new is relayed.
    pub(crate) const RETURNING: u32 = 1 << 16;
    /// The lock of the pair.
    pub(crate) const LOCKED: u32 = 1 << 31;
}

/// The part in IMEM: what it takes to find, rewrite and follow a segment of IPv4.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub(super) struct Hot {
    /// The tuples, packed; of IPv6 without the addresses.
    pub(super) keys: [[u64; 2]; 2],
    /// Source and destination of the frames to an end.
    pub(super) macs: [[[u8; 6]; 2]; 2],
    /// What is added to the sequence numbers of an end's peer.
    pub(super) seq_delta: [u32; 2],
    /// What is added to its timestamps.
    pub(super) ts_delta: [u32; 2],
    /// The highest acknowledgement of an end's peer.
    pub(super) acked: [u32; 2],
    /// The highest end of its segments.
    pub(super) high: [u32; 2],
    /// TTL and traffic class (the ECN bits are 0) of frames to an end.
    pub(super) ttl: [u8; 2],
    pub(super) class: [u8; 2],
    /// Shift of the windows of an end's peer, and of those that it is sent.
    pub(super) snd_wscale: [u8; 2],
    pub(super) rcv_wscale: [u8; 2],
    pub(super) flags: u32,
    /// When a segment came last, in milliseconds.
    pub(super) heard: u32,
}

/// The part in EMEM that every segment changes: statistics, and what the end of a pair or a segment of the card's own takes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub(super) struct Last {
    /// Bytes of an end's peer that the other one has acknowledged.
    pub(super) bytes: [u64; 2],
    /// Its segments that were relayed.
    pub(super) segments: [u64; 2],
    /// Its latest timestamp.
    pub(super) ts: [u32; 2],
    /// Its last window, in bytes from [`Hot::acked`] on.
    pub(super) wnd: [u32; 2],
    /// The highest right edge of a window that it was sent.
    pub(super) edge: [u32; 2],
    /// Where the host's data for it ends.
    pub(super) end: [u32; 2],
}

/// A pair that is worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) hot: Hot,
    pub(super) last: Last,
}

/// A segment of a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) header: TcpHeader,
    /// Bytes of data.
    pub(super) len: u32,
    pub(super) timestamps: Option<Timestamps>,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It goes to the other peer.
    Relay(Relay),
    /// It told the card something, and the other peer nothing.
    Absorb,
    /// It is an RST that cannot be the peer's.
    BadReset,
    /// It begins beyond the window that the peer was sent.
    Beyond,
}

/// How a segment goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relay {
    /// Sequence number, acknowledgement number and window.
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    /// What is added to selective acknowledgements; `None` if they are about the host's data.
    pub(super) sack_delta: Option<u32>,
    /// What is added to value and echo of the timestamps.
    pub(super) times: Option<[u32; 2]>,
}

/// What a segment has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) action: Action,
    /// The acknowledgement was good; and it was new, or a duplicate of the last.
    pub(super) ack: Option<AckKind>,
    /// It was no use to the other peer: its own one is told what it may send (RFC 9293 section 3.10.7.4).
    pub(super) answer: bool,
}

/// Kinds of acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckKind {
    /// It acknowledges so many bytes more.
    New(u32),
    /// It says again what the last one said, by itself.
    Duplicate,
    /// Anything else.
    Other,
}

/// The other end.
pub(super) const fn other(end: usize) -> usize {
    1 - end
}

impl Pair {
    pub(super) const fn has(&self, flag: u32, end: usize) -> bool {
        self.hot.flags & flag << end != 0
    }

    pub(super) fn set(&mut self, flag: u32, end: usize, on: bool) {
        if on {
            self.hot.flags |= flag << end;
        } else {
            self.hot.flags &= !(flag << end);
        }
    }

    pub(super) const fn state(&self) -> State {
        match self.hot.flags & flag::STATE {
            0 => State::Free,
            1 => State::Active,
            2 => State::Lingering,
            _ => State::Over,
        }
    }

    pub(super) fn set_state(&mut self, state: State) {
        self.hot.flags = self.hot.flags & !flag::STATE | state as u32;
    }

    pub(super) const fn timestamps(&self) -> bool {
        self.hot.flags & flag::TIMES != 0
    }

    /// Where the stream of `end`'s peer is that the host had received: its byte behind the host's own last one.
    const fn floor(&self, end: usize) -> u32 {
        self.last.end[other(end)].wrapping_sub(self.hot.seq_delta[end])
    }

    /// An acknowledgement and a window in bytes of `from`'s peer as the other peer gets them.
    fn translate(&self, from: usize, ack: u32, window: u32) -> (u32, u32) {
        let to = other(from);
        let end = self.last.end[from];
        if self.has(flag::FLOOR, from) && before(ack, end) {
            (self.floor(to), window.saturating_sub(end.wrapping_sub(ack)))
        } else {
            (ack.wrapping_sub(self.hot.seq_delta[to]), window)
        }
    }

    /// What `end`'s peer has been acknowledged, and the window that it has now, as in a header.
    pub(super) fn answer(&self, end: usize) -> (u32, u16) {
        let to = other(end);
        let (ack, window) = self.translate(to, self.hot.acked[to], self.last.wnd[to]);
        (ack, self.scaled(end, window))
    }

    /// `window` as in a header for `end`'s peer.
    fn scaled(&self, end: usize, window: u32) -> u16 {
        u16::try_from(window >> self.hot.rcv_wscale[end]).unwrap_or(u16::MAX)
    }

    /// Value and echo of a segment that the card sends to `end`'s peer. The value stands still while the other peer says
    /// nothing: its own next one must not be less.
    pub(super) fn stamps(&self, end: usize) -> Option<(u32, u32)> {
        let value = self.ts_sent(end);
        self.timestamps().then_some((value, self.last.ts[end]))
    }

    fn ts_sent(&self, end: usize) -> u32 {
        let from = other(end);
        self.last.ts[from].wrapping_add(self.hot.ts_delta[from])
    }

    /// The connection of `end` for the host.
    pub(super) fn end_state(&self, end: usize) -> EndState {
        EndState {
            snd_nxt: self.hot.acked[end].into(),
            rcv_nxt: self.answer(end).0.into(),
            snd_wnd: self.last.wnd[end].into(),
            ts_recent: if self.timestamps() {
                self.last.ts[end]
            } else {
                0
            }
            .into(),
            ts_sent: if self.timestamps() {
                self.ts_sent(end)
            } else {
                0
            }
            .into(),
        }
    }

    /// Whether the host may have it back, once all is [quiet](Self::is_quiet).
    pub(super) fn may_go_back(&self) -> bool {
        self.state() == State::Active && self.hot.flags & (flag::FIN * 3) == 0
    }

    /// Whether the host wants it back.
    pub(super) const fn is_returning(&self) -> bool {
        self.hot.flags & flag::RETURNING != 0
    }

    /// Says whether the host wants it back.
    pub(super) fn set_returning(&mut self, on: bool) {
        self.set(flag::RETURNING, 0, on);
    }

    /// Whether both peers have acknowledged all that they were sent. Only then do the host's numbers fit: a peer that
    /// acknowledged more later on would be taken for one that makes things up.
    pub(super) fn is_quiet(&self) -> bool {
        [0, 1]
            .into_iter()
            .all(|end| self.hot.acked[end] == self.sent(end))
    }

    /// The number behind all that `end`'s peer was sent, in its own terms.
    pub(super) fn sent(&self, end: usize) -> u32 {
        let from = other(end);
        self.hot.high[from].wrapping_add(self.hot.seq_delta[from])
    }

    /// Whether both peers have closed, and know that it was heard.
    pub(super) fn is_closed(&self) -> bool {
        self.has(flag::FIN_ACKED, 0) && self.has(flag::FIN_ACKED, 1)
    }

    /// Whether a segment begins a new connection, after this one has ended (RFC 6191).
    pub(super) fn begins_anew(&self, from: usize, segment: &Incoming) -> bool {
        let flags = segment.header.flags;
        let later = segment.timestamps.filter(|_| self.timestamps());
        flags.has(Flags::SYN)
            && !flags.has_any(Flags::ACK | Flags::RST)
            && (before(self.hot.high[from], segment.header.seq)
                || later.is_some_and(|times| before(self.last.ts[from], times.value)))
    }

    /// Takes a segment of `from`'s peer at `now`.
    pub(super) fn receive(&mut self, from: usize, now: u32, segment: &Incoming) -> Received {
        let to = other(from);
        let header = &segment.header;
        let flags = header.flags;
        let lone = flags.has_any(Flags::SYN | Flags::RST);
        if flags.has(Flags::RST) && !self.reset_fits(from, header.seq) {
            return Received {
                action: Action::BadReset,
                ack: None,
                answer: false,
            };
        }
        let fin = u32::from(flags.has(Flags::FIN));
        let end = header.seq.wrapping_add(segment.len).wrapping_add(fin);
        // Connections that were taken back may have a smaller window than before. The other peer might have room, and acknowledge
        // what is not known to be sent.
        if !lone && header.seq != end && before(self.limit(from), header.seq) {
            return Received {
                action: Action::Beyond,
                ack: None,
                answer: true,
            };
        }
        self.hot.heard = now;
        // What begins with something old passes whole: the peer may never send the old part by itself.
        let high = self.hot.high[from];
        let held = self.is_returning() && !lone && !before(header.seq, high) && before(high, end);
        if !lone && !held {
            self.follow(from, header.seq, end, fin != 0, segment.timestamps);
        }
        let current = !before(end, self.hot.high[from]);
        let bare = segment.len == 0 && fin == 0 && !lone;

        let answer = !lone && self.is_old(from, header.seq, end);
        let mut relay = Relay {
            seq: header.seq.wrapping_add(self.hot.seq_delta[from]),
            ack: header.ack,
            window: header.window,
            sack_delta: Some(self.hot.seq_delta[to].wrapping_neg()),
            times: self
                .timestamps()
                .then(|| [from, to].map(|end| self.hot.ts_delta[end])),
        };
        if let Some([_, echo]) = &mut relay.times {
            *echo = echo.wrapping_neg();
        }
        let mut kind = None;
        if flags.has(Flags::ACK) {
            let about_host = self.has(flag::FLOOR, from) && before(header.ack, self.last.end[from]);
            let scale = if flags.has(Flags::SYN) {
                0
            } else {
                self.hot.snd_wscale[from]
            };
            let window = u32::from(header.window) << scale;
            let (ack, translated) = self.translate(from, header.ack, window);
            relay.ack = ack;
            relay.window = self.scaled(to, translated);
            if about_host {
                relay.sack_delta = None;
            }
            if !lone {
                kind = self.acknowledge(from, header.ack, window, current, bare);
            }
            if kind.is_some() {
                let shown = u32::from(relay.window) << self.hot.rcv_wscale[to];
                let edge = ack.wrapping_add(shown);
                let opens = before(self.last.edge[to], edge);
                if opens {
                    self.last.edge[to] = edge;
                }
                let left = self.has(flag::RESIDUAL, from) && about_host;
                if left && bare && current && !opens && window != 0 {
                    return Received {
                        action: Action::Absorb,
                        ack: kind,
                        answer,
                    };
                }
            }
        }
        if held {
            // The peer will send it again, to the host.
            return Received {
                action: Action::Absorb,
                ack: kind,
                answer,
            };
        }
        self.last.segments[from] += 1;
        Received {
            action: Action::Relay(relay),
            ack: kind,
            answer,
        }
    }

    /// Whether a segment of `from`'s peer says nothing that the other one has not acknowledged, and is no probe: those want to hear
    /// from the other peer, and know what it has acknowledged.
    fn is_old(&self, from: usize, start: u32, end: u32) -> bool {
        let (acked, _) = self.answer(from);
        if start == end {
            before(end.wrapping_add(1), acked)
        } else {
            !before(acked, end)
        }
    }

    /// Where data of `from`'s peer begins at most: a byte beyond its window, for a probe of a closed one, or a FIN.
    const fn limit(&self, from: usize) -> u32 {
        self.last.edge[from].wrapping_add(1)
    }

    /// Follows the stream of `from`'s peer, of which the bytes up to `end` came.
    fn follow(&mut self, from: usize, start: u32, end: u32, fin: bool, times: Option<Timestamps>) {
        // What the other peer takes may be older than what the host had.
        let first = self.hot.acked[other(from)].wrapping_sub(self.hot.seq_delta[from]);
        let fits = !before(self.limit(from), start) && !before(end, first);
        if !fits {
            return;
        }
        if let Some(times) = times.filter(|_| self.timestamps()) {
            if before(self.last.ts[from], times.value) {
                self.last.ts[from] = times.value;
            }
        }
        // There is nothing behind a FIN.
        if self.has(flag::FIN, from) || before(end, self.hot.high[from]) {
            return;
        }
        self.hot.high[from] = end;
        if fin {
            self.set(flag::FIN, from, true);
        }
    }

    /// Takes an acknowledgement of `from`'s peer, if it is of something that it was sent.
    fn acknowledge(
        &mut self,
        from: usize,
        ack: u32,
        window: u32,
        current: bool,
        bare: bool,
    ) -> Option<AckKind> {
        let to = other(from);
        let old = self.hot.acked[from];
        let sent = self.sent(from);
        let more = ack.wrapping_sub(old);
        if more > sent.wrapping_sub(old) {
            // Older than the last, or of what was never sent.
            return None;
        }
        let same = self.last.wnd[from] == window;
        if more != 0 || current {
            self.last.wnd[from] = window;
        }
        if more == 0 {
            let duplicate = bare && current && same;
            return Some(if duplicate {
                AckKind::Duplicate
            } else {
                AckKind::Other
            });
        }
        self.hot.acked[from] = ack;
        let end = self.last.end[from];
        let mut bytes = more;
        if self.has(flag::FLOOR, from) {
            let first = if before(old, end) { end } else { old };
            bytes = if before(ack, first) {
                0
            } else {
                ack.wrapping_sub(first)
            };
            // No acknowledgement is that late.
            const RETIRED: u32 = 1 << 30;
            if !before(ack, end.wrapping_add(RETIRED)) {
                self.set(flag::FLOOR, from, false);
            }
        }
        if self.has(flag::FIN, to) && ack == sent && !self.has(flag::FIN_ACKED, to) {
            self.set(flag::FIN_ACKED, to, true);
            bytes = bytes.saturating_sub(1);
        }
        self.last.bytes[to] += u64::from(bytes);
        Some(AckKind::New(more))
    }

    /// Whether an RST with the sequence number `seq` may be of `from`'s peer (RFC 5961 section 3, as far as the card
    /// knows): from what the peer was acknowledged to the end of its window, or of what it has sent.
    fn reset_fits(&self, from: usize, seq: u32) -> bool {
        let (ack, _) = self.answer(from);
        let (edge, high) = (self.last.edge[from], self.hot.high[from]);
        let last = if before(edge, high) { high } else { edge };
        seq.wrapping_sub(ack) <= last.wrapping_sub(ack)
    }
}
