// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that the NIC ends: each rule of the state machine, by segments made by hand.

#[path = "common/closing.rs"]
mod closing;
mod common;

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::teardown::hand_over;
use closing::*;
use common::*;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::Tag;
use nicstack::wire::tcp::Flags;

const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;
const NONE: Flags = Flags(0);

#[test]
fn data_and_fin_leave_in_one_segment() {
    for v6 in [false, true] {
        let host = Host {
            v6,
            ..Host::default()
        };
        let mut nic = Ending::new(&host, b"response");
        let [sent] = nic.sent();
        assert_eq!((sent.seq, sent.ack), (SEQ, ACK));
        assert!(sent.flags.has(FIN | Flags::PSH | Flags::ACK));
        assert_eq!(sent.data, b"response");
        assert_eq!(nic.card.nic.usage()[3].used, 1);
        assert_eq!(nic.card.nic.usage()[4].used, 1);

        // The peer acknowledges, and closes in turn.
        nic.peer(0, 9, NONE, b"");
        assert!(nic.all().is_empty());
        assert_eq!(nic.card.nic.usage()[4].used, 0, "the data is done with");
        nic.peer(0, 9, FIN, b"");
        let [last] = nic.sent();
        assert_eq!((last.seq, last.ack), (seq(9), ACK + 1));
        assert_eq!(last.flags, Flags::ACK);
        nic.ends_with(Counter::TeardownDone);
        assert_eq!(nic.card.nic.usage()[5].used, 1, "in TIME-WAIT");
    }
}

#[test]
fn connections_are_counted_by_state() {
    let mut nic = Ending::empty();
    let host = |port, flags| Host {
        port,
        flags,
        ..Host::default()
    };
    nic.hand_over(&host(1, hand_over::PEER_FIN), b"x");
    nic.hand_over(&host(2, 0), b"x");
    assert_eq!(nic.states(), [1, 0, 0, 1]);
    nic.peer(0, 0, FIN, b"");
    assert_eq!(nic.states(), [0, 0, 1, 1]);
    nic.hand_over(&host(3, 0), b"x");
    nic.peer(0, 2, NONE, b"");
    assert_eq!(nic.states(), [0, 1, 1, 1]);
    // The host has had another connection of the tuple since.
    nic.hand_over(&host(3, hand_over::PEER_FIN), b"x");
    assert_eq!(nic.states(), [0, 0, 1, 2]);
    nic.peer(0, 2, NONE, b"");
    assert_eq!(nic.states(), [0, 0, 1, 1]);
    nic.hand_over(&host(4, 0), b"x");
    nic.peer(0, 2, FIN, b"");
    assert_eq!(nic.states(), [0, 0, 1, 1], "from FIN-WAIT-1 to TIME-WAIT");
    nic.wait(250_000);
    assert_eq!(nic.states(), [0; 4], "given up");
    nic.hand_over(&host(5, 0), b"x");
    nic.card.nic.reset();
    assert_eq!(nic.states(), [0; 4]);
}

#[test]
fn frames_are_the_hosts() {
    let host = Host {
        vlan: Some(Tag {
            protocol: 0x8100,
            tci: 0x2005,
        }),
        ttl: 61,
        class: 0x28,
        id: 0xfffe,
        label: 0x1_2345,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, &[7; 3000]);
    let frames = nic.all();
    assert_eq!(frames.len(), 3);
    for (place, frame) in frames.iter().enumerate() {
        let segment = segment(&frame.frame);
        assert_eq!(segment.ethernet.src, SERVER_MAC);
        assert_eq!(segment.ethernet.tags, [host.vlan, None]);
        assert_eq!(segment.ip.traffic_class, 0x28);
        let id = u16::from_be_bytes([frame.frame[22], frame.frame[23]]);
        assert_eq!(id, 0xfffeu16.wrapping_add(place as u16));
        assert_eq!(frame.frame[26], 61);
        assert_eq!(segment.tcp.header.window, WINDOW);
    }
    let host = Host { v6: true, ..host };
    let mut nic = Ending::new(&host, b"");
    let [sent] = nic.sent();
    assert_eq!(sent.frame[18..22], [0x62, 0x81, 0x23, 0x45]);
    assert_eq!(sent.frame[25], 61);
}

