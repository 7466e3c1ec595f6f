// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection splicing: two connections that the card joins, and what it tells of them.
//!
//! # Install
//!
//! A [`Splice`] of kind [`kind::INSTALL`] rides as TX metadata ([`super::meta::field::SPLICE`]) in front of one
//! frame: two templates, one behind the other, the second from [`Splice::second`] on. Each is like the template of
//! a hand-over ([`super::teardown`]), of the next segment that the host would send on that connection:
//!
//! * Ethernet and IP header as the host would send them; no fragment, no IP options.
//! * TCP header: ports; the sequence number is SND.UNA, the acknowledgement number RCV.NXT, the window the one that
//!   the host would announce (already shifted). The flags and checksums are not looked at.
//! * With timestamps in use the timestamp option, and only then: the host's clock as it is now, and TS.Recent.
//! * The data: all bytes from SND.UNA to the end of what the host has to send, sent before or not. The card owns them: it
//!   sends them, again if need be, until the peer has acknowledged them.
//!
//! All that the host had received of either connection it has passed on, so that RCV.NXT of one connection is where
//! the stream of the other ends. From there on the card relays: what a peer sends comes to the other
//! peer as if the host had sent it. The host sees nothing of both connections until the pair ends. RSTs and SYNs of the
//! host for their addresses and ports, and all other segments, are dropped meanwhile.
//!
//! Both connections use timestamps, or none does, and so with window scaling and selective acknowledgements.
//!
//! # Pairs
//!
//! The host names a pair by a number below [`super::cmd::SpliceReply::pairs`], its place on the card: so it knows that
//! there is room. The number is free again with [`event::FREED`]. Of data as much may be handed over as there are
//! buffers, which are the same as those of hand-overs and come back in the same way.
//!
//! # The end
//!
//! A pair ends when both peers have sent FIN and know that it came, with an RST, when nothing was heard for too long,
//! when what the host handed over is not acknowledged, or when the host says so. The card tells it with a [`SpliceEvent`], which it repeats
//! until there is a buffer for it. After FINs the number stays taken for a while ([`Splice::linger_ms`]): late segments are still
//! relayed, as the peers may need them.

use super::wire::wire;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the messages that these files describe.
pub const VERSION: u8 = 1;

/// The longest time that the card keeps, in milliseconds: a week.
pub const MAX_MS: u32 = 7 * 24 * 3_600_000;

/// The largest window (RFC 7323 section 2.3).
pub const MAX_WINDOW: u32 = (u16::MAX as u32) << 14;

/// Kinds of [`Splice`].
pub mod kind {
    /// Joins two connections.
    pub const INSTALL: u8 = 1;
    /// The host wants the connections back; only [`super::Splice::pair`] and [`super::Splice::generation`] count,
    /// and the frame does not. From now on nothing new is relayed, until the peers have acknowledged what they were sent. Answered with
    /// [`super::event::TAKEN_BACK`], [`super::event::REFUSED`], or the end of the pair.
    pub const TAKE_BACK: u8 = 2;
    /// Both connections are reset; as with [`TAKE_BACK`] only the name counts. Answered with [`super::event::ENDED`].
    pub const ABORT: u8 = 3;
}

wire! {
    /// What the host wants of a pair.
    pub struct Splice, 80 {
        /// [`VERSION`].
        pub version: u8,
        /// One of [`kind`].
        pub kind: u8,
        /// Reserved, zero.
        pub flags: u8,
        /// Reserved, zero.
        pub reserved: u8,
        /// The pair.
        pub pair: U32,
        /// Which of the pairs of this number; comes back in its events.
        pub generation: U32,
        /// Milliseconds without a segment after which the pair is reset; 0 for any.
        pub idle_ms: U32,
        /// Milliseconds for which segments are relayed after both FINs.
        pub linger_ms: U32,
        /// Bytes of the first template, data included.
        pub second: U16,
        /// Reserved, zero.
        pub reserved2: U16,
        /// The two connections, in the order of the templates.
        pub ends: [End; 2],
    }
}

wire! {
    /// What the card cannot see of a connection in its template.
    pub struct End, 28 {
        /// Shift of the windows that the peer sends, at most 14; 0 when windows are not scaled.
        pub snd_wscale: u8,
        /// Shift of the windows that the host sends, at most 14; 0 when windows are not scaled.
        pub rcv_wscale: u8,
        /// Retransmissions of a segment before the card gives up, not 0.
        pub retries: u8,
        /// Reserved, zero.
        pub reserved: u8,
        /// Most bytes of data in a segment to the peer, not 0: the effective MSS, options taken off.
        pub mss: U16,
        /// Reserved, zero.
        pub reserved2: U16,
        /// SND.NXT: what is before it has been sent.
        pub snd_nxt: U32,
        /// SND.WND in bytes, from SND.UNA on.
        pub snd_wnd: U32,
        /// Congestion window in bytes.
        pub cwnd: U32,
        /// Retransmission timeout in milliseconds, without back-off; not 0.
        pub rto_ms: U32,
        /// Bytes that the peer may have sent behind RCV.NXT: to the right edge of the largest window that it was told of, at most
        /// [`MAX_WINDOW`]. The window of the template may be smaller, as hosts without memory shrink it.
        pub max_rcv_wnd: U32,
    }
}

