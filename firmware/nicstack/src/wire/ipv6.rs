// SPDX-License-Identifier: GPL-2.0 OR MIT

//! IPv6 with its extension headers (RFC 8200).

use super::{array, be16, Malformed};

/// Bytes of the fixed header.
pub const HEADER: usize = 40;

/// Most extension headers that are walked; more are left to the host.
pub const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Bytes of a fragment header.
const FRAGMENT_HEADER: usize = 8;

/// What the extension headers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    /// Nothing: there are none, or all may be skipped.
    Skipped,
    /// The packet is a fragment.
    Fragment,
    /// Something that only a whole IPv6 stack serves.
    Unusual,
}

/// View of a header.
#[derive(Debug, Clone, Copy)]
pub struct Ipv6<'a> {
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Protocol of the payload: the first that is no walked extension header.
    pub protocol: u8,
    /// What the extension headers ask for. Behind [`Extensions::Fragment`] the payload may be any part.
    pub extensions: Extensions,
    /// What follows the walked extension headers, up to the payload length.
    pub payload: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// Reads the header at the front of `bytes` and walks its extension headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut view = Self::fixed(bytes)?;
        view.walk().ok_or(Malformed)?;
        Ok(view)
    }

    /// Reads the fixed header at the front of `bytes` alone: what follows it is the payload.
    pub fn fixed(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let read = || {
            let word = be16(bytes, 0)?;
            if word >> 12 != 6 {
                return None;
            }
            let length = usize::from(be16(bytes, 4)?);
            let packet = bytes.get(HEADER..)?.get(..length)?;
            Some(Self {
                src: array(bytes, 8)?,
                dst: array(bytes, 24)?,
                traffic_class: (word >> 4) as u8,
                protocol: bytes[6],
                extensions: Extensions::Skipped,
                payload: packet,
            })
        };
        read().ok_or(Malformed)
    }

    /// The last next header that walking reaches, also through the first fragment of a packet, and what it is the header of:
    /// `None` when that is hidden, cut off, or in another fragment.
    pub fn upper(mut self) -> (u8, Option<&'a [u8]>) {
        let mut walked = self.walk();
        if walked.is_some() && self.extensions == Extensions::Fragment {
            walked = self.enter_fragment().and_then(|()| self.walk());
        }
        let open = walked.is_some() && self.extensions == Extensions::Skipped;
        (self.protocol, open.then_some(self.payload))
    }

    /// Moves over a fragment header. `None` when it is cut short, or what follows is not the beginning of the packet.
    fn enter_fragment(&mut self) -> Option<()> {
        let (header, rest) = self.payload.split_first_chunk::<FRAGMENT_HEADER>()?;
        self.protocol = header[0];
        self.payload = rest;
        self.extensions = Extensions::Skipped;
        let offset = u16::from_be_bytes([header[2], header[3]]) >> 3;
        (offset == 0).then_some(())
    }

    /// Moves over the extension headers. `None` when one is cut short.
    fn walk(&mut self) -> Option<()> {
        for place in 0..=MAX_EXTENSIONS {
            let header = self.payload;
            let len = match self.protocol {
                // Only the first header may be hop-by-hop (RFC 8200 section 4.1).
                HOP_BY_HOP if place != 0 => {
                    self.extensions = Extensions::Unusual;
                    return Some(());
                }
                HOP_BY_HOP | DESTINATION | ROUTING => (usize::from(*header.get(1)?) + 1) * 8,
                FRAGMENT => {
                    self.extensions = Extensions::Fragment;
                    return Some(());
                }
                _ => return Some(()),
            };
            let content = header.get(2..len)?;
            let usual = match self.protocol {
                // Segments left: the packet is for another node yet (RFC 8200 section 4.4).
                ROUTING => content[1] == 0,
                _ => may_skip_options(content),
            };
            if !usual || place == MAX_EXTENSIONS {
                self.extensions = Extensions::Unusual;
                return Some(());
            }
            self.protocol = header[0];
            self.payload = &header[len..];
        }
        Some(())
    }
}

/// Whether a node that knows no options may skip all of `options` (RFC 8200 section 4.2): their types have 00
/// in the highest two bits. Options that are cut short may not.
fn may_skip_options(mut options: &[u8]) -> bool {
    while let Some((kind, rest)) = options.split_first() {
        if *kind == 0 {
            options = rest;
            continue;
        }
        let next = rest
            .first()
            .and_then(|len| rest.get(1 + usize::from(*len)..));
        match next {
            Some(next) if kind >> 6 == 0 => options = next,
            _ => return false,
        }
    }
    true
}

/// Fields of a header that is sent, without extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Bytes of the payload.
    pub payload_len: u16,
}

impl Ipv6Header {
    /// Writes the header to the front of `out` and returns its length, or `None` when it has no room.
    ///
    /// The flow label is 0 (RFC 6437 section 3 allows it).
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..HEADER)?;
        let word = 6 << 28 | u32::from(self.traffic_class) << 20;
        out[..4].copy_from_slice(&word.to_be_bytes());
        out[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        out[6] = self.protocol;
        out[7] = self.hop_limit;
        out[8..24].copy_from_slice(&self.src);
        out[24..40].copy_from_slice(&self.dst);
        Some(HEADER)
    }
}

