// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SYNs to a listener's port that the host has to answer.

mod common;

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::setup::rule;
use common::*;
use nicstack::stats::Counter;
use nicstack::wire::ip::Addresses;
use nicstack::wire::tcp::Flags;

/// The listener's address in `addresses`, as in a rule.
fn listener(addresses: &Addresses) -> [u8; 16] {
    let mut wide = [0; 16];
    match addresses {
        Addresses::V4 { dst, .. } => wide[..4].copy_from_slice(dst),
        Addresses::V6 { dst, .. } => wide = *dst,
    }
    wide
}

#[test]
fn a_listener_of_the_host_beside_one_for_any_address() {
    let mut card = serving(|_| {});
    for (addresses, family) in [(V4, 4), (V6, 6)] {
        let client = Client {
            addresses,
            ..linux()
        };
        let earlier = card.syn_ack(&client.syn());
        let mut other = any_rule(family);
        clear(&mut other, rule::ANY_ADDRESS);
        set(&mut other, rule::SYN_TO_HOST);
        other.address = listener(&addresses);
        card.listen(&other).unwrap();
        assert_eq!(card.receive(&client.syn()), Fate::Host);
        // What the card has answered before, it goes on with.
        card.handshake(&client.ack(&earlier));
    }
    assert_eq!(card.count(Counter::SynOtherListener), 2);
    assert_eq!(card.count(Counter::SynAnswered), 2);
}

#[test]
fn a_rule_that_answers_no_more() {
    let mut card = attached();
    let mut rule = any_rule(4);
    set(&mut rule, rule::SERVER_FIRST);
    let handle = card.listen(&rule).unwrap();
    let client = linux();
    let reply = card.syn_ack(&client.syn());
    set(&mut rule, rule::SYN_TO_HOST);
    let replace = cmd::ListenReplace {
        handle: handle.into(),
        rule,
    };
    card.order(&Request::ListenReplace(replace)).unwrap();
    assert_eq!(card.receive(&client.syn()), Fate::Host);
    // The SYN-ACK is sent again until the ACK comes.
    card.pass(2 * SECOND);
    assert_eq!(card.poll().len(), 1);
    card.handshake(&client.ack(&reply));
    card.pass(4 * SECOND);
    assert!(card.poll().is_empty());
}

#[test]
fn a_connection_that_the_host_opens_from_the_port() {
    for addresses in [V4, V6] {
        let mut card = serving(|_| {});
        let peer = Client {
            addresses,
            ..linux()
        };
        let mut opens = peer.header(Flags::SYN);
        opens.ip.addresses = addresses.answer();
        (opens.tcp.src_port, opens.tcp.dst_port) = (opens.tcp.dst_port, opens.tcp.src_port);
        // A SYN-ACK of the host opens nothing.
        let mut answers = opens;
        answers.tcp.flags = Flags::SYN | Flags::ACK;
        card.send(&emit(&answers, &[]));
        card.syn_ack(&peer.syn());

        card.send(&emit(&opens, &[]));
        assert_eq!(card.receive(&peer.syn()), Fate::Host);
        assert_eq!(card.count(Counter::SynConnecting), 1);
        let other = Client {
            port: peer.port + 1,
            ..peer
        };
        card.syn_ack(&other.syn());
        // The host has given up long ago.
        card.pass(140 * SECOND);
        card.syn_ack(&peer.syn());
    }
}

#[test]
fn connections_from_other_ports_take_no_room() {
    let card = serving(|_| {});
    let peer = linux();
    let mut opens = peer.header(Flags::SYN);
    opens.ip.addresses = peer.addresses.answer();
    (opens.tcp.src_port, opens.tcp.dst_port) = (PORT + 1, peer.port);
    card.send(&emit(&opens, &[]));
    card.syn_ack(&peer.syn());
}
