// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What becomes of a SYN.

mod common;

use acceltcp_abi::setup::rule;
use common::*;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::{Tag, TAG_C, TAG_S};
use nicstack::wire::ip::Addresses;
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::tcp::Flags;
use proptest::prelude::*;

#[test]
fn the_answer_of_a_linux_client() {
    let card = serving(|_| {});
    for addresses in [V4, V6] {
        let client = Client {
            addresses,
            ..linux()
        };
        let reply = card.syn_ack(&client.syn());
        assert_eq!(
            (reply.ethernet.dst, reply.ethernet.src),
            (CLIENT_MAC, SERVER_MAC)
        );
        assert_eq!(reply.addresses, addresses.answer());
        assert_eq!(reply.traffic_class, 10 << 2);
        assert_eq!((reply.tcp.src_port, reply.tcp.dst_port), (PORT, 40_000));
        assert_eq!(reply.tcp.ack, 0xffff_fff1);
        assert_eq!(reply.tcp.flags, Flags::SYN | Flags::ACK);
        assert_eq!(reply.tcp.window, 64_240);
        let mss = if addresses == V4 { 1460 } else { 1440 };
        assert_eq!(reply.options.mss, Some(mss));
        assert_eq!(reply.options.wscale, Some(7));
        assert!(reply.options.sack_permitted);
        let times = reply.options.timestamps.unwrap();
        assert_eq!(times.echo, 1000);
        let lag = card.clock(&addresses).wrapping_sub(times.value);
        assert!(lag < 64, "on the host's clock, {lag} ms behind");
        assert_eq!(times.value & 0x3f, 0x18, "wscale 8, SACK, no ECN");
    }
    assert_eq!(card.count(Counter::SynAnswered), 2);
}

#[test]
fn ttl_and_no_fragments() {
    let card = serving(|_| {});
    let reply = card.syn_ack(&linux().syn());
    assert_eq!(reply.frame[14..16], [0x45, 40]);
    assert_eq!(reply.frame[18..24], [0, 0, 0x40, 0, 61, 6]);
}

#[test]
fn a_syn_that_comes_again_gets_the_same_answer() {
    let card = serving(|_| {});
    let first = card.syn_ack(&linux().syn());
    let again = card.syn_ack(&linux().syn());
    assert_eq!(first.frame, again.frame);
}

#[test]
fn other_isns_get_other_answers() {
    let card = serving(|_| {});
    let first = card.syn_ack(&linux().syn());
    let client = Client { isn: 5, ..linux() };
    assert_ne!(first.tcp.seq, card.syn_ack(&client.syn()).tcp.seq);
}

#[test]
fn each_option_can_be_missing() {
    let card = serving(|_| {});
    let full = linux().options;
    let reply = |options: Options| {
        let client = Client { options, ..linux() };
        card.syn_ack(&client.syn()).options
    };
    let no_wscale = reply(Options {
        wscale: None,
        ..full
    });
    assert_eq!(no_wscale.wscale, None);
    assert!(no_wscale.sack_permitted && no_wscale.timestamps.is_some());
    let no_sack = reply(Options {
        sack_permitted: false,
        ..full
    });
    assert!(!no_sack.sack_permitted);
    assert_eq!(no_sack.wscale, Some(7));
    let no_times = reply(Options {
        timestamps: None,
        ..full
    });
    let only_mss = Options {
        mss: Some(1460),
        ..Options::default()
    };
    assert_eq!(no_times, only_mss, "nothing else can be kept");
    assert_eq!(reply(Options::default()), only_mss);
    assert_eq!(card.count(Counter::SynAnsweredPlain), 2);
}

#[test]
fn the_rule_says_what_is_accepted() {
    let with = |flags| {
        let card = serving(|rule| clear(rule, flags));
        card.syn_ack(&linux().syn()).options
    };
    assert_eq!(with(rule::WSCALE).wscale, None);
    assert!(with(rule::WSCALE).sack_permitted);
    assert!(!with(rule::SACK).sack_permitted);
    assert_eq!(with(rule::SACK).wscale, Some(7));
    let plain = with(rule::TIMESTAMPS);
    assert_eq!(plain.timestamps, None);
    assert_eq!((plain.wscale, plain.sack_permitted), (None, false));
}