#[test]
fn last_ack() {
    let host = Host {
        flags: hand_over::PEER_FIN,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, b"x");
    nic.sent::<1>();
    // The peer's FIN comes again: our acknowledgement was lost.
    nic.peer(u32::MAX, 0, FIN, b"");
    let [again] = nic.sent();
    assert_eq!(
        (again.seq, again.ack, again.flags),
        (seq(2), ACK, Flags::ACK)
    );
    nic.peer(0, 2, NONE, b"");
    nic.ends_with(Counter::TeardownDone);
    assert_eq!(nic.card.nic.usage()[5].used, 0, "no TIME-WAIT");
    assert!(nic.all().is_empty());
}

#[test]
fn simultaneous_close() {
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    nic.peer(0, 0, FIN, b"");
    let [ack] = nic.sent();
    assert_eq!(ack.ack, ACK + 1);
    nic.peer(1, 2, NONE, b"");
    nic.ends_with(Counter::TeardownDone);
    assert_eq!(nic.card.nic.usage()[5].used, 1, "TIME-WAIT");
}

#[test]
fn taken_over_behind_the_fin() {
    // FIN-WAIT-1: sent by the host; nothing is sent before the time.
    let host = Host {
        flags: hand_over::FIN_SENT,
        sent: 2,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, b"x");
    assert!(nic.all().is_empty());
    nic.wait(300);
    let [again] = nic.sent();
    assert!(again.flags.has(FIN) && again.data == b"x");
    nic.peer(0, 2, FIN, b"");
    nic.sent::<1>();
    nic.ends_with(Counter::TeardownDone);

    // CLOSING.
    let host = Host {
        flags: hand_over::FIN_SENT | hand_over::PEER_FIN | hand_over::CLOSING,
        sent: 1,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, b"");
    nic.peer(0, 1, NONE, b"");
    nic.ends_with(Counter::TeardownDone);
    assert_eq!(nic.card.nic.usage()[5].used, 1);

    // FIN-WAIT-2.
    let host = Host {
        flags: hand_over::FIN_SENT | hand_over::FIN_ACKED,
        sent: 0,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, b"");
    nic.peer(0, 0, FIN, b"");
    let [ack] = nic.sent();
    assert_eq!((ack.seq, ack.ack), (SEQ, ACK + 1));
    nic.ends_with(Counter::TeardownDone);
}

#[test]
fn a_due_acknowledgement_is_sent() {
    use hand_over::{ACK_DUE, FIN_ACKED, FIN_SENT};
    // (flags, bytes sent by the host, data), and whether it goes by itself.
    let cases: [(u8, u32, &[u8], bool); 3] = [
        (ACK_DUE, 0, b"x", false),
        (ACK_DUE | FIN_SENT, 2, b"x", true),
        (ACK_DUE | FIN_SENT | FIN_ACKED, 0, b"", true),
    ];
    for (flags, sent, data, alone) in cases {
        let host = Host {
            flags,
            sent,
            ..Host::default()
        };
        let mut nic = Ending::new(&host, data);
        let [first] = nic.sent();
        assert_eq!(first.ack, ACK);
        assert_eq!(first.flags == Flags::ACK, alone, "{flags:#x}");
    }
}

#[test]
fn fin_wait_2_ends() {
    let mut nic = Ending::new(&Host::default(), b"");
    nic.sent::<1>();
    nic.peer(0, 1, NONE, b"");
    nic.wait(59_000);
    assert_eq!(nic.card.nic.usage()[3].used, 1);
    nic.wait(2000);
    nic.ends_with(Counter::TeardownFinWaitTimeout);
    assert!(nic.all().is_empty());
}

