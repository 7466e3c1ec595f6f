// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata in front of a frame (the "chained" format).
//!
//! A big-endian word of 4-bit field types, lowest nibble first and ended by nibble 0, then the fields in
//! that order. Source: `nfp_net_parse_meta()` of Linux 7.3.
//!
//! [`field::HANDSHAKE`] is AccelTCP's own. A card sends it only after the driver opted in with
//! [`super::cmd::attach::HANDSHAKE_META`], and [`RxMeta::parse`] refuses it for a driver that did not.

use super::setup::Handshake;
use zerocopy::{FromBytes, IntoBytes};

/// Field types.
pub mod field {
    /// Hash: the next nibble is the hash type, the field is the hash (be32).
    pub const HASH: u32 = 1;
    /// Mark (be32) for `skb->mark`.
    pub const MARK: u32 = 2;
    /// Stripped VLAN tag (be32).
    pub const VLAN: u32 = 4;
    /// Port (be32).
    pub const PORTID: u32 = 5;
    /// Sum over the frame (u32), for `CHECKSUM_COMPLETE`.
    pub const CSUM: u32 = 6;
    /// [`super::Handshake`]; a type that upstream does not use.
    pub const HANDSHAKE: u32 = 0xc;
}

/// Bytes of the word with the field types.
pub const TYPES_SIZE: usize = 4;

/// What a frame was hashed over (`NFP_NET_RSS_*` of Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum HashType {
    /// No hash.
    None = 0,
    /// IPv4 addresses.
    Ipv4 = 1,
    /// IPv6 addresses.
    Ipv6 = 2,
    /// IPv6 addresses, with extension headers.
    Ipv6Ex = 3,
    /// TCP over IPv4.
    Ipv4Tcp = 4,
    /// TCP over IPv6.
    Ipv6Tcp = 5,
    /// TCP over IPv6 with extension headers.
    Ipv6ExTcp = 6,
    /// UDP over IPv4.
    Ipv4Udp = 7,
    /// UDP over IPv6.
    Ipv6Udp = 8,
    /// UDP over IPv6 with extension headers.
    Ipv6ExUdp = 9,
}

impl HashType {
    /// Whether the ports were hashed too.
    pub const fn is_l4(self) -> bool {
        self as u8 >= Self::Ipv4Tcp as u8
    }

    /// The type with number `raw`, or `None` when there is no such type.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::None,
            1 => Self::Ipv4,
            2 => Self::Ipv6,
            3 => Self::Ipv6Ex,
            4 => Self::Ipv4Tcp,
            5 => Self::Ipv6Tcp,
            6 => Self::Ipv6ExTcp,
            7 => Self::Ipv4Udp,
            8 => Self::Ipv6Udp,
            9 => Self::Ipv6ExUdp,
            _ => return None,
        })
    }
}

/// Metadata of a received frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RxMeta {
    /// Hash and what it was taken over.
    pub hash: Option<(HashType, u32)>,
    /// Mark.
    pub mark: Option<u32>,
    /// Sum over the frame.
    pub csum: Option<u32>,
    /// The handshake that the frame belongs to.
    pub handshake: Option<Handshake>,
}

/// Why metadata is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaError {
    /// It ends inside a field.
    Short,
    /// Bytes are left behind the last field.
    Long,
    /// A field type that the driver did not ask for.
    UnknownField,
    /// A [`Handshake`] that contradicts itself.
    BadHandshake,
}

impl RxMeta {
    /// Most bytes that [`RxMeta::emit`] writes.
    pub const MAX: usize = TYPES_SIZE + 3 * 4 + Handshake::SIZE;

