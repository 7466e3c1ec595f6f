// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random lists and random packets, judged by the card and by a plain reading of what the rules say. The reading knows
//! what the packet is made of, and so needs no parser.

mod common;
#[path = "common/listing.rs"]
mod listing;

use acceltcp_abi::acl::{action, flag, AclRule, ANY_VLAN, NO_VLAN};
use common::*;
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::{Ethernet, Tag, IPV4, IPV6};
use nicstack::wire::ipv4::Ipv4Header;
use nicstack::wire::ipv6::Ipv6Header;
use proptest::prelude::*;

/// Protocols that occur; the first three have ports.
const PROTOCOLS: [u8; 5] = [6, 17, 132, 1, 58];
/// VLANs that occur in rules.
const VLANS: [u16; 4] = [ANY_VLAN, NO_VLAN, 1, 4094];

/// What follows the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// Not even the ports: so many bytes.
    Cut(usize),
    /// What a fragment holds: the first one, or another.
    First,
    Later,
}

/// What a packet is made of.
#[derive(Debug, Clone)]
struct Packet {
    v6: bool,
    source: [u8; 16],
    destination: [u8; 16],
    protocol: u8,
    ports: [u16; 2],
    part: Part,
    /// Extension headers that may be skipped; IPv6 alone.
    extensions: usize,
    tags: Vec<u16>,
}

/// Few addresses, so that prefixes hit: they differ in bits at many places.
fn address() -> impl Strategy<Value = [u8; 16]> {
    (0usize..24, 0usize..130).prop_map(|(one, other)| {
        let mut address = [0; 16];
        for bit in [one, other].into_iter().filter(|bit| *bit < 128) {
            address[bit / 8] |= 0x80 >> (bit % 8);
        }
        address
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), 1u16..6, Just(u16::MAX)]
}

fn packet() -> impl Strategy<Value = Packet> {
    let part = prop_oneof![
        4 => Just(Part::Whole),
        1 => (0usize..4).prop_map(Part::Cut),
        1 => Just(Part::First),
        1 => Just(Part::Later),
    ];
    let tag = prop_oneof![Just(0u16), Just(1), Just(4094), Just(0xe000), Just(0x7001)];
    (
        (any::<bool>(), address(), address()),
        proptest::sample::select(PROTOCOLS.to_vec()),
        [port(), port()],
        part,
        0usize..3,
        proptest::collection::vec(tag, 0..3),
    )
        .prop_map(
            |((v6, mut source, mut destination), protocol, ports, part, extensions, tags)| {
                if !v6 {
                    source[4..].fill(0);
                    destination[4..].fill(0);
                }
                Packet {
                    v6,
                    source,
                    destination,
                    protocol,
                    ports,
                    part,
                    extensions,
                    tags,
                }
            },
        )
}

/// A prefix of at most `bits` bits: its first four bytes and more, and its length.
fn prefix(address: [u8; 16], len: u8) -> [u8; 16] {
    let mut prefix = [0; 16];
    for bit in 0..usize::from(len) {
        prefix[bit / 8] |= address[bit / 8] & 0x80 >> (bit % 8);
    }
    prefix
}

fn rule() -> impl Strategy<Value = AclRule> {
    let range = || (port(), port()).prop_map(|(a, b)| [a.min(b), a.max(b)]);
    let len = || prop_oneof![2 => Just(0u8), 3 => 0u8..=128];
    (
        proptest::sample::select(vec![0u8, 4, 6]),
        (address(), len()),
        (address(), len()),
        proptest::option::of(proptest::sample::select(PROTOCOLS.to_vec())),
        (proptest::option::of(range()), proptest::option::of(range())),
        proptest::sample::select(VLANS.to_vec()),
        (0u32..3, any::<bool>()),
    )
        .prop_map(
            |(family, source, destination, protocol, ports, vlan, (priority, deny))| {
                let bits = [0, 0, 0, 0, 32, 0, 128][usize::from(family)];
                let [source_len, destination_len] = [source.1, destination.1].map(|l| l.min(bits));
                let with_ports = protocol.is_some_and(|p| AclRule::WITH_PORTS.contains(&p));
                let [sources, destinations] =
                    [ports.0, ports.1].map(|range| range.filter(|_| with_ports));
                let set = |is: bool, flag: u8| if is { flag } else { 0 };
                AclRule {
                    source: prefix(source.0, source_len),
                    destination: prefix(destination.0, destination_len),
                    priority: priority.into(),
                    action: if deny { action::DENY } else { action::ALLOW },
                    family,
                    protocol: protocol.unwrap_or(0),
                    flags: set(protocol.is_some(), flag::PROTOCOL)
                        | set(sources.is_some(), flag::SOURCE_PORTS)
                        | set(destinations.is_some(), flag::DESTINATION_PORTS),
                    source_len,
                    destination_len,
                    vlan: vlan.into(),
                    source_ports: sources.unwrap_or_default().map(Into::into),
                    destination_ports: destinations.unwrap_or_default().map(Into::into),
                    ..AclRule::default()
                }
            },
        )
}