#[test]
fn segments_of_the_mss_then_fin() {
    let data: Vec<u8> = (0..4000u32).map(|byte| byte as u8).collect();
    let mut nic = Ending::new(&Host::default(), &data);
    let sent = nic.sent::<3>();
    let lens = sent.each_ref().map(|segment| segment.data.len());
    assert_eq!(lens, [MSS, MSS, 4000 - 2 * MSS]);
    assert!(!sent[1].flags.has(FIN) && sent[2].flags.has(FIN));
    let all: Vec<u8> = sent
        .iter()
        .flat_map(|segment| segment.data.clone())
        .collect();
    assert_eq!(all, data);
}

#[test]
fn what_the_host_has_sent_is_not_sent_again() {
    let host = Host {
        sent: 1000,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, &[3; 1500]);
    let [sent] = nic.sent();
    assert_eq!((sent.seq, sent.data.len()), (seq(1000), 500));
    // Unless it was lost.
    nic.wait(300);
    let [again] = nic.sent();
    assert_eq!((again.seq, again.data.len()), (SEQ, MSS));
    assert_eq!(nic.card.count(Counter::TeardownRetransmit), 1);
    // A partial acknowledgement brings the next.
    nic.peer(0, MSS as u32, NONE, b"");
    let [rest] = nic.sent();
    assert_eq!((rest.seq, rest.data.len()), (seq(MSS as u32), 1500 - MSS));
    assert!(rest.flags.has(FIN));
}

#[test]
fn three_duplicates_bring_a_retransmission() {
    let mut nic = Ending::new(&Host::default(), &[1; 4000]);
    nic.sent::<3>();
    for _ in 0..2 {
        nic.peer(0, 0, NONE, b"");
        assert!(nic.all().is_empty());
    }
    nic.peer(0, 0, NONE, b"");
    let [again] = nic.sent();
    assert_eq!((again.seq, again.data.len()), (SEQ, MSS));
    assert_eq!(nic.card.count(Counter::TeardownFastRetransmit), 1);
}

#[test]
fn backs_off_and_gives_up() {
    gives_up(0, u32::MAX);
}

#[test]
fn the_host_bounds_the_back_off() {
    gives_up(100, 1000);
}

/// A connection whose peer has vanished, and that waits for an answer for no longer than `longest` milliseconds.
fn gives_up(rto_max: u16, longest: u32) {
    let host = Host {
        rto_max,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, b"x");
    let mut times = vec![nic.sent::<1>()[0].timestamps.unwrap().value];
    while nic.card.nic.usage()[3].used != 0 {
        nic.wait(20);
        times.extend(nic.all().iter().map(|s| s.timestamps.unwrap().value));
        assert!(times.len() < 20);
    }
    nic.ends_with(Counter::TeardownTimeout);
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), usize::from(RETRIES));
    for (place, gap) in gaps.iter().enumerate() {
        let expected = (RTO << place).min(longest);
        // A tick of the wheel, and a step of the test.
        assert!((expected..=expected + 32 + 20).contains(gap), "{gaps:?}");
    }
}

