// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A second TCP stack as client: smoltcp, over a wire that loses, doubles and reorders.
//!
//! The host behind the NIC is a few lines of TCP that can only take connections which the NIC verified: it
//! echoes what it gets, and resets what it does not know, as a host without a connection must. One that closes after
//! the request hands response and connection over.

#[path = "../common/mod.rs"]
mod common;
mod device;

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::setup::rule;
use common::*;
use device::{Faults, Port, Wire};
use nicstack::stats::Counter;
use nicstack::wire::ethernet::Ethernet;
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::segment::SegmentHeader;
use nicstack::wire::seq;
use nicstack::wire::tcp::{Flags, TcpHeader};
use nicstack::{HandOver, Handshake, Instant};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// Time of a step of the simulation.
const STEP: u64 = 2 * MS;

thread_local! {
    /// The client's timestamp clock.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

/// A connection of the host.
struct Connection {
    answer: SegmentHeader,
    mss: usize,
    handshake: Handshake,
    rcv_nxt: u32,
    snd_una: u32,
    /// What is not acknowledged yet.
    unsent: Vec<u8>,
    peer_closed: bool,
    retransmit_at: u64,
    segments: u32,
    /// What has come of a request after which the host closes.
    request: Vec<u8>,
}

/// The host.
#[derive(Default)]
struct Host {
    connections: HashMap<(Addresses2, u16), Connection>,
    accepted: Vec<Handshake>,
    resets: u32,
    /// Bytes of a request after which the host answers and closes.
    close_after: Option<usize>,
    /// A connection to be handed over, before anything else is sent.
    handed: Option<(Vec<u8>, HandOver)>,
    /// Those that were. A copy of the first segment may have been marked before the card took the connection over; the
    /// host must know it again.
    gone: HashSet<(Addresses2, u16, u32)>,
}

/// Addresses that can be hashed.
type Addresses2 = Vec<u8>;

fn key(addresses: &Addresses) -> Addresses2 {
    match addresses {
        Addresses::V4 { src, .. } => src.to_vec(),
        Addresses::V6 { src, .. } => src.to_vec(),
    }
}

impl Host {
    /// Takes a frame from the NIC and returns what it sends.
    fn receive(&mut self, now: u64, frame: &[u8], handshake: Option<Handshake>) -> Option<Vec<u8>> {
        let segment = segment(frame);
        let tcp = segment.tcp.header;
        let key = (key(&segment.ip.addresses), tcp.src_port);
        if tcp.flags.has(Flags::RST) {
            self.connections.remove(&key);
            return None;
        }
        let known = self.connections.contains_key(&key);
        match handshake {
            _ if known => {}
            Some(_) if self.gone.contains(&(key.0.clone(), key.1, tcp.ack)) => return None,
            Some(handshake) if handshake.brings_connection() => {
                self.accepted.push(handshake);
                let answer = SegmentHeader {
                    ethernet: segment.ethernet.answer(),
                    ip: IpHeader {
                        addresses: segment.ip.addresses.answer(),
                        traffic_class: 0,
                        ttl: 64,
                    },
                    tcp: TcpHeader {
                        src_port: tcp.dst_port,
                        dst_port: tcp.src_port,
                        flags: Flags::ACK,
                        window: handshake.window.get() >> handshake.rcv_wscale,
                        ..TcpHeader::default()
                    },
                    options: Options::default(),
                };
                let connection = Connection {
                    answer,
                    mss: usize::from(handshake.mss.get()) - 12,
                    handshake,
                    rcv_nxt: tcp.seq,
                    snd_una: tcp.ack,
                    unsent: Vec::new(),
                    peer_closed: false,
                    retransmit_at: u64::MAX,
                    segments: 0,
                    request: Vec::new(),
                };
                self.connections.insert(key.clone(), connection);
            }
            Some(_) => return None,
            None => return self.reset(&segment),
        }
        let connection = self.connections.get_mut(&key)?;
        let times = Options::parse(segment.tcp.options).timestamps;
        let (reply, done) = connection.receive(now, &segment, times);
        if let Some(len) = self.close_after {
            connection.request.append(&mut connection.unsent);
            if connection.request.len() == len {
                self.handed = Some(connection.hand_over(tcp.window));
                self.gone.insert((key.0.clone(), key.1, connection.snd_una));
                self.connections.remove(&key);
                return None;
            }
            let mut header = connection.answer;
            header.tcp.seq = connection.snd_una;
            header.tcp.ack = connection.rcv_nxt;
            return reply.map(|_| emit(&header, &[]));
        }
        if done {
            self.connections.remove(&key);
        }
        reply
    }

    fn reset(&mut self, segment: &nicstack::wire::segment::Segment<'_>) -> Option<Vec<u8>> {
        self.resets += 1;
        let tcp = segment.tcp.header;
        let header = SegmentHeader {
            ethernet: segment.ethernet.answer(),
            ip: IpHeader {
                addresses: segment.ip.addresses.answer(),
                traffic_class: 0,
                ttl: 64,
            },
            tcp: TcpHeader {
                src_port: tcp.dst_port,
                dst_port: tcp.src_port,
                seq: tcp.ack,
                flags: Flags::RST,
                ..TcpHeader::default()
            },
            options: Options::default(),
        };
        Some(emit(&header, &[]))
    }

    fn retransmit(&mut self, now: u64) -> Vec<Vec<u8>> {
        self.connections
            .values_mut()
            .filter(|connection| connection.retransmit_at <= now)
            .map(|connection| connection.send(now))
            .collect()
    }
}

impl Connection {
    fn receive(
        &mut self,
        now: u64,
        segment: &nicstack::wire::segment::Segment<'_>,
        times: Option<Timestamps>,
    ) -> (Option<Vec<u8>>, bool) {
        let tcp = segment.tcp.header;
        self.segments += 1;
        if let Some(times) = times {
            self.answer.options.timestamps = Some(Timestamps {
                value: self.handshake.clock.get().wrapping_add(self.segments),
                echo: times.value,
            });
        }
        if tcp.seq == self.rcv_nxt {
            let data = segment.tcp.data;
            self.unsent.extend(data);
            self.rcv_nxt = self.rcv_nxt.wrapping_add(data.len() as u32);
            if tcp.flags.has(Flags::FIN) {
                self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
                self.peer_closed = true;
            }
        }
        if seq::before(self.snd_una, tcp.ack) {
            let acked = tcp.ack.wrapping_sub(self.snd_una) as usize;
            let data = acked.min(self.unsent.len());
            self.unsent.drain(..data);
            self.snd_una = tcp.ack;
            if acked > data {
                assert!(self.peer_closed, "acknowledged what was never sent");
                return (None, true);
            }
        }
        let idle = segment.tcp.data.is_empty() && !tcp.flags.has(Flags::FIN);
        if idle && self.unsent.is_empty() && !self.peer_closed {
            return (None, false);
        }
        (Some(self.send(now)), false)
    }

    /// The connection with the request as its response, for the NIC to end.
    fn hand_over(&self, window: u16) -> (Vec<u8>, HandOver) {
        let mut header = self.answer;
        header.tcp.seq = self.snd_una;
        header.tcp.ack = self.rcv_nxt;
        let window = u32::from(window) << self.handshake.snd_wscale;
        let message = HandOver {
            version: HandOver::VERSION,
            snd_wscale: self.handshake.snd_wscale,
            retries: 15,
            mss: (self.mss as u16).into(),
            snd_nxt: self.snd_una.into(),
            snd_wnd: window.into(),
            snd_wl1: self.rcv_nxt.wrapping_sub(1).into(),
            max_wnd: window.into(),
            rcv_wnd: 64_240.into(),
            cwnd: (10 * self.mss as u32).into(),
            rto_ms: 250.into(),
            fin_wait_ms: 60_000.into(),
            time_wait_ms: 1000.into(),
            ..HandOver::default()
        };
        let mut frame = vec![0; 200 + self.request.len()];
        let len = header.emit(&self.request, &mut frame).unwrap();
        frame.truncate(len);
        (frame, message)
    }

    /// The first segment that is not acknowledged, or a bare ACK.
    fn send(&mut self, now: u64) -> Vec<u8> {
        let len = self.unsent.len().min(self.mss);
        let mut header = self.answer;
        header.tcp.seq = self.snd_una;
        header.tcp.ack = self.rcv_nxt;
        let fin = self.peer_closed && len == self.unsent.len();
        if fin {
            header.tcp.flags = Flags::ACK | Flags::FIN;
        }
        self.retransmit_at = if fin || len > 0 {
            now + 250 * MS
        } else {
            u64::MAX
        };
        emit(&header, &self.unsent[..len])
    }
}

/// Client, wires, NIC and host.
struct Lab {
    card: Card,
    host: Host,
    up: Wire,
    down: Wire,
    client: Port,
    interface: Interface,
    now: u64,
    v6: bool,
}

const ETHERNET: Ethernet = Ethernet {
    dst: SERVER_MAC,
    src: CLIENT_MAC,
    tags: [None; 2],
    ethertype: 0,
};

impl Lab {
    fn new(v6: bool, faults: Faults, seed: u64, change: u16) -> Self {
        let card = serving(|rule| set(rule, change));
        let mut client = Port::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut client, Time::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = if v6 {
                IpAddress::v6(0xfd99, 0, 0, 0, 0, 0, 0, 1)
            } else {
                IpAddress::v4(10, 99, 0, 1)
            };
            addresses.push(IpCidr::new(address, 24)).unwrap();
        });
        Self {
            now: card.now.0,
            card,
            host: Host::default(),
            up: Wire::new(faults, seed),
            down: Wire::new(faults, !seed),
            client,
            interface,
            v6,
        }
    }

    fn step(&mut self, sockets: &mut SocketSet<'_>) {
        self.now += STEP;
        self.card.now = Instant(self.now);
        CLOCK.set((self.now / MS) as u32);
        for frame in self.down.arrived(self.now) {
            self.client.received.push_back(frame[14..].to_vec());
        }
        let time = Time::from_micros((self.now / 1000) as i64);
        self.interface.poll(time, &mut self.client, sockets);
        for packet in self.client.sent.drain(..) {
            let mut frame = vec![0; 14];
            let ethertype = if self.v6 { 0x86dd } else { 0x0800 };
            Ethernet {
                ethertype,
                ..ETHERNET
            }
            .emit(&mut frame);
            frame.extend(packet);
            self.up.send(self.now, frame);
        }

        let mut sent = Sent::default();
        for frame in self.up.arrived(self.now) {
            self.card.nic.from_wire(self.card.now, &frame, &mut sent);
        }
        for (frame, handshake) in std::mem::take(&mut sent.to_host) {
            if let Some(answer) = self.host.receive(self.now, &frame, handshake) {
                self.card.nic.from_host(self.card.now, &answer, &mut sent);
            }
            if let Some((template, message)) = self.host.handed.take() {
                let nic = &self.card.nic;
                nic.hand_over(self.card.now, &message, &template, &mut sent);
            }
        }
        for frame in self.host.retransmit(self.now) {
            self.card.nic.from_host(self.card.now, &frame, &mut sent);
        }
        self.card.nic.poll(self.card.now, &mut sent);
        for frame in sent.to_wire {
            self.down.send(self.now, frame);
        }
    }

    /// From now on the host closes after the request.
    fn close_after(&mut self, len: usize) {
        if self.host.close_after.is_none() {
            let attach = cmd::Attach {
                flags: cmd::attach::ALL.into(),
                ..cmd::Attach::default()
            };
            self.card.order(&Request::Attach(attach)).unwrap();
        }
        self.host.close_after = Some(len);
    }

    /// Connects, sends `data` in one go, reads it back, and closes.
    fn transact(&mut self, port: u16, data: &[u8], timestamps: bool) {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        if timestamps {
            socket.set_tsval_generator(Some(|| CLOCK.get()));
        }
        let server = if self.v6 {
            IpAddress::v6(0xfd99, 0, 0, 0, 0, 0, 0, 2)
        } else {
            IpAddress::v4(10, 99, 0, 2)
        };
        socket
            .connect(self.interface.context(), (server, PORT), port)
            .unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let handle: SocketHandle = sockets.add(socket);
        let (mut sent, mut echoed) = (0, Vec::new());
        // Ten minutes of theirs at most: at 20 % loss smoltcp backs off for a minute at a time.
        for _ in 0..600_000 * MS / STEP {
            self.step(&mut sockets);
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && sent < data.len() {
                sent += socket.send_slice(&data[sent..]).unwrap();
            }
            while socket.can_recv() {
                let more = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap();
                echoed.extend(more);
            }
            if echoed.len() == data.len() {
                socket.close();
            }
            let over = matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait);
            if over && self.host.connections.is_empty() {
                break;
            }
        }
        assert!(echoed == data, "{} of {} bytes", echoed.len(), data.len());
        assert!(self.host.connections.is_empty(), "closed on both sides");
        // What is on its way yet.
        for _ in 0..200 {
            self.step(&mut sockets);
        }
    }
}

