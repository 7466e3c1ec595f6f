// SPDX-License-Identifier: GPL-2.0 OR MIT

//! IPv4 (RFC 791).

use super::checksum::Sum;
use super::{array, be16, Malformed};

/// Bytes of a header without options.
pub const HEADER: usize = 20;

/// View of a header.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4<'a> {
    header: &'a [u8],
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
    /// What follows the header, up to the total length.
    pub payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Reads the header at the front of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let read = || {
            let first = *bytes.first()?;
            let header_len = usize::from(first & 0xf) * 4;
            let total = usize::from(be16(bytes, 2)?);
            if first >> 4 != 4 || header_len < HEADER {
                return None;
            }
            let packet = bytes.get(..total)?;
            let header = packet.get(..header_len)?;
            Some(Self {
                header,
                src: array(header, 12)?,
                dst: array(header, 16)?,
                payload: &packet[header_len..],
            })
        };
        read().ok_or(Malformed)
    }

    /// Protocol of the payload.
    pub const fn protocol(&self) -> u8 {
        self.header[9]
    }

    /// DSCP and ECN.
    pub const fn traffic_class(&self) -> u8 {
        self.header[1]
    }

    /// Whether this is a fragment: the more-fragments bit or an offset.
    pub const fn is_fragment(&self) -> bool {
        (self.header[6] & 0x3f) | self.header[7] != 0
    }

    /// Whether the payload begins with the header of the transport: of a packet that is whole, or of a first fragment.
    pub const fn starts_transport(&self) -> bool {
        (self.header[6] & 0x1f) | self.header[7] == 0
    }

    /// Whether there are options that mean something to a host: other than padding.
    pub fn has_options(&self) -> bool {
        // No-operation is 1, and the end is 0 with nothing but padding behind it.
        self.header[HEADER..].iter().any(|byte| *byte > 1)
    }

    /// Whether the header's checksum is good.
    pub fn checksum_ok(&self) -> bool {
        Sum::new().bytes(self.header).fold() == 0xffff
    }
}

/// Fields of a header that is sent: no options, not to be fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Bytes of the payload.
    pub payload_len: u16,
}

impl Ipv4Header {
    /// Writes the header to the front of `out` and returns its length, or `None` when it has no room.
    ///
    /// The identification is 0, as a packet that may not be fragmented needs none (RFC 6864 section 4).
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..HEADER)?;
        let total = self.payload_len.checked_add(HEADER as u16)?;
        out[0] = 0x45;
        out[1] = self.traffic_class;
        out[2..4].copy_from_slice(&total.to_be_bytes());
        out[4..6].fill(0);
        out[6..8].copy_from_slice(&0x4000u16.to_be_bytes());
        out[8] = self.ttl;
        out[9] = self.protocol;
        out[10..12].fill(0);
        out[12..16].copy_from_slice(&self.src);
        out[16..20].copy_from_slice(&self.dst);
        let checksum = Sum::new().bytes(out).checksum();
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        Some(HEADER)
    }
}

/// Whether `address` cannot be the source of a connection (RFC 1122 section 3.2.1.3; what Linux calls martian).
pub const fn is_martian(address: &[u8; 4]) -> bool {
    matches!(address[0], 0 | 127) || is_group(address)
}

/// Whether `address` is a multicast or the limited broadcast address.
pub const fn is_group(address: &[u8; 4]) -> bool {
    address[0] & 0xf0 == 0xe0 || matches!(address, [255, 255, 255, 255])
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    fn header() -> Ipv4Header {
        Ipv4Header {
            src: [10, 0, 0, 1],
            dst: [10, 0, 0, 2],
            traffic_class: 0xb8,
            ttl: 64,
            protocol: 6,
            payload_len: 4,
        }
    }

    fn packet() -> [u8; HEADER + 4] {
        let mut out = [0; HEADER + 4];
        header().emit(&mut out).unwrap();
        out
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            packet()[..HEADER],
            [0x45, 0xb8, 0, 24, 0, 0, 0x40, 0, 64, 6, 0x26, 0x26, 10, 0, 0, 1, 10, 0, 0, 2]
        );
    }

    #[test]
    fn fragments() {
        let mut bytes = packet();
        assert!(!Ipv4::parse(&bytes).unwrap().is_fragment());
        bytes[6] = 0x20;
        assert!(Ipv4::parse(&bytes).unwrap().is_fragment());
        bytes[6..8].copy_from_slice(&[0, 1]);
        assert!(Ipv4::parse(&bytes).unwrap().is_fragment());
    }

    #[test]
    fn options() {
        let mut bytes = [0; HEADER + 8];
        bytes[..HEADER].copy_from_slice(&packet()[..HEADER]);
        bytes[0] = 0x46;
        bytes[3] = 28;
        bytes[HEADER..HEADER + 4].copy_from_slice(&[1, 1, 1, 0]);
        let parsed = Ipv4::parse(&bytes).unwrap();
        assert_eq!((parsed.has_options(), parsed.payload.len()), (false, 4));
        bytes[HEADER..HEADER + 4].copy_from_slice(&[0x94, 4, 0, 0]);
        assert!(Ipv4::parse(&bytes).unwrap().has_options());
    }

    #[test]
    fn refusals() {
        let good = packet();
        let with = |place: usize, value: u8| {
            let mut bytes = good;
            bytes[place] = value;
            Ipv4::parse(&bytes).map(|_| ())
        };
        assert_eq!(with(0, 0x45), Ok(()));
        assert_eq!(with(0, 0x65), Err(Malformed), "version");
        assert_eq!(with(0, 0x44), Err(Malformed), "header too short");
        assert_eq!(with(0, 0x4f), Err(Malformed), "header beyond the packet");
        assert_eq!(with(3, 25), Err(Malformed), "packet beyond the frame");
        assert_eq!(
            with(3, 19),
            Err(Malformed),
            "packet shorter than its header"
        );
    }

    #[test]
    fn martians() {
        for address in [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert!(is_martian(&address), "{address:?}");
        }
        for address in [[10, 0, 0, 1], [223, 255, 255, 255], [240, 0, 0, 1]] {
            assert!(!is_martian(&address), "{address:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(src: [u8; 4], dst: [u8; 4], traffic_class: u8, ttl: u8, protocol: u8, payload in 0u16..200) {
            let header = Ipv4Header { src, dst, traffic_class, ttl, protocol, payload_len: payload };
            let mut bytes = std::vec![0; HEADER + usize::from(payload) + 9];
            header.emit(&mut bytes).unwrap();
            let view = Ipv4::parse(&bytes).unwrap();
            prop_assert!(view.checksum_ok() && !view.is_fragment() && !view.has_options());
            prop_assert_eq!((view.src, view.dst, view.protocol()), (src, dst, protocol));
            prop_assert_eq!(view.traffic_class(), traffic_class);
            prop_assert_eq!(view.payload.len(), usize::from(payload), "trailing padding is no payload");
        }

        #[test]
        fn any_bytes_do_not_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), v4: bool) {
            if let (Some(first), true) = (bytes.first_mut(), v4) {
                *first = 0x40 | *first & 0xf;
            }
            if let Ok(view) = Ipv4::parse(&bytes) {
                let _ = (view.checksum_ok(), view.has_options(), view.is_fragment());
            }
        }
    }
}
