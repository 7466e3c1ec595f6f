// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The answer to a SYN of the host for a connection that the card owns.
//!
//! Linux looks for connections of its own before it lets `connect()` have a port, but no longer knows of those that it has
//! handed over. Without an answer the application would wait for the connection's end, up to minutes; with a RST
//! `connect()` fails at once (`ECONNREFUSED`), and the application may try another port.

use crate::nic::{Memory, Nic, Output};
use crate::wire::ethernet::Ethernet;
use crate::wire::ip::IpHeader;
use crate::wire::options::Options;
use crate::wire::segment::{Segment, SegmentHeader, MAX_HEADERS};
use crate::wire::tcp::{Flags, TcpHeader};

/// Of the answer. It never leaves the host.
const TTL: u8 = 64;

impl<M: Memory> Nic<M> {
    /// Gives the host a RST for `syn`, as the peer would for a port without a listener (RFC 9293 section 3.5.2, group 1).
    pub(crate) fn refuse(&self, syn: &Segment<'_>, out: &mut impl Output) {
        let asked = &syn.tcp.header;
        let covers = 1 + syn.tcp.data.len() as u32;
        let header = SegmentHeader {
            ethernet: Ethernet {
                src: syn.ethernet.dst,
                dst: syn.ethernet.src,
                ..syn.ethernet
            },
            ip: IpHeader {
                addresses: syn.ip.addresses.answer(),
                traffic_class: 0,
                ttl: TTL,
            },
            tcp: TcpHeader {
                src_port: asked.dst_port,
                dst_port: asked.src_port,
                seq: 0,
                ack: asked.seq.wrapping_add(covers),
                flags: Flags::RST | Flags::ACK,
                window: 0,
            },
            options: Options::default(),
        };
        let mut room = [0; MAX_HEADERS];
        if let Some(len) = header.emit(&[], &mut room) {
            out.to_host(&room[..len]);
        }
    }
}