    /// Reads the metadata `bytes`, all of which must be used. No bytes at all is empty metadata.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetaError> {
        Self::parse_fields(bytes, false)
    }

    /// The same for a driver that opted in to [`field::HANDSHAKE`].
    pub fn parse_with_handshake(bytes: &[u8]) -> Result<Self, MetaError> {
        Self::parse_fields(bytes, true)
    }

    fn parse_fields(bytes: &[u8], opted_in: bool) -> Result<Self, MetaError> {
        let mut meta = Self::default();
        if bytes.is_empty() {
            return Ok(meta);
        }
        let (types, mut rest) = take_u32(bytes)?;
        let mut types = types;
        while types != 0 {
            if types & 0xf == field::HANDSHAKE && opted_in {
                let (handshake, behind) =
                    Handshake::read_from_prefix(rest).map_err(|_| MetaError::Short)?;
                if !handshake.is_valid() {
                    return Err(MetaError::BadHandshake);
                }
                meta.handshake = Some(handshake);
                rest = behind;
                types >>= 4;
                continue;
            }
            let (value, behind) = take_u32(rest)?;
            match types & 0xf {
                field::HASH => {
                    types >>= 4;
                    let kind = HashType::from_raw(types & 0xf).ok_or(MetaError::UnknownField)?;
                    meta.hash = Some((kind, value));
                }
                field::MARK => meta.mark = Some(value),
                field::CSUM => meta.csum = Some(value),
                _ => return Err(MetaError::UnknownField),
            }
            rest = behind;
            types >>= 4;
        }
        if rest.is_empty() {
            Ok(meta)
        } else {
            Err(MetaError::Long)
        }
    }

    /// Writes the metadata to the front of `out` and returns its length: 0 when there is none.
    pub fn emit(&self, out: &mut [u8; Self::MAX]) -> usize {
        let mut types = 0;
        let mut nibbles = 0;
        let mut len = TYPES_SIZE;
        let mut put = |kinds: u32, count: u32, value: &[u8]| {
            types |= kinds << (4 * nibbles);
            nibbles += count;
            out[len..len + value.len()].copy_from_slice(value);
            len += value.len();
        };
        if let Some((kind, hash)) = self.hash {
            put(field::HASH | (kind as u32) << 4, 2, &hash.to_be_bytes());
        }
        if let Some(mark) = self.mark {
            put(field::MARK, 1, &mark.to_be_bytes());
        }
        if let Some(csum) = self.csum {
            put(field::CSUM, 1, &csum.to_be_bytes());
        }
        if let Some(handshake) = &self.handshake {
            put(field::HANDSHAKE, 1, handshake.as_bytes());
        }
        if types == 0 {
            return 0;
        }
        out[..TYPES_SIZE].copy_from_slice(&u32::to_be_bytes(types));
        len
    }
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), MetaError> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(MetaError::Short)?;
    Ok((u32::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::super::setup::handshake;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let meta = RxMeta {
            hash: Some((HashType::Ipv4Tcp, 0x1122_3344)),
            mark: Some(7),
            csum: None,
            handshake: None,
        };
        let mut out = [0; RxMeta::MAX];
        let len = meta.emit(&mut out);
        assert_eq!(
            &out[..len],
            [0, 0, 0x02, 0x41, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 7]
        );
    }

    #[test]
    fn refusals() {
        assert_eq!(RxMeta::parse(&[0, 0, 0]), Err(MetaError::Short));
        assert_eq!(RxMeta::parse(&[0, 0, 0, 2, 0]), Err(MetaError::Short));
        assert_eq!(RxMeta::parse(&[0, 0, 0, 0, 0]), Err(MetaError::Long));
        assert_eq!(
            RxMeta::parse(&[0, 0, 0, 0xf, 0, 0, 0, 0]),
            Err(MetaError::UnknownField)
        );
        assert_eq!(
            RxMeta::parse(&[0, 0, 0, 0xa1, 0, 0, 0, 0]),
            Err(MetaError::UnknownField)
        );
    }

    #[test]
    fn handshake_golden_bytes() {
        let meta = RxMeta {
            mark: Some(7),
            handshake: Some(Handshake {
                version: Handshake::VERSION,
                mss: 1460.into(),
                ..Handshake::default()
            }),
            ..RxMeta::default()
        };
        let mut out = [0; RxMeta::MAX];
        let len = meta.emit(&mut out);
        assert_eq!(len, 8 + Handshake::SIZE);
        assert_eq!(
            &out[..14],
            [0, 0, 0, 0xc2, 0, 0, 0, 7, 1, 0, 0, 0, 0x05, 0xb4]
        );
        assert_eq!(
            RxMeta::parse_with_handshake(&out[..len - 1]),
            Err(MetaError::Short)
        );
        out[8] = 9;
        assert_eq!(
            RxMeta::parse_with_handshake(&out[..len]),
            Err(MetaError::BadHandshake)
        );
    }

    fn handshakes() -> impl Strategy<Value = Handshake> {
        any::<(u8, [u16; 2], [u32; 4], u32)>().prop_map(|(flags, short, long, skipped)| {
            let early = flags & handshake::EARLY != 0;
            Handshake {
                version: Handshake::VERSION,
                flags: flags & handshake::ALL,
                snd_wscale: flags >> 5,
                rcv_wscale: flags >> 4 & 7,
                mss: short[0].into(),
                window: short[1].into(),
                rule: long[0].into(),
                tsval: long[1].into(),
                tsecr: long[2].into(),
                clock: long[3].into(),
                skipped: if early { skipped.max(1) } else { 0 }.into(),
            }
        })
    }

    proptest! {
        #[test]
        fn round_trip(
            kind in 0u32..10, hash: u32, with_hash: bool, mark: Option<u32>, csum: Option<u32>,
            handshake in proptest::option::of(handshakes()),
        ) {
            let hash = with_hash.then(|| (HashType::from_raw(kind).unwrap(), hash));
            let meta = RxMeta { hash, mark, csum, handshake };
            let mut out = [0; RxMeta::MAX];
            let len = meta.emit(&mut out);
            prop_assert_eq!(RxMeta::parse_with_handshake(&out[..len]), Ok(meta));
            let plain = if handshake.is_some() { Err(MetaError::UnknownField) } else { Ok(meta) };
            prop_assert_eq!(RxMeta::parse(&out[..len]), plain);
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RxMeta::parse(&bytes);
            let _ = RxMeta::parse_with_handshake(&bytes);
        }
    }
}
