// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pairs whose hosts have shrunk their windows, or had larger ones before.

mod common;
#[path = "common/splicing.rs"]
mod splicing;

use acceltcp_abi::splice::{event, kind, reason};
use nicstack::stats::Counter;
use nicstack::wire::tcp::Flags;
use splicing::*;

const NONE: Flags = Flags(0);

/// What was on its way when the host closed its window.
#[test]
fn data_beyond_a_window_that_has_shrunk_is_followed() {
    let mut relay = Relay::new(sides().map(|side| Side {
        window: 0,
        max_rcv_wnd: 2000,
        ..side
    }));
    let late = [0, 1000].map(|at| relay.seg(0, at, 0, NONE, &[1; 1000]));
    // The first one comes last.
    relay.relayed(0, &late[1]);
    relay.relayed(0, &late[0]);
    relay.relayed(1, &relay.seg(1, 0, 2000, NONE, b""));
    relay.relayed(0, &relay.seg(0, 2000, 0, Flags::FIN, b""));
    relay.relayed(1, &relay.seg(1, 0, 2001, Flags::FIN, b""));
    relay.relayed(0, &relay.seg(0, 2001, 1, NONE, b""));
    let told = relay.event();
    assert_eq!((told.kind, told.reason), (event::ENDED, reason::CLOSED));
    assert_eq!(told.bytes[0].get(), 2000);
}

/// The other peer may have room for what is beyond a window of the host's: if it acknowledged that nothing would ever be quiet.
#[test]
fn what_is_beyond_the_window_is_not_relayed() {
    let mut relay = Relay::new(sides());
    let window = 500 << 8;
    for at in [window + 2, window + 100_000] {
        let answers = relay.peer(0, &relay.seg(0, at, 0, NONE, b"early"));
        // Not for each of many.
        assert!(relay
            .peer(0, &relay.seg(0, at, 0, NONE, b"early"))
            .is_empty());
        let numbers: Vec<_> = answers
            .iter()
            .map(|out| (out.to, out.tcp.seq, out.tcp.ack))
            .collect();
        assert_eq!(numbers, [(0, relay.sides[0].una, relay.sides[0].rcv_nxt)]);
        relay.wait(100);
    }
    assert_eq!(relay.count(Counter::SpliceBeyond), 4);
    assert_eq!(relay.count(Counter::SpliceAnswered), 2);
    // With a hole in front of it.
    relay.relayed(0, &relay.seg(0, window - 5, 0, NONE, b"early"));
    relay.relayed(1, &relay.seg(1, 0, window, NONE, b""));
    relay.order(kind::TAKE_BACK, 0, 1);
    assert_eq!(relay.event().kind, event::TAKEN_BACK);
    assert_eq!(relay.count(Counter::SpliceBeyond), 4);
}

/// Windows that were closed with data on its way let neither peer hear the other, as each begins before what the other one has.
#[test]
fn what_is_old_is_answered() {
    let mut relay = Relay::new(sides());
    relay.relayed(0, &relay.seg(0, 0, 0, NONE, b"request"));
    relay.relayed(1, &relay.seg(1, 0, 7, NONE, b"response"));
    relay.relayed(0, &relay.seg(0, 7, 8, NONE, b""));
    // A probe knows of all this; who answers it is the other peer.
    relay.relayed(1, &relay.seg(1, 7, 7, NONE, b""));
    relay.relayed(0, &relay.seg(0, 6, 8, NONE, b""));
    assert_eq!(relay.count(Counter::SpliceAnswered), 0);
    let old: [(u32, &[u8]); 3] = [(6, b""), (0, b"resp"), (0, b"response")];
    for (number, (at, data)) in old.into_iter().enumerate() {
        let sent = relay.peer(1, &relay.seg(1, at, 7, NONE, data));
        let sides = &relay.sides;
        let numbers: Vec<_> = sent
            .iter()
            .map(|out| (out.to, out.tcp.seq, out.tcp.ack, out.data.len()))
            .collect();
        let relayed = (
            0,
            sides[0].una.wrapping_add(at),
            sides[0].rcv_nxt + 7,
            data.len(),
        );
        let answer = (1, sides[1].una + 7, sides[1].rcv_nxt.wrapping_add(8), 0);
        assert_eq!(numbers, [relayed, answer]);
        assert_eq!(sent[1].tcp.flags, Flags::ACK);
        assert_eq!(sent[1].tcp.window, ((400 << 7) >> 6) as u16);
        assert_eq!(relay.count(Counter::SpliceAnswered), number as u64 + 1);
        // Not for each of many.
        relay.relayed(1, &relay.seg(1, at, 7, NONE, data));
        relay.wait(100);
    }
}