const CLEAN: Faults = Faults {
    loss: 0,
    duplicates: 0,
    reordered: 0,
};

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len)
        .map(|place| (place * 7 + place / 251 + salt) as u8)
        .collect()
}

#[test]
fn every_mode_on_a_clean_wire() {
    for v6 in [false, true] {
        for timestamps in [false, true] {
            for change in [0, rule::DEFER, rule::SERVER_FIRST] {
                let mut lab = Lab::new(v6, CLEAN, 1, change);
                lab.transact(50_000, &pattern(5000, 3), timestamps);
                assert_eq!(lab.host.accepted.len(), 1);
                assert_eq!(lab.host.resets, 0);
                let seen = lab.host.accepted[0];
                use acceltcp_abi::setup::handshake::{SACK, TIMESTAMPS, WSCALE};
                let expected = if timestamps {
                    WSCALE | SACK | TIMESTAMPS
                } else {
                    0
                };
                assert_eq!(seen.flags, expected);
                assert_eq!(seen.mss.get(), if v6 { 1440 } else { 1460 });
                let deferred = lab.card.count(Counter::AckDeferred);
                assert_eq!(deferred, u64::from(change == rule::DEFER));
            }
        }
    }
}

/// Loss, duplicates and reordering: every byte arrives, no connection is made twice, and none is reset.
#[test]
fn every_byte_on_a_bad_wire() {
    for (round, percent) in [1, 5, 20].into_iter().enumerate() {
        for change in [0, rule::DEFER] {
            let faults = Faults {
                loss: percent,
                duplicates: percent,
                reordered: percent,
            };
            let mut lab = Lab::new(false, faults, 77 + round as u64, change);
            const CONNECTIONS: u16 = 25;
            for number in 0..CONNECTIONS {
                let data = pattern(200 + 400 * usize::from(number), number.into());
                lab.transact(50_000 + number, &data, number % 2 == 0);
            }
            assert_eq!(lab.host.accepted.len(), usize::from(CONNECTIONS));
        }
    }
}