#[test]
fn ecn_as_rfc_3168_and_linux() {
    const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);
    const AE: Flags = Flags(1 << 8);
    let card = serving(|_| {});
    let reply = |flags: Flags, traffic_class: u8| {
        let mut header = linux().syn_header();
        header.tcp.flags = Flags::SYN | flags;
        header.ip.traffic_class = traffic_class;
        card.syn_ack(&emit(&header, &[]))
    };
    let accepted = reply(SETUP, 0);
    assert_eq!(accepted.tcp.flags, Flags::SYN | Flags::ACK | Flags::ECE);
    assert_eq!(accepted.traffic_class & 3, 0, "a SYN-ACK is not ECT");
    assert_eq!(accepted.tsval().unwrap() & 0x20, 0x20);
    let plain = Flags::SYN | Flags::ACK;
    assert_eq!(reply(Flags::ECE, 0).tcp.flags, plain);
    assert_eq!(reply(Flags::CWR, 0).tcp.flags, plain);
    assert_eq!(reply(SETUP, 2).tcp.flags, plain, "an ECT SYN");
    assert_eq!(reply(SETUP | AE, 1).tcp.flags, plain | Flags::ECE);

    let mut header = linux().syn_header();
    header.tcp.flags = Flags::SYN | SETUP;
    header.options.timestamps = None;
    let no_times = card.syn_ack(&emit(&header, &[]));
    assert_eq!(no_times.tcp.flags, plain, "ECN needs timestamps to be kept");

    let card = serving(|rule| clear(rule, rule::ECN));
    header = linux().syn_header();
    header.tcp.flags = Flags::SYN | SETUP;
    assert_eq!(card.syn_ack(&emit(&header, &[])).tcp.flags, plain);
}

#[test]
fn without_timestamps_to_the_host() {
    let card = serving(|rule| set(rule, rule::NO_TIMESTAMPS_TO_HOST));
    let mut client = linux();
    card.syn_ack(&client.syn());
    client.options.timestamps = None;
    assert_eq!(card.receive(&client.syn()), Fate::Host);
    assert_eq!(card.count(Counter::SynNoTimestamps), 1);
}

#[test]
fn data_in_a_syn_is_left_to_retransmission() {
    let card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&emit(&client.syn_header(), b"GET /"));
    assert_eq!(reply.tcp.ack, client.isn.wrapping_add(1));
    assert_eq!(card.count(Counter::SynData), 1);
}

#[test]
fn urgent_and_push_do_not_matter() {
    let card = serving(|_| {});
    let mut header = linux().syn_header();
    header.tcp.flags = Flags::SYN | Flags::PSH | Flags(1 << 5);
    card.syn_ack(&emit(&header, &[]));
}

#[test]
fn vlans() {
    let mut card = attached();
    let mut rule = any_rule(4);
    rule.vlan_outer = 100.into();
    card.listen(&rule).unwrap();
    let mut client = linux();
    assert_eq!(card.receive(&client.syn()), Fate::Host, "untagged");
    client.vlan = Some(101);
    assert_eq!(card.receive(&client.syn()), Fate::Host, "another VLAN");
    client.vlan = Some(0xa064);
    let reply = card.syn_ack(&client.syn());
    let tag = Tag {
        protocol: TAG_C,
        tci: 0xa064,
    };
    assert_eq!(reply.ethernet.tags, [Some(tag), None]);

    rule.vlan_inner = 7.into();
    card.listen(&rule).unwrap();
    let mut header = client.syn_header();
    let outer = Tag {
        protocol: TAG_S,
        tci: 100,
    };
    let inner = Tag {
        protocol: TAG_C,
        tci: 7,
    };
    header.ethernet.tags = [Some(outer), Some(inner)];
    let reply = card.syn_ack(&emit(&header, &[]));
    assert_eq!(reply.ethernet.tags, [Some(outer), Some(inner)]);
}

#[test]
fn a_priority_tag_is_no_vlan() {
    let card = serving(|_| {});
    let client = Client {
        vlan: Some(0xe000),
        ..linux()
    };
    let reply = card.syn_ack(&client.syn());
    assert_eq!(reply.ethernet.tags[0].unwrap().tci, 0xe000);
}

