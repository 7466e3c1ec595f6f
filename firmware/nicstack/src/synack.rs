// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The answer to a SYN.

use crate::cookie::Tuple;
use crate::timestamp;
use crate::wire::ethernet::{Ethernet, Tag, TAG_C, TAG_S};
use crate::wire::ip::{Addresses, IpHeader};
use crate::wire::options::{Options, Timestamps};
use crate::wire::segment::{SegmentHeader, MAX_HEADERS};
use crate::wire::tcp::{Flags, TcpHeader};

/// Timestamps of a SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// The client's timestamp, which is echoed.
    pub echo: u32,
    /// Options that ours keeps, 6 bits.
    pub options: u8,
    /// Milliseconds that ours is ahead of the host's clock.
    pub offset: u32,
}

/// All that a SYN-ACK is made of but the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynAck {
    /// MAC addresses of the client and of ours.
    pub macs: [[u8; 6]; 2],
    /// VLAN tags of the SYN.
    pub tags: [Option<Tag>; 2],
    /// Addresses and ports of client and server, as in the SYN.
    pub addresses: Addresses,
    /// Ports of client and server.
    pub ports: [u16; 2],
    /// The client's initial sequence number.
    pub isn: u32,
    /// Ours: the cookie.
    pub cookie: u32,
    /// Our maximum segment size.
    pub mss: u16,
    /// Our window.
    pub window: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP.
    pub dscp: u8,
    /// Our window scale.
    pub wscale: Option<u8>,
    /// SACK is in use.
    pub sack: bool,
    /// ECN is in use.
    pub ecn: bool,
    /// Timestamps, if they are in use.
    pub stamps: Option<Stamps>,
}

impl SynAck {
    /// Words of the packed form.
    pub const WORDS: usize = 10;

    /// The handshake's tuple.
    pub fn tuple(&self) -> Tuple {
        let ethernet = Ethernet {
            tags: self.tags,
            ..Ethernet::default()
        };
        Tuple {
            addresses: self.addresses,
            src_port: self.ports[0],
            dst_port: self.ports[1],
            vlans: ethernet.vlans(),
        }
    }

    /// Writes the frame for a time at which the host's clock is `clock`, and returns its length.
    pub fn emit(&self, clock: u32, out: &mut [u8; MAX_HEADERS]) -> Option<usize> {
        let timestamps = self.stamps.map(|stamps| Timestamps {
            value: timestamp::encode(clock.wrapping_add(stamps.offset), stamps.options),
            echo: stamps.echo,
        });
        // RFC 3168 section 6.1.1: an ECN-setup SYN-ACK has ECE without CWR, and is not ECN-capable itself.
        let ecn = if self.ecn {
            Flags::ECE
        } else {
            Flags::default()
        };
        let header = SegmentHeader {
            ethernet: Ethernet {
                dst: self.macs[0],
                src: self.macs[1],
                tags: self.tags,
                ethertype: 0,
            },
            ip: IpHeader {
                addresses: self.addresses.answer(),
                traffic_class: self.dscp << 2,
                ttl: self.ttl,
            },
            tcp: TcpHeader {
                src_port: self.ports[1],
                dst_port: self.ports[0],
                seq: self.cookie,
                ack: self.isn.wrapping_add(1),
                flags: Flags::SYN | Flags::ACK | ecn,
                window: self.window,
            },
            options: Options {
                mss: Some(self.mss),
                wscale: self.wscale,
                sack_permitted: self.sack,
                timestamps,
                ..Options::default()
            },
        };
        header.emit(&[], out)
    }

    /// The packed form.
    pub fn words(&self) -> [u64; Self::WORDS] {
        let (v6, src, dst) = match &self.addresses {
            Addresses::V4 { src, dst } => (false, [0, pack(src)], [0, pack(dst)]),
            Addresses::V6 { src, dst } => (true, halves(src), halves(dst)),
        };
        let tag = |tag: Option<Tag>| {
            tag.map_or(0, |tag| {
                1 | u64::from(tag.protocol == TAG_S) << 1 | u64::from(tag.tci) << 16
            })
        };
        let tags = self.tags.map(tag);
        let stamps = self.stamps.unwrap_or(Stamps {
            echo: 0,
            options: 0,
            offset: 0,
        });
        let bits = u64::from(v6)
            | u64::from(self.sack) << 1
            | u64::from(self.ecn) << 2
            | u64::from(self.stamps.is_some()) << 3
            | (tags[0] & 3) << 4
            | (tags[1] & 3) << 6
            | u64::from(self.wscale.unwrap_or(NO_WSCALE) & 0xf) << 8
            | u64::from(stamps.options & 0x3f) << 12
            | u64::from(self.ttl) << 18
            | u64::from(self.dscp & 0x3f) << 26;
        [
            src[0],
            src[1],
            dst[0],
            dst[1],
            pack(&self.macs[0]) << 16 | tags[0] >> 16,
            pack(&self.macs[1]) << 16 | tags[1] >> 16,
            u64::from(self.ports[0]) << 48 | u64::from(self.ports[1]) << 32 | bits,
            u64::from(self.cookie) << 32 | u64::from(self.isn),
            u64::from(self.mss) << 48 | u64::from(self.window) << 32 | u64::from(stamps.echo),
            u64::from(stamps.offset),
        ]
    }

