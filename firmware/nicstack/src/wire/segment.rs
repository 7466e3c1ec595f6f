// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A TCP segment in its frame, from Ethernet down.

use super::ethernet::{self, Ethernet};
use super::ip::{self, IpHeader, Packet};
use super::ipv6::{self, Extensions};
use super::options::Options;
use super::tcp::{self, Tcp, TcpHeader};
use super::Malformed;

/// Most bytes of a frame without data.
pub const MAX_HEADERS: usize = ethernet::MAX_HEADER + ipv6::HEADER + tcp::HEADER + tcp::MAX_OPTIONS;

/// View of a segment in its frame.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Ethernet header.
    pub ethernet: Ethernet,
    /// IP packet, whose payload is the segment.
    pub ip: Packet<'a>,
    /// The segment.
    pub tcp: Tcp<'a>,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A whole TCP segment.
    Tcp(Segment<'a>),
    /// A fragment of an IP packet.
    Fragment,
    /// Something else.
    Other,
}

impl<'a> Content<'a> {
    /// Reads `frame`.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (ethernet, payload) = Ethernet::parse(frame)?;
        let Some(ip) = Packet::parse(ethernet.ethertype, payload)? else {
            return Ok(Self::Other);
        };
        if ip.extensions == Extensions::Fragment {
            return Ok(Self::Fragment);
        }
        if ip.protocol != ip::TCP {
            return Ok(Self::Other);
        }
        let tcp = Tcp::parse(ip.payload)?;
        Ok(Self::Tcp(Segment { ethernet, ip, tcp }))
    }
}

impl Segment<'_> {
    /// Whether the checksums of IP and TCP are good.
    pub fn checksums_ok(&self) -> bool {
        let sum = self.ip.addresses.pseudo_header(self.ip.payload.len());
        self.ip.checksum_ok() && sum.bytes(self.ip.payload).fold() == 0xffff
    }
}

/// Fields of a segment that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Ethernet header; its type is set from `ip`.
    pub ethernet: Ethernet,
    /// IP header.
    pub ip: IpHeader,
    /// TCP header.
    pub tcp: TcpHeader,
    /// TCP options.
    pub options: Options,
}

impl SegmentHeader {
    /// Writes the frame with `data` and good checksums to the front of `out` and returns its length, or `None`
    /// when it has no room.
    pub fn emit(&self, data: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut options = [0; tcp::MAX_OPTIONS];
        let options_len = self.options.emit(&mut options);
        let segment_len = tcp::HEADER + options_len + data.len();

        let ethernet = Ethernet {
            ethertype: self.ip.ethertype(),
            ..self.ethernet
        };
        let ip_at = ethernet.emit(out)?;
        let tcp_at = ip_at + self.ip.emit(segment_len, &mut out[ip_at..])?;
        let segment = out.get_mut(tcp_at..tcp_at + segment_len)?;
        let data_at = self.tcp.emit(&options[..options_len], segment)?;
        segment[data_at..].copy_from_slice(data);

        let sum = self.ip.addresses.pseudo_header(segment_len).bytes(segment);
        segment[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
        Some(tcp_at + segment_len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ip::Addresses;
    use super::super::tcp::Flags;
    use super::*;
    use proptest::prelude::*;

    fn header(addresses: Addresses) -> SegmentHeader {
        SegmentHeader {
            ethernet: Ethernet {
                dst: [2, 0, 0, 0, 0, 1],
                src: [2, 0, 0, 0, 0, 2],
                tags: [None; 2],
                ethertype: 0,
            },
            ip: IpHeader {
                addresses,
                traffic_class: 0,
                ttl: 64,
            },
            tcp: TcpHeader {
                src_port: 1000,
                dst_port: 80,
                seq: 5,
                ack: 6,
                flags: Flags::ACK,
                window: 512,
            },
            options: Options {
                mss: Some(1460),
                ..Options::default()
            },
        }
    }

    const V4: Addresses = Addresses::V4 {
        src: [10, 0, 0, 1],
        dst: [10, 0, 0, 2],
    };
    const V6: Addresses = Addresses::V6 {
        src: [0xfd; 16],
        dst: [0xfe; 16],
    };

    proptest! {
        #[test]
        fn round_trip(v6: bool, data in proptest::collection::vec(any::<u8>(), 0..64), flip: proptest::sample::Index) {
            let header = header(if v6 { V6 } else { V4 });
            let mut out = [0; MAX_HEADERS + 64];
            let len = header.emit(&data, &mut out).unwrap();
            let Ok(Content::Tcp(segment)) = Content::parse(&out[..len]) else { panic!() };
            prop_assert_eq!(segment.tcp.header, header.tcp);
            prop_assert_eq!(segment.ip.addresses, header.ip.addresses);
            prop_assert_eq!(segment.tcp.data, &data[..]);
            prop_assert_eq!(Options::parse(segment.tcp.options), header.options);
            prop_assert!(segment.checksums_ok());

            // Any flipped bit of the segment is seen.
            let bit = flip.index(8 * segment.ip.payload.len());
            let start = len - segment.ip.payload.len();
            out[start + bit / 8] ^= 1 << (bit % 8);
            match Content::parse(&out[..len]) {
                Ok(Content::Tcp(segment)) => prop_assert!(!segment.checksums_ok()),
                other => prop_assert!(other.is_err()),
            }
        }

        #[test]
        fn any_bytes_do_not_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
            if bytes.len() > 14 {
                let ethertype: u16 = [0x0800, 0x86dd, 0x8100, 0x0806][kind];
                bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
                bytes[14] = [0x45, 0x60, 0, 0][kind];
            }
            let _ = Content::parse(&bytes);
        }
    }

    #[test]
    fn no_room() {
        let mut out = [0; MAX_HEADERS];
        let len = header(V6).emit(&[], &mut out).unwrap();
        for short in 0..len {
            assert_eq!(header(V6).emit(&[], &mut out[..short]), None);
        }
    }

    #[test]
    fn other_content() {
        let mut out = [0; MAX_HEADERS];
        let len = header(V4).emit(&[], &mut out).unwrap();
        out[20] |= 0x20;
        assert!(matches!(Content::parse(&out[..len]), Ok(Content::Fragment)));
        out[20] = 0;
        out[23] = 17;
        assert!(matches!(Content::parse(&out[..len]), Ok(Content::Other)));
        out[23] = 6;
        assert!(Content::parse(&out[..len - 1]).is_err());
    }
}