#[test]
fn a_closed_window_is_probed() {
    let host = Host {
        wnd: 0,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, &[5; 100]);
    assert!(nic.all().is_empty());
    for probe in 1..=5 {
        nic.wait(RTO << probe);
        let sent = nic.all();
        assert!(!sent.is_empty(), "probe {probe}");
        assert!(sent.iter().all(|p| p.seq == SEQ - 1 && p.data.is_empty()));
        nic.peer_window(0);
        assert!(nic.all().is_empty(), "an answer opens nothing");
    }
    nic.peer_window(60);
    let [sent] = nic.sent();
    assert_eq!(
        (sent.seq, sent.data.len(), sent.flags.has(FIN)),
        (SEQ, 60, false)
    );
    nic.peer(0, 60, NONE, b"");
    let [rest] = nic.sent();
    assert!(rest.data.len() == 40 && rest.flags.has(FIN));

    // One that stays closed comes to an end.
    let mut nic = Ending::new(&host, b"x");
    for _ in 0..2000 {
        nic.wait(500);
        if !nic.all().is_empty() {
            nic.peer_window(0);
        }
    }
    nic.ends_with(Counter::TeardownTimeout);
    assert!(nic.card.count(Counter::TeardownProbe) > u64::from(RETRIES));

    // One that does not answer has less time.
    let mut nic = Ending::new(&host, b"x");
    nic.wait(RTO + RTO / 2);
    nic.sent::<1>();
    nic.peer_window(0);
    nic.wait(RTO << (RETRIES + 3));
    assert_eq!(nic.all().len(), RETRIES.into());
    nic.ends_with(Counter::TeardownTimeout);
}

#[test]
fn data_after_the_close_is_reset() {
    for (flags, acked) in [(NONE, 0), (NONE, 2), (FIN, 2)] {
        let mut nic = Ending::new(&Host::default(), b"x");
        nic.sent::<1>();
        nic.peer(0, acked, flags, b"too late");
        let [reset] = nic.sent();
        assert_eq!((reset.flags, reset.seq), (RST, seq(acked)));
        nic.ends_with(Counter::TeardownDataAfterClose);
    }
    // What came before is only acknowledged.
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    nic.peer(u32::MAX - 3, 2, NONE, b"seen");
    let [ack] = nic.sent();
    assert_eq!((ack.flags, ack.ack), (Flags::ACK, ACK));
    assert_eq!(nic.card.nic.usage()[3].used, 1);
}

#[test]
fn resets_are_validated() {
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    nic.peer(1, 0, RST, b"");
    let [challenge] = nic.sent();
    assert_eq!((challenge.flags, challenge.ack), (Flags::ACK, ACK));
    nic.peer(2, 0, RST, b"");
    assert!(nic.all().is_empty(), "one challenge is enough");
    nic.peer(0x4000_0000, 0, RST, b"");
    assert!(nic.all().is_empty(), "out of the window");
    for (counter, count) in [
        (Counter::TeardownChallenge, 1),
        (Counter::TeardownChallengeLimited, 1),
        (Counter::TeardownBadReset, 1),
    ] {
        assert_eq!(nic.card.count(counter), count);
    }
    nic.peer(0, 0, RST, b"");
    nic.ends_with(Counter::TeardownReset);
    assert!(nic.all().is_empty());
}

#[test]
fn syns_and_wild_acknowledgements_are_challenged() {
    for (offset, ack, flags) in [(0, 0, Flags::SYN), (500, 0, Flags::SYN), (0, 100, NONE)] {
        let mut nic = Ending::new(&Host::default(), b"x");
        nic.sent::<1>();
        nic.peer(offset, ack, flags, b"");
        let [challenge] = nic.sent();
        assert_eq!((challenge.flags, challenge.ack), (Flags::ACK, ACK));
        assert_eq!(nic.card.nic.usage()[3].used, 1);
    }
}

#[test]
fn ecn_goes_on() {
    let host = Host {
        flags: hand_over::ECN,
        cwnd: 2 * MSS as u32,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, &[1; 5 * MSS]);
    for sent in nic.sent::<2>() {
        assert_eq!(segment(&sent.frame).ip.traffic_class & 3, 2, "ECT(0)");
    }
    nic.peer(0, 2 * MSS as u32, Flags::ECE, b"");
    let sent = nic.all();
    assert!(sent[0].flags.has(Flags::CWR), "the window was reduced");
    nic.wait(300);
    let again = nic.all().pop().unwrap();
    assert_eq!(segment(&again.frame).ip.traffic_class & 3, 0, "not again");
}

