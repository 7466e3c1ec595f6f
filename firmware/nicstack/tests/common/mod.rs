// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A NIC with memory, a host that commands it, and clients that speak by hand-made segments.

#![allow(dead_code, reason = "not every test uses all of it")]

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::setup::{rule, Handshake, ListenRule, NO_VLAN};
use nicstack::clock::pair_offset;
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::{Ethernet, Tag};
use nicstack::wire::ip::{Addresses, IpHeader};
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::segment::{Content, Segment, SegmentHeader};
use nicstack::wire::tcp::{Flags, TcpHeader};
use nicstack::{Instant, Nic, Output};
use std::sync::atomic::AtomicU64;

pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const V4: Addresses = Addresses::V4 {
    src: [10, 99, 0, 1],
    dst: [10, 99, 0, 2],
};
pub(crate) const V6: Addresses = Addresses::V6 {
    src: [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    dst: [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
};
pub(crate) const PORT: u16 = 6379;
/// The host's timestamp clock when the card starts.
pub(crate) const HOST_MS: u32 = 5_000_000;
pub(crate) const TS_OFFSET: u32 = 777;
/// The first key.
const SECRET: &[u8; 8] = b"a secret";

pub(crate) const SECOND: u64 = 1_000_000_000;

/// What the stack had the port do.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) to_host: Vec<(Vec<u8>, Option<Handshake>)>,
    pub(crate) to_wire: Vec<Vec<u8>>,
}

impl Output for Sent {
    fn to_host(&mut self, frame: &[u8]) {
        self.to_host.push((frame.to_vec(), None));
    }

    fn to_wire(&mut self, frame: &[u8]) {
        self.to_wire.push(frame.to_vec());
    }

    fn to_host_with(&mut self, frame: &[u8], handshake: &Handshake) {
        self.to_host.push((frame.to_vec(), Some(*handshake)));
    }
}

/// What became of one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing came out.
    Gone,
    /// It went to the host as it was.
    Host,
    /// It went to the host with a handshake.
    HostWith(Handshake),
    /// A frame was sent on the wire, and nothing to the host.
    Answered(Vec<u8>),
}

pub(crate) struct Card {
    pub(crate) nic: Nic<Vec<AtomicU64>>,
    pub(crate) now: Instant,
    tag: u16,
}

pub(crate) const SMALL: Capacity = Capacity {
    listeners: 16,
    recent: 1024,
    half_open: 16,
    flows: 8,
    buffers: 16,
    time_wait: 8,
    spliced_pairs: 0,
    acl: 8,
};

/// A NIC of `capacity` to which no host has spoken.
pub(crate) fn fresh(capacity: Capacity) -> Card {
    let memory = |words| (0..words).map(|_| AtomicU64::new(0)).collect();
    let (imem, emem) = (memory(capacity.words()), memory(capacity.emem_words()));
    Card {
        nic: Nic::with_memory(imem, emem, capacity).unwrap(),
        now: Instant(100 * SECOND),
        tag: 0,
    }
}

/// A NIC with a driver attached and a key set, without rules.
pub(crate) fn attached() -> Card {
    let mut card = fresh(SMALL);
    card.attach();
    card
}

/// A NIC that serves `PORT` by `change`d rules for any address of IPv4 and IPv6.
pub(crate) fn serving(change: impl Fn(&mut ListenRule)) -> Card {
    let mut card = attached();
    for mut rule in [any_rule(4), any_rule(6)] {
        change(&mut rule);
        card.listen(&rule).unwrap();
    }
    card
}

pub(crate) fn any_rule(family: u8) -> ListenRule {
    ListenRule {
        family,
        wscale: 7,
        port: PORT.into(),
        vlan_outer: NO_VLAN.into(),
        vlan_inner: NO_VLAN.into(),
        flags: (rule::ANY_ADDRESS | rule::WSCALE | rule::SACK | rule::TIMESTAMPS | rule::ECN)
            .into(),
        mss: if family == 4 { 1460 } else { 1440 }.into(),
        window: 64_240.into(),
        ttl: 61,
        dscp: 10,
        ts_offset: TS_OFFSET.into(),
        ..ListenRule::default()
    }
}

pub(crate) fn set(rule: &mut ListenRule, flags: u16) {
    rule.flags = (rule.flags.get() | flags).into();
}

