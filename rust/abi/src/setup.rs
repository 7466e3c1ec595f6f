// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection setup: the rule that has the NIC answer SYNs for a listener, and what the NIC tells of the
//! handshake of a frame that it delivers.

use zerocopy::{big_endian, little_endian};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A listener and the options of its SYN-ACKs.
///
/// The key is family, address, port and VLANs. Of the rules that match a frame the one with the address
/// wins over the one for any address.
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
pub struct ListenRule {
    /// Address in network order; an IPv4 address takes the first four bytes. Unused bytes are zero, all of
    /// them with [`rule::ANY_ADDRESS`].
    pub address: [u8; 16],
    /// 4 or 6.
    pub family: u8,
    /// Window scale that the SYN-ACK offers, at most 14. Zero without [`rule::WSCALE`].
    pub wscale: u8,
    /// Port, not 0.
    pub port: little_endian::U16,
    /// Outer VLAN id of the listener's frames, or [`NO_VLAN`] for frames without a tag.
    pub vlan_outer: little_endian::U16,
    /// Inner VLAN id, or [`NO_VLAN`] for frames with at most one tag.
    pub vlan_inner: little_endian::U16,
    /// Bits of [`rule`].
    pub flags: little_endian::U16,
    /// Maximum segment size that the SYN-ACK announces.
    pub mss: little_endian::U16,
    /// Window in the SYN-ACK, which is never scaled (RFC 7323 section 2.2). Not 0, and not more than the host
    /// will offer the connection.
    pub window: little_endian::U16,
    /// TTL or hop limit of the SYN-ACK, not 0.
    pub ttl: u8,
    /// DSCP of the SYN-ACK, below 64.
    pub dscp: u8,
    /// Milliseconds that the timestamps of this listener are ahead of the clock set with
    /// [`super::cmd::kind::CLOCK_SET`] (RFC 7323 section 5.4 wants an offset that peers cannot guess).
    pub ts_offset: little_endian::U32,
    /// Reserved, zero.
    pub reserved: little_endian::U32,
}

impl ListenRule {
    /// Bytes of a rule.
    pub const SIZE: usize = 40;
}

/// A VLAN field that stands for "no tag".
pub const NO_VLAN: u16 = 0xffff;

/// Bits of [`ListenRule::flags`].
pub mod rule {
    /// The rule is for every address of the vNIC. A host that forwards uses rules with addresses instead, as
    /// the NIC does not know which addresses are the host's.
    pub const ANY_ADDRESS: u16 = 1 << 0;
    /// Accept window scaling.
    pub const WSCALE: u16 = 1 << 1;
    /// Accept selective acknowledgements.
    pub const SACK: u16 = 1 << 2;
    /// Accept timestamps. Without them neither window scaling, nor SACK, nor ECN can be negotiated.
    pub const TIMESTAMPS: u16 = 1 << 3;
    /// Accept ECN (RFC 3168).
    pub const ECN: u16 = 1 << 4;
    /// The client speaks first: its bare ACK is absorbed, and its first data brings the connection.
    pub const DEFER: u16 = 1 << 5;
    /// A SYN without timestamps goes to the host, instead of getting a connection with MSS only.
    pub const NO_TIMESTAMPS_TO_HOST: u16 = 1 << 6;
    /// The server speaks first: the SYN-ACK is retransmitted until the ACK comes, while there is room for it.
    pub const SERVER_FIRST: u16 = 1 << 7;
    /// SYNs go to the host. ACKs of SYN-ACKs that the NIC sent by a rule with the same options and
    /// timestamps still bring connections.
    pub const SYN_TO_HOST: u16 = 1 << 8;
}

/// All bits of [`rule`].
pub const RULE_FLAGS: u16 = (1 << 9) - 1;

/// Seconds after a SYN-ACK for which its ACK may bring a connection.
pub const COOKIE_LIFE_S: u32 = 120;

/// What the NIC knows of the handshake that a delivered frame ends ([`super::meta::RxMeta::handshake`]).
///
/// The host may create the connection from it, unless one exists for the frame's addresses and ports: that
/// one wins. Numbers are big endian, as in all metadata.
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
pub struct Handshake {
    /// [`Handshake::VERSION`].
    pub version: u8,
    /// Bits of [`handshake`].
    pub flags: u8,
    /// Shift of the windows that the client sends, at most 14.
    pub snd_wscale: u8,
    /// Shift that the SYN-ACK offered for our windows, at most 14.
    pub rcv_wscale: u8,
    /// Maximum segment size that the client announced, rounded down to what the cookie can hold.
    pub mss: big_endian::U16,
    /// Window that the SYN-ACK offered.
    pub window: big_endian::U16,
    /// Handle of the rule that answered the SYN.
    pub rule: big_endian::U32,
    /// The frame's timestamp.
    pub tsval: big_endian::U32,
    /// The frame's echo: the timestamp of the SYN-ACK.
    pub tsecr: big_endian::U32,
    /// The clock of the rule's timestamps as the frame came in. A connection whose timestamps go on from
    /// here is monotonic with the SYN-ACK.
    pub clock: big_endian::U32,
    /// With [`handshake::EARLY`]: bytes of the client's stream missing in front of this frame. Otherwise 0.
    pub skipped: big_endian::U32,
}

