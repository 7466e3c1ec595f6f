// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The access list comes before every offload: frames of what the card owns really go nowhere, and nothing changes by
//! them. A frame that would have had an effect has it when the rule is gone, so the denial is what stopped it.

#[path = "common/closing.rs"]
mod closing;
mod common;
#[path = "common/listing.rs"]
mod listing;
#[path = "common/splicing.rs"]
mod splicing;

use acceltcp_abi::acl::{flag, AclRule};
use acceltcp_abi::setup::rule;
use closing::{Ending, Host};
use common::*;
use listing::*;
use nicstack::stats::Counter;
use nicstack::wire::ip::Addresses;
use nicstack::wire::tcp::Flags;
use splicing::{sides, Relay};

/// Denies what comes from the address of IPv4 in `addresses`.
fn deny_from(addresses: &Addresses) -> AclRule {
    let Addresses::V4 { src, .. } = addresses else {
        panic!("{addresses:?}");
    };
    let mut source = [0; 16];
    source[..4].copy_from_slice(src);
    AclRule {
        family: 4,
        source,
        source_len: 32,
        ..deny(1, 1)
    }
}

#[test]
fn syns_of_a_listener() {
    let mut card = serving(|_| {});
    let reply = card.syn_ack(&linux().syn());
    card.acl_add(&AclRule {
        protocol: 6,
        flags: flag::PROTOCOL | flag::DESTINATION_PORTS,
        destination_ports: [PORT.into(); 2],
        ..deny(1, 1)
    })
    .unwrap();
    let v6 = Client {
        addresses: V6,
        ..linux()
    };
    for frame in [
        linux().syn(),
        v6.syn(),
        linux().ack(&reply),
        linux().data(&reply, b"hello"),
    ] {
        assert_eq!(card.receive(&frame), Fate::Gone);
    }
    assert_eq!(card.count(Counter::AclDenied), 4);
    assert_eq!(card.count(Counter::SynAnswered), 1);
    assert_eq!(card.count(Counter::AckVerified), 0);
    card.acl_remove(1).unwrap();
    card.handshake(&linux().ack(&reply));
    card.syn_ack(&v6.syn());
}

#[test]
fn half_open_connections() {
    let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
    let reply = card.syn_ack(&linux().syn());
    card.acl_add(&deny_from(&V4)).unwrap();
    assert_eq!(card.receive(&linux().ack(&reply)), Fate::Gone);
    // The card itself goes on: what it sends is not looked at.
    card.pass(SECOND + SECOND / 2);
    assert_eq!(card.poll().len(), 1);
    assert_eq!(card.count(Counter::HalfOpenRetransmit), 1);
    card.acl_remove(1).unwrap();
    card.handshake(&linux().ack(&reply));
}

#[test]
fn connections_that_are_ended() {
    let mut nic = Ending::new(&Host::default(), b"bye");
    nic.sent::<1>();
    let states = nic.states();
    let fin = nic.peer_frame(None, 0, 4, Flags::FIN, b"");
    let peer = segment(&fin).ip.addresses;
    nic.card.acl_add(&deny_from(&peer)).unwrap();
    assert_eq!(nic.card.receive(&fin), Fate::Gone);
    assert_eq!(nic.states(), states, "nothing was received");
    assert_eq!(nic.card.count(Counter::TeardownReceived), 0);
    nic.card.acl_remove(1).unwrap();
    assert!(matches!(nic.card.receive(&fin), Fate::Answered(_)));
    assert_ne!(nic.states(), states);
}

#[test]
fn time_wait() {
    let mut nic = Ending::new(&Host::default(), b"");
    nic.sent::<1>();
    nic.peer(0, 1, Flags::FIN, b"");
    nic.sent::<1>();
    let again = nic.peer_frame(None, 0, 1, Flags::FIN, b"");
    let peer = segment(&again).ip.addresses;
    assert!(matches!(nic.card.receive(&again), Fate::Answered(_)));
    let answered = nic.card.count(Counter::TimeWaitAnswered);
    nic.card.acl_add(&deny_from(&peer)).unwrap();
    assert_eq!(nic.card.receive(&again), Fate::Gone);
    // Not even a new connection comes to the host.
    let syn = nic.peer_frame(None, 1000, 0, Flags::SYN, b"");
    assert_eq!(nic.card.receive(&syn), Fate::Gone);
    assert_eq!(nic.card.nic.usage()[5].used, 1);
    assert_eq!(nic.card.count(Counter::TimeWaitAnswered), answered);
    nic.card.acl_remove(1).unwrap();
    assert!(matches!(nic.card.receive(&again), Fate::Answered(_)));
}

#[test]
fn spliced_pairs() {
    let mut relay = Relay::new(sides());
    let data = relay.seg(0, 0, 0, Flags::PSH, b"request");
    let frame = relay.sides[0].peer_frame(&data);
    relay
        .card
        .acl_add(&deny_from(&segment(&frame).ip.addresses))
        .unwrap();
    assert!(relay.receive(&frame).is_empty());
    assert!(relay.events().is_empty());
    assert_eq!(relay.card.count(Counter::SpliceRelayed), 0);
    assert_eq!(relay.card.acl_read(1), Ok((1, frame.len() as u64)));
    // The other peer is heard, and what it says goes out to the one that is denied.
    let response = relay.seg(1, 0, 0, Flags::PSH, b"response");
    assert_eq!(relay.relayed(1, &response).data, b"response");
    relay.card.acl_remove(1).unwrap();
    assert_eq!(relay.receive(&frame)[0].data, b"request");
}
