// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pairs: what becomes of segments, and how pairs end.

mod common;
#[path = "common/splicing.rs"]
mod splicing;

use acceltcp_abi::splice::{event, kind, reason};
use common::*;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::Tag;
use nicstack::wire::tcp::Flags;
use splicing::*;

const NONE: Flags = Flags(0);

#[test]
fn a_segment_of_each_peer_is_one_of_the_host_to_the_other() {
    let mut relay = Relay::new(sides());
    let [client, server] = sides();
    let out = relay.relayed(
        0,
        &Seg {
            options: [
                stamps(300_010, 900_000),
                sack(&[(client.una.wrapping_add(100), client.una.wrapping_add(300))]),
            ]
            .concat(),
            ecn: 3,
            ..relay.seg(0, 10, 0, Flags::PSH, b"request")
        },
    );
    assert_eq!(out.tcp.seq, server.una + 10);
    assert_eq!(out.tcp.ack, server.rcv_nxt);
    assert_eq!(out.tcp.flags, Flags::PSH | Flags::ACK);
    assert_eq!(out.tcp.window, ((400 << 7) >> 6) as u16);
    let times = out.times.unwrap();
    assert_eq!(times.value, 4_000_000_010);
    assert_eq!(times.echo, 17);
    let blocks = (
        server.rcv_nxt.wrapping_add(100),
        server.rcv_nxt.wrapping_add(300),
    );
    assert_eq!(out.options[12..], sack(&[blocks]));
    assert_eq!(out.data, b"request");
    let view = segment(&out.frame);
    assert_eq!(view.ip.traffic_class, 3);
    assert_eq!(out.frame[14 + 8], 64, "TTL");

    let out = relay.relayed(
        1,
        &Seg {
            options: stamps(20, 4_000_000_010),
            ..relay.seg(1, 0, 17, NONE, b"response")
        },
    );
    assert_eq!(out.tcp.seq, client.una);
    assert_eq!(out.tcp.ack, client.rcv_nxt + 17);
    assert_eq!(out.tcp.window, ((400 << 3) >> 8) as u16);
    let times = out.times.unwrap();
    assert_eq!((times.value, times.echo), (900_003, 300_010));
    assert_eq!(relay.count(Counter::SpliceRelayed), 2);
    assert!(relay.port.to_host.is_empty());
}

#[test]
fn families_tags_and_no_timestamps() {
    for which in [[false; 2], [true, false], [false, true], [true; 2]] {
        for tagged in 0..4 {
            let mut sides = over_v6(sides(), which);
            for (number, side) in sides.iter_mut().enumerate() {
                side.times = None;
                side.vlan = (tagged >> number & 1 != 0).then_some(Tag {
                    protocol: 0x8100,
                    tci: 0x6005,
                });
            }
            let mut relay = Relay::new(sides);
            for (side, data) in [(0, &b"there"[..]), (1, b"and back")] {
                let out = relay.relayed(side, &relay.seg(side, 0, 0, NONE, data));
                assert_eq!(out.data, data);
                assert_eq!(out.tcp.seq, relay.sides[1 - side].una);
                assert!(out.options.is_empty());
                let stranger = Side {
                    ports: [PORT, 40_001],
                    ..relay.sides[side].clone()
                };
                relay.receive(&stranger.peer_frame(&Seg::default()));
                assert_eq!(relay.port.to_host.len(), side + 1);
            }
        }
    }
}

#[test]
fn the_window_is_never_more_than_a_header_holds() {
    let mut relay = Relay::new(sides().map(|side| Side {
        snd_wscale: 14,
        rcv_wscale: 2,
        ..side
    }));
    let out = relay.relayed(0, &relay.seg(0, 0, 0, NONE, b""));
    assert_eq!(out.tcp.window, 0xffff);
}

fn left(side: Side, len: usize, sent: u32) -> Side {
    Side {
        data: (0..len)
            .map(|place| (place * 7 + place / 256) as u8)
            .collect(),
        sent,
        ..side
    }
}

