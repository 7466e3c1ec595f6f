// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The access list as the host orders it, and what becomes of frames.

mod common;
#[path = "common/listing.rs"]
mod listing;

use acceltcp_abi::acl::{flag, AclRule, NO_VLAN};
use acceltcp_abi::cmd::{self, Request};
use common::*;
use listing::*;
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::Tag;
use nicstack::wire::ip::Addresses;
use zerocopy::FromBytes;

/// `rule` for what comes to TCP port `port`.
fn tcp_to(rule: AclRule, port: u16) -> AclRule {
    AclRule {
        protocol: 6,
        flags: flag::PROTOCOL | flag::DESTINATION_PORTS,
        destination_ports: [port.into(); 2],
        ..rule
    }
}

/// `rule` for what comes from the first `len` bits of `address`.
fn from(rule: AclRule, family: u8, address: &[u8], len: u8) -> AclRule {
    let mut source = [0; 16];
    source[..address.len()].copy_from_slice(address);
    AclRule {
        family,
        source,
        source_len: len,
        ..rule
    }
}

/// A frame from 10.99.0.1 to 10.99.0.2 with what `payload` is behind the IP header.
fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = linux().syn();
    frame.truncate(34);
    frame[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    frame[20..22].copy_from_slice(&fragment.to_be_bytes());
    frame[23] = protocol;
    frame.extend(payload);
    frame
}

/// A frame from fd99::1 to fd99::2 with `payload` behind the fixed header.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Client {
        addresses: V6,
        ..linux()
    }
    .syn();
    frame.truncate(54);
    frame[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    frame[20] = next;
    frame.extend(payload);
    frame
}

/// Ports of a client of [`PORT`], and what may be behind them.
fn to_port() -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x40];
    bytes.extend(PORT.to_be_bytes());
    bytes.resize(20, 0);
    bytes
}

fn with(rules: &[AclRule]) -> Card {
    let mut card = fresh(SMALL);
    for rule in rules {
        card.acl_add(rule).unwrap();
    }
    card
}

#[test]
fn rules_come_and_go_without_a_driver() {
    let mut card = fresh(SMALL);
    let frame = linux().syn();
    assert_eq!(card.receive(&frame), Fate::Host, "an empty list");
    assert_eq!(card.acl_add(&deny(7, 1)), Ok((1, SMALL.acl - 1)));
    assert_eq!(card.receive(&frame), Fate::Gone);
    assert_eq!(card.acl_read(7), Ok((1, frame.len() as u64)));
    assert_eq!(card.acl_add(&allow(7, 0)), Err(cmd::EEXIST));
    assert_eq!(card.acl_add(&allow(8, 0)), Ok((2, SMALL.acl - 2)));
    assert_eq!(card.receive(&frame), Fate::Host);
    assert_eq!(card.acl_remove(8), Ok((1, SMALL.acl - 1)));
    assert_eq!(card.acl_remove(8), Err(cmd::ENOENT));
    assert_eq!(card.acl_read(8), Err(cmd::ENOENT));
    assert_eq!(card.receive(&frame), Fate::Gone);
    assert_eq!(card.acl_read(7), Ok((2, 2 * frame.len() as u64)));
    assert_eq!(card.count(Counter::AclDenied), 2);
    assert_eq!(
        card.acl_order(&Request::AclFlush),
        Ok((0, SMALL.acl)),
        "all of them"
    );
    assert_eq!(card.receive(&frame), Fate::Host);
    assert_eq!(card.count(Counter::CommandRefused), 3);
    // Counters start anew with the rule.
    card.acl_add(&deny(7, 1)).unwrap();
    assert_eq!(card.acl_read(7), Ok((0, 0)));
}

#[test]
fn priority_decides_and_then_the_handle() {
    let frame = linux().syn();
    let decides = |rules: &[AclRule]| {
        let mut card = with(rules);
        let fate = card.receive(&frame);
        let counted: Vec<_> = rules
            .iter()
            .map(|rule| rule.handle.get())
            .filter(|handle| card.acl_read(*handle).unwrap().0 != 0)
            .collect();
        assert_eq!(counted.len(), 1, "one rule decides");
        (counted[0], fate)
    };
    assert_eq!(decides(&[deny(1, 5), allow(2, 4)]), (2, Fate::Host));
    assert_eq!(decides(&[allow(2, 4), deny(1, 5)]), (2, Fate::Host));
    assert_eq!(decides(&[allow(2, 4), deny(1, 4)]), (1, Fate::Gone));
    assert_eq!(decides(&[deny(1, 4), allow(2, 4)]), (1, Fate::Gone));
    assert_eq!(
        decides(&[deny(1, u32::MAX), allow(u32::MAX, 0)]),
        (u32::MAX, Fate::Host)
    );
}

