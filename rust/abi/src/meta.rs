// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Metadata in front of a frame (the "chained" format).
//!
//! A big-endian word of 4-bit field types, lowest nibble first and ended by nibble 0, then the fields in
//! that order. Source: `nfp_net_parse_meta()` of Linux 7.3.
//!
//! [`field::HANDSHAKE`] is AccelTCP's own. A card sends it only after the driver opted in with
//! [`super::cmd::attach::HANDSHAKE_META`], and [`RxMeta::parse`] refuses it for a driver that did not. So it is with
//! [`field::CREDITS`] and [`super::cmd::attach::CREDITS_META`], and with [`field::SPLICE`] and
//! [`super::cmd::attach::SPLICE_META`], and with [`field::OWNER`] and [`super::cmd::attach::OWNERS_META`]. A driver that did not ask for credits may not send
//! [`field::HAND_OVER`], and one that did not ask for what becomes of pairs may not splice.

use super::setup::Handshake;
use super::splice::{Splice, SpliceEvent};
use super::teardown::{Credits, HandOver, OwnerCredits};
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
    /// [`super::Splice`] of a frame that the host sends, [`super::SpliceEvent`] of one that it gets; a type that
    /// upstream does not use.
    pub const SPLICE: u32 = 0xa;
    /// No field: the frame came from the wire, for a connection that the host had just given to the card. The card takes it as if
    /// it came now, and drops what is not of a connection of its own. A type that upstream does not use.
    pub const RETURNED: u32 = 0xb;
    /// [`super::Handshake`]; a type that upstream does not use.
    pub const HANDSHAKE: u32 = 0xc;
    /// [`super::HandOver`], of a frame that the host sends.
    pub const HAND_OVER: u32 = 0xd;
    /// [`super::Credits`]; a type that upstream does not use.
    pub const CREDITS: u32 = 0xe;
    /// [`super::OwnerCredits`]; a type that upstream does not use.
    pub const OWNER: u32 = 0xf;
}

/// What AccelTCP tells fits what drivers set aside for metadata.
const _: () = assert!(
    TYPES_SIZE + Credits::SIZE <= super::nfd3::RX_META_MAX
        && TYPES_SIZE + OwnerCredits::SIZE <= super::nfd3::RX_META_MAX
        && TYPES_SIZE + SpliceEvent::SIZE <= super::nfd3::RX_META_MAX
);

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
    /// What the host may hand over again. There is no frame behind it.
    pub credits: Option<Credits>,
    /// What has become of a pair. There is no frame behind it.
    pub splice: Option<SpliceEvent>,
    /// Whose connections have ended. There is no frame behind it.
    pub owner: Option<OwnerCredits>,
}

/// Which fields of AccelTCP a driver has asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OptIn {
    /// [`field::HANDSHAKE`].
    pub handshake: bool,
    /// [`field::CREDITS`].
    pub credits: bool,
    /// [`field::SPLICE`].
    pub splice: bool,
    /// [`field::OWNER`].
    pub owners: bool,
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
    /// A [`HandOver`] that contradicts itself.
    BadHandOver,
    /// [`Credits`] or [`OwnerCredits`] of another version, or of no owner.
    BadCredits,
    /// A [`Splice`] or [`SpliceEvent`] that contradicts itself.
    BadSplice,
}

impl RxMeta {
    /// Most bytes that [`RxMeta::emit`] writes.
    pub const MAX: usize = TYPES_SIZE
        + 3 * 4
        + Handshake::SIZE
        + Credits::SIZE
        + SpliceEvent::SIZE
        + OwnerCredits::SIZE;