pub(crate) fn clear(rule: &mut ListenRule, flags: u16) {
    rule.flags = (rule.flags.get() & !flags).into();
    if flags & rule::WSCALE != 0 {
        rule.wscale = 0;
    }
}

impl Card {
    pub(crate) fn attach(&mut self) {
        let attach = cmd::Attach {
            flags: cmd::attach::HANDSHAKE_META.into(),
            ..cmd::Attach::default()
        };
        self.order(&Request::Attach(attach)).unwrap();
        let key = cmd::Key { key: *SECRET };
        self.order(&Request::KeySet(key)).unwrap();
        let clock = cmd::Clock {
            host_ms: HOST_MS.into(),
            ..cmd::Clock::default()
        };
        self.order(&Request::ClockSet(clock)).unwrap();
    }

    /// Gives an order and returns the reply's body, or the errno.
    pub(crate) fn order(&mut self, request: &Request) -> Result<Vec<u8>, u8> {
        let mut bytes = [0; Request::MAX];
        self.tag += 1;
        let len = request.emit(self.tag, &mut bytes);
        let mut reply = [0; Nic::<Vec<AtomicU64>>::REPLY_MAX];
        let len = self.nic.command(self.now, &bytes[..len], &mut reply);
        match cmd::parse_reply(&reply[..len], request.kind(), self.tag) {
            Ok(body) => Ok(body.to_vec()),
            Err(cmd::ReplyError::Refused(errno)) => Err(errno),
            Err(other) => panic!("{other:?}"),
        }
    }

    pub(crate) fn listen(&mut self, rule: &ListenRule) -> Result<u32, u8> {
        let body = self.order(&Request::ListenAdd(*rule))?;
        Ok(u32::from_le_bytes(body[..4].try_into().unwrap()))
    }

    pub(crate) fn rotate(&mut self, key: u8) {
        let key = cmd::Key { key: [key; 8] };
        self.order(&Request::KeyRotate(key)).unwrap();
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        self.now = Instant(self.now.0 + ns);
    }

    /// The clock of the timestamps that a client at `addresses` sees from the rule.
    pub(crate) fn clock(&self, addresses: &Addresses) -> u32 {
        let started = Instant(100 * SECOND);
        pair_offset(u64::from_le_bytes(*SECRET), addresses)
            .wrapping_add(HOST_MS + TS_OFFSET)
            .wrapping_add(self.now.millis().wrapping_sub(started.millis()))
    }

    pub(crate) fn receive(&self, frame: &[u8]) -> Fate {
        let mut sent = Sent::default();
        self.nic.from_wire(self.now, frame, &mut sent);
        match (sent.to_host.pop(), sent.to_wire.pop()) {
            (None, None) => Fate::Gone,
            (None, Some(answer)) => {
                assert!(sent.to_wire.is_empty(), "more than one answer");
                Fate::Answered(answer)
            }
            (Some((delivered, handshake)), None) => {
                assert_eq!(delivered, frame, "changed on the way");
                assert!(sent.to_host.is_empty(), "delivered twice");
                handshake.map_or(Fate::Host, Fate::HostWith)
            }
            (Some(_), Some(_)) => panic!("delivered and answered"),
        }
    }

    /// Receives a SYN that must be answered.
    pub(crate) fn syn_ack(&self, frame: &[u8]) -> Reply {
        match self.receive(frame) {
            Fate::Answered(answer) => Reply::parse(&answer),
            other => panic!("{other:?}"),
        }
    }

