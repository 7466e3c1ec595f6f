// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host that hands connections over, and their peer.

#![allow(dead_code, reason = "not every test uses all of it")]

use super::common::*;
use acceltcp_abi::cmd::{self, Request};
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::ethernet::{Ethernet, Tag};
use nicstack::wire::ip::IpHeader;
use nicstack::wire::options::{Options, Timestamps};
use nicstack::wire::segment::SegmentHeader;
use nicstack::wire::tcp::{Flags, TcpHeader};
use nicstack::{Credits, HandOver, Output, OwnerCredits};

/// SND.UNA and RCV.NXT of the connection.
pub(crate) const SEQ: u32 = 0xffff_fff0;
pub(crate) const ACK: u32 = 7000;

/// The sequence number `offset` behind SND.UNA, which goes round in between.
pub(crate) const fn seq(offset: u32) -> u32 {
    SEQ.wrapping_add(offset)
}

pub(crate) const MSS: usize = 1448;
pub(crate) const RTO: u32 = 200;
pub(crate) const RETRIES: u8 = 6;
pub(crate) const WINDOW: u16 = 502;
/// The host's clock and TS.Recent.
pub(crate) const TSVAL: u32 = 900_000;
pub(crate) const TSECR: u32 = 300_000;

/// What the host hands over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    pub(crate) v6: bool,
    pub(crate) port: u16,
    pub(crate) vlan: Option<Tag>,
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) id: u16,
    pub(crate) label: u32,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) flags: u8,
    /// What of data and FIN was sent.
    pub(crate) sent: u32,
    pub(crate) wnd: u32,
    pub(crate) cwnd: u32,
    pub(crate) retries: u8,
    /// Longest timeout, in hundredths of a second; 0 for that of Linux.
    pub(crate) rto_max: u16,
    pub(crate) owner: u16,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            v6: false,
            port: 40_000,
            vlan: None,
            ttl: 64,
            class: 0,
            id: 0,
            label: 0,
            timestamps: Some(Timestamps {
                value: TSVAL,
                echo: TSECR,
            }),
            flags: 0,
            sent: 0,
            wnd: 60_000,
            cwnd: 10 * MSS as u32,
            retries: RETRIES,
            rto_max: 0,
            owner: 0,
        }
    }
}

impl Host {
    fn header(&self, flags: Flags) -> SegmentHeader {
        let addresses = if self.v6 { V6 } else { V4 };
        SegmentHeader {
            ethernet: Ethernet {
                dst: CLIENT_MAC,
                src: SERVER_MAC,
                tags: [self.vlan, None],
                ethertype: 0,
            },
            ip: IpHeader {
                addresses: addresses.answer(),
                traffic_class: self.class,
                ttl: self.ttl,
            },
            tcp: TcpHeader {
                src_port: PORT,
                dst_port: self.port,
                seq: SEQ,
                ack: ACK,
                flags,
                window: WINDOW,
            },
            options: Options {
                timestamps: self.timestamps,
                ..Options::default()
            },
        }
    }

    /// A segment that the host itself sends.
    pub(crate) fn segment(&self, flags: Flags) -> Vec<u8> {
        emit(&self.header(flags), b"")
    }

    /// The template with `data`, and the message.
    pub(crate) fn template(&self, data: &[u8]) -> (Vec<u8>, HandOver) {
        let mut frame = emit(&self.header(Flags::ACK), data);
        let ip = self.header(Flags::ACK).ethernet.header_len();
        if self.v6 {
            frame[ip + 1] |= (self.label >> 16) as u8;
            frame[ip + 2..ip + 4].copy_from_slice(&(self.label as u16).to_be_bytes());
        } else {
            frame[ip + 4..ip + 6].copy_from_slice(&self.id.to_be_bytes());
        }
        let message = HandOver {
            version: HandOver::VERSION,
            flags: self.flags,
            snd_wscale: 0,
            retries: self.retries,
            mss: (MSS as u16).into(),
            rto_max: self.rto_max.into(),
            cookie: [7; 6],
            owner: self.owner.into(),
            snd_nxt: SEQ.wrapping_add(self.sent).into(),
            snd_wnd: self.wnd.into(),
            snd_wl1: ACK.into(),
            max_wnd: 65_536.into(),
            rcv_wnd: 64_000.into(),
            cwnd: self.cwnd.into(),
            rto_ms: RTO.into(),
            fin_wait_ms: 60_000.into(),
            time_wait_ms: 60_000.into(),
        };
        (frame, message)
    }
}