    /// Reads the metadata `bytes`, all of which must be used. No bytes at all is empty metadata.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetaError> {
        Self::parse_with(bytes, OptIn::default())
    }

    /// The same for a driver that opted in to [`field::HANDSHAKE`].
    pub fn parse_with_handshake(bytes: &[u8]) -> Result<Self, MetaError> {
        let opt_in = OptIn {
            handshake: true,
            ..OptIn::default()
        };
        Self::parse_with(bytes, opt_in)
    }

    /// The same for a driver that opted in to what `opt_in` says.
    pub fn parse_with(bytes: &[u8], opt_in: OptIn) -> Result<Self, MetaError> {
        let mut meta = Self::default();
        if bytes.is_empty() {
            return Ok(meta);
        }
        let (types, mut rest) = take_u32(bytes)?;
        let mut types = types;
        while types != 0 {
            let kind = types & 0xf;
            let message = match kind {
                field::HANDSHAKE if opt_in.handshake => {
                    meta.handshake = Some(take(&mut rest)?);
                    let valid = meta.handshake.is_some_and(|it| it.is_valid());
                    Some((valid, MetaError::BadHandshake))
                }
                field::CREDITS if opt_in.credits => {
                    meta.credits = Some(take(&mut rest)?);
                    let valid = meta.credits.is_some_and(|it| it.is_valid());
                    Some((valid, MetaError::BadCredits))
                }
                field::OWNER if opt_in.owners => {
                    meta.owner = Some(take(&mut rest)?);
                    let valid = meta.owner.is_some_and(|it| it.is_valid());
                    Some((valid, MetaError::BadCredits))
                }
                field::SPLICE if opt_in.splice => {
                    meta.splice = Some(take(&mut rest)?);
                    let valid = meta.splice.is_some_and(|it| it.is_valid());
                    Some((valid, MetaError::BadSplice))
                }
                _ => None,
            };
            if let Some((valid, error)) = message {
                if !valid {
                    return Err(error);
                }
                types >>= 4;
                continue;
            }
            let (value, behind) = take_u32(rest)?;
            match kind {
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
        if let Some(credits) = &self.credits {
            put(field::CREDITS, 1, credits.as_bytes());
        }
        if let Some(event) = &self.splice {
            put(field::SPLICE, 1, event.as_bytes());
        }
        if let Some(owner) = &self.owner {
            put(field::OWNER, 1, owner.as_bytes());
        }
        if types == 0 {
            return 0;
        }
        out[..TYPES_SIZE].copy_from_slice(&u32::to_be_bytes(types));
        len
    }
}

/// Metadata of a frame that the host sends, of those that AccelTCP knows; one at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TxMeta {
    /// None of them.
    #[default]
    None,
    /// [`field::HAND_OVER`]: the frame is the template of a connection that is handed over.
    HandOver(HandOver),
    /// [`field::SPLICE`]: the frame holds the templates of two connections, if the message is an install.
    Splice(Splice),
    /// [`field::RETURNED`]: the frame came from the wire.
    Returned,
}

impl TxMeta {
    /// Most bytes that [`TxMeta::emit`] writes behind the word with the types.
    pub const MAX: usize = if HandOver::SIZE > Splice::SIZE {
        HandOver::SIZE
    } else {
        Splice::SIZE
    };

    /// Reads the fields `bytes` of the types `types`, lowest nibble first: what the two datapaths keep
    /// differently in the word in front of the fields. Other fields mean nothing to the stack: of such metadata there is
    /// nothing.
    pub fn parse(types: u32, bytes: &[u8]) -> Result<Self, MetaError> {
        match types {
            field::HAND_OVER => {
                let message: HandOver = exact(bytes)?;
                let valid = message.is_valid().then_some(Self::HandOver(message));
                valid.ok_or(MetaError::BadHandOver)
            }
            field::SPLICE => {
                let message: Splice = exact(bytes)?;
                let valid = message.is_valid().then_some(Self::Splice(message));
                valid.ok_or(MetaError::BadSplice)
            }
            field::RETURNED if bytes.is_empty() => Ok(Self::Returned),
            field::RETURNED => Err(MetaError::Long),
            _ => Ok(Self::None),
        }
    }

    /// Writes the fields to the front of `out`, and returns their types and length.
    pub fn emit(&self, out: &mut [u8; Self::MAX]) -> (u32, usize) {
        let (types, body) = match self {
            Self::None => return (0, 0),
            Self::HandOver(message) => (field::HAND_OVER, message.as_bytes()),
            Self::Splice(message) => (field::SPLICE, message.as_bytes()),
            Self::Returned => (field::RETURNED, &[][..]),
        };
        out[..body.len()].copy_from_slice(body);
        (types, body.len())
    }

    /// Most bytes that [`TxMeta::emit_with_types`] writes.
    pub const MAX_WITH_TYPES: usize = TYPES_SIZE + Self::MAX;

    /// Writes what stands in front of a frame in an NFD3 ring, the word with the types and the fields, and returns its
    /// length: 0 if there is nothing to say.
    pub fn emit_with_types(&self, out: &mut [u8; Self::MAX_WITH_TYPES]) -> usize {
        let mut fields = [0; Self::MAX];
        let (types, len) = self.emit(&mut fields);
        if types == 0 {
            return 0;
        }
        let (word, rest) = out.split_at_mut(TYPES_SIZE);
        word.copy_from_slice(&types.to_be_bytes());
        rest.copy_from_slice(&fields);
        TYPES_SIZE + len
    }
}

/// Takes a message off the front of `bytes`.
fn take<T: FromBytes>(bytes: &mut &[u8]) -> Result<T, MetaError> {
    let (message, behind) = T::read_from_prefix(bytes).map_err(|_| MetaError::Short)?;
    *bytes = behind;
    Ok(message)
}