#[test]
fn the_address_beats_any() {
    let mut card = serving(|_| {});
    let mut exact = any_rule(4);
    clear(&mut exact, rule::ANY_ADDRESS);
    exact.address[..4].copy_from_slice(&[10, 99, 0, 2]);
    exact.mss = 1000.into();
    let handle = card.listen(&exact).unwrap();
    let mss = |card: &Card| card.syn_ack(&linux().syn()).options.mss;
    assert_eq!(mss(&card), Some(1000));
    let remove = acceltcp_abi::cmd::ListenRemove {
        handle: handle.into(),
    };
    card.order(&acceltcp_abi::cmd::Request::ListenRemove(remove))
        .unwrap();
    assert_eq!(mss(&card), Some(1460));
}

/// The fate of a SYN of `client` whose bytes `change` altered; checksums are set right again.
fn altered(card: &Card, client: Client, change: impl FnOnce(&mut Vec<u8>)) -> Fate {
    let mut frame = client.syn();
    change(&mut frame);
    fix_checksum(&mut frame, 34);
    card.receive(&frame)
}

#[test]
fn what_linux_drops_is_dropped() {
    let card = serving(|_| {});
    let flags = |extra: Flags| {
        let mut header = linux().syn_header();
        header.tcp.flags = Flags::SYN | extra;
        card.receive(&emit(&header, &[]))
    };
    assert_eq!(flags(Flags::FIN), Fate::Gone);
    assert_eq!(flags(Flags::RST), Fate::Gone);
    assert_eq!(card.count(Counter::SynFin), 1);
    assert_eq!(card.count(Counter::SynRst), 1);

    let from_to = |src, dst| {
        let client = Client {
            addresses: Addresses::V4 { src, dst },
            ..linux()
        };
        card.receive(&client.syn())
    };
    let ours = [10, 99, 0, 2];
    for martian in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        assert_eq!(from_to(martian, ours), Fate::Gone, "{martian:?}");
    }
    assert_eq!(card.count(Counter::SynMartian), 4);
    assert_eq!(from_to(ours, ours), Fate::Gone);
    assert_eq!(card.count(Counter::SynLand), 1);
    assert_eq!(from_to([10, 99, 0, 1], [239, 1, 1, 1]), Fate::Gone);
    assert_eq!(from_to([10, 99, 0, 1], [255; 4]), Fate::Gone);
    let broadcast = altered(&card, linux(), |frame| frame[..6].fill(0xff));
    assert_eq!(broadcast, Fate::Gone);
    assert_eq!(card.count(Counter::SynMulticast), 3);
    let group_source = altered(&card, linux(), |frame| frame[6] = 3);
    assert_eq!(group_source, Fate::Gone);
    assert_eq!(card.count(Counter::SynMartian), 5);

    let mut mapped = [0; 16];
    mapped[10..12].fill(0xff);
    let Addresses::V6 { dst, .. } = V6 else {
        unreachable!()
    };
    for src in [mapped, [0; 16], [0xff; 16]] {
        let client = Client {
            addresses: Addresses::V6 { src, dst },
            ..linux()
        };
        assert_eq!(card.receive(&client.syn()), Fate::Gone, "{src:?}");
    }
    assert_eq!(card.count(Counter::SynAnswered), 0);
}

#[test]
fn bad_checksums_are_dropped() {
    let card = serving(|_| {});
    let mut frame = linux().syn();
    frame[50] ^= 1;
    assert_eq!(card.receive(&frame), Fate::Gone, "of TCP");
    let mut frame = linux().syn();
    frame[22] = 33;
    assert_eq!(card.receive(&frame), Fate::Gone, "of IP");
    assert_eq!(card.count(Counter::SynChecksum), 2);
}