/// A segment that the NIC has sent.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) frame: Vec<u8>,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) data: Vec<u8>,
}

impl Segment {
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let view = segment(frame);
        assert!(view.checksums_ok());
        Self {
            frame: frame.to_vec(),
            seq: view.tcp.header.seq,
            ack: view.tcp.header.ack,
            flags: view.tcp.header.flags,
            timestamps: Options::parse(view.tcp.options).timestamps,
            data: view.tcp.data.to_vec(),
        }
    }
}

/// Takes frames and credits.
#[derive(Default)]
struct Port {
    to_host: usize,
    to_wire: Vec<Vec<u8>>,
    credits: Vec<Credits>,
    owners: Vec<OwnerCredits>,
}

impl Output for Port {
    fn to_host(&mut self, _: &[u8]) {
        self.to_host += 1;
    }

    fn to_wire(&mut self, frame: &[u8]) {
        self.to_wire.push(frame.to_vec());
    }

    fn credits(&mut self, credits: &Credits) {
        self.credits.push(*credits);
    }

    fn owner_credits(&mut self, credits: &OwnerCredits) -> bool {
        self.owners.push(*credits);
        true
    }
}

/// A NIC that ends connections; `peer` is the peer of the last one.
pub(crate) struct Ending {
    pub(crate) card: Card,
    pub(crate) host: Host,
    pub(crate) credits: Vec<Credits>,
    pub(crate) owners: Vec<OwnerCredits>,
    sent: Vec<Segment>,
}

impl Ending {
    pub(crate) fn empty() -> Self {
        Self::with(SMALL)
    }

    pub(crate) fn with(capacity: Capacity) -> Self {
        Self::attached(
            capacity,
            cmd::attach::HANDSHAKE_META | cmd::attach::CREDITS_META,
        )
    }

