// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The access list: which frames of the wire the card drops before anything else looks at them.
//!
//! Rules are looked at in the order of their priority, the smallest number first, and those of the same priority in the order
//! of their handles. The first that matches decides; a frame that none matches is allowed. Only IPv4 and IPv6 are looked at:
//! ARP, for one, always passes, while IPv6 does not work without ICMPv6.
//!
//! A fragment other than the first has no ports, and so matches no rule that asks for some. Neither does a frame whose header of the
//! transport is cut off or hidden behind extension headers that the card does not follow; its protocol is then the number of the
//! header at which the card stopped. The card follows hop-by-hop and destination options that nodes may skip, finished routing
//! headers and fragment headers.
//!
//! VLANs are those of up to two tags (802.1Q, 802.1ad); a priority tag, of id 0, is none. What is no IP, behind more tags, or
//! not even a good IP header, passes.
//!
//! The list is not the host's connections': [`super::cmd::kind::ATTACH`] and [`super::cmd::kind::DETACH`] leave it alone, and it can be written
//! before the host receives anything. Turning the datapath off or on does not change it; a reset of the function clears it. It needs [`super::tlv::features::ACL`].

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

impl AclRule {
    /// Protocols that have ports: TCP, UDP and SCTP.
    pub const WITH_PORTS: [u8; 3] = [6, 17, 132];

    /// Whether the rule makes sense; a card refuses others (`EINVAL`).
    pub fn is_valid(&self) -> bool {
        let has = |flag| self.flags & flag != 0;
        let bits = match self.family {
            4 => 32,
            6 => 128,
            _ => 0,
        };
        let with_ports = has(flag::PROTOCOL) && Self::WITH_PORTS.contains(&self.protocol);
        let ports = |flag, [first, last]: [U16; 2]| {
            if has(flag) {
                with_ports && first.get() <= last.get()
            } else {
                first == 0 && last == 0
            }
        };
        self.handle != 0
            && matches!(self.action, action::ALLOW | action::DENY)
            && matches!(self.family, 0 | 4 | 6)
            && self.flags & !flag::ALL == 0
            && (has(flag::PROTOCOL) || self.protocol == 0)
            && is_prefix(&self.source, self.source_len, bits)
            && is_prefix(&self.destination, self.destination_len, bits)
            && matches!(self.vlan.get(), 1..=4094 | NO_VLAN | ANY_VLAN)
            && ports(flag::SOURCE_PORTS, self.source_ports)
            && ports(flag::DESTINATION_PORTS, self.destination_ports)
            && self.reserved == 0
    }
}

/// Whether `address` is a prefix of `len` bits, of at most `bits`: the bits behind are zero.
fn is_prefix(address: &[u8; 16], len: u8, bits: u8) -> bool {
    let behind = u128::MAX.checked_shr(len.into()).unwrap_or(0);
    len <= bits && u128::from_be_bytes(*address) & behind == 0
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

#[cfg(test)]
mod tests {
    use super::*;

    /// From 10.1.0.0/16, TCP, to port 80, of VLAN 5.
    fn good() -> AclRule {
        let mut source = [0; 16];
        source[..2].copy_from_slice(&[10, 1]);
        AclRule {
            source,
            source_len: 16,
            handle: U32::new(1),
            action: action::DENY,
            family: 4,
            protocol: 6,
            flags: flag::PROTOCOL | flag::DESTINATION_PORTS,
            vlan: U16::new(5),
            destination_ports: [U16::new(80); 2],
            ..AclRule::default()
        }
    }

    #[test]
    fn good_rules() {
        assert!(good().is_valid());
        let all = AclRule {
            handle: U32::new(u32::MAX),
            action: action::ALLOW,
            vlan: U16::new(ANY_VLAN),
            ..AclRule::default()
        };
        assert!(all.is_valid());
        for protocol in AclRule::WITH_PORTS {
            let any = AclRule {
                protocol,
                family: 0,
                flags: flag::ALL,
                destination_ports: [U16::new(0), U16::new(u16::MAX)],
                ..all
            };
            assert!(any.is_valid(), "{protocol}");
        }
        for (family, len) in [(4, 32), (6, 128)] {
            let mut source = [0; 16];
            source[..len / 8].fill(0xff);
            let host = AclRule {
                family,
                source,
                destination: source,
                source_len: len as u8,
                destination_len: len as u8,
                ..all
            };
            assert!(host.is_valid(), "{family}");
        }
    }

    #[test]
    fn absurd_rules() {
        type Change = fn(&mut AclRule);
        let changes: [(&str, Change); 22] = [
            ("no handle", |r| r.handle = U32::new(0)),
            ("no action", |r| r.action = 0),
            ("action", |r| r.action = 3),
            ("family", |r| r.family = 5),
            ("prefix of no family", |r| r.family = 0),
            ("flags", |r| r.flags |= 8),
            ("protocol", |r| {
                r.flags = 0;
                r.destination_ports = [U16::new(0); 2];
            }),
            ("ports of no protocol", |r| {
                r.flags = flag::DESTINATION_PORTS;
                r.protocol = 0;
            }),
            ("ports of ICMP", |r| r.protocol = 1),
            ("ports of what may be UDP", |r| r.flags &= !flag::PROTOCOL),
            ("order of ports", |r| r.destination_ports[0] = U16::new(81)),
            ("ports that do not count", |r| {
                r.source_ports[0] = U16::new(1)
            }),
            ("last port that does not count", |r| {
                r.source_ports[1] = U16::new(1)
            }),
            ("bits behind", |r| r.source[2] = 1),
            ("bits behind IPv4", |r| r.source[15] = 1),
            ("a bit behind", |r| r.source_len = 15),
            ("length", |r| r.source_len = 33),
            ("length of the other", |r| r.destination_len = 33),
            ("length of IPv6", |r| {
                r.family = 6;
                r.destination_len = 129;
            }),
            ("destination", |r| r.destination[0] = 1),
            ("VLAN", |r| r.vlan = U16::new(0)),
            ("reserved", |r| r.reserved = U64::new(1 << 63)),
        ];
        for (what, change) in changes {
            let mut rule = good();
            change(&mut rule);
            assert!(!rule.is_valid(), "{what}");
        }
        for vlan in [4095, 0x1005, 0xfffd] {
            let vlan = U16::new(vlan);
            assert!(!AclRule { vlan, ..good() }.is_valid());
        }
    }
}