#[test]
fn the_table_is_exactly_as_large_as_it_says() {
    let mut card = fresh(Capacity::default());
    assert_eq!(card.nic.capacity().acl, 1024);
    for handle in 1..=1024 {
        let rule = tcp_to(deny(handle, 1024 - handle), handle as u16);
        assert_eq!(card.acl_add(&rule), Ok((handle, 1024 - handle)));
    }
    let one_more = deny(1025, 0);
    assert_eq!(card.acl_add(&one_more), Err(cmd::ENOSPC));
    let to = |server_port| {
        Client {
            server_port,
            ..linux()
        }
        .syn()
    };
    for port in [1, 512, 1024] {
        assert_eq!(card.receive(&to(port)), Fate::Gone, "{port}");
        assert_eq!(card.acl_read(port.into()).unwrap().0, 1, "{port}");
    }
    assert_eq!(card.receive(&to(1025)), Fate::Host);
    let body = card.order(&Request::MemoryRead).unwrap();
    let (head, tables) = cmd::MemoryReply::read_from_prefix(&body).unwrap();
    let table = tables
        .chunks_exact(cmd::MemoryUse::SIZE)
        .map(|table| cmd::MemoryUse::read_from_bytes(table).unwrap())
        .find(|table| table.table == cmd::table::ACL)
        .unwrap();
    assert_eq!(head.count, 8);
    assert_eq!((table.used.get(), table.capacity.get()), (1024, 1024));
    assert_eq!((table.refused.get(), table.entry_bytes.get()), (1, 88));
    // A full list can still be changed.
    card.acl_remove(512).unwrap();
    assert_eq!(card.receive(&to(512)), Fate::Host);
    card.acl_add(&one_more).unwrap();
    assert_eq!(card.receive(&to(512)), Fate::Gone);
}

#[test]
fn absurd_rules_are_refused() {
    let mut card = fresh(SMALL);
    let good = from(tcp_to(deny(1, 1), 80), 4, &[10], 8);
    for bad in [
        AclRule { family: 5, ..good },
        AclRule { family: 0, ..good },
        AclRule { action: 0, ..good },
        AclRule { flags: 8, ..good },
        AclRule {
            protocol: 1,
            ..good
        },
        AclRule {
            source_len: 7,
            source: [1; 16],
            ..good
        },
        AclRule {
            source_len: 33,
            ..good
        },
        AclRule {
            vlan: 0.into(),
            ..good
        },
        AclRule {
            reserved: 1.into(),
            ..good
        },
        AclRule {
            handle: 0.into(),
            ..good
        },
        AclRule {
            destination_ports: [81.into(), 80.into()],
            ..good
        },
    ] {
        assert_eq!(card.acl_add(&bad), Err(cmd::EINVAL), "{bad:?}");
    }
    assert_eq!(card.acl_add(&good), Ok((1, SMALL.acl - 1)));
}

#[test]
fn a_card_without_room_takes_none() {
    let mut card = fresh(Capacity::NONE);
    assert_eq!(card.acl_add(&deny(1, 1)), Err(cmd::ENOSPC));
    assert_eq!(card.acl_order(&Request::AclFlush), Ok((0, 0)));
    assert_eq!(card.receive(&linux().syn()), Fate::Host);
}

#[test]
fn who_comes_and_goes_leaves_the_list_but_a_reset_does_not() {
    let mut card = with(&[deny(1, 1)]);
    let gone = |card: &Card| assert_eq!(card.receive(&linux().syn()), Fate::Gone);
    card.attach();
    gone(&card);
    card.order(&Request::Detach).unwrap();
    gone(&card);
    card.nic.disconnect();
    gone(&card);
    card.order(&Request::Attach(cmd::Attach::default()))
        .unwrap();
    gone(&card);
    card.nic.reset();
    assert_eq!(card.receive(&linux().syn()), Fate::Host);
    assert_eq!(card.acl_read(1), Err(cmd::ENOENT));
}