    /// Receives a frame that must bring a handshake.
    pub(crate) fn handshake(&self, frame: &[u8]) -> Handshake {
        match self.receive(frame) {
            Fate::HostWith(handshake) => {
                assert!(handshake.is_valid());
                handshake
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        let mut sent = Sent::default();
        self.nic.from_host(self.now, frame, &mut sent);
        assert_eq!(sent.to_wire, [frame]);
        assert!(sent.to_host.is_empty());
    }

    /// Frames that are sent by time alone.
    pub(crate) fn poll(&self) -> Vec<Vec<u8>> {
        let mut sent = Sent::default();
        self.nic.poll(self.now, &mut sent);
        assert!(sent.to_host.is_empty());
        sent.to_wire
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.nic.stats().get(counter)
    }
}

/// A SYN-ACK.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) ethernet: Ethernet,
    pub(crate) addresses: Addresses,
    pub(crate) traffic_class: u8,
    pub(crate) tcp: TcpHeader,
    pub(crate) options: Options,
    pub(crate) frame: Vec<u8>,
}

pub(crate) fn segment(frame: &[u8]) -> Segment<'_> {
    match Content::parse(frame) {
        Ok(Content::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

impl Reply {
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let segment = segment(frame);
        assert!(segment.checksums_ok());
        assert!(segment.tcp.data.is_empty());
        Self {
            ethernet: segment.ethernet,
            addresses: segment.ip.addresses,
            traffic_class: segment.ip.traffic_class,
            tcp: segment.tcp.header,
            options: Options::parse(segment.tcp.options),
            frame: frame.to_vec(),
        }
    }

    pub(crate) fn tsval(&self) -> Option<u32> {
        self.options.timestamps.map(|times| times.value)
    }
}

/// A client in the middle of a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) addresses: Addresses,
    pub(crate) port: u16,
    pub(crate) server_port: u16,
    pub(crate) isn: u32,
    pub(crate) vlan: Option<u16>,
    pub(crate) options: Options,
    pub(crate) tsval: u32,
}

/// A client with the options of Linux.
pub(crate) fn linux() -> Client {
    Client {
        addresses: V4,
        port: 40_000,
        server_port: PORT,
        isn: 0xffff_fff0,
        vlan: None,
        options: Options {
            mss: Some(1460),
            wscale: Some(8),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                value: 1000,
                echo: 0,
            }),
            ..Options::default()
        },
        tsval: 1001,
    }
}

impl Client {
    pub(crate) fn header(&self, flags: Flags) -> SegmentHeader {
        SegmentHeader {
            ethernet: Ethernet {
                dst: SERVER_MAC,
                src: CLIENT_MAC,
                tags: [
                    self.vlan.map(|tci| Tag {
                        protocol: 0x8100,
                        tci,
                    }),
                    None,
                ],
                ethertype: 0,
            },
            ip: IpHeader {
                addresses: self.addresses,
                traffic_class: 0,
                ttl: 64,
            },
            tcp: TcpHeader {
                src_port: self.port,
                dst_port: self.server_port,
                seq: self.isn,
                ack: 0,
                flags,
                window: 64_240,
            },
            options: Options::default(),
        }
    }

    pub(crate) fn syn(&self) -> Vec<u8> {
        emit(&self.syn_header(), &[])
    }

    pub(crate) fn syn_header(&self) -> SegmentHeader {
        SegmentHeader {
            options: self.options,
            ..self.header(Flags::SYN)
        }
    }

    /// The segment `offset` bytes behind the SYN, after `reply`.
    pub(crate) fn segment(&self, reply: &Reply, offset: u32, flags: Flags, data: &[u8]) -> Vec<u8> {
        let mut header = self.header(Flags::ACK | flags);
        header.tcp.seq = self.isn.wrapping_add(1 + offset);
        header.tcp.ack = reply.tcp.seq.wrapping_add(1);
        header.options.timestamps = reply.tsval().map(|echo| Timestamps {
            value: self.tsval,
            echo,
        });
        emit(&header, data)
    }

    pub(crate) fn ack(&self, reply: &Reply) -> Vec<u8> {
        self.segment(reply, 0, Flags::default(), &[])
    }

    pub(crate) fn data(&self, reply: &Reply, data: &[u8]) -> Vec<u8> {
        self.segment(reply, 0, Flags::PSH, data)
    }
}

pub(crate) fn emit(header: &SegmentHeader, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 200 + data.len()];
    let len = header.emit(data, &mut out).unwrap();
    out.truncate(len);
    out
}

/// Puts good checksums into a frame whose TCP header starts at `tcp`.
pub(crate) fn fix_checksum(frame: &mut [u8], tcp: usize) {
    frame[tcp + 16..tcp + 18].fill(0);
    let segment = segment(frame);
    let sum = segment
        .ip
        .addresses
        .pseudo_header(segment.ip.payload.len())
        .bytes(segment.ip.payload)
        .checksum();
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}
