// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host that splices connections, and their peers.

#![allow(dead_code, reason = "not every test uses all of it")]

use super::common::*;
use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::splice::{self, kind, End, Splice, SpliceEvent};
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::{Ethernet, Tag};
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::tcp::{Flags, TcpHeader};
use nicstack::{Credits, Output};

pub(crate) const PAIRS: Capacity = Capacity {
    spliced_pairs: 8,
    acl: 8,
    buffers: 80,
    ..SMALL
};

/// One of the two connections, as the host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    /// Ours and the peer's.
    pub(crate) addresses: Addresses,
    pub(crate) ports: [u16; 2],
    pub(crate) peer_mac: [u8; 6],
    pub(crate) vlan: Option<Tag>,
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) una: u32,
    pub(crate) rcv_nxt: u32,
    pub(crate) window: u16,
    /// The host's clock and TS.Recent.
    pub(crate) times: Option<(u32, u32)>,
    pub(crate) snd_wscale: u8,
    pub(crate) rcv_wscale: u8,
    pub(crate) snd_wnd: u32,
    pub(crate) max_rcv_wnd: u32,
    pub(crate) cwnd: u32,
    pub(crate) data: Vec<u8>,
    /// How much of it was sent.
    pub(crate) sent: u32,
}

/// A client of the host and a server to which the host has connected; sequence numbers go round on the way.
pub(crate) fn sides() -> [Side; 2] {
    let client = Side {
        addresses: V4.answer(),
        ports: [PORT, 40_000],
        peer_mac: CLIENT_MAC,
        vlan: None,
        ttl: 61,
        class: 0x28,
        una: 0xffff_ff00,
        rcv_nxt: 5000,
        window: 500,
        times: Some((900_000, 300_000)),
        snd_wscale: 7,
        rcv_wscale: 8,
        snd_wnd: 64_000,
        max_rcv_wnd: 0,
        cwnd: 14_480,
        data: Vec::new(),
        sent: 0,
    };
    let server = Side {
        addresses: Addresses::V4 {
            src: [10, 99, 0, 2],
            dst: [10, 99, 0, 77],
        },
        ports: [51_000, 8080],
        peer_mac: [2, 0, 0, 0, 0, 7],
        ttl: 64,
        class: 0,
        una: 70_000,
        rcv_nxt: 0xffff_fff0,
        window: 1000,
        times: Some((4_000_000_000, 17)),
        snd_wscale: 3,
        rcv_wscale: 6,
        snd_wnd: 50_000,
        max_rcv_wnd: 0,
        ..client.clone()
    };
    [client, server]
}

/// The same over IPv6, of which `which` says for each.
pub(crate) fn over_v6(mut sides: [Side; 2], which: [bool; 2]) -> [Side; 2] {
    let address = |last| {
        let mut address = [0; 16];
        (address[0], address[15]) = (0xfd, last);
        address
    };
    for (number, side) in sides.iter_mut().enumerate() {
        if which[number] {
            side.addresses = Addresses::V6 {
                src: address(2),
                dst: address(10 + number as u8),
            };
        }
    }
    sides
}

/// A segment of a peer, or of the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seg {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) ecn: u8,
}

pub(crate) fn stamps(value: u32, echo: u32) -> Vec<u8> {
    [
        &[1, 1, 8, 10][..],
        &value.to_be_bytes(),
        &echo.to_be_bytes(),
    ]
    .concat()
}

pub(crate) fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (left, right) in blocks {
        bytes.extend(left.to_be_bytes());
        bytes.extend(right.to_be_bytes());
    }
    bytes
}

impl Side {
    pub(crate) fn end(&self) -> u32 {
        self.una.wrapping_add(self.data.len() as u32)
    }

