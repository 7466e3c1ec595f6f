// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection setup through the registers: commands in the mailbox, answers on the wire, metadata to the host.

use super::guest::{Guest, CTRL, MAC, OPEN, RINGS};
use crate::counters::{Counter, DropReason};
use crate::device::descriptors::Format;
use crate::device::imem;
use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::meta::{MetaError, RxMeta};
use acceltcp_abi::regs::{self, ctrl, update};
use acceltcp_abi::setup::{rule, Handshake, ListenRule, NO_VLAN};
use acceltcp_abi::tlv::features;
use acceltcp_abi::{mbox, nfd3};
use nicstack::clock::pair_offset;
use nicstack::memory::Capacity;
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::segment::{Content, Segment, SegmentHeader};
use nicstack::wire::tcp::{Flags, TcpHeader};
use std::thread;
use std::time::Duration;
use vfio_user::ServerBackend;

/// The host's timestamp clock.
const HOST_MS: u32 = 3_000_000_000;
const KEY: [u8; 8] = [7; 8];
/// What the test's rules accept.
const ALL: u16 = rule::ANY_ADDRESS | rule::WSCALE | rule::SACK | rule::TIMESTAMPS | rule::ECN;
const PORT: u16 = 80;

/// Runs the mailbox command of AccelTCP on `message`; returns its result and its reply.
fn send(guest: &mut Guest, message: &[u8]) -> (u32, [u8; regs::MBOX_VAL_SIZE]) {
    guest.write(regs::MBOX + mbox::VAL, message);
    guest.write64(regs::MBOX + mbox::CMD, u64::from(mbox::CMD_ACCELTCP_BASE));
    assert_eq!(guest.reconfig(update::MBOX), 0);
    (
        guest.read32(regs::MBOX + mbox::RET),
        guest.read(regs::MBOX + mbox::VAL),
    )
}

/// Gives an order by the mailbox and returns the reply's body, or the errno.
pub(super) fn order(guest: &mut Guest, request: &Request) -> Result<Vec<u8>, u8> {
    let mut message = [0; Request::MAX];
    let len = request.emit(9, &mut message);
    let (result, reply) = send(guest, &message[..len]);
    assert_eq!(result, 0);
    match cmd::parse_reply(&reply, request.kind(), 9) {
        Ok(body) => Ok(body.to_vec()),
        Err(cmd::ReplyError::Refused(errno)) => Err(errno),
        Err(other) => panic!("{other:?}"),
    }
}

fn listen_at(guest: &mut Guest, port: u16, flags: u16) -> Result<Vec<u8>, u8> {
    let rule = ListenRule {
        family: 4,
        wscale: 7,
        port: port.into(),
        vlan_outer: NO_VLAN.into(),
        vlan_inner: NO_VLAN.into(),
        flags: flags.into(),
        mss: 1460.into(),
        window: 64_240.into(),
        ttl: 64,
        ..ListenRule::default()
    };
    order(guest, &Request::ListenAdd(rule))
}

fn listen(guest: &mut Guest) -> Result<Vec<u8>, u8> {
    listen_at(guest, PORT, ALL)
}

fn attach(guest: &mut Guest) {
    let attach = cmd::Attach {
        flags: cmd::attach::HANDSHAKE_META.into(),
        ..cmd::Attach::default()
    };
    order(guest, &Request::Attach(attach)).unwrap();
    order(guest, &Request::KeySet(cmd::Key { key: KEY })).unwrap();
    let clock = cmd::Clock {
        host_ms: HOST_MS.into(),
        ..cmd::Clock::default()
    };
    order(guest, &Request::ClockSet(clock)).unwrap();
}

/// A guest that serves [`PORT`].
fn serving(flags: u16) -> Guest {
    let mut guest = Guest::open();
    attach(&mut guest);
    listen_at(&mut guest, PORT, flags).unwrap();
    guest
}

/// A segment from port `port` of the client.
fn client(port: u16, options: Options, tcp: TcpHeader, data: &[u8]) -> Vec<u8> {
    let header = SegmentHeader {
        ethernet: Ethernet {
            dst: MAC,
            src: [2, 0, 0, 0, 0, 9],
            ..Ethernet::default()
        },
        ip: IpHeader {
            addresses: Addresses::V4 {
                src: [10, 99, 0, 1],
                dst: [10, 99, 0, 2],
            },
            traffic_class: 0,
            ttl: 64,
        },
        tcp: TcpHeader {
            src_port: port,
            dst_port: PORT,
            window: 1000,
            ..tcp
        },
        options,
    };
    let mut out = vec![0; 2048];
    let len = header.emit(data, &mut out).unwrap();
    out.truncate(len);
    out
}