#[test]
fn prefixes_of_both_families() {
    let v4 = linux().syn();
    let v6 = Client {
        addresses: V6,
        ..linux()
    }
    .syn();
    let denied = |rule: AclRule| {
        let card = with(&[rule]);
        [&v4, &v6].map(|frame| card.receive(frame) == Fate::Gone)
    };
    let rule = deny(1, 1);
    assert_eq!(denied(rule), [true, true]);
    assert_eq!(denied(AclRule { family: 4, ..rule }), [true, false]);
    assert_eq!(denied(AclRule { family: 6, ..rule }), [false, true]);
    // From 10.99.0.1 and fd99::1.
    for (address, len, hit) in [
        ([10, 99, 0, 1], 32, true),
        ([10, 99, 0, 0], 31, true),
        ([10, 99, 0, 0], 32, false),
        ([10, 99, 0, 2], 31, false),
        ([10, 98, 0, 0], 15, true),
        ([128, 0, 0, 0], 1, false),
    ] {
        assert_eq!(denied(from(rule, 4, &address, len)), [hit, false]);
    }
    let Addresses::V6 { src, .. } = V6 else {
        panic!();
    };
    assert_eq!(denied(from(rule, 6, &src, 128)), [false, true]);
    assert_eq!(denied(from(rule, 6, &src[..8], 64)), [false, true]);
    assert_eq!(denied(from(rule, 6, &[0xfd, 0x98], 16)), [false, false]);
    // The destination is another field.
    let mut destination = [0; 16];
    destination[..4].copy_from_slice(&[10, 99, 0, 2]);
    let to = AclRule {
        family: 4,
        destination,
        destination_len: 32,
        ..rule
    };
    assert_eq!(denied(to), [true, false]);
    destination[3] = 1;
    assert_eq!(denied(AclRule { destination, ..to }), [false, false]);
}

#[test]
fn ports_of_the_protocols_that_have_some() {
    for protocol in AclRule::WITH_PORTS {
        let rule = AclRule {
            protocol,
            ..tcp_to(deny(1, 1), PORT)
        };
        let card = with(&[rule]);
        let fate = |frame: &[u8]| card.receive(frame);
        assert_eq!(fate(&ipv4(protocol, 0, &to_port())), Fate::Gone);
        assert_eq!(fate(&ipv6(protocol, &to_port())), Fate::Gone);
        let other = AclRule::WITH_PORTS.into_iter().find(|p| *p != protocol);
        assert_eq!(fate(&ipv4(other.unwrap(), 0, &to_port())), Fate::Host);
        // The ports alone are enough, but they must be there.
        assert_eq!(fate(&ipv4(protocol, 0, &to_port()[..4])), Fate::Gone);
        assert_eq!(fate(&ipv4(protocol, 0, &to_port()[..3])), Fate::Host);
    }
    let ranges = AclRule {
        flags: flag::ALL,
        source_ports: [40_000.into(), 40_001.into()],
        destination_ports: [(PORT - 1).into(), PORT.into()],
        ..tcp_to(deny(1, 1), 0)
    };
    let card = with(&[ranges]);
    for (port, server_port, hit) in [
        (40_000, PORT, true),
        (40_001, PORT - 1, true),
        (39_999, PORT, false),
        (40_002, PORT, false),
        (40_000, PORT + 1, false),
        (40_000, PORT - 2, false),
    ] {
        let frame = Client {
            port,
            server_port,
            ..linux()
        }
        .syn();
        assert_eq!(card.receive(&frame) == Fate::Gone, hit, "{port}");
    }
}

#[test]
fn fragments_have_ports_in_the_first_alone() {
    const MORE: u16 = 0x2000;
    let by_port = with(&[tcp_to(deny(1, 1), PORT)]);
    let by_protocol = with(&[AclRule {
        protocol: 6,
        flags: flag::PROTOCOL,
        ..deny(1, 1)
    }]);
    let v6 = |offset: u16, more: u16, next: u8, payload: &[u8]| {
        let mut header = vec![next, 0];
        header.extend((offset << 3 | more).to_be_bytes());
        header.extend([0; 4]);
        header.extend(payload);
        ipv6(44, &header)
    };
    let option = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &to_port()].concat();
    for (frame, port, protocol) in [
        (ipv4(6, MORE, &to_port()), Fate::Gone, Fate::Gone),
        (ipv4(6, MORE | 1, &to_port()), Fate::Host, Fate::Gone),
        (ipv4(6, 1, &to_port()), Fate::Host, Fate::Gone),
        (v6(0, 1, 6, &to_port()), Fate::Gone, Fate::Gone),
        (v6(0, 0, 6, &to_port()), Fate::Gone, Fate::Gone),
        (v6(1, 1, 6, &to_port()), Fate::Host, Fate::Gone),
        (v6(0, 1, 60, &option), Fate::Gone, Fate::Gone),
        (v6(1, 0, 60, &option), Fate::Host, Fate::Host),
        (ipv6(44, &[6, 0, 0]), Fate::Host, Fate::Host),
    ] {
        assert_eq!(by_port.receive(&frame), port, "{frame:x?}");
        assert_eq!(by_protocol.receive(&frame), protocol, "{frame:x?}");
    }
}

