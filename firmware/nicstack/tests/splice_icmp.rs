// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What routers say of segments that are relayed.

mod common;
#[path = "common/splicing.rs"]
mod splicing;

use common::*;
use nicstack::stats::Counter;
use nicstack::wire::checksum::Sum;
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::{IpHeader, Packet};
use nicstack::wire::tcp::Flags;
use splicing::*;

const NONE: Flags = Flags(0);

/// "Fragmentation needed" or "packet too big" about a frame that was sent, with its first bytes.
fn too_large(frame: &[u8], mtu: u32, quote: usize) -> Vec<u8> {
    let view = segment(frame);
    let v6 = view.ip.addresses.is_v6();
    let quoted = &frame[14..14 + quote];
    let mut message = vec![if v6 { 2 } else { 3 }, if v6 { 0 } else { 4 }, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(quoted);
    let header = IpHeader {
        addresses: view.ip.addresses.answer(),
        traffic_class: 0,
        ttl: 60,
    };
    let ethernet = Ethernet {
        ethertype: header.ethertype(),
        ..view.ethernet.answer()
    };
    let mut out = vec![0; 54];
    let at = ethernet.emit(&mut out).unwrap();
    let len = at + header.emit(message.len(), &mut out[at..]).unwrap();
    out.truncate(len);
    let mut sum = Sum::new();
    if v6 {
        out[at + 6] = 58;
        sum = header.addresses.pseudo_header(message.len()).word(58 - 6);
    } else {
        out[at + 9] = 1;
        out[at + 10..at + 12].fill(0);
        let checksum = Sum::new().bytes(&out[at..]).checksum();
        out[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    let checksum = sum.bytes(&message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    out.extend(message);
    out
}

#[test]
fn a_router_tells_the_one_who_sent_it() {
    for which in [[false; 2], [true, false], [false, true], [true; 2]] {
        let mut relay = Relay::new(over_v6(sides(), which));
        let sent = relay.seg(0, 0, 0, NONE, &[7; 1300]);
        let original = relay.sides[0].peer_frame(&sent);
        let out = relay.relayed(0, &sent);
        let header = |v6| if v6 { 40 } else { 20 };
        let quote = header(which[1]) + 8;
        relay.receive_raw(&too_large(&out.frame, 1290, quote));
        let told = relay.port.to_wire.pop().unwrap();
        // What it quotes is what the client sent, as far as routers must not change it.
        let at = 14 + header(which[0]);
        let (kind, tcp) = (&told[at..at + 2], &told[at + 8 + header(which[0])..]);
        assert_eq!(kind, if which[0] { [2, 0] } else { [3, 4] });
        assert_eq!(tcp, &original[14 + header(which[0])..][..8]);
        let mtu = 1290 + header(which[0]) - header(which[1]);
        let mtu = if which[0] { mtu.max(1280) } else { mtu };
        assert_eq!(told[at + 4..at + 8], (mtu as u32).to_be_bytes());
        let (ethernet, payload) = Ethernet::parse(&told).unwrap();
        assert_eq!(ethernet.dst, relay.sides[0].peer_mac);
        let packet = Packet::parse(ethernet.ethertype, payload).unwrap().unwrap();
        assert_eq!(packet.addresses, relay.sides[0].addresses);
        assert!(packet.checksum_ok());
        let sum = match which[0] {
            true => packet
                .addresses
                .pseudo_header(packet.payload.len())
                .word(58 - 6),
            false => Sum::new(),
        };
        assert_eq!(sum.bytes(packet.payload).fold(), 0xffff);
        assert_eq!(relay.count(Counter::SpliceIcmp), 1);

        // Nothing of this sequence number is under way any more.
        relay.relayed(1, &relay.seg(1, 0, 1300, NONE, b""));
        relay.receive_raw(&too_large(&out.frame, 1290, quote));
        assert!(relay.port.to_wire.is_empty());
        assert_eq!(relay.count(Counter::SpliceIcmpDropped), 1);
        // Of somebody else's connection the host is told.
        let stranger = Side {
            ports: [PORT, 9],
            ..relay.sides[1].clone()
        };
        let frame = too_large(&stranger.host_frame(&Seg::default()), 1290, quote);
        relay.receive_raw(&frame);
        assert_eq!(relay.port.to_host, [frame]);
    }
}