fn stamped(value: u32, echo: u32) -> Options {
    Options {
        timestamps: Some(Timestamps { value, echo }),
        ..Options::default()
    }
}

fn syn_from(port: u16) -> Vec<u8> {
    let options = Options {
        mss: Some(1460),
        wscale: Some(8),
        sack_permitted: true,
        ..stamped(1000, 0)
    };
    let tcp = TcpHeader {
        seq: 5,
        flags: Flags::SYN,
        ..TcpHeader::default()
    };
    client(port, options, tcp, &[])
}

fn syn() -> Vec<u8> {
    syn_from(4000)
}

/// A guest with rings whose driver has attached with `flags`.
pub(super) fn attached(format: Format, flags: u32) -> Guest {
    let mut guest = Guest::with_format(format);
    guest.enable();
    let attach = cmd::Attach {
        flags: flags.into(),
        ..cmd::Attach::default()
    };
    order(&mut guest, &Request::Attach(attach)).unwrap();
    guest
}

pub(super) fn tcp(frame: &[u8]) -> Segment<'_> {
    match Content::parse(frame) {
        Ok(Content::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

/// The client's answer to `syn_ack`.
fn ack(syn_ack: &[u8], data: &[u8]) -> Vec<u8> {
    let segment = tcp(syn_ack);
    let echo = Options::parse(segment.tcp.options)
        .timestamps
        .map(|times| times.value);
    let header = TcpHeader {
        seq: 6,
        ack: segment.tcp.header.seq.wrapping_add(1),
        flags: Flags::ACK,
        ..TcpHeader::default()
    };
    let options = echo.map_or_else(Options::default, |echo| stamped(1001, echo));
    client(segment.tcp.header.dst_port, options, header, data)
}

/// Lets the card take `frame`; returns what it sent.
fn receive(guest: &Guest, frame: &[u8]) -> Vec<Vec<u8>> {
    guest.card.receive(frame);
    guest.sent()
}

/// The only frame that the host got: its metadata and itself.
fn delivered(guest: &Guest) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(guest.received_total(), 1);
    let (desc, buffer) = (0..RINGS).find_map(|ring| guest.received(ring, 0)).unwrap();
    assert!(desc.flags.get() & nfd3::RX_EOP != 0);
    let (meta, frame) = buffer.split_at(desc.meta_len());
    (meta.to_vec(), frame.to_vec())
}

pub(super) fn named(guest: &Guest, name: &str) -> u64 {
    guest.card.snapshot()[name]
}

#[test]
fn a_handshake_costs_the_host_one_frame() {
    let guest = serving(ALL);
    let answers = receive(&guest, &syn());
    assert_eq!(answers.len(), 1);
    let answer = tcp(&answers[0]);
    assert_eq!(answer.tcp.header.flags, Flags::SYN | Flags::ACK);
    assert!(answer.checksums_ok());
    let options = Options::parse(answer.tcp.options);
    assert_eq!((options.mss, options.wscale), (Some(1460), Some(7)));
    let stamp = options.timestamps.unwrap();
    // The host's clock, ahead by what this client sees; its low bits hold options.
    let offset = pair_offset(u64::from_le_bytes(KEY), &tcp(&syn()).ip.addresses);
    let ahead = stamp.value.wrapping_sub(offset).wrapping_sub(HOST_MS - 64);
    assert!(ahead < 1 << 20, "the host's clock");
    assert_eq!(guest.received_total(), 0);

    let data = ack(&answers[0], b"GET /");
    assert!(receive(&guest, &data).is_empty());
    let (meta, frame) = delivered(&guest);
    assert_eq!(frame, data);
    let seen = RxMeta::parse_with_handshake(&meta).unwrap();
    assert!(seen.hash.is_some());
    let handshake: Handshake = seen.handshake.unwrap();
    assert!(handshake.is_valid() && handshake.brings_connection());
    assert_eq!((handshake.snd_wscale, handshake.rcv_wscale), (8, 7));
    assert_eq!(handshake.tsecr.get(), stamp.value);
    assert!((1000..=1460).contains(&handshake.mss.get()));
    assert_eq!(RxMeta::parse(&meta), Err(MetaError::UnknownField));
    assert_eq!(named(&guest, "nic.syn.answered"), 1);
    assert_eq!(named(&guest, "nic.ack.verified"), 1);
    assert_eq!(named(&guest, "nic.table.recent.used"), 1);
    assert_eq!(named(&guest, "nic.table.listeners.used"), 1);
    assert_eq!(named(&guest, "nic.table.listeners.capacity"), 4096);
}

#[test]
fn a_deferred_handshake_waits_for_data() {
    let guest = serving(ALL | rule::DEFER);
    let answer = receive(&guest, &syn()).remove(0);
    assert!(receive(&guest, &ack(&answer, &[])).is_empty());
    assert_eq!(guest.received_total(), 0);
    assert!(receive(&guest, &ack(&answer, b"GET /")).is_empty());
    let (meta, _) = delivered(&guest);
    let meta = RxMeta::parse_with_handshake(&meta).unwrap();
    assert!(meta.handshake.is_some());
}

#[test]
fn without_a_driver_that_asks_the_card_is_a_plain_nic() {
    let mut guest = Guest::open();
    assert_eq!(listen(&mut guest), Err(cmd::ENOTCONN));
    assert!(receive(&guest, &syn()).is_empty());
    let (meta, frame) = delivered(&guest);
    assert_eq!(frame, syn());
    assert!(RxMeta::parse(&meta).unwrap().hash.is_some());
}

#[test]
fn a_plain_card_takes_no_orders() {
    let nic = imem::plain().unwrap();
    let mut guest = Guest::with_card(Format::Nfd3, None, nic);
    guest.enable();
    let mut message = [0; Request::MAX];
    let len = Request::MemoryRead.emit(1, &mut message);
    let (result, left) = send(&mut guest, &message[..len]);
    assert_eq!(result, mbox::EOPNOTSUPP);
    assert_eq!(left[..len], message[..len], "not touched");
    assert!(receive(&guest, &syn()).is_empty());
    assert_eq!(guest.received_total(), 1);
    assert_eq!(named(&guest, "nic.table.listeners.capacity"), 0);
}

#[test]
fn whoever_leaves_is_forgotten() {
    type Leave = fn(&mut Guest);
    let ways: [(&str, Leave); 7] = [
        ("datapath off", |guest| {
            guest.write32(regs::CTRL, CTRL & !ctrl::ENABLE);
            assert_eq!(guest.reconfig(update::GEN), 0);
        }),
        ("rings anew", |guest| assert_eq!(guest.reconfig(OPEN), 0)),
        ("refused update", |guest| {
            guest.write32(regs::MTU, 1 << 20);
            assert_ne!(guest.reconfig(update::GEN), 0);
        }),
        ("function level reset", Guest::function_level_reset),
        ("reset by the VMM", |guest| guest.backend.reset().unwrap()),
        ("reset by itself", |guest| guest.card.reset_by_itself()),
        ("detached", |guest| {
            order(guest, &Request::Detach).unwrap();
        }),
    ];
    for (way, leave) in ways {
        let mut guest = serving(ALL);
        assert_eq!(receive(&guest, &syn()).len(), 1, "{way}");
        leave(&mut guest);
        assert_eq!(named(&guest, "nic.table.listeners.used"), 0, "{way}");
        guest.bus_master(true);
        guest.enable();
        let before = guest.counted(Counter::HostRxPackets);
        assert!(receive(&guest, &syn()).is_empty(), "{way}");
        assert_eq!(guest.counted(Counter::HostRxPackets), before + 1, "{way}");
        assert_eq!(listen(&mut guest), Err(cmd::ENOTCONN), "{way}");
        attach(&mut guest);
        listen(&mut guest).unwrap();
        assert_eq!(receive(&guest, &syn()).len(), 1, "{way}");
    }
}

#[test]
fn a_general_update_forgets_nothing() {
    let mut guest = serving(ALL);
    guest.write32(regs::CTRL, CTRL | ctrl::PROMISC);
    assert_eq!(guest.reconfig(update::GEN), 0);
    assert_eq!(receive(&guest, &syn()).len(), 1);
}

#[test]
fn a_flood_costs_the_host_nothing() {
    const SYNS: u16 = 2000;
    let guest = serving(ALL);
    let dma = || {
        [
            Counter::DmaReadBytes,
            Counter::DmaWriteBytes,
            Counter::DmaReadTransactions,
            Counter::DmaWriteTransactions,
            Counter::Interrupts,
            Counter::HostRxPackets,
        ]
        .map(|counter| guest.counted(counter))
    };
    let before = dma();
    for port in 1..=SYNS {
        assert_eq!(receive(&guest, &syn_from(port)).len(), 1);
    }
    assert_eq!(dma(), before);
    assert_eq!(named(&guest, "nic.syn.answered"), u64::from(SYNS));
}

#[test]
fn full_tables_refuse_and_say_so() {
    let capacity = Capacity {
        listeners: 2,
        recent: 2,
        half_open: 1,
        ..Capacity::NONE
    };
    let nic = imem::stack(capacity).unwrap();
    let mut guest = Guest::with_card(Format::Nfd3, Some(features::SETUP), nic);
    guest.enable();
    attach(&mut guest);
    listen_at(&mut guest, PORT, ALL | rule::SERVER_FIRST).unwrap();
    listen_at(&mut guest, 81, ALL).unwrap();
    assert_eq!(listen_at(&mut guest, 82, ALL), Err(cmd::ENOSPC));
    assert_eq!(named(&guest, "nic.table.listeners.used"), 2);
    assert_eq!(named(&guest, "nic.table.listeners.refused"), 1);
    for port in [4000, 4001] {
        assert_eq!(receive(&guest, &syn_from(port)).len(), 1, "answered anyway");
    }
    assert_eq!(named(&guest, "nic.table.half_open.used"), 1);
    assert_eq!(named(&guest, "nic.table.half_open.refused"), 1);
}

#[test]
fn a_frame_that_its_metadata_makes_too_long_is_dropped() {
    let mut guest = serving(ALL);
    guest.write32(regs::FLBUFSZ, 1514);
    assert_eq!(guest.reconfig(OPEN), 0);
    for ring in 0..RINGS {
        guest.post_buffers(ring, 8);
    }
    attach(&mut guest);
    listen(&mut guest).unwrap();
    let answer = receive(&guest, &syn()).remove(0);
    receive(&guest, &ack(&answer, &[b'x'; 1448]));
    assert_eq!(guest.dropped(DropReason::TooLong), 1);
    assert_eq!(guest.received_total(), 0);
}

#[test]
fn bad_messages_are_answered_too() {
    let mut guest = serving(ALL);
    for message in [[0; 8], [0xff; 8], [1, 0, 99, 0, 0, 0, 0, 0]] {
        let (result, reply) = send(&mut guest, &message);
        assert_eq!((result, reply[0]), (0, cmd::VERSION));
        assert_ne!(reply[1], 0, "an errno");
    }
    // A body that would end behind the mailbox.
    let mut message = [0; regs::MBOX_VAL_SIZE];
    message[..8].copy_from_slice(&[1, 0, 3, 0, 0xf1, 0x01, 0, 0]);
    let (result, reply) = send(&mut guest, &message);
    assert_eq!((result, reply[1]), (0, cmd::EMSGSIZE));
    assert_eq!(receive(&guest, &syn()).len(), 1, "none the worse");
}

#[test]
fn the_reply_leaves_nothing_of_a_key() {
    let mut guest = serving(ALL);
    let mut message = [0; Request::MAX];
    let key = cmd::Key { key: [0x5a; 8] };
    let len = Request::KeyRotate(key).emit(1, &mut message);
    let (_, reply) = send(&mut guest, &message[..len]);
    assert!(!reply.contains(&0x5a));
}

#[test]
fn all_statistics_can_be_read_from_the_mailbox() {
    let mut guest = serving(ALL);
    let total = nicstack::stats::Counter::COUNT;
    let mut read = 0;
    while read < total {
        let first = cmd::StatsRead {
            first: (read as u16).into(),
            ..cmd::StatsRead::default()
        };
        let body = order(&mut guest, &Request::StatsRead(first)).unwrap();
        let count = (body.len() - cmd::StatsReply::SIZE) / 8;
        assert!(count != 0 && read + count <= total);
        read += count;
    }
    let body = order(&mut guest, &Request::MemoryRead).unwrap();
    let bytes = u32::from_le_bytes(body[..4].try_into().unwrap());
    assert_eq!(bytes as usize, imem::BYTES - imem::RESERVED);
}

#[test]
fn time_passes_only_for_those_who_wait() {
    let guest = serving(ALL | rule::SERVER_FIRST);
    assert!(!guest.card.tick(), "idle");
    let first = receive(&guest, &syn()).remove(0);
    let card = guest.card.clone();
    let thread = thread::spawn(move || card.serve_clock());
    // The first retransmission comes after a second.
    let again = guest.sent.recv_timeout(Duration::from_secs(30)).unwrap();
    let cookie = |frame: &[u8]| tcp(frame).tcp.header.seq;
    assert_eq!(cookie(&again), cookie(&first));
    assert_eq!(named(&guest, "nic.half_open.retransmit"), 1);
    receive(&guest, &ack(&first, &[]));
    assert_eq!(guest.received_total(), 1);
    assert!(!guest.card.tick(), "idle again");
    guest.card.stop_clock();
    thread.join().unwrap();
}

#[test]
fn obstacles_stop_the_clock() {
    let guest = serving(ALL | rule::SERVER_FIRST);
    receive(&guest, &syn());
    assert!(guest.card.tick());
    guest.card.set_cable(false);
    assert!(!guest.card.tick());
    guest.card.set_cable(true);
    assert!(guest.card.tick());
    guest.card.stall();
    assert!(!guest.card.tick());
    guest.card.resume();
    assert!(guest.card.tick());
}