    /// For a driver that understands `flags`.
    pub(crate) fn attached(capacity: Capacity, flags: u32) -> Self {
        let mut card = fresh(capacity);
        card.attach();
        let attach = cmd::Attach {
            flags: flags.into(),
            ..cmd::Attach::default()
        };
        card.order(&Request::Attach(attach)).unwrap();
        Self {
            card,
            host: Host::default(),
            credits: Vec::new(),
            owners: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(crate) fn new(host: &Host, data: &[u8]) -> Self {
        let mut ending = Self::empty();
        ending.hand_over(host, data);
        assert_eq!(ending.card.count(Counter::TeardownTaken), 1);
        ending
    }

    pub(crate) fn hand_over(&mut self, host: &Host, data: &[u8]) {
        self.host = *host;
        let (frame, message) = host.template(data);
        self.order(&message, &frame);
    }

    pub(crate) fn order(&mut self, message: &HandOver, frame: &[u8]) {
        let mut port = Port::default();
        let now = self.card.now;
        self.card.nic.hand_over(now, message, frame, &mut port);
        self.take(port);
    }

    fn take(&mut self, port: Port) {
        let segments = port.to_wire.iter().map(|frame| Segment::parse(frame));
        self.sent.extend(segments);
        self.credits.extend(port.credits);
        self.owners.extend(port.owners);
        self.states();
    }

    /// Connections in FIN-WAIT-1, FIN-WAIT-2, CLOSING and LAST-ACK: each is in one of them.
    pub(crate) fn states(&self) -> [u32; 4] {
        let states = self.card.nic.flows_by_state().map(|(_, count)| count);
        let used = self.card.nic.usage()[3].used;
        assert_eq!(states.iter().sum::<u32>(), used, "{states:?}");
        states
    }

    /// What was sent since the last look.
    pub(crate) fn all(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.sent)
    }

    /// The same, when it must be `N` segments.
    pub(crate) fn sent<const N: usize>(&mut self) -> [Segment; N] {
        self.all()
            .try_into()
            .unwrap_or_else(|sent| panic!("{sent:#?}"))
    }

    pub(crate) fn peer_frame(
        &self,
        tsval: Option<u32>,
        offset: u32,
        acked: u32,
        flags: Flags,
        data: &[u8],
    ) -> Vec<u8> {
        self.peer_with(tsval, offset, acked, flags, data, 60_000)
    }

    pub(crate) fn peer_with(
        &self,
        tsval: Option<u32>,
        offset: u32,
        acked: u32,
        flags: Flags,
        data: &[u8],
        window: u16,
    ) -> Vec<u8> {
        self.frame_of(&self.host, tsval, offset, acked, flags, data, window)
    }

    #[allow(clippy::too_many_arguments, reason = "a segment has as many fields")]
    pub(crate) fn frame_of(
        &self,
        host: &Host,
        tsval: Option<u32>,
        offset: u32,
        acked: u32,
        flags: Flags,
        data: &[u8],
        window: u16,
    ) -> Vec<u8> {
        let mut header = host.header(flags);
        header.ethernet = header.ethernet.answer();
        header.ip.addresses = header.ip.addresses.answer();
        if !flags.has_any(Flags::SYN | Flags::RST) {
            header.tcp.flags = flags | Flags::ACK;
        }
        header.tcp.src_port = host.port;
        header.tcp.dst_port = PORT;
        header.tcp.seq = ACK.wrapping_add(offset);
        header.tcp.ack = SEQ.wrapping_add(acked);
        header.tcp.window = window;
        header.options.timestamps = header
            .options
            .timestamps
            .and(tsval)
            .map(|value| Timestamps { value, echo: TSVAL });
        emit(&header, data)
    }

    pub(crate) fn receive(&mut self, frame: &[u8]) {
        let mut port = Port::default();
        let usage = self.card.nic.usage();
        self.card.nic.from_wire(self.card.now, frame, &mut port);
        // Only of a connection that is over: the host answers as if there never was one.
        let owned = usage[3].used + usage[5].used;
        assert!(owned == 0 || port.to_host == 0, "it is not the host's");
        self.take(port);
    }

    /// The same for a frame of whomever.
    pub(crate) fn receive_any(&mut self, frame: &[u8]) {
        let mut port = Port::default();
        self.card.nic.from_wire(self.card.now, frame, &mut port);
        self.take(port);
    }

    /// The peer sends a segment `offset` behind RCV.NXT of the hand-over, which acknowledges what is before `acked`.
    pub(crate) fn peer(&mut self, offset: u32, acked: u32, flags: Flags, data: &[u8]) {
        self.peer_at(TSECR, offset, acked, flags, data);
    }

    pub(crate) fn peer_at(
        &mut self,
        tsval: u32,
        offset: u32,
        acked: u32,
        flags: Flags,
        data: &[u8],
    ) {
        let frame = self.peer_frame(Some(tsval), offset, acked, flags, data);
        self.receive(&frame);
    }

    /// The peer acknowledges nothing, and announces a window.
    pub(crate) fn peer_window(&mut self, window: u16) {
        let frame = self.peer_with(Some(TSECR), 0, 0, Flags(0), b"", window);
        self.receive(&frame);
    }

    /// Lets time pass, in steps in which the NIC is polled.
    pub(crate) fn wait(&mut self, ms: u32) {
        let steps = ms.div_ceil(10);
        for _ in 0..steps {
            self.card.pass(u64::from(ms) * 1_000_000 / u64::from(steps));
            let mut port = Port::default();
            self.card.nic.poll(self.card.now, &mut port);
            self.take(port);
        }
    }

    /// The connection has ended for this reason, and for no other, and has left nothing.
    pub(crate) fn ends_with(&self, reason: Counter) {
        for counter in [
            Counter::TeardownDone,
            Counter::TeardownReset,
            Counter::TeardownTimeout,
            Counter::TeardownFinWaitTimeout,
            Counter::TeardownDataAfterClose,
            Counter::TeardownAborted,
            Counter::TeardownReplaced,
        ] {
            let count = u64::from(counter == reason);
            assert_eq!(self.card.count(counter), count, "{}", counter.name());
        }
        let usage = self.card.nic.usage();
        assert_eq!((usage[3].used, usage[4].used), (0, 0));
    }
}