#[test]
fn what_only_the_host_can_do_goes_to_the_host() {
    let card = serving(|_| {});
    // The options of the client start at byte 54; MSS takes the first four.
    let option = |kind: u8| altered(&card, linux(), |frame| frame[54] = kind);
    assert_eq!(option(19), Fate::Host);
    assert_eq!(option(29), Fate::Host);
    assert_eq!(option(30), Fate::Host);
    assert_eq!(card.count(Counter::SynMd5), 1);
    assert_eq!(card.count(Counter::SynAo), 1);
    assert_eq!(card.count(Counter::SynMptcp), 1);
    assert!(
        matches!(option(77), Fate::Answered(_)),
        "unknown options are skipped"
    );

    let mut client = linux();
    client.options.mss = Some(535);
    assert_eq!(card.receive(&client.syn()), Fate::Host);
    client.addresses = V6;
    client.options.mss = Some(1219);
    assert_eq!(card.receive(&client.syn()), Fate::Host);
    assert_eq!(card.count(Counter::SynSmallMss), 2);

    let mut fragment = linux().syn();
    fragment[20] = 0x20;
    assert_eq!(card.receive(&fragment), Fate::Host);
    assert_eq!(card.count(Counter::WireFragment), 1);

    let client = Client {
        server_port: PORT + 1,
        ..linux()
    };
    assert_eq!(card.receive(&client.syn()), Fate::Host);
    assert_eq!(card.count(Counter::SynNoRule), 1);

    let mut header = linux().syn_header();
    header.tcp.flags = Flags::SYN | Flags::ACK;
    assert_eq!(card.receive(&emit(&header, &[])), Fate::Host);
}

#[test]
fn ip_options_go_to_the_host() {
    let card = serving(|_| {});
    let plain = linux().syn();
    let with = |option: [u8; 4]| {
        let mut frame = plain[..34].to_vec();
        frame.extend(option);
        frame.extend(&plain[34..]);
        frame[14] = 0x46;
        frame[17] += 4;
        frame[24..26].fill(0);
        let sum = nicstack::wire::checksum::Sum::new().bytes(&frame[14..38]);
        frame[24..26].copy_from_slice(&sum.checksum().to_be_bytes());
        card.receive(&frame)
    };
    assert_eq!(with([0x94, 4, 0, 0]), Fate::Host, "router alert");
    assert_eq!(card.count(Counter::SynIpOptions), 1);
    assert!(matches!(with([1, 1, 1, 0]), Fate::Answered(_)), "padding");
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let card = serving(|_| {});
    let plain = Client {
        addresses: V6,
        ..linux()
    }
    .syn();
    let with = |kind: u8, header: [u8; 8]| {
        let mut frame = plain[..54].to_vec();
        frame.extend(header);
        frame.extend(&plain[54..]);
        frame[20] = kind;
        frame[19] += 8;
        card.receive(&frame)
    };
    assert!(matches!(
        with(0, [6, 0, 1, 4, 0, 0, 0, 0]),
        Fate::Answered(_)
    ));
    assert!(matches!(
        with(60, [6, 0, 1, 4, 0, 0, 0, 0]),
        Fate::Answered(_)
    ));
    assert_eq!(with(60, [6, 0, 0xc2, 4, 0, 0, 0, 0]), Fate::Host);
    assert_eq!(with(43, [6, 0, 4, 1, 0, 0, 0, 0]), Fate::Host);
    assert_eq!(card.count(Counter::WirePassed), 2);
    assert_eq!(with(44, [6, 0, 0, 1, 0, 0, 0, 9]), Fate::Host);
    assert_eq!(card.count(Counter::WireFragment), 1);
}

#[test]
fn without_a_key_the_host_answers() {
    let mut card = fresh(SMALL);
    let attach = acceltcp_abi::cmd::Attach {
        flags: acceltcp_abi::cmd::attach::HANDSHAKE_META.into(),
        ..Default::default()
    };
    card.order(&acceltcp_abi::cmd::Request::Attach(attach))
        .unwrap();
    card.listen(&any_rule(4)).unwrap();
    assert_eq!(card.receive(&linux().syn()), Fate::Host);
    assert_eq!(card.count(Counter::SynNoKey), 1);
}