    /// Reads the packed form.
    pub fn from_words(words: &[u64; Self::WORDS]) -> Self {
        let bits = words[6];
        let bit = |place: u32| bits >> place & 1 != 0;
        let addresses = if bit(0) {
            Addresses::V6 {
                src: join(words[0], words[1]),
                dst: join(words[2], words[3]),
            }
        } else {
            Addresses::V4 {
                src: unpack(words[1]),
                dst: unpack(words[3]),
            }
        };
        let tag = |place: u32, word: u64| {
            bit(place).then_some(Tag {
                protocol: if bit(place + 1) { TAG_S } else { TAG_C },
                tci: word as u16,
            })
        };
        let wscale = (bits >> 8) as u8 & 0xf;
        Self {
            macs: [unpack(words[4] >> 16), unpack(words[5] >> 16)],
            tags: [tag(4, words[4]), tag(6, words[5])],
            addresses,
            ports: [(bits >> 48) as u16, (bits >> 32) as u16],
            isn: words[7] as u32,
            cookie: (words[7] >> 32) as u32,
            mss: (words[8] >> 48) as u16,
            window: (words[8] >> 32) as u16,
            ttl: (bits >> 18) as u8,
            dscp: (bits >> 26) as u8 & 0x3f,
            wscale: (wscale != NO_WSCALE).then_some(wscale),
            sack: bit(1),
            ecn: bit(2),
            stamps: bit(3).then_some(Stamps {
                echo: words[8] as u32,
                options: (bits >> 12) as u8 & 0x3f,
                offset: words[9] as u32,
            }),
        }
    }
}

const NO_WSCALE: u8 = 0xf;

/// Up to 8 bytes as a number, big endian.
fn pack(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The lowest `N` bytes of a number, big endian.
fn unpack<const N: usize>(word: u64) -> [u8; N] {
    core::array::from_fn(|place| (word >> (8 * (N - 1 - place))) as u8)
}

fn halves(address: &[u8; 16]) -> [u64; 2] {
    [pack(&address[..8]), pack(&address[8..])]
}

fn join(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = Tag> {
        (any::<bool>(), any::<u16>()).prop_map(|(service, tci)| Tag {
            protocol: if service { TAG_S } else { TAG_C },
            tci,
        })
    }

    fn addresses() -> impl Strategy<Value = Addresses> {
        prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(src, dst)| Addresses::V4 { src, dst }),
            any::<([u8; 16], [u8; 16])>().prop_map(|(src, dst)| Addresses::V6 { src, dst }),
        ]
    }

    pub(crate) fn any_syn_ack() -> impl Strategy<Value = SynAck> {
        (
            any::<([[u8; 6]; 2], [u16; 2], [u32; 4], [u16; 2], u8, [bool; 3])>(),
            proptest::option::of(tag()),
            proptest::option::of(tag()),
            addresses(),
            0u8..64,
            proptest::option::of(0u8..15),
            0u8..64,
        )
            .prop_map(
                |(
                    (macs, ports, numbers, sizes, ttl, flags),
                    outer,
                    inner,
                    addresses,
                    dscp,
                    wscale,
                    options,
                )| SynAck {
                    macs,
                    tags: [outer, outer.and(inner)],
                    addresses,
                    ports,
                    isn: numbers[0],
                    cookie: numbers[1],
                    mss: sizes[0].max(1),
                    window: sizes[1],
                    ttl,
                    dscp,
                    wscale,
                    sack: flags[0],
                    ecn: flags[1],
                    stamps: flags[2].then_some(Stamps {
                        echo: numbers[2],
                        options,
                        offset: numbers[3],
                    }),
                },
            )
    }

    proptest! {
        #[test]
        fn words_round_trip(syn_ack in any_syn_ack()) {
            prop_assert_eq!(SynAck::from_words(&syn_ack.words()), syn_ack);
        }

        #[test]
        fn any_words_make_a_frame(words: [u64; SynAck::WORDS], clock: u32) {
            let mut out = [0; MAX_HEADERS];
            prop_assert!(SynAck::from_words(&words).emit(clock, &mut out).is_some());
        }
    }
}
