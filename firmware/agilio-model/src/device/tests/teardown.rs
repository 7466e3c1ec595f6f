// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections handed over through the TX rings, ended on the wire, and their credits on the RX rings.

use super::guest::{Guest, BASE, MAC, MEMORY};
use super::setup::{attached, named, order, tcp};
use super::tx::send;
use crate::counters::{Counter, DropReason};
use crate::device::descriptors::Format;
use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::flows::{state, Flow, FlowsRead, FlowsReply};
use acceltcp_abi::meta::{OptIn, RxMeta, TxMeta};
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::Options;
use nicstack::wire::segment::SegmentHeader;
use nicstack::wire::tcp::{Flags, TcpHeader};
use nicstack::{Credits, HandOver};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SEQ: u32 = 1000;
const ACK: u32 = 2000;

fn template(data: &[u8]) -> Vec<u8> {
    let addresses = Addresses::V4 {
        src: [10, 99, 0, 2],
        dst: [10, 99, 0, 1],
    };
    frame(
        [MAC, PEER],
        addresses,
        [80, 4000],
        [SEQ, ACK],
        Flags::ACK,
        data,
    )
}

/// A segment of the peer, which has had `acked` bytes.
fn peer(acked: u32, flags: Flags) -> Vec<u8> {
    let addresses = Addresses::V4 {
        src: [10, 99, 0, 1],
        dst: [10, 99, 0, 2],
    };
    let numbers = [ACK, SEQ + acked];
    frame(
        [PEER, MAC],
        addresses,
        [4000, 80],
        numbers,
        Flags::ACK | flags,
        b"",
    )
}

fn frame(
    [src, dst]: [[u8; 6]; 2],
    addresses: Addresses,
    ports: [u16; 2],
    [seq, ack]: [u32; 2],
    flags: Flags,
    data: &[u8],
) -> Vec<u8> {
    let header = SegmentHeader {
        ethernet: Ethernet {
            dst,
            src,
            ..Ethernet::default()
        },
        ip: IpHeader {
            addresses,
            traffic_class: 0,
            ttl: 64,
        },
        tcp: TcpHeader {
            src_port: ports[0],
            dst_port: ports[1],
            seq,
            ack,
            flags,
            window: 500,
        },
        options: Options::default(),
    };
    let mut out = vec![0; 100 + data.len()];
    let len = header.emit(data, &mut out).unwrap();
    out.truncate(len);
    out
}

fn message() -> HandOver {
    HandOver {
        version: HandOver::VERSION,
        retries: 3,
        mss: 1460.into(),
        snd_nxt: SEQ.into(),
        snd_wnd: 50_000.into(),
        max_wnd: 50_000.into(),
        rcv_wnd: 50_000.into(),
        cwnd: 14_600.into(),
        rto_ms: 20.into(),
        fin_wait_ms: 1000.into(),
        time_wait_ms: 1000.into(),
        ..HandOver::default()
    }
}

/// What a driver that asks for credits attaches with.
const CREDITS: u32 = cmd::attach::HANDSHAKE_META | cmd::attach::CREDITS_META;

/// Sends `frame` with `message` in front by the first descriptors of ring 0.
fn hand_over(guest: &mut Guest, format: Format, message: &HandOver, frame: &[u8]) {
    send(guest, format, 0, &TxMeta::HandOver(*message), frame, 0);
}

/// Waits until `f` says something.
fn wait_for<T>(mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = f() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it never comes");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connection_costs_the_host_one_frame_out_and_none_in() {
    for format in [Format::Nfd3, Format::Nfdk] {
        let mut guest = attached(format, CREDITS);
        hand_over(&mut guest, format, &message(), &template(b"response"));
        let sent = guest.sent();
        assert_eq!(sent.len(), 1);
        let segment = tcp(&sent[0]);
        assert!(segment.checksums_ok());
        assert_eq!(segment.tcp.data, b"response");
        assert!(segment.tcp.header.flags.has(Flags::FIN));
        assert_eq!(guest.counted(Counter::HostTxPackets), 1);
        assert_eq!(named(&guest, "nic.table.flows.used"), 1);
        assert_eq!(named(&guest, "nic.teardown.state.fin_wait_1"), 1);

        guest.card.receive(&peer(9, Flags::FIN));
        let sent = guest.sent();
        assert_eq!(tcp(&sent[0]).tcp.header.ack, ACK + 1);
        assert_eq!(guest.received_total(), 0);
        assert_eq!(named(&guest, "nic.table.flows.used"), 0);
        assert_eq!(named(&guest, "nic.teardown.state.fin_wait_1"), 0);
        assert_eq!(named(&guest, "nic.table.time_wait.used"), 1);

        // The credits come back by themselves.
        let (desc, buffer) = wait_for(|| {
            guest.card.tick();
            guest.received(0, 0)
        });
        let meta = &buffer[..desc.meta_len()];
        assert!(RxMeta::parse(meta).is_err(), "only for who asked");
        let opt_in = OptIn {
            handshake: true,
            credits: true,
            ..OptIn::default()
        };
        let credits = Credits {
            version: Credits::VERSION,
            flows: 1.into(),
            buffers: 1.into(),
            ..Credits::default()
        };
        let parsed = RxMeta::parse_with(meta, opt_in).unwrap();
        assert_eq!(parsed.credits, Some(credits));
        assert_eq!(guest.received_total(), 1, "and once");
    }
}

