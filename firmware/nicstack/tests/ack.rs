// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What becomes of the segments behind a SYN.

mod common;

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::setup::{handshake, rule};
use common::*;
use nicstack::stats::Counter;
use nicstack::wire::options::Timestamps;
use nicstack::wire::tcp::Flags;
use nicstack::wire::{ethernet, ipv4};

#[test]
fn the_ack_is_delivered_with_the_options() {
    let mut card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    card.pass(SECOND / 4);
    let seen = card.handshake(&client.ack(&reply));
    let all = handshake::WSCALE | handshake::SACK | handshake::TIMESTAMPS;
    assert_eq!(seen.flags, all);
    assert_eq!((seen.snd_wscale, seen.rcv_wscale), (8, 7));
    assert_eq!((seen.mss.get(), seen.window.get()), (1460, 64_240));
    assert_ne!(seen.rule.get(), 0);
    assert_eq!(seen.tsval.get(), client.tsval);
    assert_eq!(Some(seen.tsecr.get()), reply.tsval());
    assert_eq!(seen.clock.get(), card.clock(&client.addresses));
    assert!(seen.brings_connection());
    assert_eq!(card.count(Counter::AckVerified), 1);
}

#[test]
fn the_first_data_brings_the_connection_too() {
    let card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    card.handshake(&client.data(&reply, b"PING\r\n"));
    // Both again, as when the host had no room for the connection.
    card.handshake(&client.ack(&reply));
    card.handshake(&client.data(&reply, b"PING\r\n"));
    card.handshake(&client.segment(&reply, 0, Flags::FIN, b"PING\r\n"));
}

#[test]
fn deferral_absorbs_the_bare_ack() {
    let card = serving(|rule| set(rule, rule::DEFER));
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    assert_eq!(card.receive(&client.ack(&reply)), Fate::Gone);
    assert_eq!(card.receive(&client.ack(&reply)), Fate::Gone);
    assert_eq!(card.count(Counter::AckDeferred), 2);
    card.handshake(&client.data(&reply, b"PING\r\n"));
    let fin = client.segment(&reply, 0, Flags::FIN, &[]);
    card.handshake(&fin);
}

#[test]
fn deferral_leaves_other_acks_to_the_host() {
    let card = serving(|rule| set(rule, rule::DEFER));
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    card.handshake(&client.data(&reply, b"PING\r\n"));
    // The client acknowledges what the server sent.
    let mut later = reply.clone();
    later.tcp.seq = later.tcp.seq.wrapping_add(7);
    let ack = client.segment(&later, 6, Flags::default(), &[]);
    assert_eq!(card.receive(&ack), Fate::Host);
}

/// The ACK and the first segment are lost: the second one must not become the first, and no RST either.
#[test]
fn a_lost_first_segment_is_waited_for() {
    for flags in [0, rule::DEFER] {
        let card = serving(|rule| set(rule, flags));
        let client = linux();
        let reply = card.syn_ack(&client.syn());
        for offset in [1, 5, 1448, 64_240] {
            let second = client.segment(&reply, offset, Flags::PSH, b"second");
            let seen = card.handshake(&second);
            assert!(!seen.brings_connection());
            assert_eq!(seen.skipped.get(), offset);
        }
        assert_eq!(card.count(Counter::AckEarly), 4);
        let beyond = client.segment(&reply, 64_241, Flags::PSH, b"beyond");
        assert_eq!(card.receive(&beyond), Fate::Host);
        let first = card.handshake(&client.data(&reply, b"first"));
        assert!(first.brings_connection());
    }
}