#[test]
fn extension_headers_are_followed_or_hide_what_is_behind() {
    let by_port = with(&[tcp_to(deny(1, 1), PORT)]);
    let by_protocol = |protocol| {
        with(&[AclRule {
            protocol,
            flags: flag::PROTOCOL,
            ..deny(1, 1)
        }])
    };
    let frame = |next, header: [u8; 8]| ipv6(next, &[&header[..], &to_port()].concat());
    let gone = |card: &Card, frame: &[u8]| card.receive(frame) == Fate::Gone;
    let padded = [6, 0, 1, 4, 0, 0, 0, 0];
    for next in [0, 60] {
        assert!(gone(&by_port, &frame(next, padded)));
    }
    assert!(gone(&by_port, &frame(43, [6, 0, 0, 0, 0, 0, 0, 0])));
    // An option that may not be skipped, segments left, a header that is cut off.
    for (next, header) in [
        (60, [6, 0, 0xc9, 4, 0, 0, 0, 0]),
        (43, [6, 0, 0, 1, 0, 0, 0, 0]),
        (60, [6, 9, 1, 4, 0, 0, 0, 0]),
    ] {
        let frame = frame(next, header);
        assert!(!gone(&by_port, &frame));
        assert!(!gone(&by_protocol(6), &frame));
        assert!(gone(&by_protocol(next), &frame));
        assert!(gone(&with(&[deny(1, 1)]), &frame));
    }
}

#[test]
fn the_outer_vlan_is_compared() {
    let tagged = |ids: [Option<u16>; 2]| {
        let mut header = linux().syn_header();
        header.ethernet.tags = ids.map(|id| {
            id.map(|tci| Tag {
                protocol: 0x8100,
                tci,
            })
        });
        emit(&header, &[])
    };
    let frames = [
        tagged([None, None]),
        tagged([Some(0x6000), None]),
        tagged([Some(5), None]),
        tagged([Some(5), Some(6)]),
        tagged([Some(6), Some(5)]),
        tagged([Some(0xe000), Some(5)]),
    ];
    let denied = |vlan: u16| {
        let card = with(&[AclRule {
            vlan: vlan.into(),
            ..deny(1, 1)
        }]);
        let denied = frames.each_ref().map(|f| card.receive(f) == Fate::Gone);
        denied.map(u8::from)
    };
    assert_eq!(denied(acceltcp_abi::acl::ANY_VLAN), [1; 6]);
    assert_eq!(denied(NO_VLAN), [1, 1, 0, 0, 0, 0]);
    assert_eq!(denied(5), [0, 0, 1, 1, 0, 1]);
    assert_eq!(denied(6), [0, 0, 0, 0, 1, 0]);
}

#[test]
fn what_is_no_ip_passes() {
    let card = with(&[deny(1, 1)]);
    let mut arp = linux().syn();
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut version = linux().syn();
    version[14] = 0x65;
    let mut short = linux().syn();
    short.truncate(40);
    let mut third_tag = linux().syn();
    for _ in 0..3 {
        third_tag.splice(12..12, [0x81, 0, 0, 5]);
    }
    for frame in [arp, version, short, third_tag, vec![0; 14]] {
        assert_eq!(card.receive(&frame), Fate::Host, "{frame:x?}");
    }
    assert_eq!(card.count(Counter::AclDenied), 0);
}

#[test]
fn frames_of_the_host_are_not_touched() {
    let mut card = with(&[deny(1, 1)]);
    card.send(&linux().syn());
    assert_eq!(card.acl_read(1), Ok((0, 0)));
}
