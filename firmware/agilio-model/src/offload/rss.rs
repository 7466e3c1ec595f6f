// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Receive side scaling: a Toeplitz hash over addresses and ports, and a table from hashes to rings.

use super::frame::{parse, proto, Ip, Packet, Parsed};
use acceltcp_abi::meta::HashType;
use acceltcp_abi::regs::{rss, RSS_ITBL_SIZE, RSS_KEY_SIZE};

/// Toeplitz hash of `input`, of which only what the key reaches counts (36 bytes).
pub fn toeplitz(key: &[u8; RSS_KEY_SIZE], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (byte, window) in input.iter().zip(key.windows(5)) {
        let mut bits = u64::from(window[4]);
        for (place, key_byte) in window[..4].iter().rev().enumerate() {
            bits |= u64::from(*key_byte) << (8 * (place + 1));
        }
        // The 32 bits of the key that begin at the place of each bit that is set.
        for bit in 0..8 {
            if byte & (0x80 >> bit) != 0 {
                hash ^= (bits >> (8 - bit)) as u32;
            }
        }
    }
    hash
}

/// How received frames are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// Bits [`acceltcp_abi::regs::rss`].
    pub ctrl: u32,
    /// Toeplitz key.
    pub key: [u8; RSS_KEY_SIZE],
    /// Rings by hash.
    pub table: [u8; RSS_ITBL_SIZE],
}

impl Default for Rss {
    /// Everything on ring 0, without a hash.
    fn default() -> Self {
        Self {
            ctrl: 0,
            key: [0; RSS_KEY_SIZE],
            table: [0; RSS_ITBL_SIZE],
        }
    }
}

impl Rss {
    /// Hash of `frame` and what it was taken over; `None` when it is of no kind that is hashed.
    ///
    /// Ports count only where the control bits want them for the protocol; fragments have none.
    pub fn hash(&self, frame: &[u8]) -> Option<(HashType, u32)> {
        if self.ctrl & rss::TOEPLITZ == 0 {
            return None;
        }
        let Parsed::Ip(packet) = parse(frame) else {
            return None;
        };
        let addresses = packet.addresses(frame);
        let mut input = [0; 36];
        let len = addresses.len();
        input.get_mut(..len)?.copy_from_slice(addresses);
        if let (Some(kind), Some(ports)) = (self.l4_type(&packet), packet.ports(frame)) {
            input.get_mut(len..len + 4)?.copy_from_slice(ports);
            return Some((kind, toeplitz(&self.key, &input[..len + 4])));
        }
        let kind = self.l3_type(&packet)?;
        Some((kind, toeplitz(&self.key, &input[..len])))
    }

    /// Ring for a frame with `hash`; one without a hash is treated as if it were 0.
    pub fn ring(&self, hash: Option<u32>) -> u8 {
        let index = hash.unwrap_or(0) & self.ctrl & rss::MASK;
        self.table[index as usize % RSS_ITBL_SIZE]
    }

    fn l4_type(&self, packet: &Packet) -> Option<HashType> {
        let (bit, kind) = match (packet.ip, packet.proto, packet.extended) {
            (Ip::V4, proto::TCP, _) => (rss::IPV4_TCP, HashType::Ipv4Tcp),
            (Ip::V4, proto::UDP, _) => (rss::IPV4_UDP, HashType::Ipv4Udp),
            (Ip::V6, proto::TCP, false) => (rss::IPV6_TCP, HashType::Ipv6Tcp),
            (Ip::V6, proto::TCP, true) => (rss::IPV6_TCP, HashType::Ipv6ExTcp),
            (Ip::V6, proto::UDP, false) => (rss::IPV6_UDP, HashType::Ipv6Udp),
            (Ip::V6, proto::UDP, true) => (rss::IPV6_UDP, HashType::Ipv6ExUdp),
            _ => return None,
        };
        (self.ctrl & bit != 0).then_some(kind)
    }