#[test]
fn what_the_host_left_is_sent_and_the_other_peer_sees_a_floor() {
    let [client, server] = sides();
    let server = left(server, 5000, 1448);
    let data = server.data.clone();
    let mut relay = Relay::new([client.clone(), server.clone()]);
    let sent = relay.sent();
    let lens: Vec<_> = sent
        .iter()
        .map(|out| (out.to, out.tcp.seq, out.data.len()))
        .collect();
    let at = |offset| server.una + offset;
    assert_eq!(
        lens,
        [(1, at(1448), 1448), (1, at(2896), 1448), (1, at(4344), 656)]
    );
    for out in &sent {
        let from = (out.tcp.seq - server.una) as usize;
        assert_eq!(out.data, data[from..from + out.data.len()]);
        assert_eq!(out.tcp.ack, server.rcv_nxt);
        let times = out.times.unwrap();
        assert_eq!((times.value, times.echo), (4_000_000_000, 17));
    }
    assert_eq!(relay.card.nic.usage()[4].used, 3);

    // The client's data comes behind it.
    let out = relay.relayed(0, &relay.seg(0, 0, 0, NONE, b"more"));
    assert_eq!(out.tcp.seq, at(5000));
    // The server has half of it, and answers; what the client sees of its window ends where it does.
    let seg = Seg {
        options: [stamps(18, 4_000_000_000), sack(&[(at(5000), at(5004))])].concat(),
        ..relay.seg(1, 0, 2896, NONE, b"hello")
    };
    let out = relay.relayed(1, &seg);
    assert_eq!(out.tcp.ack, client.rcv_nxt);
    assert_eq!(out.tcp.window, ((400 * 8 - 2104) >> 8) as u16);
    assert_eq!(
        out.options[12..],
        [1; 12],
        "no block of what it did not send"
    );
    // By itself that tells the client nothing.
    assert!(relay.peer(1, &relay.seg(1, 5, 2896, NONE, b"")).is_empty());
    assert_eq!(relay.count(Counter::SpliceAbsorbed), 1);
    // All of it, and two bytes of the client.
    let out = relay.relayed(1, &relay.seg(1, 5, 5002, NONE, b""));
    assert_eq!(out.tcp.ack, client.rcv_nxt + 2);
    assert_eq!(relay.card.nic.usage()[4].used, 0);
    assert!(relay.wait(3000).is_empty());
    assert_eq!(relay.port.credits.last().unwrap().buffers.get(), 3);
    // One that was late does not go below the floor.
    let out = relay.relayed(1, &relay.seg(1, 5, 1000, NONE, b""));
    assert_eq!(out.tcp.ack, client.rcv_nxt);
}

/// Or the peer would take what the card sends for something from the past (PAWS).
#[test]
fn what_the_host_left_is_no_older_than_what_was_relayed_before() {
    let [client, server] = sides();
    let mut relay = Relay::new([client, left(server, 1000, 0)]);
    let value = relay.sent()[0].times.unwrap().value;
    // The client has not heard yet that the host got this.
    let again = Seg {
        seq: relay.sides[0].rcv_nxt - 300,
        options: stamps(300_040, 900_000),
        ..relay.seg(0, 0, 0, NONE, &[1; 300])
    };
    let relayed = relay.peer(0, &again).remove(0);
    assert_eq!(relayed.times.unwrap().value, value.wrapping_add(40));
    let sent = relay.wait(250);
    assert_eq!(sent[0].times.unwrap().value, value.wrapping_add(40));
}

#[test]
fn what_is_lost_is_sent_again() {
    let [client, server] = sides();
    let client = left(client, 4000, 0);
    let mut relay = Relay::new([client.clone(), server]);
    assert_eq!(relay.sent().len(), 3);
    let again = relay.wait(240);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].to, again[0].tcp.seq), (0, client.una));
    assert_eq!(relay.count(Counter::SpliceRetransmit), 1);
    // What is acknowledged next brings what was lost next, and at last there is none.
    let acked = relay.seg(0, 0, 1448, NONE, b"");
    let again = relay.peer(0, &acked);
    assert_eq!(again[0].tcp.seq, client.una.wrapping_add(1448));
    relay.peer(0, &relay.seg(0, 0, 4000, NONE, b""));
    assert!(relay.wait(2000).is_empty());
}

#[test]
fn three_duplicates_are_a_loss() {
    let [client, server] = sides();
    let mut relay = Relay::new([client.clone(), left(server, 9000, 0)]);
    relay.sent();
    let una = relay.sides[1].una;
    let mut sent = Vec::new();
    relay.peer(1, &relay.seg(1, 0, 1448, NONE, b""));
    for _ in 0..4 {
        sent.extend(relay.peer(1, &relay.seg(1, 0, 1448, NONE, b"")));
    }
    assert_eq!(sent.len(), 1, "{sent:#?}");
    assert_eq!(sent[0].tcp.seq, una + 1448);
    assert_eq!(relay.count(Counter::SpliceFastRetransmit), 1);
}

