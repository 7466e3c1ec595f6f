// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What IPv4 and IPv6 have in common.

use super::checksum::Sum;
use super::ipv4::{self, Ipv4, Ipv4Header};
use super::ipv6::{self, Extensions, Ipv6, Ipv6Header};
use super::{ethernet, Malformed};

/// Protocol number of TCP.
pub const TCP: u8 = 6;

/// Source and destination of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Of IPv4.
    V4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
    },
    /// Of IPv6.
    V6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
    },
}

impl Addresses {
    /// The addresses of an answer.
    pub const fn answer(&self) -> Self {
        match *self {
            Self::V4 { src, dst } => Self::V4 { src: dst, dst: src },
            Self::V6 { src, dst } => Self::V6 { src: dst, dst: src },
        }
    }

    /// Whether they are of IPv6.
    pub const fn is_v6(&self) -> bool {
        matches!(self, Self::V6 { .. })
    }

    /// Whether source and destination are the same.
    pub fn is_land(&self) -> bool {
        match self {
            Self::V4 { src, dst } => src == dst,
            Self::V6 { src, dst } => src == dst,
        }
    }

    /// Whether the source cannot be the source of a connection.
    pub fn is_martian(&self) -> bool {
        match self {
            Self::V4 { src, .. } => ipv4::is_martian(src),
            Self::V6 { src, .. } => ipv6::is_martian(src),
        }
    }

    /// Whether the destination is a multicast or broadcast address.
    pub const fn is_to_group(&self) -> bool {
        match self {
            Self::V4 { dst, .. } => ipv4::is_group(dst),
            Self::V6 { dst, .. } => ipv6::is_group(dst),
        }
    }

    /// The sum over the pseudo header of `len` bytes of TCP (RFC 9293 section 3.1).
    pub fn pseudo_header(&self, len: usize) -> Sum {
        let sum = match self {
            Self::V4 { src, dst } => Sum::new().bytes(src).bytes(dst),
            Self::V6 { src, dst } => Sum::new().bytes(src).bytes(dst),
        };
        sum.bytes(&(len as u32).to_be_bytes()).word(u16::from(TCP))
    }
}

/// View of a packet of either version.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Source and destination.
    pub addresses: Addresses,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// What options or extension headers ask for.
    pub extensions: Extensions,
    /// The payload.
    pub payload: &'a [u8],
    v4: Option<Ipv4<'a>>,
}

impl<'a> Packet<'a> {
    /// Reads the packet in a frame of type `ethertype`. `Ok(None)` when that is not IP.
    pub fn parse(ethertype: u16, bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        Ok(Some(match ethertype {
            ethernet::IPV4 => {
                let view = Ipv4::parse(bytes)?;
                Self {
                    addresses: Addresses::V4 {
                        src: view.src,
                        dst: view.dst,
                    },
                    traffic_class: view.traffic_class(),
                    protocol: view.protocol(),
                    extensions: if view.is_fragment() {
                        Extensions::Fragment
                    } else if view.has_options() {
                        Extensions::Unusual
                    } else {
                        Extensions::Skipped
                    },
                    payload: view.payload,
                    v4: Some(view),
                }
            }
            ethernet::IPV6 => {
                let view = Ipv6::parse(bytes)?;
                Self {
                    addresses: Addresses::V6 {
                        src: view.src,
                        dst: view.dst,
                    },
                    traffic_class: view.traffic_class,
                    protocol: view.protocol,
                    extensions: view.extensions,
                    payload: view.payload,
                    v4: None,
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Whether the header's own checksum is good; IPv6 has none.
    pub fn checksum_ok(&self) -> bool {
        self.v4.is_none_or(|view| view.checksum_ok())
    }
}

/// Fields of a header that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// Source and destination.
    pub addresses: Addresses,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
}

impl IpHeader {
    /// EtherType of the packet.
    pub const fn ethertype(&self) -> u16 {
        match self.addresses {
            Addresses::V4 { .. } => ethernet::IPV4,
            Addresses::V6 { .. } => ethernet::IPV6,
        }
    }

    /// Bytes of the header.
    pub const fn header_len(&self) -> usize {
        match self.addresses {
            Addresses::V4 { .. } => ipv4::HEADER,
            Addresses::V6 { .. } => ipv6::HEADER,
        }
    }

    /// Writes the header of `payload_len` bytes of TCP to the front of `out` and returns its length, or `None`
    /// when it has no room or the packet is too long.
    pub fn emit(&self, payload_len: usize, out: &mut [u8]) -> Option<usize> {
        let payload_len = u16::try_from(payload_len).ok()?;
        match self.addresses {
            Addresses::V4 { src, dst } => Ipv4Header {
                src,
                dst,
                traffic_class: self.traffic_class,
                ttl: self.ttl,
                protocol: TCP,
                payload_len,
            }
            .emit(out),
            Addresses::V6 { src, dst } => Ipv6Header {
                src,
                dst,
                traffic_class: self.traffic_class,
                hop_limit: self.ttl,
                protocol: TCP,
                payload_len,
            }
            .emit(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_back() {
        let there = Addresses::V4 {
            src: [1; 4],
            dst: [2; 4],
        };
        assert_eq!(
            there.answer(),
            Addresses::V4 {
                src: [2; 4],
                dst: [1; 4]
            }
        );
        assert_eq!(there.answer().answer(), there);
        assert!(!there.is_land());
    }

    #[test]
    fn only_ip_is_read() {
        assert!(Packet::parse(0x0806, &[]).unwrap().is_none());
        assert!(Packet::parse(ethernet::IPV4, &[]).is_err());
        assert!(Packet::parse(ethernet::IPV6, &[]).is_err());
    }
}
