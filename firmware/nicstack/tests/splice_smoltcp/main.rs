// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Two stacks of smoltcp, a client and a server, each with a connection to the host, which the card joins.
//!
//! The host is a few lines that bring two connections up by hand. It leaves data to be sent to both, of which it may have sent
//! some, and installs the pair. Then both transfer random amounts, and close in one order or another, over wires that lose, double
//! and reorder.

#[path = "../common/mod.rs"]
mod common;
#[path = "../smoltcp/device.rs"]
mod device;
#[path = "../common/splicing.rs"]
mod splicing;

use acceltcp_abi::splice::{event, kind, reason, EndState};
use common::*;
use device::{Faults, Port as Nic, Wire};
use nicstack::stats::Counter;
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::Addresses;
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::tcp::Flags;
use nicstack::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant as Time};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};
use splicing::*;
use std::cell::Cell;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// Time of a step of the simulation.
const STEP: u64 = 2 * MS;

thread_local! {
    /// The timestamp clocks of both.
    static CLOCKS: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

const CLEAN: Faults = Faults {
    loss: 0,
    duplicates: 0,
    reordered: 0,
};

/// A peer with its wires.
struct Peer {
    port: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// To the card and from it.
    up: Wire,
    down: Wire,
    /// What it sends and what it has got.
    data: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    /// It closes only when it has got everything.
    waits: bool,
    patient: bool,
    closed: bool,
    saw_end: bool,
}

fn address(addresses: &Addresses, peer: bool) -> IpAddress {
    let answer = if peer { addresses.answer() } else { *addresses };
    match answer {
        Addresses::V4 { src, .. } => IpAddress::v4(src[0], src[1], src[2], src[3]),
        Addresses::V6 { src, .. } => {
            let words: Vec<_> = src
                .chunks(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            let [a, b, c, d, e, f, g, h] = words.try_into().unwrap();
            IpAddress::v6(a, b, c, d, e, f, g, h)
        }
    }
}

/// What a run is like.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    faults: Faults,
    v6: [bool; 2],
    timestamps: bool,
    /// With selective acknowledgements sequence numbers do not go round: smoltcp 0.12 fails at that.
    sack: bool,
    /// Bytes of the receive buffers, from which smoltcp makes window scales.
    buffers: [usize; 2],
    /// Bytes that the host leaves to each, how many of them it has sent, and what each sends by itself.
    left: [usize; 2],
    sent: [usize; 2],
    bytes: [usize; 2],
    /// Who closes only when it has everything, if not nobody.
    waits: [bool; 2],
    /// Nobody closes before all of its data is acknowledged and it has everything: smoltcp 0.12 forgets a FIN that came before
    /// missing data, and then its own timer for it.
    patient: bool,
}

const PLAN: Plan = Plan {
    seed: 1,
    faults: CLEAN,
    v6: [false; 2],
    timestamps: true,
    sack: false,
    buffers: [65_535, 200_000],
    left: [0, 0],
    sent: [0, 0],
    bytes: [30_000, 50_000],
    waits: [false; 2],
    patient: false,
};

fn pattern(len: usize, salt: u64) -> Vec<u8> {
    (0..len)
        .map(|place| (place * 7 + place / 251 + place / 65_000 + salt as usize) as u8)
        .collect()
}

/// The two peers and the card.
struct Lab {
    relay: Relay,
    peers: [Peer; 2],
    now: u64,
}

impl Lab {
    fn new(plan: &Plan) -> Self {
        let mut sides = over_v6(sides(), plan.v6);
        for (number, side) in sides.iter_mut().enumerate() {
            if !plan.timestamps {
                side.times = None;
            }
            if plan.sack {
                side.una = 1_000_000;
            }
            side.data = pattern(plan.left[number], 99);
            side.sent = plan.sent[number].min(plan.left[number]) as u32;
        }
        let mut relay = Relay::empty(PAIRS);
        relay.idle_ms = 0;
        let peers = [0, 1].map(|number| Self::peer(plan, &sides[number], number));
        relay.sides = sides;
        let mut lab = Self {
            now: relay.card.now.0,
            relay,
            peers,
        };
        for number in 0..2 {
            lab.connect(plan, number);
        }
        for number in 0..2 {
            lab.peers[number].up = Wire::new(plan.faults, plan.seed + 10 + number as u64);
            lab.peers[number].down = Wire::new(plan.faults, plan.seed + 20 + number as u64);
        }
        lab.relay.install(0, 1);
        assert_eq!(lab.relay.count(Counter::SpliceTaken), 1);
        lab.carry();
        lab
    }

    fn peer(plan: &Plan, side: &Side, number: usize) -> Peer {
        let mut port = Nic::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = plan.seed + number as u64;
        let mut interface = Interface::new(config, &mut port, Time::ZERO);
        let own = address(&side.addresses, true);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(own, 24)).unwrap());
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(plan.buffers[number]), buffer(65_535));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(Duration::from_millis(10)));
        if plan.timestamps {
            socket.set_tsval_generator(Some(if number == 0 {
                || CLOCKS.get()[0]
            } else {
                || CLOCKS.get()[1]
            }));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Peer {
            port,
            interface,
            sockets,
            handle,
            up: Wire::new(CLEAN, 0),
            down: Wire::new(CLEAN, 0),
            data: pattern(plan.bytes[number], number as u64),
            sent: 0,
            got: Vec::new(),
            waits: plan.waits[number],
            patient: plan.patient,
            closed: false,
            saw_end: false,
        }
    }

    /// Brings up the connection of a peer: all of them are called, as smoltcp does both the same. What the host has learned is in the side.
    fn connect(&mut self, plan: &Plan, number: usize) {
        let side = self.relay.sides[number].clone();
        let peer = &mut self.peers[number];
        let socket = peer.sockets.get_mut::<tcp::Socket<'_>>(peer.handle);
        let remote: IpEndpoint = (address(&side.addresses, false), side.ports[0]).into();
        socket
            .connect(peer.interface.context(), remote, side.ports[1])
            .unwrap();
        let syn = self.packet(number);
        let view = segment(&syn);
        let options = Options::parse(view.tcp.options);
        let times = options.timestamps.filter(|_| plan.timestamps);
        assert_eq!(times.is_some(), plan.timestamps);
        let side = &mut self.relay.sides[number];
        side.rcv_nxt = view.tcp.header.seq.wrapping_add(1);
        side.times = times.map(|times| (side.times.unwrap().0, times.value));
        side.snd_wscale = options.wscale.unwrap();
        // Not more than the other peer takes: smoltcp 0.12 gets stuck when a window shrinks (RFC 9293 section 3.8.6).
        let promised = plan.buffers[1 - number].saturating_sub(plan.left[1 - number]);
        let promised = promised.min(60_000) as u16;
        side.window = promised >> side.rcv_wscale;
        let host = Options {
            mss: Some(1460),
            wscale: Some(side.rcv_wscale),
            sack_permitted: plan.sack,
            timestamps: side.times.map(|(value, echo)| Timestamps { value, echo }),
            ..Options::default()
        };
        let mut bytes = [0; 40];
        let len = host.emit(&mut bytes);
        let syn_ack = side.host_frame(&Seg {
            seq: side.una.wrapping_sub(1),
            ack: side.rcv_nxt,
            flags: Flags::SYN | Flags::ACK,
            window: promised,
            options: bytes[..len].to_vec(),
            ..Seg::default()
        });
        self.deliver(number, &syn_ack);
        let ack = self.packet(number);
        let window = u32::from(segment(&ack).tcp.header.window);
        let side = &mut self.relay.sides[number];
        side.snd_wnd = window << side.snd_wscale;
        // What the host has sent of its data.
        let sent = side.data[..side.sent as usize].to_vec();
        let mut at = side.una;
        let side = side.clone();
        for (index, chunk) in sent.chunks(1400).enumerate() {
            let frame = side.host_frame(&Seg {
                seq: at,
                ack: side.rcv_nxt,
                flags: Flags::ACK,
                window: side.window,
                options: side
                    .times
                    .map_or(Vec::new(), |(value, echo)| stamps(value, echo)),
                data: chunk.to_vec(),
                ecn: 0,
            });
            at = at.wrapping_add(chunk.len() as u32);
            // Some get there.
            if index % 2 == 0 {
                self.deliver(number, &frame);
            }
        }
    }

    fn time(&self) -> Time {
        Time::from_micros((self.now / 1000) as i64)
    }

    fn poll(&mut self, number: usize) {
        let time = self.time();
        let ms = (self.now / MS) as u32;
        // Two clocks that never agree, one of which goes round.
        CLOCKS.set([ms.wrapping_add(u32::MAX - 100_500), ms / 4]);
        let peer = &mut self.peers[number];
        peer.interface.poll(time, &mut peer.port, &mut peer.sockets);
    }

    /// The next packet of a peer, which must have one.
    fn packet(&mut self, number: usize) -> Vec<u8> {
        for _ in 0..100 {
            self.poll(number);
            if !self.peers[number].port.sent.is_empty() {
                let packet = self.peers[number].port.sent.remove(0);
                return self.frame(number, &packet);
            }
            self.now += STEP;
        }
        panic!("it has none");
    }

    fn frame(&self, number: usize, packet: &[u8]) -> Vec<u8> {
        let side = &self.relay.sides[number];
        let ethernet = Ethernet {
            dst: SERVER_MAC,
            src: side.peer_mac,
            tags: [None; 2],
            ethertype: if side.addresses.is_v6() {
                0x86dd
            } else {
                0x0800
            },
        };
        let mut frame = vec![0; 14];
        ethernet.emit(&mut frame);
        frame.extend(packet);
        frame
    }

    fn deliver(&mut self, number: usize, frame: &[u8]) {
        self.peers[number]
            .port
            .received
            .push_back(frame[14..].to_vec());
        self.poll(number);
    }

    /// What the card has sent goes on its way.
    fn carry(&mut self) {
        for out in self.relay.sent() {
            let now = self.now;
            self.peers[out.to].down.send(now, out.frame);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        self.relay.card.now = Instant(self.now);
        for number in 0..2 {
            for frame in self.peers[number].down.arrived(self.now) {
                self.peers[number]
                    .port
                    .received
                    .push_back(frame[14..].to_vec());
            }
            self.application(number);
            self.poll(number);
            for packet in std::mem::take(&mut self.peers[number].port.sent) {
                let frame = self.frame(number, &packet);
                self.peers[number].up.send(self.now, frame);
            }
            for frame in self.peers[number].up.arrived(self.now) {
                let now = self.relay.card.now;
                self.relay
                    .card
                    .nic
                    .from_wire(now, &frame, &mut self.relay.port);
            }
        }
        let now = self.relay.card.now;
        self.relay.card.nic.poll(now, &mut self.relay.port);
        self.carry();
    }

    fn application(&mut self, number: usize) {
        let expected = self.expected(number).len();
        let peer = &mut self.peers[number];
        let socket = peer.sockets.get_mut::<tcp::Socket<'_>>(peer.handle);
        if socket.can_send() && peer.sent < peer.data.len() {
            peer.sent += socket.send_slice(&peer.data[peer.sent..]).unwrap();
        }
        while socket.can_recv() {
            let more = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap();
            peer.got.extend(more);
        }
        if !socket.may_recv() && !peer.saw_end {
            assert_eq!(peer.got.len(), expected, "the end came before the data");
            peer.saw_end = true;
        }
        let ready = peer.sent == peer.data.len() && (!peer.waits || peer.saw_end);
        let calm = socket.send_queue() == 0 && peer.got.len() == expected;
        if ready && !peer.closed && (calm || !peer.patient) {
            socket.close();
            peer.closed = true;
        }
    }

    /// What a peer is to get: what the host left, and what the other one sends.
    fn expected(&self, number: usize) -> Vec<u8> {
        [
            &self.relay.sides[number].data[..],
            &self.peers[1 - number].data,
        ]
        .concat()
    }

    fn run(&mut self) {
        // Ten minutes of theirs at most.
        for _ in 0..600_000 * MS / STEP {
            self.step();
            if self.relay.is_empty() && self.peers.iter().all(|peer| peer.saw_end) {
                break;
            }
        }
        for number in 0..2 {
            let expected = self.expected(number);
            let got = &self.peers[number].got;
            assert!(
                *got == expected,
                "{} of {} bytes to {number}",
                got.len(),
                expected.len()
            );
        }
        assert!(self.relay.is_empty());
    }
}

