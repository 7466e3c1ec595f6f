// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection teardown: what the host hands over at `close()`, and the credits that it does so with.
//!
//! # Hand-over
//!
//! A [`HandOver`] rides as TX metadata ([`super::meta::field::HAND_OVER`]) in front of one frame, which is a
//! template and the remaining data at once:
//!
//! * Ethernet and IP header as the host would send the next segment: addresses, VLAN tags (in the frame), TTL, DSCP, flow
//!   label, and of IPv4 the identification that comes next; no fragment, no IP options.
//! * TCP header: ports; the sequence number is SND.UNA, the acknowledgement number RCV.NXT, the window the one that
//!   the host would announce (already shifted). The flags are not looked at, nor are the checksums.
//! * With timestamps in use the timestamp option, and only then: its value is the host's clock as it is now, in
//!   milliseconds, its echo TS.Recent. Other options are not looked at.
//! * The data: all bytes from SND.UNA to the end of the stream, sent before or not; more than a segment's worth
//!   is welcome, up to [`TeardownReply::max_data`](super::cmd::TeardownReply). The descriptor asks for no
//!   segmentation.
//!
//! From there on the card owns the connection: it answers for its addresses and ports, sends what was not sent, then
//! FIN. Until the connection is over, TIME-WAIT included, the host sees nothing of it but a SYN that RFC 6191 lets
//! through; what comes later it answers as of no connection. SYNs and RSTs that the host sends meanwhile are dropped:
//! so a frame that came to the host just before the hand-over, and for which it has no connection any more,
//! does no harm.
//!
//! What is on its way to the host yet is the host's to sort out: a copy of the client's first segment that the card
//! has marked ([`super::setup::Handshake`]) before it took the connection over must not bring a second one. The host
//! remembers the tuples and initial sequence numbers that it has handed over lately. What is marked later
//! cannot be such a copy: the card remembers, too.
//!
//! # Credits
//!
//! The card has room for a number of flows, and for data a number of buffers ([`super::cmd::kind::TEARDOWN_READ`]). A
//! hand-over takes one flow and [`buffers`] of its data. The card counts for ever what it has given back
//! ([`Credits`]); what the host may still hand over is the capacity, less what it has handed over, plus what has
//! come back, modulo 2^32. A notice that is lost is made up for by the next one. A hand-over that the card refuses
//! (a host that broke these rules) comes back at once, as a flow and its buffers.
//!
//! # Owners
//!
//! A host that limits whose connections the card ends gives them numbers ([`HandOver::owner`]), and the card counts for ever,
//! for each number, the flows that have ended ([`OwnerCredits`]). So the host needs no memory for each connection.
//! TIME-WAIT does not count, as it takes no flow. After a credit notice the card sends the counts that have changed, and repeats
//! those that were not delivered. It needs [`super::tlv::features::OWNERS`] and [`super::cmd::attach::OWNERS_META`].

use zerocopy::big_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A connection that the card is to end; in front of its template. Numbers are big endian, as in all metadata.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct HandOver {
    /// [`HandOver::VERSION`].
    pub version: u8,
    /// Bits of [`hand_over`].
    pub flags: u8,
    /// Shift of the windows that the peer sends, at most 14.
    pub snd_wscale: u8,
    /// Retransmissions of a segment before the card gives up, not 0.
    pub retries: u8,
    /// Most bytes of data in a segment, not 0: the effective MSS, options taken off.
    pub mss: U16,
    /// Longest retransmission timeout, with back-off, in hundredths of a second; at most 12,000, which is also meant by 0.
    pub rto_max: U16,
    /// Number of the connection's owner, below [`OWNERS`]; 0 for none. Ignored unless the driver asks for
    /// [`OwnerCredits`].
    pub owner: U16,
    /// The host's name for the connection; not looked at.
    pub cookie: [u8; 6],
    /// SND.NXT: what is before it has been sent, the FIN included.
    pub snd_nxt: U32,
    /// SND.WND in bytes, from SND.UNA on.
    pub snd_wnd: U32,
    /// SND.WL1.
    pub snd_wl1: U32,
    /// The largest window that the peer has announced, in bytes.
    pub max_wnd: U32,
    /// RCV.WND in bytes, from RCV.NXT on.
    pub rcv_wnd: U32,
    /// Congestion window in bytes.
    pub cwnd: U32,
    /// Retransmission timeout in milliseconds, without back-off; not 0.
    pub rto_ms: U32,
    /// Milliseconds in FIN-WAIT-2 without a word from the peer (`tcp_fin_timeout` of Linux), not 0.
    pub fin_wait_ms: U32,
    /// Milliseconds of TIME-WAIT; 0 for none, which later connections of the tuple have to suffer for.
    pub time_wait_ms: U32,
}