/// Reads a field that is all that there is.
fn exact<T: FromBytes>(bytes: &[u8]) -> Result<T, MetaError> {
    let (field, rest) = T::read_from_prefix(bytes).map_err(|_| MetaError::Short)?;
    if rest.is_empty() {
        Ok(field)
    } else {
        Err(MetaError::Long)
    }
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), MetaError> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(MetaError::Short)?;
    Ok((u32::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::setup::handshake;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let meta = RxMeta {
            hash: Some((HashType::Ipv4Tcp, 0x1122_3344)),
            mark: Some(7),
            ..RxMeta::default()
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

    #[test]
    fn what_the_host_sends() {
        let message = HandOver {
            version: HandOver::VERSION,
            retries: 1,
            mss: 1.into(),
            rto_ms: 1.into(),
            fin_wait_ms: 1.into(),
            ..HandOver::default()
        };
        let splice = Splice {
            version: super::super::splice::VERSION,
            kind: super::super::splice::kind::ABORT,
            ..Splice::default()
        };
        for meta in [
            TxMeta::HandOver(message),
            TxMeta::Splice(splice),
            TxMeta::Returned,
        ] {
            let mut out = [0; TxMeta::MAX];
            let (types, len) = meta.emit(&mut out);
            let fields = &mut out[..len];
            assert_eq!(TxMeta::parse(types, fields), Ok(meta));
            let mut whole = [0; TxMeta::MAX_WITH_TYPES];
            assert_eq!(meta.emit_with_types(&mut whole), TYPES_SIZE + len);
            assert_eq!(whole[..TYPES_SIZE], types.to_be_bytes());
            assert_eq!(whole[TYPES_SIZE..][..len], *fields);
            let long = [&*fields, &[0]].concat();
            assert_eq!(TxMeta::parse(types, &long), Err(MetaError::Long));
            assert_eq!(TxMeta::parse(field::PORTID, fields), Ok(TxMeta::None));
            let Some(version) = fields.first_mut() else {
                continue;
            };
            *version = 9;
            let bad = TxMeta::parse(types, fields).unwrap_err();
            assert!(matches!(bad, MetaError::BadHandOver | MetaError::BadSplice));
            assert_eq!(TxMeta::parse(types, &fields[1..]), Err(MetaError::Short));
        }
        let mut whole = [0; TxMeta::MAX_WITH_TYPES];
        assert_eq!(TxMeta::None.emit_with_types(&mut whole), 0);
    }

    proptest! {
        #[test]
        fn round_trip(
            kind in 0u32..10, hash: u32, with_hash: bool, mark: Option<u32>, csum: Option<u32>,
            handshake in proptest::option::of(handshakes()), credits: Option<[u32; 2]>,
            splice: Option<[u64; 2]>, owner: Option<u32>,
        ) {
            let hash = with_hash.then(|| (HashType::from_raw(kind).unwrap(), hash));
            let credits = credits.map(|[flows, buffers]| Credits {
                version: Credits::VERSION,
                flows: flows.into(),
                buffers: buffers.into(),
                ..Credits::default()
            });
            let splice = splice.map(|bytes| SpliceEvent {
                version: super::super::splice::VERSION,
                kind: super::super::splice::event::FREED,
                bytes: bytes.map(Into::into),
                ..SpliceEvent::default()
            });
            let owner = owner.map(|flows| OwnerCredits {
                version: OwnerCredits::VERSION,
                owner: ((flows % 255 + 1) as u16).into(),
                flows: flows.into(),
                ..OwnerCredits::default()
            });
            let meta = RxMeta { hash, mark, csum, handshake, credits, splice, owner };
            let mut out = [0; RxMeta::MAX];
            let len = meta.emit(&mut out);
            for bits in 0..16 {
                let opt_in = OptIn {
                    handshake: bits & 1 != 0,
                    credits: bits & 2 != 0,
                    splice: bits & 4 != 0,
                    owners: bits & 8 != 0,
                };
                let asked_for = (opt_in.handshake || handshake.is_none())
                    && (opt_in.credits || credits.is_none())
                    && (opt_in.splice || splice.is_none())
                    && (opt_in.owners || owner.is_none());
                let expected = if asked_for { Ok(meta) } else { Err(MetaError::UnknownField) };
                prop_assert_eq!(RxMeta::parse_with(&out[..len], opt_in), expected);
            }
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RxMeta::parse(&bytes);
            let all = OptIn { handshake: true, credits: true, splice: true, owners: true };
            let _ = RxMeta::parse_with(&bytes, all);
            for field in [field::HAND_OVER, field::SPLICE, field::RETURNED] {
                let _ = TxMeta::parse(field, &bytes);
            }
        }
    }
}
