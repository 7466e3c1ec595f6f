// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Ethernet with up to two VLAN tags (IEEE 802.3, 802.1Q).

use super::{array, be16, Malformed};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Tag protocol of a customer tag.
pub const TAG_C: u16 = 0x8100;
/// Tag protocol of a service tag.
pub const TAG_S: u16 = 0x88a8;

/// Bytes of addresses and EtherType.
pub const HEADER: usize = 14;
/// Bytes of a tag.
pub const TAG: usize = 4;
/// Bytes of the longest header.
pub const MAX_HEADER: usize = HEADER + 2 * TAG;

/// A VLAN tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol, [`TAG_C`] or [`TAG_S`].
    pub protocol: u16,
    /// Priority, drop eligible bit and VLAN id.
    pub tci: u16,
}

impl Tag {
    /// VLAN id; 0 is a priority tag, which belongs to no VLAN.
    pub const fn vlan(self) -> u16 {
        self.tci & 0xfff
    }
}

/// Header of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination.
    pub dst: [u8; 6],
    /// Source.
    pub src: [u8; 6],
    /// Tags, the outer one first; the second only after a first.
    pub tags: [Option<Tag>; 2],
    /// EtherType of the payload.
    pub ethertype: u16,
}

impl Ethernet {
    /// Reads the header of `frame` and returns it with the payload.
    ///
    /// Behind a third tag the EtherType is that of the tag.
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let read = || {
            let dst = array(frame, 0)?;
            let src = array(frame, 6)?;
            let mut ethertype = be16(frame, 12)?;
            let mut offset = HEADER;
            let mut tags = [None; 2];
            for tag in &mut tags {
                if ethertype != TAG_C && ethertype != TAG_S {
                    break;
                }
                *tag = Some(Tag {
                    protocol: ethertype,
                    tci: be16(frame, offset)?,
                });
                ethertype = be16(frame, offset + 2)?;
                offset += TAG;
            }
            let header = Self {
                dst,
                src,
                tags,
                ethertype,
            };
            Some((header, &frame[offset..]))
        };
        read().ok_or(Malformed)
    }

    /// Ids of the VLANs, the outer one first, without priority tags.
    pub fn vlans(&self) -> [Option<u16>; 2] {
        let mut ids = self
            .tags
            .iter()
            .flatten()
            .map(|tag| tag.vlan())
            .filter(|id| *id != 0);
        [ids.next(), ids.next()]
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        HEADER + TAG * self.tags.iter().flatten().count()
    }

    /// Writes the header to the front of `out` and returns its length, or `None` when it has no room.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..self.header_len())?;
        out[..6].copy_from_slice(&self.dst);
        out[6..12].copy_from_slice(&self.src);
        let mut offset = 12;
        for tag in self.tags.iter().flatten() {
            out[offset..offset + 2].copy_from_slice(&tag.protocol.to_be_bytes());
            out[offset + 2..offset + 4].copy_from_slice(&tag.tci.to_be_bytes());
            offset += TAG;
        }
        out[offset..].copy_from_slice(&self.ethertype.to_be_bytes());
        Some(out.len())
    }

    /// The header of an answer: the same VLANs, the other way round.
    pub const fn answer(&self) -> Self {
        Self {
            dst: self.src,
            src: self.dst,
            tags: self.tags,
            ethertype: self.ethertype,
        }
    }
}

/// Whether `address` is a multicast or the broadcast address.
pub const fn is_group(address: &[u8; 6]) -> bool {
    address[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = Tag> {
        (prop_oneof![Just(TAG_C), Just(TAG_S)], any::<u16>())
            .prop_map(|(protocol, tci)| Tag { protocol, tci })
    }

    proptest! {
        #[test]
        fn round_trip(dst: [u8; 6], src: [u8; 6], tags in (tag(), tag()), count in 0usize..3) {
            let tags = [(count > 0).then_some(tags.0), (count > 1).then_some(tags.1)];
            let header = Ethernet { dst, src, tags, ethertype: IPV6 };
            let mut out = [0xee; MAX_HEADER + 1];
            let len = header.emit(&mut out).unwrap();
            let (parsed, payload) = Ethernet::parse(&out).unwrap();
            prop_assert_eq!(parsed, header);
            prop_assert_eq!(payload.len(), out.len() - len);
            prop_assert!(header.emit(&mut out[..len - 1]).is_none());
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Ethernet::parse(&bytes);
        }
    }

    #[test]
    fn priority_tags_are_no_vlan() {
        let tag = |tci| {
            Some(Tag {
                protocol: TAG_C,
                tci,
            })
        };
        let mut header = Ethernet {
            dst: [0; 6],
            src: [0; 6],
            tags: [tag(0xe000), None],
            ethertype: IPV4,
        };
        assert_eq!(header.vlans(), [None, None]);
        header.tags = [tag(0xe000), tag(5)];
        assert_eq!(header.vlans(), [Some(5), None]);
        header.tags = [tag(7), tag(5)];
        assert_eq!(header.vlans(), [Some(7), Some(5)]);
    }

    #[test]
    fn a_third_tag_is_payload() {
        let mut frame = [0; 30];
        for offset in [12, 16, 20] {
            frame[offset..offset + 2].copy_from_slice(&TAG_C.to_be_bytes());
        }
        let (header, payload) = Ethernet::parse(&frame).unwrap();
        assert_eq!((header.ethertype, payload.len()), (TAG_C, 8));
    }
}
