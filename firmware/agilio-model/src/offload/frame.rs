// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finds the headers of a frame: Ethernet, VLAN tags, IPv4 or IPv6 with extension headers, transport.

use std::ops::Range;

/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Bytes of an IPv6 header without extension headers.
pub const IPV6_LEN: usize = 40;
/// Bytes of a TCP header without options.
pub const TCP_LEN: usize = 20;
/// Bytes of a UDP header.
pub const UDP_LEN: usize = 8;

/// Ethernet types.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// C-tag of IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// S-tag of IEEE 802.1ad.
    pub const QINQ: u16 = 0x88a8;
}

/// IP protocols and IPv6 extension headers.
pub mod proto {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// IPv6 destination options.
    pub const DEST_OPTIONS: u8 = 60;
}

/// Most VLAN tags that are looked through.
const MAX_TAGS: usize = 2;
/// Most IPv6 extension headers that are looked through.
const MAX_EXT_HEADERS: usize = 8;

/// Version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the parts of an IP packet are in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Version.
    pub ip: Ip,
    /// Offset of the IP header.
    pub l3: usize,
    /// Offset of what comes behind the IP header and its extension headers.
    pub l4: usize,
    /// Offset of the end of the packet; behind it is only padding.
    pub end: usize,
    /// IP protocol at `l4`.
    pub proto: u8,
    /// Whether it is a fragment, the first one included.
    pub fragment: bool,
    /// Whether there are IPv6 extension headers.
    pub extended: bool,
    /// Whether a routing header says that the packet has another destination than its header.
    pub routed: bool,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Something else than IP.
    NotIp,
    /// IP, but with headers or lengths that do not fit the frame.
    Malformed,
    /// An IP packet.
    Ip(Packet),
}

impl Packet {
    /// Source and destination address, one behind the other.
    pub fn addresses<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(self.address_range()).unwrap_or_default()
    }

    fn address_range(&self) -> Range<usize> {
        match self.ip {
            Ip::V4 => self.l3 + 12..self.l3 + 20,
            Ip::V6 => self.l3 + 8..self.l3 + 40,
        }
    }

    /// What comes behind the IP header and its extension headers, without padding.
    pub fn payload<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(self.l4..self.end).unwrap_or_default()
    }

    /// Source and destination port, one behind the other, of a whole TCP segment or UDP datagram.
    pub fn ports<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8]> {
        let has_ports = !self.fragment && matches!(self.proto, proto::TCP | proto::UDP);
        self.payload(frame).get(..4).filter(|_| has_ports)
    }
}

/// Reads a big-endian u16.
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*two))
}

/// Reads a big-endian u32.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*four))
}

/// Ethernet type behind the VLAN tags, and the offset of what it describes.
pub fn network(frame: &[u8]) -> Option<(u16, usize)> {
    let mut offset = ETH_LEN;
    let mut kind = be16(frame, offset - 2)?;
    for _ in 0..MAX_TAGS {
        if kind != ethertype::VLAN && kind != ethertype::QINQ {
            break;
        }
        offset += 4;
        kind = be16(frame, offset - 2)?;
    }
    Some((kind, offset))
}

/// Finds the headers of `frame`.
pub fn parse(frame: &[u8]) -> Parsed {
    let packet = match network(frame) {
        Some((ethertype::IPV4, l3)) => parse_ipv4(frame, l3),
        Some((ethertype::IPV6, l3)) => parse_ipv6(frame, l3),
        _ => return Parsed::NotIp,
    };
    packet.map_or(Parsed::Malformed, Parsed::Ip)
}

fn parse_ipv4(frame: &[u8], l3: usize) -> Option<Packet> {
    let header = frame.get(l3..)?.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let total_len = usize::from(be16(header, 2)?);
    let (l4, end) = (l3 + header_len, l3 + total_len);
    let fits = header_len >= 20 && header_len <= total_len && end <= frame.len();
    if header[0] >> 4 != 4 || !fits {
        return None;
    }
    Some(Packet {
        ip: Ip::V4,
        l3,
        l4,
        end,
        proto: header[9],
        // More fragments, or an offset.
        fragment: be16(header, 6)? & 0x3fff != 0,
        extended: false,
        routed: false,
    })
}