impl Packet {
    fn frame(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for port in self.ports {
            payload.extend(port.to_be_bytes());
        }
        payload.resize(20, 0x5a);
        if let Part::Cut(len) = self.part {
            payload.truncate(len);
        }
        let mut next = self.protocol;
        let mut fragment = 0u16;
        match self.part {
            Part::First => fragment = 1,
            Part::Later => fragment = 2,
            Part::Whole | Part::Cut(_) => {}
        }
        if self.v6 {
            if fragment != 0 {
                // Of the first one there is more; the other is the last one, at 8 bytes.
                let place = if fragment == 1 { 1u16 } else { 8 };
                let mut header = vec![next, 0];
                header.extend(place.to_be_bytes());
                header.extend([1, 2, 3, 4]);
                payload.splice(..0, header);
                next = 44;
            }
            for _ in 0..self.extensions {
                payload.splice(..0, [next, 0, 1, 4, 0, 0, 0, 0]);
                next = 60;
            }
        }
        let mut ip = [0; 40];
        let payload_len = payload.len() as u16;
        let len = if self.v6 {
            Ipv6Header {
                src: self.source,
                dst: self.destination,
                traffic_class: 0,
                hop_limit: 64,
                protocol: next,
                payload_len,
            }
            .emit(&mut ip)
        } else {
            let len = Ipv4Header {
                src: self.source[..4].try_into().unwrap(),
                dst: self.destination[..4].try_into().unwrap(),
                traffic_class: 0,
                ttl: 64,
                protocol: next,
                payload_len,
            }
            .emit(&mut ip);
            let bits = [0x4000u16, 0x2000, 0x0001][usize::from(fragment)];
            ip[6..8].copy_from_slice(&bits.to_be_bytes());
            len
        };
        let tag = |place: usize| {
            self.tags.get(place).map(|tci| Tag {
                protocol: if place == 0 { 0x88a8 } else { 0x8100 },
                tci: *tci,
            })
        };
        let ethernet = Ethernet {
            dst: SERVER_MAC,
            src: CLIENT_MAC,
            tags: [tag(0), tag(1)],
            ethertype: if self.v6 { IPV6 } else { IPV4 },
        };
        let mut frame = vec![0; 22];
        let head = ethernet.emit(&mut frame).unwrap();
        frame.truncate(head);
        frame.extend(&ip[..len.unwrap()]);
        frame.extend(payload);
        frame
    }

    /// What the texts of the ABI say, field by field.
    fn is_meant_by(&self, rule: &AclRule) -> bool {
        let has = |flag| rule.flags & flag != 0;
        if rule.family != 0 && (rule.family == 6) != self.v6 {
            return false;
        }
        if has(flag::PROTOCOL) && rule.protocol != self.protocol {
            return false;
        }
        let vlan = self.tags.iter().map(|tag| tag & 0xfff).find(|id| *id != 0);
        let vlan_meant = match rule.vlan.get() {
            ANY_VLAN => true,
            NO_VLAN => vlan.is_none(),
            id => vlan == Some(id),
        };
        let in_prefix = |address, wanted: [u8; 16], len| prefix(address, len) == wanted;
        let has_ports = AclRule::WITH_PORTS.contains(&self.protocol)
            && matches!(self.part, Part::Whole | Part::First);
        let port_meant = |flag, port, range: [zerocopy::little_endian::U16; 2]| {
            !has(flag) || has_ports && range[0].get() <= port && port <= range[1].get()
        };
        vlan_meant
            && in_prefix(self.source, rule.source, rule.source_len)
            && in_prefix(self.destination, rule.destination, rule.destination_len)
            && port_meant(flag::SOURCE_PORTS, self.ports[0], rule.source_ports)
            && port_meant(
                flag::DESTINATION_PORTS,
                self.ports[1],
                rule.destination_ports,
            )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_card_judges_as_the_rules_say(
        rules in proptest::collection::vec(rule(), 0..12),
        packets in proptest::collection::vec(packet(), 1..12),
    ) {
        let mut card = fresh(Capacity { acl: 12, ..SMALL });
        let mut rules: Vec<_> = rules
            .into_iter()
            .zip(1u32..)
            // Handles in another order than they come.
            .map(|(rule, number)| AclRule { handle: (number * 7 % 13).into(), ..rule })
            .collect();
        for rule in &rules {
            prop_assert!(rule.is_valid(), "{rule:?}");
            card.acl_add(rule).unwrap();
        }
        rules.sort_by_key(|rule| (rule.priority.get(), rule.handle.get()));
        let mut counted = vec![(0, 0); rules.len()];
        let mut denied = 0;
        for packet in &packets {
            let frame = packet.frame();
            let first = rules.iter().position(|rule| packet.is_meant_by(rule));
            let allowed = first.is_none_or(|first| rules[first].action == action::ALLOW);
            if let Some(first) = first {
                counted[first].0 += 1;
                counted[first].1 += frame.len() as u64;
            }
            denied += u64::from(!allowed);
            let wanted = if allowed { Fate::Host } else { Fate::Gone };
            prop_assert_eq!(card.receive(&frame), wanted, "{:?} {:x?}", packet, frame);
        }
        prop_assert_eq!(card.count(Counter::AclDenied), denied);
        for (rule, counted) in rules.iter().zip(counted) {
            prop_assert_eq!(card.acl_read(rule.handle.get()).unwrap(), counted);
        }
    }

    /// What is cut or changed is judged somehow, and without a panic.
    #[test]
    fn any_bytes_are_judged(
        rules in proptest::collection::vec(rule(), 1..6),
        packet in packet(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut: proptest::sample::Index,
        is_cut: bool,
        raw in proptest::collection::vec(any::<u8>(), 0..80),
        is_raw: bool,
    ) {
        let mut card = fresh(SMALL);
        for (rule, handle) in rules.iter().zip(1u32..) {
            card.acl_add(&AclRule { handle: handle.into(), ..*rule }).unwrap();
        }
        let mut frame = if is_raw { raw } else { packet.frame() };
        if is_cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        for (place, value) in changes {
            if !frame.is_empty() {
                let place = place.index(frame.len());
                frame[place] ^= value;
            }
        }
        let fate = card.receive(&frame);
        let denied = card.count(Counter::AclDenied);
        prop_assert_eq!(denied, u64::from(fate == Fate::Gone));
    }
}