#[test]
fn the_host_is_told_whose_connections_have_ended() {
    let mut guest = attached(Format::Nfd3, CREDITS | cmd::attach::OWNERS_META);
    let message = HandOver {
        owner: 7.into(),
        ..message()
    };
    hand_over(&mut guest, Format::Nfd3, &message, &template(b"response"));
    guest.card.receive(&peer(9, Flags::FIN));
    let metadata = [0, 1].map(|slot| {
        let (desc, buffer) = wait_for(|| {
            guest.card.tick();
            guest.received(0, slot)
        });
        buffer[..desc.meta_len()].to_vec()
    });
    let opt_in = OptIn {
        credits: true,
        owners: true,
        ..OptIn::default()
    };
    let [credits, owner] = metadata.map(|bytes| RxMeta::parse_with(&bytes, opt_in).unwrap());
    assert!(credits.credits.is_some_and(|told| told.flows.get() == 1));
    let told = owner.owner.unwrap();
    assert_eq!((told.owner.get(), told.flows.get()), (7, 1));
}

#[test]
fn time_passes_for_connections() {
    let mut guest = attached(Format::Nfd3, CREDITS);
    assert!(!guest.card.tick(), "idle");
    let card = guest.card.clone();
    let thread = thread::spawn(move || card.serve_clock());
    hand_over(&mut guest, Format::Nfd3, &message(), &template(b"x"));
    // The segment, its retransmissions, and the end; without a frame from the wire.
    let mut sent = 0;
    wait_for(|| {
        sent += guest.sent().len();
        (named(&guest, "nic.teardown.end.timeout") == 1).then_some(())
    });
    sent += guest.sent().len();
    assert_eq!(sent, 4);
    assert_eq!(named(&guest, "nic.teardown.retransmit"), 3);
    wait_for(|| guest.received(0, 0));
    guest.card.stop_clock();
    thread.join().unwrap();
}

#[test]
fn a_message_that_makes_no_sense_is_dropped() {
    for format in [Format::Nfd3, Format::Nfdk] {
        let mut guest = attached(format, CREDITS);
        let wrong = HandOver {
            version: 9,
            ..message()
        };
        hand_over(&mut guest, format, &wrong, &template(b"x"));
        assert_eq!(guest.dropped(DropReason::BadMetadata), 1);
        assert_eq!(named(&guest, "nic.table.flows.used"), 0);
        assert!(guest.sent().is_empty());
    }
}

#[test]
fn a_reset_of_the_card_forgets_connections() {
    let mut guest = attached(Format::Nfd3, CREDITS);
    hand_over(&mut guest, Format::Nfd3, &message(), &template(b"x"));
    guest.card.reset_by_itself();
    assert_eq!(named(&guest, "nic.teardown.end.aborted"), 1);
    assert_eq!(named(&guest, "nic.table.flows.used"), 0);
}

#[test]
fn lists_connections_in_the_hosts_memory() {
    const AT: u64 = BASE + MEMORY - Flow::SIZE as u64;
    let read = |address: u64| {
        Request::FlowsRead(FlowsRead {
            address: address.into(),
            room: (Flow::SIZE as u32).into(),
            states: state::ALL.into(),
            ..FlowsRead::default()
        })
    };
    let mut guest = attached(Format::Nfd3, CREDITS);
    hand_over(&mut guest, Format::Nfd3, &message(), &template(b"response"));
    guest.card.receive(&peer(9, Flags(0)));
    let before = guest.counted(Counter::DmaWriteBytes);
    let reply = order(&mut guest, &read(AT)).unwrap();
    let reply = FlowsReply::read_from_bytes(&reply).unwrap();
    assert_eq!(reply.count.get(), 1);
    let written = guest.counted(Counter::DmaWriteBytes) - before;
    assert_eq!(written, Flow::SIZE as u64);
    let flow = Flow::read_from_bytes(&guest.peek(AT, Flow::SIZE)).unwrap();
    assert_eq!(
        (flow.peer[..4].to_vec(), flow.family),
        (vec![10, 99, 0, 1], 4)
    );
    assert_eq!((flow.peer_port.get(), flow.local_port.get()), (4000, 80));
    assert_eq!(flow.state, state::FIN_WAIT_2);

    // Behind the host's memory, across its end, and beyond what the card's address lines reach.
    let errors = guest.counted(Counter::DmaErrors);
    for address in [BASE + MEMORY, AT + 1, 0, 1 << 40, u64::MAX] {
        let refused = order(&mut guest, &read(address));
        assert_eq!(refused, Err(cmd::EFAULT), "{address:x}");
    }
    assert_eq!(guest.counted(Counter::DmaErrors), errors + 5);
    guest.bus_master(false);
    assert_eq!(order(&mut guest, &read(AT)), Err(cmd::EOPNOTSUPP));
    guest.bus_master(true);
    assert!(order(&mut guest, &read(AT)).is_ok());
}
