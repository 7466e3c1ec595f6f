// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection setup through the registers: commands in the mailbox, answers on the wire, metadata to the host.

use super::guest::{Guest, MAC, OPEN};
use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::meta::{MetaError, RxMeta};
use acceltcp_abi::regs::{self, update};
use acceltcp_abi::setup::{rule, Handshake, ListenRule, NO_VLAN};
use acceltcp_abi::{mbox, nfd3};
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::Options;
use nicstack::wire::segment::{Content, Segment, SegmentHeader};
use nicstack::wire::tcp::{Flags, TcpHeader};

/// Gives an order by the mailbox and returns the reply's body, or the errno.
fn order(guest: &mut Guest, request: &Request) -> Result<Vec<u8>, u8> {
    let mut message = [0; Request::MAX];
    let len = request.emit(9, &mut message);
    guest.write(regs::MBOX + mbox::VAL, &message[..len]);
    guest.write64(regs::MBOX + mbox::CMD, u64::from(mbox::CMD_ACCELTCP_BASE));
    assert_eq!(guest.reconfig(update::MBOX), 0);
    assert_eq!(guest.read32(regs::MBOX + mbox::RET), 0);
    let reply = guest.read::<{ regs::MBOX_VAL_SIZE }>(regs::MBOX + mbox::VAL);
    match cmd::parse_reply(&reply, request.kind(), 9) {
        Ok(body) => Ok(body.to_vec()),
        Err(cmd::ReplyError::Refused(errno)) => Err(errno),
        Err(other) => panic!("{other:?}"),
    }
}

fn listen(guest: &mut Guest) -> Result<Vec<u8>, u8> {
    let rule = ListenRule {
        family: 4,
        port: 80.into(),
        vlan_outer: NO_VLAN.into(),
        vlan_inner: NO_VLAN.into(),
        flags: (rule::ANY_ADDRESS | rule::SERVER_FIRST).into(),
        mss: 1460.into(),
        window: 64_240.into(),
        ttl: 64,
        ..ListenRule::default()
    };
    order(guest, &Request::ListenAdd(rule))
}

fn attach(guest: &mut Guest) {
    let attach = cmd::Attach {
        flags: cmd::attach::HANDSHAKE_META.into(),
        ..cmd::Attach::default()
    };
    order(guest, &Request::Attach(attach)).unwrap();
    order(guest, &Request::KeySet(cmd::Key { key: [7; 8] })).unwrap();
}

fn client(tcp: TcpHeader, data: &[u8]) -> Vec<u8> {
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
            src_port: 4000,
            dst_port: 80,
            window: 1000,
            ..tcp
        },
        options: Options::default(),
    };
    let mut out = vec![0; 200];
    let len = header.emit(data, &mut out).unwrap();
    out.truncate(len);
    out
}

fn syn() -> Vec<u8> {
    let tcp = TcpHeader {
        seq: 5,
        flags: Flags::SYN,
        ..TcpHeader::default()
    };
    client(tcp, &[])
}

fn tcp(frame: &[u8]) -> Segment<'_> {
    match Content::parse(frame) {
        Ok(Content::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_costs_the_host_one_frame() {
    let mut guest = Guest::open();
    attach(&mut guest);
    listen(&mut guest).unwrap();
    guest.card.receive(&syn());
    let answers = guest.sent();
    assert_eq!(answers.len(), 1);
    let answer = tcp(&answers[0]);
    assert_eq!(answer.tcp.header.flags, Flags::SYN | Flags::ACK);
    assert_eq!(guest.received_total(), 0);

    let data = client(
        TcpHeader {
            seq: 6,
            ack: answer.tcp.header.seq.wrapping_add(1),
            flags: Flags::ACK,
            ..TcpHeader::default()
        },
        b"GET /",
    );
    guest.card.receive(&data);
    assert_eq!(guest.received_total(), 1);
    let (desc, buffer) = (0..super::guest::RINGS)
        .find_map(|ring| guest.received(ring, 0))
        .unwrap();
    let (meta, frame) = buffer.split_at(desc.meta_len());
    assert_eq!(frame, data);
    assert!(desc.flags.get() & nfd3::RX_EOP != 0);
    let seen = RxMeta::parse_with_handshake(meta).unwrap();
    assert!(seen.hash.is_some());
    let handshake: Handshake = seen.handshake.unwrap();
    assert_eq!(handshake.mss.get(), 536, "none was announced");
    assert_eq!(RxMeta::parse(meta), Err(MetaError::UnknownField));
}

#[test]
fn a_driver_that_is_gone_is_forgotten() {
    let mut guest = Guest::open();
    assert_eq!(listen(&mut guest), Err(cmd::ENOTCONN));
    attach(&mut guest);
    listen(&mut guest).unwrap();
    guest.write32(regs::CTRL, 0);
    assert_eq!(guest.reconfig(update::GEN), 0);
    guest.configure();
    assert_eq!(guest.reconfig(OPEN), 0);
    assert_eq!(listen(&mut guest), Err(cmd::ENOTCONN));
    attach(&mut guest);
    listen(&mut guest).unwrap();
    guest.card.function_reset();
    guest.bus_master(true);
    assert_eq!(listen(&mut guest), Err(cmd::ENOTCONN));
}