impl End {
    fn is_valid(&self) -> bool {
        self.snd_wscale <= 14
            && self.rcv_wscale <= 14
            && self.retries != 0
            && self.reserved == 0
            && self.mss.get() != 0
            && self.reserved2.get() == 0
            && (1..=MAX_MS).contains(&self.rto_ms.get())
            && self.max_rcv_wnd.get() <= MAX_WINDOW
    }
}

impl Splice {
    /// Whether a card built from these files can use it, whatever its templates are.
    pub fn is_valid(&self) -> bool {
        self.version == VERSION
            && self.flags == 0
            && self.reserved == 0
            && self.reserved2.get() == 0
            && match self.kind {
                kind::INSTALL => {
                    self.idle_ms.get() <= MAX_MS
                        && self.linger_ms.get() <= MAX_MS
                        && self.ends.iter().all(End::is_valid)
                }
                kind::TAKE_BACK | kind::ABORT => true,
                _ => false,
            }
    }
}

/// Kinds of [`SpliceEvent`].
pub mod event {
    /// The pair has ended, for [`super::SpliceEvent::reason`]. With [`FLAG_FREED`] its number is free, otherwise
    /// [`FREED`] follows.
    pub const ENDED: u8 = 1;
    /// The number of a pair that had ended is free.
    pub const FREED: u8 = 2;
    /// The connections are the host's again, as [`super::SpliceEvent::ends`] says; the number is free.
    pub const TAKEN_BACK: u8 = 3;
    /// The connections cannot be taken back: the peers did not acknowledge what they were sent for two seconds, or one of them is being
    /// closed. The pair goes on.
    pub const REFUSED: u8 = 4;

    /// In [`super::SpliceEvent::flags`]: the number is free.
    pub const FLAG_FREED: u8 = 1 << 0;
    /// In [`super::SpliceEvent::flags`]: the second connection is at fault (reset by its peer, or not acknowledged),
    /// not the first.
    pub const FLAG_SECOND: u8 = 1 << 1;
    /// All flags.
    pub const FLAGS: u8 = (1 << 2) - 1;
}

/// Why a pair has ended.
pub mod reason {
    /// Both peers have closed.
    pub const CLOSED: u8 = 1;
    /// A peer has reset its connection.
    pub const RESET: u8 = 2;
    /// Nothing was heard for too long; both connections were reset.
    pub const IDLE: u8 = 3;
    /// The host has said so; both connections were reset.
    pub const ABORTED: u8 = 4;
    /// A peer did not acknowledge what the host handed over; both connections were reset.
    pub const TIMEOUT: u8 = 5;
    /// The card could not make sense of the message or a template, and has not taken the pair.
    pub const REFUSED: u8 = 6;
}

wire! {
    /// A connection that is the host's again.
    pub struct EndState, 20 {
        /// SND.UNA and SND.NXT: what is before it the peer has acknowledged, from here on the host sends.
        pub snd_nxt: U32,
        /// RCV.NXT.
        pub rcv_nxt: U32,
        /// SND.WND in bytes.
        pub snd_wnd: U32,
        /// TS.Recent, with timestamps.
        pub ts_recent: U32,
        /// The last timestamp that the peer was sent, with timestamps: the host's clock is to go on behind it.
        pub ts_sent: U32,
    }
}

wire! {
    /// What has become of a pair; as metadata ([`super::meta::RxMeta::splice`]) of a frame that is no frame. With
    /// [`event::TAKEN_BACK`] the connections are in the place of the numbers: [`SpliceEvent::ends`].
    pub struct SpliceEvent, 52 {
        /// [`VERSION`].
        pub version: u8,
        /// One of [`event`].
        pub kind: u8,
        /// With [`event::ENDED`] one of [`reason`], otherwise 0.
        pub reason: u8,
        /// Flags of [`event`].
        pub flags: u8,
        /// The pair.
        pub pair: U32,
        /// As in [`Splice::generation`].
        pub generation: U32,
        /// Bytes of data that came from each peer in order and were relayed and acknowledged, retransmissions not counted twice.
        pub bytes: [U64; 2],
        /// Segments of each peer that were relayed.
        pub segments: [U64; 2],
        /// Reserved, zero.
        pub reserved: U64,
    }
}

/// All that is behind [`SpliceEvent::generation`].
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
struct Numbers {
    bytes: [U64; 2],
    segments: [U64; 2],
    reserved: U64,
}