fn transfer(plan: &Plan) -> Lab {
    let mut lab = Lab::new(plan);
    lab.run();
    let events = lab.relay.events();
    let ended = &events[0];
    assert_eq!(
        (ended.kind, ended.reason),
        (event::ENDED, reason::CLOSED),
        "{plan:?}"
    );
    assert_eq!(events[1].kind, event::FREED);
    assert_eq!(
        ended.bytes.map(|n| n.get() as usize),
        plan.bytes,
        "{plan:?}"
    );
    assert!(ended.segments.iter().all(|n| n.get() > 0));
    lab
}

#[test]
fn every_kind_of_pair_on_clean_wires() {
    for v6 in [[false; 2], [true, false], [false, true], [true; 2]] {
        for timestamps in [true, false] {
            for waits in [[false; 2], [true, false], [false, true]] {
                let lab = transfer(&Plan {
                    v6,
                    timestamps,
                    waits,
                    left: [3000, 7000],
                    sent: [0, 2000],
                    ..PLAN
                });
                assert_eq!(lab.relay.count(Counter::SpliceBadReset), 0);
                assert!(lab.relay.port.to_host.is_empty());
            }
        }
    }
}

#[test]
fn windows_of_all_sizes() {
    for buffers in [[2000, 1_000_000], [65_535, 3000], [500_000, 500_000]] {
        transfer(&Plan {
            buffers,
            left: [1500, 1900],
            bytes: [200_000, 200_000],
            ..PLAN
        });
    }
}

