// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The access list: which frames of the wire the card drops before anything else looks at them.
//!
//! Rules are looked at in the order of their priority, the smallest number first, and those of the same priority in the order
//! of their handles. The first that matches decides; a frame that none matches is allowed. Only IPv4 and IPv6 are looked at:
//! ARP, for one, always passes, while IPv6 does not work without ICMPv6.
//!
//! A fragment other than the first has no ports, and so matches no rule that asks for some. Neither does a frame whose header of the
//! transport is cut off or hidden behind extension headers that the card does not follow.
//!
//! The list is not the host's connections': [`super::cmd::kind::ATTACH`] and [`super::cmd::kind::DETACH`] leave it alone, and it can be written
//! before the host receives anything. A reset of the function clears it. It needs [`super::tlv::features::ACL`].

use super::wire::wire;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Instead of a VLAN id: any, or none.
pub const ANY_VLAN: u16 = 0xfffe;
/// Instead of a VLAN id: frames without a tag.
pub const NO_VLAN: u16 = super::setup::NO_VLAN;

/// What becomes of a frame.
pub mod action {
    /// It goes on.
    pub const ALLOW: u8 = 1;
    /// It is dropped and counted.
    pub const DENY: u8 = 2;
}

/// Bits of [`AclRule::flags`].
pub mod flag {
    /// [`super::AclRule::protocol`] counts.
    pub const PROTOCOL: u8 = 1 << 0;
    /// [`super::AclRule::source_ports`] count; only with TCP, UDP or SCTP.
    pub const SOURCE_PORTS: u8 = 1 << 1;
    /// [`super::AclRule::destination_ports`] count; only with TCP, UDP or SCTP.
    pub const DESTINATION_PORTS: u8 = 1 << 2;
    /// All bits.
    pub const ALL: u8 = (1 << 3) - 1;
}

wire! {
    /// A rule. What does not count is zero.
    pub struct AclRule, 64 {
        /// Source prefix in network order; an IPv4 address takes the first four bytes. Bits behind the prefix are zero.
        pub source: [u8; 16],
        /// Destination prefix, likewise.
        pub destination: [u8; 16],
        /// Its name, chosen by the host; not 0.
        pub handle: U32,
        /// Its place in the order.
        pub priority: U32,
        /// One of [`action`].
        pub action: u8,
        /// 4, 6, or 0 for both; with 0 both prefixes are empty.
        pub family: u8,
        /// Protocol of IPv4, or last next header of IPv6.
        pub protocol: u8,
        /// Bits of [`flag`].
        pub flags: u8,
        /// Bits of the source prefix, at most 32 or 128.
        pub source_len: u8,
        /// Bits of the destination prefix, likewise.
        pub destination_len: u8,
        /// Outer VLAN id, [`NO_VLAN`] or [`ANY_VLAN`].
        pub vlan: U16,
        /// First and last source port.
        pub source_ports: [U16; 2],
        /// First and last destination port.
        pub destination_ports: [U16; 2],
        /// Reserved, zero.
        pub reserved: U64,
    }
}

wire! {
    /// Body of [`super::cmd::kind::ACL_REMOVE`] and [`super::cmd::kind::ACL_READ`].
    pub struct AclName, 4 {
        /// Handle of the rule.
        pub handle: U32,
    }
}

wire! {
    /// Body of the replies to commands that change the list.
    pub struct AclReply, 8 {
        /// Rules that there are.
        pub used: U32,
        /// Rules that still fit.
        pub free: U32,
    }
}

wire! {
    /// Body of the reply to [`super::cmd::kind::ACL_READ`].
    pub struct AclCounts, 16 {
        /// Frames that the rule has decided about.
        pub frames: U64,
        /// Their bytes, from the Ethernet header on, without FCS.
        pub bytes: U64,
    }
}