/// Whether `address` cannot be the source of a connection: unspecified, loopback, multicast or an IPv4-mapped
/// address (RFC 4291 section 2.5, and what Linux' `ip6_rcv_core()` drops).
pub fn is_martian(address: &[u8; 16]) -> bool {
    let [head @ .., last] = address;
    let unspecified_or_loopback = *last <= 1 && head.iter().all(|byte| *byte == 0);
    let mapped = address[..10].iter().all(|byte| *byte == 0) && address[10..12] == [0xff, 0xff];
    unspecified_or_loopback || mapped || is_group(address)
}

/// Whether `address` is a multicast address.
pub const fn is_group(address: &[u8; 16]) -> bool {
    address[0] == 0xff
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const A: [u8; 16] = [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const B: [u8; 16] = [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    /// A packet with the extension headers `chain`, each a type and its bytes behind the next-header byte,
    /// and 4 bytes of TCP.
    fn packet(chain: &[(u8, &[u8])]) -> Vec<u8> {
        let types: Vec<u8> = chain.iter().map(|(kind, _)| *kind).chain([6]).collect();
        let mut payload = Vec::new();
        for (place, (_, bytes)) in chain.iter().enumerate() {
            payload.push(types[place + 1]);
            payload.extend(*bytes);
        }
        payload.extend([0xaa; 4]);
        let header = Ipv6Header {
            src: A,
            dst: B,
            traffic_class: 0xb8,
            hop_limit: 64,
            protocol: types[0],
            payload_len: payload.len() as u16,
        };
        let mut bytes = std::vec![0; HEADER];
        header.emit(&mut bytes).unwrap();
        bytes.extend(payload);
        bytes
    }

    fn seen(chain: &[(u8, &[u8])]) -> (u8, Extensions) {
        let bytes = packet(chain);
        let view = Ipv6::parse(&bytes).unwrap();
        (view.protocol, view.extensions)
    }

    /// Padding of an options header of 8 bytes.
    const PAD: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

    #[test]
    fn no_extensions() {
        let bytes = packet(&[]);
        assert_eq!(bytes[..8], [0x6b, 0x80, 0, 0, 0, 4, 6, 64]);
        let view = Ipv6::parse(&bytes).unwrap();
        assert_eq!((view.src, view.dst, view.protocol), (A, B, 6));
        assert_eq!(view.traffic_class, 0xb8);
        assert_eq!(view.payload, [0xaa; 4]);
    }

    #[test]
    fn extensions_that_may_be_skipped() {
        assert_eq!(seen(&[(0, PAD)]), (6, Extensions::Skipped));
        let routed: &[u8] = &[0, 4, 0, 0, 0, 0, 0];
        assert_eq!(
            seen(&[(0, PAD), (60, PAD), (43, routed), (60, PAD)]),
            (6, Extensions::Skipped)
        );
        let long: &[u8] = &[1, 0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = packet(&[(60, long)]);
        assert_eq!(Ipv6::parse(&bytes).unwrap().payload, [0xaa; 4]);
    }

    #[test]
    fn extensions_for_a_whole_stack() {
        let unusual = |chain: &[(u8, &[u8])]| seen(chain).1 == Extensions::Unusual;
        assert!(unusual(&[(60, PAD), (0, PAD)]), "hop-by-hop not first");
        assert!(unusual(&[(43, &[0, 4, 1, 0, 0, 0, 0])]), "segments left");
        assert!(unusual(&[(60, &[0, 0xc2, 4, 0, 0, 0, 0])]), "jumbo option");
        assert!(unusual(&[(60, &[0, 0x1e, 9, 0, 0, 0, 0])]), "option cut");
        let fragment: &[u8] = &[0, 0, 0, 0, 0, 0, 1];
        assert_eq!(seen(&[(0, PAD), (44, fragment)]).1, Extensions::Fragment);
    }

    #[test]
    fn the_walk_is_bounded() {
        let most = [(60, PAD); MAX_EXTENSIONS];
        assert_eq!(seen(&most), (6, Extensions::Skipped));
        let more = [(60, PAD); MAX_EXTENSIONS + 1];
        assert_eq!(seen(&more).1, Extensions::Unusual);
    }

    #[test]
    fn refusals() {
        let good = packet(&[(60, PAD)]);
        assert!(Ipv6::parse(&good[..good.len() - 1]).is_err());
        assert!(Ipv6::parse(&good[..HEADER - 1]).is_err());
        let mut bad = good.clone();
        bad[0] = 0x4b;
        assert!(Ipv6::parse(&bad).is_err());
        let mut bad = good;
        bad[HEADER + 1] = 1;
        assert!(Ipv6::parse(&bad).is_err(), "extension beyond the packet");
    }

    #[test]
    fn martians() {
        let mut mapped = [0; 16];
        mapped[10..12].fill(0xff);
        mapped[12] = 10;
        let mut loopback = [0; 16];
        loopback[15] = 1;
        for address in [[0; 16], loopback, [0xff; 16], mapped] {
            assert!(is_martian(&address), "{address:?}");
        }
        assert!(!is_martian(&A));
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            next in prop_oneof![Just(0u8), Just(43), Just(44), Just(60), any::<u8>()],
            header: bool,
        ) {
            if header && bytes.len() >= HEADER {
                bytes[0] = 0x60;
                let len = (bytes.len() - HEADER) as u16;
                bytes[4..6].copy_from_slice(&len.to_be_bytes());
                bytes[6] = next;
                prop_assert!(Ipv6::parse(&bytes).is_ok() || [0, 43, 60].contains(&next));
            }
            let _ = Ipv6::parse(&bytes);
        }
    }
}