#[test]
fn every_byte_on_bad_wires() {
    let mut seed = 0;
    for percent in [1, 5, 12] {
        for (left, sent) in [
            ([0, 0], [0, 0]),
            ([9000, 1], [0, 1]),
            ([1, 20_000], [0, 8000]),
        ] {
            for waits in [[true, false], [false, true]] {
                seed += 7;
                transfer(&Plan {
                    seed,
                    faults: Faults {
                        loss: percent,
                        duplicates: percent,
                        reordered: percent,
                    },
                    timestamps: seed % 2 == 0,
                    sack: seed % 3 != 0,
                    left,
                    sent,
                    bytes: [1 + 997 * seed as usize, 40_000],
                    waits,
                    patient: true,
                    ..PLAN
                });
            }
        }
    }
}

#[test]
fn taken_back_in_the_middle_nothing_is_acknowledged_that_was_not_delivered() {
    let mut returned = 0;
    for seed in 1..40 {
        let plan = Plan {
            seed,
            sack: seed % 2 == 0,
            faults: Faults {
                loss: 3,
                duplicates: 3,
                reordered: 3,
            },
            bytes: [2_000_000, 2_000_000],
            ..PLAN
        };
        let mut lab = Lab::new(&plan);
        for _ in 0..20 + 5 * seed {
            lab.step();
        }
        lab.relay.order(kind::TAKE_BACK, 0, 1);
        let told = (0..10_000).find_map(|_| {
            lab.step();
            lab.relay.events().pop()
        });
        let told = told.unwrap();
        if told.kind == event::REFUSED {
            // Too much was lost to get it through in time.
            continue;
        }
        returned += 1;
        assert_eq!(told.kind, event::TAKEN_BACK);
        for number in 0..2 {
            let [own, others]: [EndState; 2] = [told.ends()[number], told.ends()[1 - number]];
            let side = &lab.relay.sides[number];
            // What this one was acknowledged is what the other one has.
            let accepted = own.rcv_nxt.get().wrapping_sub(side.rcv_nxt);
            let una = lab.relay.sides[1 - number].una;
            assert_eq!(accepted, others.snd_nxt.get().wrapping_sub(una));
            let peer = &lab.peers[1 - number];
            let socket = peer.sockets.get::<tcp::Socket<'_>>(peer.handle);
            assert!(peer.got.len() + socket.recv_queue() >= accepted as usize);
        }
    }
    assert!(returned > 20, "{returned}");
}