#[test]
fn what_does_not_verify_goes_to_the_host_as_it_is() {
    let card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    let changed = |change: fn(&mut nicstack::wire::segment::SegmentHeader)| {
        let frame = client.data(&reply, b"data");
        let segment = segment(&frame);
        let mut header = client.header(Flags::ACK);
        header.tcp = segment.tcp.header;
        header.options.timestamps = reply.tsval().map(|echo| Timestamps {
            value: client.tsval,
            echo,
        });
        change(&mut header);
        card.receive(&emit(&header, b"data"))
    };
    assert!(matches!(changed(|_| {}), Fate::HostWith(_)));
    assert_eq!(changed(|h| h.tcp.seq ^= 1 << 31), Fate::Host, "ISN");
    assert_eq!(
        changed(|h| h.tcp.seq = h.tcp.seq.wrapping_sub(1)),
        Fate::Host
    );
    assert_eq!(changed(|h| h.tcp.ack ^= 1), Fate::Host, "cookie");
    assert_eq!(changed(|h| h.tcp.src_port += 1), Fate::Host, "port");
    assert_eq!(changed(|h| h.options.timestamps = None), Fate::Host);
    assert_eq!(
        changed(|h| h.options.timestamps.as_mut().unwrap().echo ^= 1),
        Fate::Host,
        "options"
    );
    assert_eq!(
        changed(|h| h.options.timestamps.as_mut().unwrap().echo ^= 1 << 20),
        Fate::Host,
        "an echo of a time long ago"
    );
    assert_eq!(
        changed(|h| h.tcp.flags = Flags::RST | Flags::ACK),
        Fate::Host
    );
    assert_eq!(changed(|h| h.tcp.flags = Flags::RST), Fate::Host);
}

#[test]
fn a_bad_checksum_brings_nothing() {
    let card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    let mut frame = client.data(&reply, b"data");
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(card.receive(&frame), Fate::Gone);
    assert_eq!(card.count(Counter::AckChecksum), 1);
}

#[test]
fn cookies_expire() {
    let mut card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    let ack = client.ack(&reply);
    card.pass(79 * SECOND);
    card.handshake(&ack);
    card.pass(42 * SECOND);
    for _ in 0..200 {
        assert_eq!(card.receive(&ack), Fate::Host);
        card.pass(2 * SECOND);
    }
}

#[test]
fn without_timestamps_too() {
    let mut card = serving(|_| {});
    let mut client = linux();
    client.options.timestamps = None;
    let reply = card.syn_ack(&client.syn());
    let ack = client.ack(&reply);
    let seen = card.handshake(&ack);
    assert_eq!((seen.flags, seen.mss.get()), (0, 1460));
    card.pass(121 * SECOND);
    for _ in 0..200 {
        assert_eq!(card.receive(&ack), Fate::Host);
        card.pass(2 * SECOND);
    }
}

#[test]
fn rotation_loses_no_handshake() {
    let mut card = serving(|_| {});
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    let ack = client.ack(&reply);
    card.rotate(1);
    card.handshake(&ack);
    let other = Client {
        port: 40_001,
        ..client
    };
    let newer = other.ack(&card.syn_ack(&other.syn()));
    card.rotate(2);
    assert_eq!(card.receive(&ack), Fate::Host, "two rotations");
    card.handshake(&newer);
}

#[test]
fn a_rule_of_another_scale_does_not_take_old_cookies() {
    let mut card = attached();
    let mut rule = any_rule(4);
    let handle = card.listen(&rule).unwrap();
    let client = linux();
    let ack = client.ack(&card.syn_ack(&client.syn()));
    let mut replace = |rule: &acceltcp_abi::setup::ListenRule| {
        card.order(&Request::ListenReplace(cmd::ListenReplace {
            handle: handle.into(),
            rule: *rule,
        }))
        .unwrap();
        card.receive(&ack)
    };
    rule.window = 1000.into();
    assert!(matches!(replace(&rule), Fate::HostWith(_)));
    rule.wscale = 3;
    assert_eq!(replace(&rule), Fate::Host);
}

/// The frame with which the host ends the connection of `client`.
fn ending(client: &Client, reply: &Reply, flags: Flags) -> Vec<u8> {
    let mut header = client.header(flags | Flags::ACK);
    header.ip.addresses = client.addresses.answer();
    header.tcp.src_port = client.server_port;
    header.tcp.dst_port = client.port;
    header.tcp.seq = reply.tcp.seq.wrapping_add(100);
    emit(&header, &[])
}

#[test]
fn a_duplicate_after_the_end_is_no_second_connection() {
    let card = serving(|rule| set(rule, rule::DEFER));
    for (port, end) in [(1, Some(Flags::FIN)), (2, Some(Flags::RST)), (3, None)] {
        let client = Client { port, ..linux() };
        let reply = card.syn_ack(&client.syn());
        let data = client.data(&reply, b"INCR x\r\n");
        card.handshake(&data);
        card.handshake(&data);
        match end {
            Some(flags) => card.send(&ending(&client, &reply, flags)),
            // The client resets.
            None => {
                let mut header = client.header(Flags::RST);
                header.tcp.seq = client.isn.wrapping_add(9);
                assert_eq!(card.receive(&emit(&header, &[])), Fate::Host);
            }
        }
        assert_eq!(card.receive(&data), Fate::Host, "held back by the network");
        // A new connection of the same ports is not touched by that.
        let client = Client {
            isn: client.isn.wrapping_add(50_000),
            ..client
        };
        let reply = card.syn_ack(&client.syn());
        card.handshake(&client.data(&reply, b"INCR x\r\n"));
    }
    assert_eq!(card.count(Counter::AckReplay), 3);
}