#[test]
fn a_flood_does_not_reach_the_host() {
    let mut card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    let mut sent = Sent::default();
    for number in 0..20_000u32 {
        let [_, a, b, c] = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let src = [100, a, b, c];
        let Addresses::V4 { dst, .. } = V4 else {
            unreachable!()
        };
        let flood = Client {
            addresses: Addresses::V4 { src, dst },
            port: number as u16,
            isn: number,
            ..client
        };
        card.nic.from_wire(card.now, &flood.syn(), &mut sent);
        card.pass(1000);
    }
    assert!(sent.to_host.is_empty());
    assert_eq!(sent.to_wire.len(), 20_000, "and every SYN has its answer");
    let memory = card.nic.usage();
    assert_eq!((memory[1].used, memory[2].used), (0, 0), "and no state");
    card.handshake(&client.ack(&reply));
}

fn any_options() -> impl Strategy<Value = Options> {
    (
        proptest::option::of(536u16..),
        proptest::option::of(0u8..15),
        any::<bool>(),
        proptest::option::of(any::<u32>()),
    )
        .prop_map(|(mss, wscale, sack_permitted, value)| Options {
            mss,
            wscale,
            sack_permitted,
            timestamps: value.map(|value| Timestamps { value, echo: 0 }),
            ..Options::default()
        })
}

proptest! {
    /// Whatever a client offers and a rule accepts: the answer has no more than both, and the handshake says
    /// exactly what was agreed.
    #[test]
    fn both_sides_agree(
        options in any_options(), ecn: bool, accepted in 0u16..16, isn: u32, port: u16, wait in 0u64..60_000,
    ) {
        let card = serving(|rule| clear(rule, !(accepted << 1) & 0x1e));
        let client = Client { options, isn, port, ..linux() };
        let mut header = client.syn_header();
        if ecn {
            header.tcp.flags = Flags::SYN | Flags::ECE | Flags::CWR;
        }
        let reply = card.syn_ack(&emit(&header, &[]));
        let mut card = card;
        card.pass(wait * 1_000_000);
        let seen = card.handshake(&client.ack(&reply));

        let has = |flag: u16| accepted << 1 & flag != 0;
        let times = options.timestamps.is_some() && has(rule::TIMESTAMPS);
        let wscale = options.wscale.filter(|_| times && has(rule::WSCALE));
        let sack = options.sack_permitted && times && has(rule::SACK);
        let ecn = ecn && times && has(rule::ECN);
        prop_assert_eq!(reply.options.timestamps.is_some(), times);
        prop_assert_eq!(reply.options.wscale, wscale.map(|_| 7));
        prop_assert_eq!(reply.options.sack_permitted, sack);
        prop_assert_eq!(reply.tcp.flags.has(Flags::ECE), ecn);

        use acceltcp_abi::setup::handshake::{ECN, SACK, TIMESTAMPS, WSCALE};
        let bits = [(TIMESTAMPS, times), (WSCALE, wscale.is_some()), (SACK, sack), (ECN, ecn)];
        let flags = bits.iter().filter(|(_, on)| *on).map(|(bit, _)| bit).sum::<u8>();
        prop_assert_eq!(seen.flags, flags);
        prop_assert_eq!(seen.snd_wscale, wscale.unwrap_or(0));
        prop_assert_eq!(seen.rcv_wscale, wscale.map_or(0, |_| 7));
        let offered = options.mss.unwrap_or(536);
        prop_assert!(seen.mss.get() <= offered);
        let best = nicstack::cookie::MSS_V4.iter().rev().find(|step| **step <= offered);
        prop_assert_eq!(Some(&seen.mss.get()), best);
        prop_assert_eq!(seen.clock.get(), card.clock(&client.addresses));
    }

    /// No frame at all makes the stack panic, send more than one frame, or deliver a changed one.
    #[test]
    fn any_frame_is_survived(
        kind in 0usize..4, noise in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(), cuts: bool,
    ) {
        let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
        let client = Client { addresses: if kind % 2 == 0 { V4 } else { V6 }, ..linux() };
        let reply = card.syn_ack(&client.syn());
        let mut frame = if kind < 2 { client.syn() } else { client.data(&reply, b"data") };
        for (place, value) in noise {
            let place = place.index(frame.len());
            frame[place] = value;
        }
        if cuts {
            frame.truncate(cut.index(frame.len()));
        }
        card.receive(&frame);
        card.send(&frame);
        card.pass(SECOND);
        card.poll();
    }
}