    fn build(&self, from_peer: bool, segment: &Seg) -> Vec<u8> {
        let ethernet = Ethernet {
            dst: self.peer_mac,
            src: SERVER_MAC,
            tags: [self.vlan, None],
            ethertype: 0,
        };
        let (ethernet, addresses, [src_port, dst_port]) = if from_peer {
            let ports = [self.ports[1], self.ports[0]];
            (ethernet.answer(), self.addresses.answer(), ports)
        } else {
            (ethernet, self.addresses, self.ports)
        };
        let ip = IpHeader {
            addresses,
            traffic_class: if from_peer { 0x10 } else { self.class } | segment.ecn,
            ttl: if from_peer { 33 } else { self.ttl },
        };
        let mut out = vec![0; 120 + segment.options.len() + segment.data.len()];
        let ethernet = Ethernet {
            ethertype: ip.ethertype(),
            ..ethernet
        };
        let ip_at = ethernet.emit(&mut out).unwrap();
        let len = 20 + segment.options.len() + segment.data.len();
        let tcp_at = ip_at + ip.emit(len, &mut out[ip_at..]).unwrap();
        let header = TcpHeader {
            src_port,
            dst_port,
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            window: segment.window,
        };
        header.emit(&segment.options, &mut out[tcp_at..]).unwrap();
        out[tcp_at + 20 + segment.options.len()..tcp_at + len].copy_from_slice(&segment.data);
        out.truncate(tcp_at + len);
        fix_checksum(&mut out, tcp_at);
        out
    }

    pub(crate) fn peer_frame(&self, segment: &Seg) -> Vec<u8> {
        self.build(true, segment)
    }

    pub(crate) fn host_frame(&self, segment: &Seg) -> Vec<u8> {
        self.build(false, segment)
    }

    pub(crate) fn template(&self) -> Vec<u8> {
        self.host_frame(&Seg {
            seq: self.una,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: self.window,
            options: self
                .times
                .map_or(Vec::new(), |(value, echo)| stamps(value, echo)),
            data: self.data.clone(),
            ..Seg::default()
        })
    }

    pub(crate) fn message(&self) -> End {
        End {
            snd_wscale: self.snd_wscale,
            rcv_wscale: self.rcv_wscale,
            retries: 5,
            mss: 1448.into(),
            snd_nxt: self.una.wrapping_add(self.sent).into(),
            snd_wnd: self.snd_wnd.into(),
            max_rcv_wnd: self.max_rcv_wnd.into(),
            cwnd: self.cwnd.into(),
            rto_ms: 200.into(),
            ..End::default()
        }
    }
}

/// Takes frames and events, the latter if it has room.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) to_host: Vec<Vec<u8>>,
    pub(crate) to_wire: Vec<Vec<u8>>,
    pub(crate) credits: Vec<Credits>,
    pub(crate) events: Vec<SpliceEvent>,
    pub(crate) full: bool,
}

impl Output for Port {
    fn to_host(&mut self, frame: &[u8]) {
        self.to_host.push(frame.to_vec());
    }

    fn to_wire(&mut self, frame: &[u8]) {
        self.to_wire.push(frame.to_vec());
    }

    fn credits(&mut self, credits: &Credits) {
        self.credits.push(*credits);
    }

    fn splice_event(&mut self, event: &SpliceEvent) -> bool {
        assert!(event.is_valid());
        if !self.full {
            self.events.push(*event);
        }
        !self.full
    }
}

/// A card with pairs.
pub(crate) struct Relay {
    pub(crate) card: Card,
    pub(crate) sides: [Side; 2],
    pub(crate) port: Port,
    pub(crate) idle_ms: u32,
    pub(crate) linger_ms: u32,
}

/// A frame on its way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) frame: Vec<u8>,
    /// The side whose peer gets it.
    pub(crate) to: usize,
    pub(crate) tcp: TcpHeader,
    pub(crate) options: Vec<u8>,
    pub(crate) times: Option<Timestamps>,
    pub(crate) data: Vec<u8>,
}

impl Relay {
    pub(crate) fn empty(capacity: Capacity) -> Self {
        let mut card = fresh(capacity);
        card.attach();
        let attach = cmd::Attach {
            flags: cmd::attach::ALL.into(),
            ..cmd::Attach::default()
        };
        card.order(&Request::Attach(attach)).unwrap();
        Self {
            card,
            sides: sides(),
            port: Port::default(),
            idle_ms: 60_000,
            linger_ms: 1000,
        }
    }

    pub(crate) fn new(sides: [Side; 2]) -> Self {
        let mut relay = Self::empty(PAIRS);
        relay.sides = sides;
        relay.install(0, 1);
        assert_eq!(relay.card.count(Counter::SpliceTaken), 1);
        relay
    }

    pub(crate) fn message(&self, kind: u8, pair: u32, generation: u32) -> Splice {
        let second = if kind == kind::INSTALL {
            self.sides[0].template().len() as u16
        } else {
            0
        };
        Splice {
            version: splice::VERSION,
            kind,
            pair: pair.into(),
            generation: generation.into(),
            idle_ms: self.idle_ms.into(),
            linger_ms: self.linger_ms.into(),
            second: second.into(),
            ends: self.sides.each_ref().map(Side::message),
            ..Splice::default()
        }
    }