impl HandOver {
    /// Bytes of the message.
    pub const SIZE: usize = 52;
    /// Version that these files describe.
    pub const VERSION: u8 = 1;
    /// The longest retransmission timeout, in hundredths of a second (`TCP_RTO_MAX` of Linux).
    pub const RTO_MAX: u16 = 12_000;
    /// The longest time that the card keeps, in milliseconds: an hour.
    pub const MAX_MS: u32 = 3_600_000;

    /// Whether a card built from these files can use it, whatever its template is.
    pub fn is_valid(&self) -> bool {
        let time = |ms: U32| (1..=Self::MAX_MS).contains(&ms.get());
        let acked = self.flags & hand_over::FIN_ACKED != 0;
        let sent = self.flags & hand_over::FIN_SENT != 0;
        self.version == Self::VERSION
            && self.flags & !hand_over::ALL == 0
            && self.snd_wscale <= 14
            && self.retries != 0
            && self.mss.get() != 0
            && self.rto_max.get() <= Self::RTO_MAX
            && (sent || !acked)
            && time(self.rto_ms)
            && time(self.fin_wait_ms)
            && self.time_wait_ms.get() <= Self::MAX_MS
    }
}

/// Bits of [`HandOver::flags`].
pub mod hand_over {
    /// The peer's FIN has come; RCV.NXT is behind it.
    pub const PEER_FIN: u8 = 1 << 0;
    /// Our FIN has been sent; SND.NXT is behind it.
    pub const FIN_SENT: u8 = 1 << 1;
    /// Our FIN is acknowledged: SND.UNA is behind it, and there is no data. The connection is in FIN-WAIT-2.
    pub const FIN_ACKED: u8 = 1 << 2;
    /// The peer's FIN came after ours was sent: the connection is in CLOSING, not in LAST-ACK.
    pub const CLOSING: u8 = 1 << 3;
    /// ECN is in use (RFC 3168): new data is sent as ECN-capable.
    pub const ECN: u8 = 1 << 4;
    /// An acknowledgement is due: it is sent at once, if nothing else is.
    pub const ACK_DUE: u8 = 1 << 5;
    /// All bits.
    pub const ALL: u8 = (1 << 6) - 1;
}

/// Numbers of owners are below.
pub const OWNERS: usize = 256;

/// Buffers that `len` bytes of data take.
pub const fn buffers(len: usize) -> usize {
    len.div_ceil(BUFFER)
}

/// Bytes of data that a buffer holds.
pub const BUFFER: usize = 2040;

/// What has come back, since the driver attached; as metadata ([`super::meta::RxMeta::credits`]) of a frame
/// that is no frame: the driver takes the credits and drops it. Both numbers go round at 2^32.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct Credits {
    /// [`Credits::VERSION`].
    pub version: u8,
    /// Reserved, zero.
    pub reserved: [u8; 3],
    /// Flows that have ended.
    pub flows: U32,
    /// Buffers that are free again.
    pub buffers: U32,
}

impl Credits {
    /// Bytes of the notice.
    pub const SIZE: usize = 12;
    /// Version that these files describe.
    pub const VERSION: u8 = 1;

    /// Whether a host built from these files can use it.
    pub fn is_valid(&self) -> bool {
        self.version == Self::VERSION && self.reserved == [0; 3]
    }
}

/// Flows of an owner that have ended, since the driver attached; as metadata ([`super::meta::RxMeta::owner`]) of a
/// frame that is no frame. The number goes round at 2^32.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct OwnerCredits {
    /// [`OwnerCredits::VERSION`].
    pub version: u8,
    /// Reserved, zero.
    pub reserved: u8,
    /// Whose, below [`OWNERS`]; not 0.
    pub owner: U16,
    /// Flows that have ended.
    pub flows: U32,
}