/// The same when the NIC ends the connections: the response, behind which the server closes, arrives whole.
#[test]
fn the_nic_ends_connections() {
    for (round, percent) in [0, 1, 5, 20].into_iter().enumerate() {
        for change in [0, rule::DEFER] {
            let faults = Faults {
                loss: percent,
                duplicates: percent,
                reordered: percent,
            };
            let mut lab = Lab::new(percent == 1, faults, 99 + round as u64, change);
            const CONNECTIONS: u16 = 12;
            for number in 0..CONNECTIONS {
                let data = pattern(1 + 900 * usize::from(number), number.into());
                lab.close_after(data.len());
                lab.transact(50_000 + number, &data, number % 2 == 0);
            }
            assert_eq!(lab.host.accepted.len(), usize::from(CONNECTIONS));
            let count = |counter| lab.card.count(counter);
            assert_eq!(count(Counter::TeardownTaken), CONNECTIONS.into());
            if percent == 0 {
                assert_eq!(lab.host.resets, 0);
                assert_eq!(count(Counter::TeardownRetransmit), 0);
                assert_eq!(count(Counter::TeardownDone), CONNECTIONS.into());
            }
            // Whatever is left comes to its end.
            let mut sockets = SocketSet::new(Vec::new());
            for _ in 0..70_000 * MS / STEP {
                lab.step(&mut sockets);
            }
            let usage = lab.card.nic.usage();
            assert_eq!([3, 4, 5].map(|table| usage[table].used), [0; 3]);
        }
    }
}