impl Handshake {
    /// Bytes of a handshake.
    pub const SIZE: usize = 28;
    /// Version that these files describe.
    pub const VERSION: u8 = 1;

    /// Whether the frame brings a connection, and not only shows that there is a handshake.
    pub const fn brings_connection(&self) -> bool {
        self.flags & handshake::EARLY == 0
    }

    /// Whether a host built from these files can use it.
    pub fn is_valid(&self) -> bool {
        let early = self.flags & handshake::EARLY != 0;
        self.version == Self::VERSION
            && self.flags & !handshake::ALL == 0
            && self.snd_wscale <= 14
            && self.rcv_wscale <= 14
            && early == (self.skipped.get() != 0)
    }
}

/// Bits of [`Handshake::flags`].
pub mod handshake {
    /// Both sides scale windows.
    pub const WSCALE: u8 = 1 << 0;
    /// Both sides know SACK.
    pub const SACK: u8 = 1 << 1;
    /// Both sides use timestamps.
    pub const TIMESTAMPS: u8 = 1 << 2;
    /// Both sides use ECN.
    pub const ECN: u8 = 1 << 3;
    /// The frame is not the client's first: bytes in front of it are still missing. It must not create a
    /// connection. Without one the host drops the frame, as a reset would kill a good handshake: the client
    /// sends the missing bytes again.
    pub const EARLY: u8 = 1 << 4;
    /// All bits.
    pub const ALL: u8 = (1 << 5) - 1;
}

const _: () = {
    assert!(core::mem::size_of::<ListenRule>() == ListenRule::SIZE);
    assert!(core::mem::offset_of!(ListenRule, port) == 18);
    assert!(core::mem::offset_of!(ListenRule, window) == 28);
    assert!(core::mem::offset_of!(ListenRule, ts_offset) == 32);
    assert!(core::mem::size_of::<Handshake>() == Handshake::SIZE);
    assert!(core::mem::offset_of!(Handshake, rule) == 8);
    assert!(core::mem::offset_of!(Handshake, skipped) == 24);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn rule_golden_bytes() {
        let rule = ListenRule {
            address: [10, 99, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            family: 4,
            wscale: 7,
            port: 6379.into(),
            vlan_outer: 100.into(),
            vlan_inner: NO_VLAN.into(),
            flags: (rule::WSCALE | rule::DEFER).into(),
            mss: 1460.into(),
            window: 64240.into(),
            ttl: 64,
            dscp: 10,
            ts_offset: 0x0102_0304.into(),
            reserved: 0.into(),
        };
        assert_eq!(
            rule.as_bytes(),
            [
                10, 99, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 7, 0xeb, 0x18, 100, 0, 0xff,
                0xff, 0x22, 0, 0xb4, 0x05, 0xf0, 0xfa, 64, 10, 4, 3, 2, 1, 0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn handshake_golden_bytes() {
        let handshake = Handshake {
            version: Handshake::VERSION,
            flags: handshake::WSCALE | handshake::TIMESTAMPS,
            snd_wscale: 8,
            rcv_wscale: 7,
            mss: 1460.into(),
            window: 64240.into(),
            rule: 3.into(),
            tsval: 0x0102_0304.into(),
            tsecr: 5.into(),
            clock: 6.into(),
            skipped: 0.into(),
        };
        assert_eq!(
            handshake.as_bytes(),
            [
                1, 5, 8, 7, 0x05, 0xb4, 0xfa, 0xf0, 0, 0, 0, 3, 1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 6,
                0, 0, 0, 0
            ]
        );
        assert!(handshake.is_valid() && handshake.brings_connection());
    }

    #[test]
    fn a_handshake_that_contradicts_itself_is_not_valid() {
        let good = Handshake {
            version: Handshake::VERSION,
            ..Handshake::default()
        };
        assert!(good.is_valid());
        let bad = [
            Handshake { version: 2, ..good },
            Handshake {
                flags: 0x20,
                ..good
            },
            Handshake {
                snd_wscale: 15,
                ..good
            },
            Handshake {
                rcv_wscale: 15,
                ..good
            },
            Handshake {
                skipped: 1.into(),
                ..good
            },
            Handshake {
                flags: handshake::EARLY,
                ..good
            },
        ];
        assert!(bad.iter().all(|handshake| !handshake.is_valid()));
    }
}