#[test]
fn credits_are_exact() {
    let mut nic = Ending::empty();
    let read = |nic: &mut Ending| {
        let body = nic.card.order(&Request::TeardownRead).unwrap();
        let word = |place: usize| u32::from_le_bytes(body[place * 4..][..4].try_into().unwrap());
        [word(0), word(1), word(4), word(5)]
    };
    assert_eq!(read(&mut nic), [SMALL.flows, SMALL.buffers, 0, 0]);
    let at = |port| Host {
        port,
        ..Host::default()
    };
    for port in 0..SMALL.flows as u16 {
        nic.hand_over(&at(port), &[1; 2500]);
    }
    assert_eq!(nic.card.nic.usage()[4].used, 2 * SMALL.flows);
    nic.all();
    // Without a credit: refused, and what was spent comes back.
    nic.hand_over(&at(999), &[1; 2500]);
    assert!(nic.all().is_empty());
    assert_eq!(nic.card.count(Counter::TeardownFull), 1);
    assert_eq!(read(&mut nic)[2..], [1, 2]);
    // All of them end.
    nic.wait(200_000);
    assert_eq!(read(&mut nic)[2..], [SMALL.flows + 1, 2 * SMALL.flows + 2]);
    let credits = nic.credits.last().copied().unwrap();
    assert_eq!(
        (credits.flows.get(), credits.buffers.get()),
        (SMALL.flows + 1, 2 * SMALL.flows + 2)
    );
    assert!(credits.is_valid());
    let used = nic.card.nic.usage();
    assert_eq!((used[3].used, used[4].used), (0, 0));
    // And there is room again.
    for port in 0..SMALL.flows as u16 {
        nic.hand_over(&at(port), &[1; 2500]);
    }
    assert_eq!(nic.card.nic.usage()[3].used, SMALL.flows);
}

#[test]
fn what_breaks_the_rules_is_refused() {
    type Change = fn(&mut Vec<u8>, &mut nicstack::HandOver);
    let changes: [Change; 8] = [
        |frame, _| frame.truncate(30),
        |frame, _| frame[23] = 17,
        |frame, _| frame[20] = 0x20,
        |_, message| message.version = 2,
        |_, message| message.mss = 0.into(),
        |_, message| message.snd_nxt = (SEQ - 1).into(),
        |_, message| message.snd_nxt = (seq(99)).into(),
        |_, message| message.flags = hand_over::FIN_SENT | hand_over::FIN_ACKED,
    ];
    for (place, change) in changes.iter().enumerate() {
        let mut nic = Ending::empty();
        let (mut frame, mut message) = Host::default().template(b"x");
        change(&mut frame, &mut message);
        nic.order(&message, &frame);
        assert_eq!(nic.card.count(Counter::TeardownBadTemplate), 1, "{place}");
        assert_eq!(nic.card.nic.usage()[3].used, 0);
        assert!(nic.all().is_empty());
        nic.wait(100);
        assert_eq!(nic.credits.last().unwrap().flows.get(), 1, "it comes back");
    }
}

#[test]
fn only_for_a_driver_that_asked() {
    let mut nic = Ending::empty();
    nic.card.attach();
    nic.hand_over(&Host::default(), b"x");
    assert!(nic.all().is_empty());
    assert_eq!(nic.card.count(Counter::TeardownNotAttached), 1);
}

#[test]
fn a_host_that_goes_away_leaves_nothing() {
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    nic.card.order(&Request::Detach).unwrap();
    assert_eq!(nic.card.count(Counter::TeardownAborted), 1);
    let used = nic.card.nic.usage();
    assert_eq!((used[3].used, used[4].used), (0, 0));
    assert!(!nic.card.nic.needs_poll());
    let frame = nic.peer_frame(Some(TSECR), 0, 0, NONE, b"");
    assert_eq!(nic.card.receive(&frame), Fate::Host);
}