#[test]
fn a_closed_window_is_probed_and_may_open() {
    let [client, mut server] = sides();
    server.snd_wnd = 0;
    let mut relay = Relay::new([client, left(server, 100, 0)]);
    assert!(relay.sent().is_empty());
    let una = relay.sides[1].una;
    for _ in 0..8 {
        let probes = relay.wait(240);
        assert!(probes
            .iter()
            .all(|out| out.tcp.seq == una - 1 && out.data.is_empty()));
        let closed = Seg {
            window: 0,
            ..relay.seg(1, 0, 0, NONE, b"")
        };
        relay.peer(1, &closed);
    }
    assert!(relay.count(Counter::SpliceProbe) >= 3);
    let out = relay.peer(1, &relay.seg(1, 0, 0, NONE, b""));
    assert!(out.iter().any(|out| out.to == 1 && out.data.len() == 100));
}

#[test]
fn who_does_not_acknowledge_is_given_up() {
    for end in 0..2 {
        let mut sides = sides();
        sides[end] = left(sides[end].clone(), 3000, 0);
        let mut relay = Relay::new(sides);
        let sent = relay.wait(30_000);
        let resets: Vec<_> = sent
            .iter()
            .filter(|out| out.tcp.flags.has(Flags::RST))
            .collect();
        // Who has not acknowledged all gets one with either number.
        let to = |side| resets.iter().filter(|out| out.to == side).count();
        assert_eq!((to(end), to(1 - end)), (2, 1));
        let told = relay.event();
        assert_eq!((told.kind, told.reason), (event::ENDED, reason::TIMEOUT));
        let second = if end == 1 { event::FLAG_SECOND } else { 0 };
        assert_eq!(told.flags, event::FLAG_FREED | second);
        assert!(relay.is_empty());
    }
}

/// Closes from `first` on; the pair lingers then.
fn close(relay: &mut Relay, first: usize) {
    let second = 1 - first;
    let mut step = |side, offset, acked, flags, data: &[u8]| {
        relay.relayed(side, &relay.seg(side, offset, acked, flags, data));
    };
    step(first, 0, 0, Flags::PSH, b"1234");
    step(first, 4, 0, Flags::FIN, b"");
    step(second, 0, 5, NONE, b"");
    step(second, 0, 5, NONE, b"12345678");
    step(first, 5, 8, NONE, b"");
    step(second, 8, 5, Flags::FIN, b"");
    assert!(relay.events().is_empty());
    relay.relayed(first, &relay.seg(first, 5, 9, NONE, b""));
}

#[test]
fn both_close_in_any_order() {
    for first in 0..2 {
        let mut relay = Relay::new(sides());
        close(&mut relay, first);
        let told = relay.event();
        assert_eq!(
            (told.kind, told.reason, told.flags),
            (event::ENDED, reason::CLOSED, 0)
        );
        assert_eq!((told.pair.get(), told.generation.get()), (0, 1));
        assert_eq!(told.bytes[first].get(), 4);
        assert_eq!(told.bytes[1 - first].get(), 8);
        assert_eq!(told.segments[first].get(), 4);
        assert_eq!(told.segments[1 - first].get(), 3);
        // Late segments find their way.
        let late = relay.peer(1 - first, &relay.seg(1 - first, 8, 5, Flags::FIN, b""));
        assert_eq!(
            late.iter().map(|out| out.to).collect::<Vec<_>>(),
            [first, 1 - first]
        );
        assert_eq!(relay.count(Counter::SpliceLate), 1);
        assert_eq!(relay.card.nic.pairs_by_state()[1].1, 1);
        assert!(relay.wait(1100).is_empty());
        let told = relay.event();
        assert_eq!((told.kind, told.flags), (event::FREED, event::FLAG_FREED));
        assert!(relay.is_empty());
        relay.peer(0, &relay.seg(0, 5, 9, NONE, b""));
        assert_eq!(relay.port.to_host.len(), 1, "it is nobody's");
    }
}

#[test]
fn a_reset_ends_the_pair_if_it_may_be_the_peers() {
    for side in 0..2 {
        let mut relay = Relay::new(sides());
        relay.relayed(side, &relay.seg(side, 0, 0, NONE, b"data"));
        let mut reset = relay.seg(side, 0, 0, Flags::RST, b"");
        for wrong in [-1i32, 200_000, i32::MIN] {
            let seq = relay.sides[side].rcv_nxt.wrapping_add(wrong as u32);
            assert!(relay
                .peer(
                    side,
                    &Seg {
                        seq,
                        ..reset.clone()
                    }
                )
                .is_empty());
        }
        assert_eq!(relay.count(Counter::SpliceBadReset), 3);
        reset.seq = reset.seq.wrapping_add(4);
        let out = relay.relayed(side, &reset);
        assert_eq!(out.tcp.seq, relay.sides[1 - side].una.wrapping_add(4));
        assert!(out.tcp.flags.has(Flags::RST));
        let told = relay.event();
        let second = if side == 1 { event::FLAG_SECOND } else { 0 };
        assert_eq!((told.kind, told.reason), (event::ENDED, reason::RESET));
        assert_eq!(told.flags, event::FLAG_FREED | second);
        assert!(relay.is_empty());
    }
}

