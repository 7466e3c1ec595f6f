// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pairs installed through the TX rings, relayed from wire to wire, and their events on the first RX ring.

use super::guest::{Guest, MAC};
use super::setup::{attached, named, tcp};
use super::tx::send;
use crate::counters::{Counter, DropReason};
use crate::device::descriptors::Format;
use acceltcp_abi::cmd;
use acceltcp_abi::meta::{OptIn, RxMeta, TxMeta};
use acceltcp_abi::splice::{self, event, kind, reason, End, Splice, SpliceEvent};
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::Options;
use nicstack::wire::segment::SegmentHeader;
use nicstack::wire::tcp::{Flags, TcpHeader};
use std::thread;
use std::time::{Duration, Instant};

/// The peers: MAC, last byte of the address, port, and ours.
const PEERS: [([u8; 6], u8, u16, u16); 2] = [
    ([2, 0, 0, 0, 0, 8], 1, 4000, 80),
    ([2, 0, 0, 0, 0, 9], 7, 8080, 5000),
];
/// What each was sent, and has sent, so far.
const NUMBERS: [[u32; 2]; 2] = [[1000, 2000], [30_000, 40_000]];

fn frame(side: usize, from_peer: bool, seq: u32, ack: u32, flags: Flags, data: &[u8]) -> Vec<u8> {
    let (mac, last, port, ours) = PEERS[side];
    let ethernet = Ethernet {
        dst: mac,
        src: MAC,
        ..Ethernet::default()
    };
    let addresses = Addresses::V4 {
        src: [10, 99, 0, 2],
        dst: [10, 99, 0, last],
    };
    fn turn<T>(turned: bool, there: T, back: T) -> T {
        if turned {
            back
        } else {
            there
        }
    }
    let header = SegmentHeader {
        ethernet: turn(from_peer, ethernet, ethernet.answer()),
        ip: IpHeader {
            addresses: turn(from_peer, addresses, addresses.answer()),
            traffic_class: 0,
            ttl: 64,
        },
        tcp: TcpHeader {
            src_port: turn(from_peer, ours, port),
            dst_port: turn(from_peer, port, ours),
            seq,
            ack,
            flags: flags | Flags::ACK,
            window: 500,
        },
        options: Options::default(),
    };
    let mut out = vec![0; 100 + data.len()];
    let len = header.emit(data, &mut out).unwrap();
    out.truncate(len);
    out
}

fn peer(side: usize, sent: u32, acked: u32, flags: Flags, data: &[u8]) -> Vec<u8> {
    let [una, received] = NUMBERS[side];
    frame(side, true, received + sent, una + acked, flags, data)
}

fn templates(data: [&[u8]; 2]) -> [Vec<u8>; 2] {
    [0, 1].map(|side| {
        let [una, received] = NUMBERS[side];
        frame(side, false, una, received, Flags(0), data[side])
    })
}

fn message(kind: u8, second: usize) -> Splice {
    let end = |una: u32| End {
        retries: 3,
        mss: 1460.into(),
        snd_nxt: una.into(),
        snd_wnd: 50_000.into(),
        max_rcv_wnd: 200_000.into(),
        cwnd: 14_600.into(),
        rto_ms: 200.into(),
        ..End::default()
    };
    Splice {
        version: splice::VERSION,
        kind,
        pair: 5.into(),
        generation: 77.into(),
        idle_ms: 60_000.into(),
        linger_ms: 100.into(),
        second: (second as u16).into(),
        ends: NUMBERS.map(|[una, _]| end(una)),
        ..Splice::default()
    }
}

fn install(guest: &mut Guest, format: Format, data: [&[u8]; 2]) -> u32 {
    let [first, second] = templates(data);
    let meta = TxMeta::Splice(message(kind::INSTALL, first.len()));
    send(guest, format, 0, &meta, &[first, second].concat(), 0)
}