impl SpliceEvent {
    /// Whether a host built from these files can use it.
    pub fn is_valid(&self) -> bool {
        let reasoned = match self.kind {
            event::ENDED => (reason::CLOSED..=reason::REFUSED).contains(&self.reason),
            event::FREED | event::TAKEN_BACK | event::REFUSED => self.reason == 0,
            _ => false,
        };
        self.version == VERSION && reasoned && self.flags & !event::FLAGS == 0
    }

    /// With [`event::TAKEN_BACK`] the connections.
    pub fn ends(&self) -> [EndState; 2] {
        zerocopy::transmute!(Numbers {
            bytes: self.bytes,
            segments: self.segments,
            reserved: self.reserved,
        })
    }

    /// The same event with the connections `ends`.
    pub fn with_ends(self, ends: [EndState; 2]) -> Self {
        let numbers: Numbers = zerocopy::transmute!(ends);
        Self {
            bytes: numbers.bytes,
            segments: numbers.segments,
            reserved: numbers.reserved,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    fn end() -> End {
        End {
            snd_wscale: 7,
            rcv_wscale: 8,
            retries: 9,
            mss: 1448.into(),
            snd_nxt: 1.into(),
            snd_wnd: 2.into(),
            cwnd: 3.into(),
            rto_ms: 200.into(),
            max_rcv_wnd: 4.into(),
            ..End::default()
        }
    }

    fn good() -> Splice {
        Splice {
            version: VERSION,
            kind: kind::INSTALL,
            pair: 5.into(),
            generation: 6.into(),
            idle_ms: 60_000.into(),
            linger_ms: 1000.into(),
            second: 66.into(),
            ends: [end(); 2],
            ..Splice::default()
        }
    }

    #[test]
    fn golden_bytes() {
        let message = good();
        let bytes = message.as_bytes();
        assert_eq!(
            bytes[..24],
            [1, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0xea, 0x60, 0, 0, 0x03, 0xe8, 0, 66, 0, 0]
        );
        let end = [
            7, 8, 9, 0, 0x05, 0xa8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 200, 0, 0,
            0, 4,
        ];
        assert_eq!((&bytes[24..52], &bytes[52..]), (&end[..], &end[..]));
        let event = SpliceEvent {
            version: VERSION,
            kind: event::ENDED,
            reason: reason::RESET,
            flags: event::FLAG_SECOND,
            bytes: [1.into(), 2.into()],
            ..SpliceEvent::default()
        };
        assert!(event.is_valid());
        assert_eq!(event.as_bytes()[..4], [1, 1, 2, 2]);
        assert_eq!(
            event.as_bytes()[12..28],
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
        );
    }

    #[test]
    fn a_message_that_contradicts_itself_is_not_valid() {
        assert!(good().is_valid());
        let wrong: [fn(&mut Splice); 9] = [
            |m| m.version = 2,
            |m| m.kind = 4,
            |m| m.flags = 1,
            |m| m.idle_ms = (MAX_MS + 1).into(),
            |m| m.ends[1].snd_wscale = 15,
            |m| m.ends[0].retries = 0,
            |m| m.ends[1].mss = 0.into(),
            |m| m.ends[0].rto_ms = 0.into(),
            |m| m.ends[1].max_rcv_wnd = (MAX_WINDOW + 1).into(),
        ];
        for (number, wrong) in wrong.iter().enumerate() {
            let mut message = good();
            wrong(&mut message);
            assert!(!message.is_valid(), "{number}");
        }
        let name_alone = Splice {
            version: VERSION,
            kind: kind::ABORT,
            ..Splice::default()
        };
        assert!(name_alone.is_valid());
    }

    #[test]
    fn connections_are_in_the_place_of_numbers() {
        let end = |n: u32| EndState {
            snd_nxt: n.into(),
            ts_sent: (n + 4).into(),
            ..EndState::default()
        };
        let event = SpliceEvent {
            version: VERSION,
            kind: event::TAKEN_BACK,
            ..SpliceEvent::default()
        };
        let event = event.with_ends([end(1), end(9)]);
        assert!(event.is_valid());
        assert_eq!(event.ends(), [end(1), end(9)]);
        let bytes = event.as_bytes();
        assert_eq!(
            (&bytes[12..16], &bytes[28..32]),
            (&[0, 0, 0, 1][..], &[0, 0, 0, 5][..])
        );
        assert_eq!(
            (&bytes[32..36], &bytes[48..]),
            (&[0, 0, 0, 9][..], &[0, 0, 0, 13][..])
        );
    }

    #[test]
    fn events_without_sense_are_not_valid() {
        let event = |kind, reason| SpliceEvent {
            version: VERSION,
            kind,
            reason,
            ..SpliceEvent::default()
        };
        assert!(event(event::ENDED, reason::REFUSED).is_valid());
        assert!(event(event::FREED, 0).is_valid());
        assert!(!event(event::ENDED, 0).is_valid());
        assert!(!event(event::TAKEN_BACK, 1).is_valid());
        assert!(!event(5, 0).is_valid());
        assert!(!SpliceEvent {
            flags: 4,
            ..event(event::FREED, 0)
        }
        .is_valid());
    }
}