#[test]
fn the_host_does_not_interfere() {
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    let exchange = |nic: &Ending, flags| {
        let mut sent = Sent::default();
        let frame = nic.host.segment(flags);
        nic.card.nic.from_host(nic.card.now, &frame, &mut sent);
        (frame, sent)
    };
    let out = |nic: &Ending, flags| exchange(nic, flags).1.to_wire.len();
    assert_eq!(out(&nic, RST), 0);
    let (syn, sent) = exchange(&nic, Flags::SYN);
    assert!(sent.to_wire.is_empty(), "the tuple is in use");
    let [(refusal, None)] = &sent.to_host[..] else {
        panic!("{} frames", sent.to_host.len());
    };
    let (syn, refusal) = (segment(&syn), segment(refusal));
    assert!(refusal.checksums_ok());
    assert_eq!(refusal.ip.addresses, syn.ip.addresses.answer());
    assert_eq!(refusal.ethernet.dst, syn.ethernet.src);
    let (asked, answer) = (syn.tcp.header, refusal.tcp.header);
    assert_eq!(answer.flags, Flags::RST | Flags::ACK);
    assert_eq!(answer.ack, asked.seq.wrapping_add(1));
    assert_eq!(answer.dst_port, asked.src_port);
    assert_eq!(out(&nic, Flags::ACK), 1, "a copy that was on its way");
    assert_eq!(nic.card.count(Counter::TeardownHostDropped), 2);
    nic.peer(0, 2, FIN, b"");
    assert_eq!(nic.card.nic.usage()[5].used, 1);
    assert_eq!(out(&nic, RST), 0, "for what came before the hand-over");
    assert_eq!(nic.card.count(Counter::TeardownHostDropped), 3);
    assert_eq!(out(&nic, Flags::SYN), 1, "RFC 6191");
    assert_eq!(nic.card.nic.usage()[5].used, 0);
}

#[test]
fn the_latest_connection_of_a_tuple_counts() {
    let mut nic = Ending::new(&Host::default(), b"old");
    nic.sent::<1>();
    nic.hand_over(&Host::default(), b"new");
    let [sent] = nic.sent();
    assert_eq!(sent.data, b"new");
    assert_eq!(nic.card.count(Counter::TeardownReplaced), 1);
    let used = nic.card.nic.usage();
    assert_eq!((used[3].used, used[4].used), (1, 1));
}

#[test]
fn a_late_first_segment_brings_no_second_connection() {
    let mut nic = Ending::empty();
    nic.card.listen(&any_rule(4)).unwrap();
    let client = linux();
    let first = client.data(&nic.card.syn_ack(&client.syn()), b"request");
    nic.card.handshake(&first);
    nic.hand_over(&Host::default(), b"response");
    nic.sent::<1>();
    nic.peer(0, 0, RST, b"");
    nic.ends_with(Counter::TeardownReset);
    assert_eq!(nic.card.receive(&first), Fate::Host, "not marked");
    assert_eq!(nic.card.count(Counter::AckReplay), 1);
}

#[test]
fn damaged_segments_do_nothing() {
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    let mut frame = nic.peer_frame(Some(TSECR), 0, 0, RST, b"");
    let last = frame.len() - 1;
    frame[last] ^= 1;
    assert_eq!(nic.card.receive(&frame), Fate::Gone);
    assert_eq!(nic.card.count(Counter::TeardownChecksum), 1);
    assert_eq!(nic.card.nic.usage()[3].used, 1);
}

#[test]
fn others_are_not_concerned() {
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.sent::<1>();
    let mut frame = nic.peer_frame(None, 0, 0, NONE, b"");
    frame[35] ^= 1;
    assert_eq!(nic.card.receive(&frame), Fate::Host, "another port");
    let order = nic.card.order(&Request::MemoryRead).unwrap();
    assert_eq!(
        order.len(),
        cmd::MemoryReply::SIZE + 8 * cmd::MemoryUse::SIZE
    );
}