/// The event in the buffer `place` of ring 0, when it comes.
fn told(guest: &mut Guest, place: u32) -> SpliceEvent {
    let start = Instant::now();
    let (desc, buffer) = loop {
        guest.card.tick();
        if let Some(found) = guest.received(0, place) {
            break found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it never comes");
        thread::sleep(Duration::from_millis(5));
    };
    let meta = &buffer[..desc.meta_len()];
    assert!(RxMeta::parse(meta).is_err(), "only for who asked");
    let all = OptIn {
        handshake: true,
        credits: true,
        splice: true,
        owners: true,
    };
    RxMeta::parse_with(meta, all).unwrap().splice.unwrap()
}

#[test]
fn no_byte_of_a_pair_crosses_the_bus() {
    for format in [Format::Nfd3, Format::Nfdk] {
        let mut guest = attached(format, cmd::attach::ALL);
        let place = install(&mut guest, format, [b"", b"kept"]);
        let sent = guest.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(tcp(&sent[0]).tcp.data, b"kept");
        assert_eq!(named(&guest, "nic.table.spliced_pairs.used"), 1);
        assert_eq!(named(&guest, "nic.splice.state.active"), 1);

        let counted = [
            Counter::DmaReadBytes,
            Counter::DmaWriteBytes,
            Counter::HostRxBytes,
            Counter::HostTxBytes,
        ];
        let before = counted.map(|counter| guest.counted(counter));
        guest.card.receive(&peer(1, 0, 4, Flags(0), b""));
        guest.sent();
        for number in 0..100 {
            let data = [number as u8; 1000];
            guest
                .card
                .receive(&peer(0, number * 1000, 0, Flags(0), &data));
            let sent = guest.sent();
            let segment = tcp(&sent[0]);
            assert!(segment.checksums_ok());
            assert_eq!(segment.ethernet.dst, PEERS[1].0);
            assert_eq!(segment.tcp.header.seq, NUMBERS[1][0] + 4 + number * 1000);
            assert_eq!(segment.tcp.data, data);
        }
        assert_eq!(counted.map(|counter| guest.counted(counter)), before);

        // What the host says of it goes nowhere.
        let abort = TxMeta::Splice(message(kind::ABORT, 0));
        send(&mut guest, format, place, &abort, &[0; 60], 0);
        let sent = guest.sent();
        // The second has not acknowledged all: it gets two.
        assert_eq!(sent.len(), 3);
        assert!(sent
            .iter()
            .all(|frame| tcp(frame).tcp.header.flags.has(Flags::RST)));
        let event = told(&mut guest, 0);
        assert_eq!((event.kind, event.reason), (event::ENDED, reason::ABORTED));
        assert_eq!((event.pair.get(), event.generation.get()), (5, 77));
        assert_eq!(named(&guest, "nic.table.spliced_pairs.used"), 0);
    }
}

#[test]
fn an_event_waits_for_a_buffer() {
    let mut guest = attached(Format::Nfd3, cmd::attach::ALL);
    // All are used up.
    let stranger = [&MAC[..], &[2; 6], &[0x88, 0xb5], &[0; 46]].concat();
    let mut used = 0;
    while guest.dropped(DropReason::NoBuffer) == 0 {
        guest.card.receive(&stranger);
        used += 1;
    }
    used -= 1;
    install(&mut guest, Format::Nfd3, [b"", b""]);
    guest.card.receive(&peer(0, 0, 0, Flags::RST, b""));
    assert_eq!(guest.sent().len(), 1);
    assert_eq!(named(&guest, "nic.splice.event_retry"), 1);
    assert_eq!(named(&guest, "nic.splice.state.over"), 1);
    guest.post_buffers(0, 1);
    assert_eq!(told(&mut guest, used).reason, reason::RESET);
    assert_eq!(named(&guest, "nic.splice.state.over"), 0);
}

#[test]
fn merged_frames_come_back_as_segments() {
    let mut guest = attached(Format::Nfd3, cmd::attach::ALL);
    let place = install(&mut guest, Format::Nfd3, [b"", b""]);
    // As the host has it: of two segments one.
    let merged = peer(0, 0, 0, Flags::PSH, &[7; 2000]);
    send(
        &mut guest,
        Format::Nfd3,
        place,
        &TxMeta::Returned,
        &merged,
        1000,
    );
    let sent = guest.sent();
    let seqs: Vec<_> = sent.iter().map(|frame| tcp(frame).tcp.header.seq).collect();
    assert_eq!(seqs, [NUMBERS[1][0], NUMBERS[1][0] + 1000]);
    assert!(sent.iter().all(|frame| tcp(frame).checksums_ok()));
    assert_eq!(named(&guest, "nic.splice.returned"), 2);
    // With the cable out, too, and of nobody's connection.
    guest.card.set_cable(false);
    let mut stranger = peer(0, 0, 0, Flags(0), b"");
    stranger[35] ^= 1;
    send(
        &mut guest,
        Format::Nfd3,
        place + 1,
        &TxMeta::Returned,
        &stranger,
        0,
    );
    assert_eq!(named(&guest, "nic.splice.returned_dropped"), 1);
    assert_eq!(guest.dropped(DropReason::LinkDown), 0);
    assert_eq!(guest.received_total(), 0);
}

#[test]
fn a_reset_of_the_card_forgets_pairs() {
    let mut guest = attached(Format::Nfd3, cmd::attach::ALL);
    install(&mut guest, Format::Nfd3, [b"", b"x"]);
    guest.card.reset_by_itself();
    assert_eq!(named(&guest, "nic.splice.end.forgotten"), 1);
    assert_eq!(named(&guest, "nic.table.spliced_pairs.used"), 0);
    assert_eq!(named(&guest, "nic.table.buffers.used"), 0);
}