fn parse_ipv6(frame: &[u8], l3: usize) -> Option<Packet> {
    let header = frame.get(l3..)?.first_chunk::<IPV6_LEN>()?;
    let end = l3 + IPV6_LEN + usize::from(be16(header, 4)?);
    if header[0] >> 4 != 6 || end > frame.len() {
        return None;
    }
    let mut packet = Packet {
        ip: Ip::V6,
        l3,
        l4: l3 + IPV6_LEN,
        end,
        proto: header[6],
        fragment: false,
        extended: false,
        routed: false,
    };
    for _ in 0..MAX_EXT_HEADERS {
        let ext = packet.payload(frame);
        let len = match packet.proto {
            proto::HOP_BY_HOP | proto::DEST_OPTIONS | proto::ROUTING => {
                usize::from(*ext.get(1)?) * 8 + 8
            }
            proto::FRAGMENT => 8,
            proto::AH => usize::from(*ext.get(1)?) * 4 + 8,
            _ => return Some(packet),
        };
        if len > ext.len() {
            return None;
        }
        packet.extended = true;
        match packet.proto {
            proto::FRAGMENT => {
                let place = be16(ext, 2)?;
                // An atomic fragment (RFC 6946) is whole.
                packet.fragment |= place & 0xfff9 != 0;
                if place & 0xfff8 != 0 {
                    // What follows is from the middle of something.
                    packet.l4 += len;
                    packet.proto = ext[0];
                    return Some(packet);
                }
            }
            // Segments left: the last of its addresses is the destination.
            proto::ROUTING => packet.routed |= *ext.get(3)? != 0,
            _ => {}
        }
        packet.proto = ext[0];
        packet.l4 += len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use proptest::prelude::*;

    fn ip(frame: &[u8]) -> Packet {
        match parse(frame) {
            Parsed::Ip(packet) => packet,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ipv4_behind_tags_with_options_and_padding() {
        let mut frame = Build::v4(proto::TCP)
            .tags(2)
            .options(8)
            .payload(b"hello")
            .frame();
        let end = frame.len();
        frame.resize(end + 7, 0);
        let packet = ip(&frame);
        assert_eq!((packet.l3, packet.l4, packet.end), (22, 50, end));
        assert_eq!(packet.proto, proto::TCP);
        assert_eq!(packet.ports(&frame), Some(&[0x12, 0x34, 0, 80][..]));
        assert_eq!(packet.payload(&frame)[TCP_LEN..], *b"hello");
    }

    #[test]
    fn ipv6_with_extension_headers() {
        let frame = Build::v6(proto::UDP)
            .ext(proto::HOP_BY_HOP, &[0; 6])
            .ext(proto::DEST_OPTIONS, &[0; 14])
            .ext(proto::AH, &[0; 22])
            .frame();
        let packet = ip(&frame);
        assert_eq!(packet.l4, 14 + 40 + 8 + 16 + 24);
        assert_eq!(packet.proto, proto::UDP);
        assert!(packet.extended && !packet.fragment && !packet.routed);
    }

    #[test]
    fn fragments() {
        let whole = Build::v4(proto::UDP).frame();
        for (bits, fragment) in [(0x4000u16, false), (0x2000, true), (0x0001, true)] {
            let mut frame = whole.clone();
            frame[20..22].copy_from_slice(&bits.to_be_bytes());
            assert_eq!(ip(&frame).fragment, fragment, "{bits:x}");
            assert_eq!(ip(&frame).ports(&frame).is_none(), fragment);
        }
        for (bits, fragment) in [([0, 0], false), ([0, 1], true), ([0x10, 0], true)] {
            let body = [bits[0], bits[1], 1, 2, 3, 4];
            let frame = Build::v6(proto::UDP).ext(proto::FRAGMENT, &body).frame();
            assert_eq!(ip(&frame).fragment, fragment, "{bits:x?}");
        }
    }

    #[test]
    fn routing_header_with_segments_left() {
        for left in [0, 1] {
            let mut body = [0; 22];
            body[1] = left;
            let frame = Build::v6(proto::TCP).ext(proto::ROUTING, &body).frame();
            assert_eq!(ip(&frame).routed, left == 1);
        }
    }

    #[test]
    fn lengths_that_do_not_fit() {
        for build in [Build::v4(proto::TCP), Build::v6(proto::TCP)] {
            let frame = build.payload(&[1; 50]).frame();
            for len in ETH_LEN..frame.len() {
                assert_eq!(parse(&frame[..len]), Parsed::Malformed, "{len}");
            }
        }
        let mut frame = Build::v4(proto::TCP).frame();
        frame[14] = 0x44;
        assert_eq!(parse(&frame), Parsed::Malformed);
        let endless = [0; 6];
        let build = (0..9).fold(Build::v6(proto::TCP), |b, _| {
            b.ext(proto::DEST_OPTIONS, &endless)
        });
        assert_eq!(parse(&build.frame()), Parsed::Malformed);
    }

    #[test]
    fn not_ip() {
        assert_eq!(parse(&[]), Parsed::NotIp);
        assert_eq!(parse(&[0; 60]), Parsed::NotIp);
        let three_tags = Build::v4(proto::TCP).tags(3).frame();
        assert_eq!(parse(&three_tags), Parsed::NotIp);
    }

    proptest! {
        #[test]
        fn what_is_found_lies_in_the_frame(frame in hostile_frame()) {
            if let Parsed::Ip(packet) = parse(&frame) {
                prop_assert!(packet.l3 < packet.l4 && packet.l4 <= packet.end);
                prop_assert!(packet.end <= frame.len());
                let addresses = packet.addresses(&frame).len();
                prop_assert_eq!(addresses, if packet.ip == Ip::V4 { 8 } else { 32 });
            }
        }
    }
}