#[test]
fn silence_ends_the_pair_and_a_segment_is_none() {
    let mut relay = Relay::empty(PAIRS);
    relay.idle_ms = 5000;
    relay.install(3, 9);
    for _ in 0..3 {
        assert!(relay.wait(4500).is_empty());
        let keepalive = relay.seg(0, u32::MAX, 0, NONE, b"");
        relay.relayed(0, &keepalive);
    }
    relay.relayed(1, &relay.seg(1, 0, 0, NONE, b"12"));
    let sent = relay.wait(5200);
    // What has not been acknowledged may have come, or not.
    let [client, server] = relay.sides.each_ref().map(|side| side.una);
    let wanted = [(0, client.wrapping_add(2)), (0, client), (1, server)];
    assert_eq!(sent.len(), wanted.len());
    for (out, (to, seq)) in sent.iter().zip(wanted) {
        assert_eq!(out.tcp.flags, Flags::RST | Flags::ACK);
        assert_eq!(out.to, to);
        assert_eq!((out.tcp.seq, out.tcp.ack), (seq, relay.sides[to].rcv_nxt));
    }
    let told = relay.event();
    assert_eq!((told.kind, told.reason), (event::ENDED, reason::IDLE));
    assert_eq!((told.pair.get(), told.generation.get()), (3, 9));
    assert!(relay.is_empty());
}

#[test]
fn the_host_may_have_them_back() {
    let mut relay = Relay::new(sides());
    relay.relayed(0, &relay.seg(0, 0, 0, NONE, b"request"));
    relay.relayed(1, &relay.seg(1, 0, 7, NONE, b"response"));
    relay.relayed(0, &relay.seg(0, 7, 3, NONE, b""));
    relay.order(kind::TAKE_BACK, 0, 2);
    relay.order(kind::TAKE_BACK, 1, 1);
    assert_eq!(relay.count(Counter::SpliceUnknown), 2);
    relay.order(kind::TAKE_BACK, 0, 1);
    assert!(
        relay.events().is_empty(),
        "the client has not acknowledged all"
    );
    // What is new waits for the host; what is said of the old is heard.
    let more = [
        relay.peer(1, &relay.seg(1, 8, 7, NONE, b"more")),
        relay.peer(0, &relay.seg(0, 7, 8, NONE, b"more")),
    ];
    assert_eq!(more, [[], []]);
    assert_eq!(relay.count(Counter::SpliceAbsorbed), 2);
    let told = relay.event();
    assert_eq!(
        (told.kind, told.flags),
        (event::TAKEN_BACK, event::FLAG_FREED)
    );
    let [client, server] = &relay.sides;
    let ends = told.ends();
    assert_eq!(ends[0].snd_nxt.get(), client.una.wrapping_add(8));
    assert_eq!(ends[0].rcv_nxt.get(), client.rcv_nxt + 7);
    assert_eq!(ends[0].snd_wnd.get(), 400 << 7);
    assert_eq!(ends[0].ts_recent.get(), 300_001);
    assert_eq!(ends[0].ts_sent.get(), 900_001);
    assert_eq!(ends[1].snd_nxt.get(), server.una + 7);
    assert_eq!(ends[1].rcv_nxt.get(), server.rcv_nxt.wrapping_add(8));
    assert_eq!(ends[1].ts_recent.get(), 18);
    assert_eq!(ends[1].ts_sent.get(), 4_000_000_001);
    relay.peer(0, &relay.seg(0, 7, 8, NONE, b""));
    assert_eq!(relay.port.to_host.len(), 1);
    assert!(relay.is_empty());
}

#[test]
fn what_begins_with_old_data_passes_while_they_come_back() {
    let mut relay = Relay::new(sides());
    relay.relayed(1, &relay.seg(1, 0, 0, NONE, b"response"));
    relay.order(kind::TAKE_BACK, 0, 1);
    // Sent again, together with what was written after it.
    relay.relayed(1, &relay.seg(1, 4, 0, NONE, b"onse, more"));
    assert!(relay.events().is_empty());
    relay.peer(0, &relay.seg(0, 0, 14, NONE, b""));
    assert_eq!(relay.event().kind, event::TAKEN_BACK);
}

