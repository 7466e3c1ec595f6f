// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ICMP errors about segments that were relayed.
//!
//! A router on the path to a peer that finds a segment too large ("fragmentation needed" of RFC 1191, "packet too big" of RFC 8201) tells
//! the card's address, as it was the card that sent it. It is the other peer that has to send smaller ones: the card tells it, about
//! the segment as it sent it. The sequence number must be of what is under way (RFC 5927 section 4). All other errors go to
//! the host.

use super::pair::{other, Pair};
use super::table::{Busy, Cold};
use crate::cookie::Tuple;
use crate::stats::Counter;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ip::{self, Addresses, IpHeader, Packet};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Extensions, Ipv6Header};
use crate::{Memory, Nic, Output};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Type and code of what is translated.
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
const TOO_BIG: [u8; 2] = [2, 0];
/// Bytes of an ICMP header, and of what is quoted of TCP: ports and sequence number.
const HEADER: usize = 8;
const QUOTED: usize = 8;
/// The least MTUs that the standards know.
const LEAST_V4: u32 = 68;
const LEAST_V6: u32 = 1280;
const MAX_FRAME: usize = ethernet::MAX_HEADER + 2 * ipv6::HEADER + HEADER + QUOTED;

/// An error of a router, and the segment that it is about.
struct TooLarge {
    /// As its peer's segments have it.
    tuple: Tuple,
    seq: u32,
    /// Bytes of the segment, TCP header included.
    len: usize,
    mtu: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The sum over what the checksum of ICMPv6 covers beside the message.
fn pseudo(src: &[u8; 16], dst: &[u8; 16], len: usize) -> Sum {
    let len = (len as u32).to_be_bytes();
    let sum = Sum::new().bytes(src).bytes(dst).bytes(&len);
    sum.word(ICMPV6.into())
}

/// Source, destination and payload of a quoted packet that may be cut, and the bytes that its payload had.
fn quoted(v6: bool, bytes: &[u8]) -> Option<(Addresses, &[u8], usize)> {
    if v6 {
        let header: &[u8; ipv6::HEADER] = bytes.first_chunk()?;
        let address = |at: usize| header.get(at..)?.first_chunk().copied();
        let addresses = Addresses::V6 {
            src: address(8)?,
            dst: address(24)?,
        };
        let whole = header[0] >> 4 == 6 && header[6] == ip::TCP;
        let len = u16::from_be_bytes([header[4], header[5]]);
        return whole.then_some((addresses, &bytes[ipv6::HEADER..], len.into()));
    }
    let header_len = usize::from(bytes.first()? & 0xf) * 4;
    let (header, payload) = bytes.split_at_checked(header_len)?;
    let header: &[u8; 20] = header.first_chunk()?;
    let whole = header[0] >> 4 == 4 && header[9] == ip::TCP && header[6] & 0x1f | header[7] == 0;
    let addresses = Addresses::V4 {
        src: *header[12..].first_chunk()?,
        dst: *header[16..].first_chunk()?,
    };
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    whole.then_some((addresses, payload, len.checked_sub(header_len)?))
}

impl TooLarge {
    fn parse(frame: &[u8]) -> Option<Self> {
        let (ethernet, payload) = Ethernet::parse(frame).ok()?;
        let packet = Packet::parse(ethernet.ethertype, payload).ok()??;
        let message = packet.payload;
        let (kind, sum) = match packet.addresses {
            Addresses::V4 { .. } if packet.protocol == ICMP => (FRAGMENTATION_NEEDED, Sum::new()),
            Addresses::V6 { src, dst } if packet.protocol == ICMPV6 => {
                (TOO_BIG, pseudo(&src, &dst, message.len()))
            }
            _ => return None,
        };
        let good = packet.extensions == Extensions::Skipped
            && packet.checksum_ok()
            && message.get(..2)? == kind
            && sum.bytes(message).fold() == 0xffff;
        let v6 = packet.addresses.is_v6();
        let mtu = word(message, 4)?;
        let (addresses, tcp, len) = quoted(v6, message.get(HEADER..)?)?;
        let ports = word(tcp, 0)?;
        good.then_some(Self {
            tuple: Tuple {
                addresses: addresses.answer(),
                src_port: ports as u16,
                dst_port: (ports >> 16) as u16,
                vlans: ethernet.vlans(),
            },
            seq: word(tcp, 4)?,
            len,
            // The high half is not used in IPv4.
            mtu: if v6 { mtu } else { mtu & 0xffff },
        })
    }