#[test]
fn a_reset_card_knows_nothing() {
    let mut card = serving(|_| {});
    let client = linux();
    let ack = client.ack(&card.syn_ack(&client.syn()));
    card.nic.reset();
    assert_eq!(card.receive(&client.syn()), Fate::Host);
    assert_eq!(card.receive(&ack), Fate::Host);
    assert_eq!(card.listen(&any_rule(4)), Err(cmd::ENOTCONN));
    card.attach();
    card.listen(&any_rule(4)).unwrap();
    card.syn_ack(&client.syn());
}

#[test]
fn server_first_repeats_the_syn_ack() {
    let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    assert!(card.poll().is_empty());
    card.pass(SECOND);
    let again = card.poll();
    assert_eq!(again.len(), 1);
    let again = Reply::parse(&again[0]);
    assert_eq!(again.tcp, reply.tcp);
    let (old, new) = (reply.tsval().unwrap(), again.tsval().unwrap());
    assert!(new.wrapping_sub(old).abs_diff(1000) < 64);
    assert_eq!(new % 64, old % 64);
    assert!(card.poll().is_empty());
    // The client's ACK of either is good, and ends the repetition.
    card.handshake(&client.ack(&again));
    card.pass(10 * SECOND);
    assert!(card.poll().is_empty());
    assert_eq!(card.count(Counter::HalfOpenRetransmit), 1);
    assert_eq!(card.nic.usage()[2].used, 0);
}

#[test]
fn server_first_gives_up() {
    let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
    card.syn_ack(&linux().syn());
    let mut sent = 0;
    for _ in 0..100 {
        card.pass(SECOND);
        sent += card.poll().len();
    }
    assert_eq!(sent, 5);
    assert_eq!(card.count(Counter::HalfOpenTimeout), 1);
}

#[test]
fn server_first_ends_with_the_clients_reset() {
    let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
    let client = linux();
    card.syn_ack(&client.syn());
    let mut header = client.header(Flags::RST);
    assert_eq!(card.receive(&emit(&header, &[])), Fate::Host);
    assert_eq!(card.count(Counter::HalfOpenReset), 0, "outside");
    header.tcp.seq = client.isn.wrapping_add(1);
    card.receive(&emit(&header, &[]));
    assert_eq!(card.count(Counter::HalfOpenReset), 1);
    card.pass(9 * SECOND);
    assert!(card.poll().is_empty());
}

#[test]
fn a_damaged_ack_is_no_reset() {
    let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    let mut ack = client.ack(&reply);
    // RST for ACK in the flags.
    let flags = ethernet::HEADER + ipv4::HEADER + 13;
    ack[flags] ^= 0x14;
    assert_eq!(card.receive(&ack), Fate::Host);
    assert_eq!(card.count(Counter::HalfOpenReset), 0);
    card.pass(SECOND);
    assert_eq!(card.poll().len(), 1);
}

#[test]
fn server_first_without_room_is_stateless() {
    let card = serving(|rule| set(rule, rule::SERVER_FIRST));
    for port in 0..SMALL.half_open as u16 + 3 {
        let client = Client { port, ..linux() };
        let reply = card.syn_ack(&client.syn());
        if port >= SMALL.half_open as u16 {
            card.handshake(&client.ack(&reply));
        }
    }
    assert_eq!(card.count(Counter::HalfOpenFull), 3);
    assert_eq!(card.count(Counter::HalfOpenKept), 16);
}

#[test]
fn half_open_connections_end_with_their_listener() {
    let mut card = attached();
    let mut rule = any_rule(4);
    set(&mut rule, rule::SERVER_FIRST);
    let handle = card.listen(&rule).unwrap();
    card.syn_ack(&linux().syn());
    card.order(&Request::ListenRemove(cmd::ListenRemove {
        handle: handle.into(),
    }))
    .unwrap();
    card.pass(2 * SECOND);
    assert!(card.poll().is_empty());
    assert_eq!(card.nic.usage()[2].used, 0);
}
