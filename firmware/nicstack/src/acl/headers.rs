// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What of a frame the rules of the access list are about.

use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ip::TCP;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;

/// Protocol number of UDP.
const UDP: u8 = 17;
/// Protocol number of SCTP.
const SCTP: u8 = 132;

/// The headers of an IP packet in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// 4 or 6.
    pub family: u8,
    /// Source as a number; an IPv4 address is in the highest 32 bits.
    pub source: u128,
    /// Destination, likewise.
    pub destination: u128,
    /// Protocol of IPv4, or the last next header of IPv6 that could be reached.
    pub protocol: u8,
    /// Source and destination port, where there are some: in whole packets and first fragments of TCP, UDP and SCTP.
    pub ports: Option<[u16; 2]>,
    /// Outer VLAN; a priority tag is none.
    pub vlan: Option<u16>,
}

impl Headers {
    /// Reads `frame`. `None` when it holds no IP, or an IP header that is no good: the host drops such packets. Behind the
    /// IP header nothing is so bad that the addresses do not count.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = Ethernet::parse(frame).ok()?;
        let [vlan, _] = ethernet.vlans();
        match ethernet.ethertype {
            ethernet::IPV4 => {
                let ip = Ipv4::parse(packet).ok()?;
                let number = |address| u128::from(u32::from_be_bytes(address)) << 96;
                let transport = ip.starts_transport().then_some(ip.payload);
                Some(Self {
                    family: 4,
                    source: number(ip.src),
                    destination: number(ip.dst),
                    protocol: ip.protocol(),
                    ports: transport.and_then(|bytes| ports(ip.protocol(), bytes)),
                    vlan,
                })
            }
            ethernet::IPV6 => {
                let ip = Ipv6::fixed(packet).ok()?;
                let (protocol, transport) = ip.upper();
                Some(Self {
                    family: 6,
                    source: u128::from_be_bytes(ip.src),
                    destination: u128::from_be_bytes(ip.dst),
                    protocol,
                    ports: transport.and_then(|bytes| ports(protocol, bytes)),
                    vlan,
                })
            }
            _ => None,
        }
    }
}

/// The ports in front of a header of `protocol`.
fn ports(protocol: u8, bytes: &[u8]) -> Option<[u16; 2]> {
    let [a, b, c, d] = *bytes.first_chunk()?;
    matches!(protocol, TCP | UDP | SCTP)
        .then_some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}