    /// Writes the error that `end`'s peer is to get to the front of `out`, and returns its length. `None` when it would not
    /// help.
    fn emit(&self, pair: &Pair, cold: &Cold, end: usize, out: &mut [u8]) -> Option<usize> {
        let (acked, to) = (pair.hot.acked[other(end)], other(end));
        let sent = pair.hot.high[end].wrapping_add(pair.hot.seq_delta[end]);
        if self.seq.wrapping_sub(acked) >= sent.wrapping_sub(acked) {
            return None;
        }
        let path = &cold.paths[end];
        let (ethernet, header) = path.headers();
        let (_, there) = cold.paths[to].headers();
        // Headers of the other family are longer or shorter.
        let mtu = (self.mtu as usize + header.header_len()).checked_sub(there.header_len())?;
        let least = if header.addresses.is_v6() {
            LEAST_V6
        } else {
            LEAST_V4
        };
        let mtu = u32::try_from(mtu).ok()?.max(least);

        let tuple = path.tuple();
        let ethernet = Ethernet {
            ethertype: header.ethertype(),
            ..ethernet
        };
        let ip_at = ethernet.emit(out)?;
        let icmp_at = ip_at + header.header_len();
        let tcp_at = icmp_at + HEADER + header.header_len();
        let message = out.get_mut(icmp_at..tcp_at + QUOTED)?;
        message.fill(0);
        let quote = IpHeader {
            addresses: tuple.addresses,
            traffic_class: 0,
            ttl: header.ttl,
        };
        quote.emit(self.len, &mut message[HEADER..])?;
        let (_, tcp) = message.split_at_mut(tcp_at - icmp_at);
        tcp[..2].copy_from_slice(&tuple.src_port.to_be_bytes());
        tcp[2..4].copy_from_slice(&tuple.dst_port.to_be_bytes());
        let seq = self.seq.wrapping_sub(pair.hot.seq_delta[end]);
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        message[4..8].copy_from_slice(&mtu.to_be_bytes());
        let len = message.len();
        let (kind, sum) = match header.addresses {
            Addresses::V4 { .. } => (FRAGMENTATION_NEEDED, Sum::new()),
            Addresses::V6 { src, dst } => (TOO_BIG, pseudo(&src, &dst, len)),
        };
        message[..2].copy_from_slice(&kind);
        let checksum = sum.bytes(message).checksum();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let payload_len = len as u16;
        let outer = &mut out[ip_at..];
        match header.addresses {
            Addresses::V4 { src, dst } => Ipv4Header {
                src,
                dst,
                traffic_class: 0,
                ttl: header.ttl,
                protocol: ICMP,
                payload_len,
            }
            .emit(outer)?,
            Addresses::V6 { src, dst } => Ipv6Header {
                src,
                dst,
                traffic_class: 0,
                hop_limit: header.ttl,
                protocol: ICMPV6,
                payload_len,
            }
            .emit(outer)?,
        };
        Some(icmp_at + len)
    }
}

impl<M: Memory> Nic<M> {
    /// Takes a frame from the wire that is no segment, if it is an error about a segment that was relayed.
    pub(crate) fn splice_icmp(&self, frame: &[u8], out: &mut impl Output) -> bool {
        let Some(error) = TooLarge::parse(frame) else {
            return false;
        };
        let table = &self.splicing.table;
        let (guard, to) = match table.find(&self.memory, &self.emem, &error.tuple) {
            Ok(Some(found)) => found,
            Ok(None) => return false,
            Err(Busy) => {
                self.stats.count(Counter::SpliceBusy);
                return true;
            }
        };
        let pair = table.load(&self.memory, &self.emem, &guard);
        let cold = table.cold(&self.emem, guard.number);
        let mut room = [0; MAX_FRAME];
        let len = match (&pair, &cold) {
            (Some(pair), Some(cold)) => error.emit(pair, cold, other(to), &mut room),
            _ => None,
        };
        match len {
            Some(len) => {
                self.stats.count(Counter::SpliceIcmp);
                out.to_wire(&room[..len]);
            }
            None => self.stats.count(Counter::SpliceIcmpDropped),
        }
        true
    }
}