    pub(crate) fn install(&mut self, pair: u32, generation: u32) {
        let message = self.message(kind::INSTALL, pair, generation);
        let frame = self.sides.each_ref().map(Side::template).concat();
        self.say(&message, &frame);
    }

    pub(crate) fn order(&mut self, kind: u8, pair: u32, generation: u32) {
        let message = self.message(kind, pair, generation);
        self.say(&message, &[0; 60]);
    }

    pub(crate) fn say(&mut self, message: &Splice, frame: &[u8]) {
        let now = self.card.now;
        self.card.nic.splice(now, message, frame, &mut self.port);
    }

    /// A frame from the wire. What comes of it is returned, if it goes out on the wire.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Vec<Out> {
        self.card
            .nic
            .from_wire(self.card.now, frame, &mut self.port);
        self.sent()
    }

    /// A frame from the wire of which no segment comes.
    pub(crate) fn receive_raw(&mut self, frame: &[u8]) {
        self.card
            .nic
            .from_wire(self.card.now, frame, &mut self.port);
    }

    /// A segment of a side's peer.
    pub(crate) fn peer(&mut self, side: usize, segment: &Seg) -> Vec<Out> {
        let frame = self.sides[side].peer_frame(segment);
        self.receive(&frame)
    }

    /// The same for one that is relayed and brings nothing else.
    pub(crate) fn relayed(&mut self, side: usize, segment: &Seg) -> Out {
        let mut out = self.peer(side, segment);
        assert_eq!(out.len(), 1, "{out:#?}");
        let out = out.remove(0);
        assert_eq!(out.to, 1 - side);
        out
    }

    pub(crate) fn sent(&mut self) -> Vec<Out> {
        let frames = std::mem::take(&mut self.port.to_wire);
        frames.into_iter().map(|frame| self.parse(frame)).collect()
    }

    fn parse(&self, frame: Vec<u8>) -> Out {
        let view = segment(&frame);
        assert!(view.checksums_ok());
        let to = self
            .sides
            .iter()
            .position(|side| {
                let ports = [view.tcp.header.src_port, view.tcp.header.dst_port];
                side.addresses == view.ip.addresses && side.ports == ports
            })
            .expect("of one of the connections");
        let side = &self.sides[to];
        assert_eq!(view.ethernet.dst, side.peer_mac);
        assert_eq!(view.ethernet.src, SERVER_MAC);
        assert_eq!(view.ethernet.tags, [side.vlan, None]);
        assert_eq!(view.ip.traffic_class & !3, side.class);
        Out {
            to,
            tcp: view.tcp.header,
            options: view.tcp.options.to_vec(),
            times: Options::parse(view.tcp.options).timestamps,
            data: view.tcp.data.to_vec(),
            frame: frame.clone(),
        }
    }

    /// Lets time pass, in steps in which the NIC is polled, and returns what is sent.
    pub(crate) fn wait(&mut self, ms: u32) -> Vec<Out> {
        let mut out = Vec::new();
        for _ in 0..ms.div_ceil(10) {
            self.card.pass(10_000_000);
            self.card.nic.poll(self.card.now, &mut self.port);
            out.extend(self.sent());
        }
        out
    }

    pub(crate) fn events(&mut self) -> Vec<SpliceEvent> {
        std::mem::take(&mut self.port.events)
    }

    /// The only event since the last look.
    pub(crate) fn event(&mut self) -> SpliceEvent {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }

    /// A segment of a side's peer in order: `offset` behind what the host had received, `acked` behind SND.UNA.
    pub(crate) fn seg(
        &self,
        side: usize,
        offset: u32,
        acked: u32,
        flags: Flags,
        data: &[u8],
    ) -> Seg {
        let from = &self.sides[side];
        Seg {
            seq: from.rcv_nxt.wrapping_add(offset),
            ack: from.una.wrapping_add(acked),
            flags: flags | Flags::ACK,
            window: 400,
            options: from.times.map_or(Vec::new(), |(value, recent)| {
                stamps(recent.wrapping_add(1), value)
            }),
            data: data.to_vec(),
            ecn: 0,
        }
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.card.count(counter)
    }

    /// Nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        let usage = self.card.nic.usage();
        usage[6].used == 0 && usage[4].used == 0
    }
}