    fn l3_type(&self, packet: &Packet) -> Option<HashType> {
        let (bit, kind) = match (packet.ip, packet.extended) {
            (Ip::V4, _) => (rss::IPV4, HashType::Ipv4),
            (Ip::V6, false) => (rss::IPV6, HashType::Ipv6),
            (Ip::V6, true) => (rss::IPV6, HashType::Ipv6Ex),
        };
        (self.ctrl & bit != 0).then_some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// Key of Microsoft's "Verifying the RSS hash calculation".
    const KEY: [u8; RSS_KEY_SIZE] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    const ALL: u32 = rss::TOEPLITZ
        | rss::MASK
        | rss::IPV4
        | rss::IPV6
        | rss::IPV4_TCP
        | rss::IPV4_UDP
        | rss::IPV6_TCP
        | rss::IPV6_UDP;

    fn rss(ctrl: u32) -> Rss {
        let mut table = [0; RSS_ITBL_SIZE];
        for (ring, entry) in (0..4).cycle().zip(&mut table) {
            *entry = ring;
        }
        Rss {
            ctrl,
            key: KEY,
            table,
        }
    }

    /// Puts addresses and ports into a frame without tags, options or extension headers.
    fn addressed(build: &Build, addresses: &[&[u8]], ports: [u16; 2]) -> Vec<u8> {
        let mut frame = build.frame();
        let addresses = addresses.concat();
        let at = if addresses.len() == 8 { 26 } else { 22 };
        frame[at..at + addresses.len()].copy_from_slice(&addresses);
        let at = at + addresses.len();
        frame[at..at + 2].copy_from_slice(&ports[0].to_be_bytes());
        frame[at + 2..at + 4].copy_from_slice(&ports[1].to_be_bytes());
        frame
    }

    #[test]
    fn published_vectors_ipv4() {
        for (to, from, addresses_only, with_ports) in [
            (
                "161.142.100.80:1766",
                "66.9.149.187:2794",
                0x323e_8fc2u32,
                0x51cc_c178u32,
            ),
            (
                "65.69.140.83:4739",
                "199.92.111.2:14230",
                0xd718_262a,
                0xc626_b0ea,
            ),
            (
                "12.22.207.184:38024",
                "24.19.198.95:12898",
                0xd2d0_a5de,
                0x5c2b_394a,
            ),
            (
                "209.142.163.6:2217",
                "38.27.205.30:48228",
                0x8298_9176,
                0xafc7_327f,
            ),
            (
                "202.188.127.2:1303",
                "153.39.163.191:44251",
                0x5d18_09c5,
                0x10e8_28a2,
            ),
        ] {
            let part = |text: &str| -> (Ipv4Addr, u16) {
                let (address, port) = text.split_once(':').unwrap();
                (address.parse().unwrap(), port.parse().unwrap())
            };
            let ((to, to_port), (from, from_port)) = (part(to), part(from));
            for (number, kind) in [
                (proto::TCP, HashType::Ipv4Tcp),
                (proto::UDP, HashType::Ipv4Udp),
            ] {
                let addresses: [&[u8]; 2] = [&from.octets(), &to.octets()];
                let frame = addressed(&Build::v4(number), &addresses, [from_port, to_port]);
                assert_eq!(rss(ALL).hash(&frame), Some((kind, with_ports)));
                let l3 = rss(rss::TOEPLITZ | rss::IPV4).hash(&frame);
                assert_eq!(l3, Some((HashType::Ipv4, addresses_only)));
            }
        }
    }

    #[test]
    fn published_vectors_ipv6() {
        for (to, to_port, from, from_port, addresses_only, with_ports) in [
            (
                "3ffe:2501:200:3::1",
                1766,
                "3ffe:2501:200:1fff::7",
                2794,
                0x2cc1_8cd5u32,
                0x4020_7d3du32,
            ),
            (
                "ff02::1",
                4739,
                "3ffe:501:8::260:97ff:fe40:efab",
                14230,
                0x0f0c_461c,
                0xdde5_1bbf,
            ),
            (
                "fe80::200:f8ff:fe21:67cf",
                38024,
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44251,
                0x4b61_e985,
                0x02d1_feef,
            ),
        ] {
            let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
            let addresses: [&[u8]; 2] = [&octets(from), &octets(to)];
            let frame = addressed(&Build::v6(proto::TCP), &addresses, [from_port, to_port]);
            assert_eq!(rss(ALL).hash(&frame), Some((HashType::Ipv6Tcp, with_ports)));
            let l3 = rss(rss::TOEPLITZ | rss::IPV6).hash(&frame);
            assert_eq!(l3, Some((HashType::Ipv6, addresses_only)));
        }
    }

    #[test]
    fn kinds() {
        let ext = |number| Build::v6(number).ext(proto::DEST_OPTIONS, &[0; 6]);
        let kind = |build: Build| rss(ALL).hash(&build.frame()).map(|(kind, _)| kind);
        assert_eq!(kind(Build::v6(proto::UDP)), Some(HashType::Ipv6Udp));
        assert_eq!(kind(ext(proto::TCP)), Some(HashType::Ipv6ExTcp));
        assert_eq!(kind(ext(proto::UDP)), Some(HashType::Ipv6ExUdp));
        assert_eq!(kind(ext(58)), Some(HashType::Ipv6Ex));
        assert_eq!(kind(Build::v4(1)), Some(HashType::Ipv4));
        assert_eq!(kind(Build::v4(proto::TCP).tags(2)), Some(HashType::Ipv4Tcp));
        assert_eq!(rss(ALL).hash(&[0; 60]), None);
        assert_eq!(rss(ALL & !rss::TOEPLITZ).hash(&Build::v4(1).frame()), None);
        let tcp_only = rss(rss::TOEPLITZ | rss::IPV4_TCP);
        assert_eq!(tcp_only.hash(&Build::v4(proto::UDP).frame()), None);
    }

    #[test]
    fn all_fragments_of_a_datagram_go_to_one_ring() {
        let first = Build::v4(proto::UDP).payload(&[1; 32]).frame();
        let (mut first, mut last) = (first.clone(), first);
        first[20] = 0x20;
        last[21] = 4;
        last[34..38].copy_from_slice(b"data");
        let rss = rss(ALL);
        let hash = rss.hash(&first);
        assert_eq!(hash.map(|(kind, _)| kind), Some(HashType::Ipv4));
        assert_eq!(rss.hash(&last), hash);
    }

    #[test]
    fn rings_follow_the_masked_table() {
        let mut rss = rss(ALL);
        assert_eq!(rss.ring(Some(0xffff_ff82)), 2);
        assert_eq!(rss.ring(None), 0);
        rss.table[127] = 9;
        assert_eq!(rss.ring(Some(u32::MAX)), 9);
        rss.ctrl = rss::TOEPLITZ | 1;
        assert_eq!(rss.ring(Some(u32::MAX)), 1);
    }

    proptest! {
        #[test]
        fn toeplitz_is_linear(a: [u8; 32], b: [u8; 32], key_start: [u8; 32]) {
            let mut key = KEY;
            key[..32].copy_from_slice(&key_start);
            let mut both = a;
            both.iter_mut().zip(b).for_each(|(x, y)| *x ^= y);
            prop_assert_eq!(toeplitz(&key, &both), toeplitz(&key, &a) ^ toeplitz(&key, &b));
        }

        #[test]
        fn hostile_frames_do_not_panic(frame in hostile_frame(), ctrl: u32) {
            let rss = rss(ctrl);
            let ring = rss.ring(rss.hash(&frame).map(|(_, hash)| hash));
            prop_assert!(ring < 4);
        }
    }
}