#[test]
fn not_while_something_is_left_or_one_of_them_closes() {
    let [client, server] = sides();
    let mut relay = Relay::new([client, left(server, 10, 0)]);
    relay.order(kind::TAKE_BACK, 0, 1);
    assert!(relay.events().is_empty());
    relay.wait(2100);
    assert_eq!(relay.event().kind, event::REFUSED, "nobody acknowledges");
    relay.peer(1, &relay.seg(1, 0, 10, NONE, b""));
    relay.sent();
    relay.relayed(0, &relay.seg(0, 0, 0, Flags::FIN, b""));
    relay.order(kind::TAKE_BACK, 0, 1);
    assert_eq!(relay.event().kind, event::REFUSED);
    assert_eq!(relay.count(Counter::SpliceKept), 2);
    relay.order(kind::ABORT, 0, 1);
    // The server has not acknowledged the FIN: it gets two.
    let to: Vec<_> = relay.sent().iter().map(|out| out.to).collect();
    assert_eq!(to, [0, 1, 1]);
    assert_eq!(relay.event().reason, reason::ABORTED);
    assert!(relay.is_empty());
}

#[test]
fn the_host_says_nothing_for_a_pair() {
    let mut relay = Relay::new(sides());
    let say = |relay: &mut Relay, flags| {
        let frame = relay.sides[0].host_frame(&Seg {
            flags,
            ..Seg::default()
        });
        relay
            .card
            .nic
            .from_host(relay.card.now, &frame, &mut relay.port);
        relay.sent().len()
    };
    for flags in [Flags::SYN, Flags::RST, Flags::ACK] {
        assert_eq!(say(&mut relay, flags), 0);
    }
    assert_eq!(relay.count(Counter::SpliceHostDropped), 3);
    close(&mut relay, 0);
    assert_eq!(say(&mut relay, Flags::RST), 0);
    relay.events();
    assert_eq!(say(&mut relay, Flags::SYN), 1, "a new connection");
    assert_eq!(relay.event().kind, event::FREED);
    assert_eq!(relay.count(Counter::SpliceReused), 1);
    assert_eq!(say(&mut relay, Flags::RST), 1);
}

#[test]
fn a_new_syn_ends_the_time_after_the_end() {
    let mut relay = Relay::new(sides());
    let syn = |relay: &Relay, side, offset| Seg {
        flags: Flags::SYN,
        options: Vec::new(),
        ..relay.seg(side, offset, 0, NONE, b"")
    };
    relay.relayed(0, &syn(&relay, 0, 100));
    assert_eq!(relay.count(Counter::SpliceSyn), 1);
    close(&mut relay, 0);
    relay.events();
    relay.relayed(0, &syn(&relay, 0, 0));
    assert!(relay.peer(0, &syn(&relay, 0, 1000)).is_empty());
    assert_eq!(relay.port.to_host.len(), 1);
    assert_eq!(relay.event().kind, event::FREED);
    assert!(relay.is_empty());
}

#[test]
fn what_came_too_early_is_given_back() {
    let mut relay = Relay::new(sides());
    let frame = relay.sides[0].peer_frame(&relay.seg(0, 0, 0, NONE, b"early"));
    relay
        .card
        .nic
        .returned(relay.card.now, &frame, &mut relay.port);
    assert_eq!(relay.sent()[0].data, b"early");
    let stranger = Side {
        ports: [PORT, 40_001],
        ..relay.sides[0].clone()
    };
    for frame in [stranger.peer_frame(&Seg::default()), vec![0; 60]] {
        relay
            .card
            .nic
            .returned(relay.card.now, &frame, &mut relay.port);
    }
    assert!(relay.sent().is_empty() && relay.port.to_host.is_empty());
    assert_eq!(relay.count(Counter::SpliceReturned), 1);
    assert_eq!(relay.count(Counter::SpliceReturnedDropped), 2);
}

#[test]
fn an_event_without_a_buffer_waits() {
    let mut relay = Relay::new(sides());
    relay.port.full = true;
    close(&mut relay, 1);
    assert!(relay.wait(300).is_empty());
    assert!(relay.count(Counter::SpliceEventRetry) > 3);
    relay.wait(1000);
    // The number is taken while the host does not know.
    assert_eq!(relay.card.nic.pairs_by_state()[2].1, 1);
    relay.port.full = false;
    relay.wait(100);
    let told = relay.event();
    assert_eq!((told.kind, told.reason), (event::ENDED, reason::CLOSED));
    assert_eq!(told.flags, event::FLAG_FREED);
    assert!(relay.is_empty() && !relay.card.nic.needs_poll());
}