impl OwnerCredits {
    /// Bytes of the notice.
    pub const SIZE: usize = 8;
    /// Version that these files describe.
    pub const VERSION: u8 = 1;

    /// Whether a host built from these files can use it.
    pub fn is_valid(&self) -> bool {
        self.version == Self::VERSION
            && self.reserved == 0
            && (1..OWNERS).contains(&usize::from(self.owner.get()))
    }
}

const _: () = {
    assert!(core::mem::size_of::<HandOver>() == HandOver::SIZE);
    assert!(core::mem::offset_of!(HandOver, owner) == 8);
    assert!(core::mem::offset_of!(HandOver, cookie) == 10);
    assert!(core::mem::offset_of!(HandOver, snd_nxt) == 16);
    assert!(core::mem::offset_of!(HandOver, time_wait_ms) == 48);
    assert!(core::mem::size_of::<Credits>() == Credits::SIZE);
    assert!(core::mem::size_of::<OwnerCredits>() == OwnerCredits::SIZE);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    fn good() -> HandOver {
        HandOver {
            version: HandOver::VERSION,
            flags: hand_over::PEER_FIN,
            snd_wscale: 7,
            retries: 8,
            mss: 1448.into(),
            rto_max: 100.into(),
            owner: 0x0102.into(),
            cookie: [3, 4, 5, 6, 7, 8],
            snd_nxt: 1.into(),
            snd_wnd: 2.into(),
            snd_wl1: 3.into(),
            max_wnd: 4.into(),
            rcv_wnd: 5.into(),
            cwnd: 6.into(),
            rto_ms: 200.into(),
            fin_wait_ms: 60_000.into(),
            time_wait_ms: 60_000.into(),
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            good().as_bytes(),
            [
                1, 1, 7, 8, 0x05, 0xa8, 0, 100, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0,
                0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 200, 0, 0, 0xea, 0x60, 0, 0,
                0xea, 0x60
            ]
        );
        let credits = Credits {
            version: Credits::VERSION,
            flows: 3.into(),
            buffers: 0x0102_0304.into(),
            ..Credits::default()
        };
        assert_eq!(credits.as_bytes(), [1, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 4]);
        assert!(credits.is_valid() && !Credits::default().is_valid());
        let owner = OwnerCredits {
            version: OwnerCredits::VERSION,
            owner: 0x00ff.into(),
            flows: 0x0102_0304.into(),
            ..OwnerCredits::default()
        };
        assert_eq!(owner.as_bytes(), [1, 0, 0, 0xff, 1, 2, 3, 4]);
        assert!(owner.is_valid());
    }

    #[test]
    fn owners_have_numbers_within_the_limit() {
        let notice = |owner: u16| OwnerCredits {
            version: OwnerCredits::VERSION,
            owner: owner.into(),
            ..OwnerCredits::default()
        };
        assert!(notice(1).is_valid() && notice(OWNERS as u16 - 1).is_valid());
        assert!(!notice(0).is_valid() && !notice(OWNERS as u16).is_valid());
        let mut other = notice(1);
        other.reserved = 1;
        assert!(!other.is_valid());
        other = notice(1);
        other.version = 2;
        assert!(!other.is_valid());
    }

    #[test]
    fn a_message_that_contradicts_itself_is_not_valid() {
        assert!(good().is_valid());
        let wrong: [fn(&mut HandOver); 9] = [
            |m| m.version = 2,
            |m| m.flags = 0x40,
            |m| m.flags = hand_over::FIN_ACKED,
            |m| m.snd_wscale = 15,
            |m| m.retries = 0,
            |m| m.mss = 0.into(),
            |m| m.rto_max = (HandOver::RTO_MAX + 1).into(),
            |m| m.rto_ms = 0.into(),
            |m| m.time_wait_ms = (HandOver::MAX_MS + 1).into(),
        ];
        for (number, wrong) in wrong.iter().enumerate() {
            let mut message = good();
            wrong(&mut message);
            assert!(!message.is_valid(), "{number}");
        }
    }

    #[test]
    fn buffers_of_data() {
        assert_eq!((buffers(0), buffers(1)), (0, 1));
        assert_eq!((buffers(BUFFER), buffers(BUFFER + 1)), (1, 2));
    }
}
