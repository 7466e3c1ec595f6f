// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rewriting a segment of one connection as one of the other.
//!
//! Ethernet and IP header are made anew for the other path; ECN bits, and of IPv4 identification and DF, are those of the
//! segment, padding and extension headers that a node may skip are left behind. Of TCP only ports, numbers, window, and what
//! timestamps and selective acknowledgements say is changed: data and other options, the urgent pointer and the flags pass.
//!
//! The checksum of TCP is not taken over the data but corrected by what changed (RFC 1624), so that what was wrong
//! stays wrong.

use super::pair::Relay;
use crate::path::set_label;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::Ethernet;
use crate::wire::ip::{Addresses, IpHeader};
use crate::wire::segment::Segment;
use crate::wire::{ipv4, tcp};

const END: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const ECN: u8 = 3;
const DF: u8 = 0x40;

/// Where frames of a connection go to, and what of them is not the other connection's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) ethernet: Ethernet,
    /// Its ECN bits are 0.
    pub(super) ip: IpHeader,
    /// Flow label of IPv6.
    pub(super) label: u32,
    pub(super) ports: [u16; 2],
}

/// Writes `segment`, a part of `frame`, as `relay` says to the front of `out`, and returns its length; `None` when it has no room.
pub(super) fn rewrite(
    segment: &Segment<'_>,
    frame: &[u8],
    target: &Target,
    relay: &Relay,
    out: &mut [u8],
) -> Option<usize> {
    let ip = IpHeader {
        traffic_class: target.ip.traffic_class | segment.ip.traffic_class & ECN,
        ..target.ip
    };
    let ethernet = Ethernet {
        ethertype: ip.ethertype(),
        ..target.ethernet
    };
    let bytes = segment.ip.payload;
    let ip_at = ethernet.emit(out)?;
    let tcp_at = ip_at + ip.emit(bytes.len(), out.get_mut(ip_at..)?)?;
    let old_ip = frame.get(segment.ethernet.header_len()..)?;
    finish_ip(segment, old_ip, &ip, target.label, &mut out[ip_at..tcp_at])?;

    let len = tcp_at + bytes.len();
    let new = out.get_mut(tcp_at..len)?;
    new.copy_from_slice(bytes);
    let header_len = tcp::HEADER + segment.tcp.options.len();
    let header = new.get_mut(..header_len)?;
    header[..2].copy_from_slice(&target.ports[0].to_be_bytes());
    header[2..4].copy_from_slice(&target.ports[1].to_be_bytes());
    header[4..8].copy_from_slice(&relay.seq.to_be_bytes());
    header[8..12].copy_from_slice(&relay.ack.to_be_bytes());
    header[14..16].copy_from_slice(&relay.window.to_be_bytes());
    options(&mut header[tcp::HEADER..], relay);
    let pseudo = [segment.ip.addresses, ip.addresses].map(|ip| ip.pseudo_header(bytes.len()));
    let checksum = corrected(pseudo, [bytes.get(..header_len)?, header]);
    new[16..18].copy_from_slice(&checksum.to_be_bytes());
    Some(len)
}

/// The checksum of a segment whose pseudo header and header were the first and are the second (equation 3 of RFC 1624). Both
/// headers have the old checksum.
fn corrected(pseudo: [Sum; 2], [old, new]: [&[u8]; 2]) -> u16 {
    let checksum = u16::from_be_bytes([old[16], old[17]]);
    let fold = |sum: Sum, header: &[u8]| sum.bytes(&header[..16]).bytes(&header[18..]).fold();
    Sum::new()
        .word(!checksum)
        .word(!fold(pseudo[0], old))
        .word(fold(pseudo[1], new))
        .checksum()
}

/// Carries over to the new IP header what is the segment's.
fn finish_ip(
    segment: &Segment<'_>,
    old: &[u8],
    header: &IpHeader,
    label: u32,
    new: &mut [u8],
) -> Option<()> {
    match (segment.ip.addresses, header.addresses) {
        (_, Addresses::V6 { .. }) => set_label(new, label),
        (Addresses::V4 { .. }, Addresses::V4 { .. }) => {
            let (old, new) = (old.get(..8)?, new.get_mut(..ipv4::HEADER)?);
            new[4..6].copy_from_slice(&old[4..6]);
            new[6] = old[6] & DF;
            new[10..12].fill(0);
            let checksum = Sum::new().bytes(new).checksum();
            new[10..12].copy_from_slice(&checksum.to_be_bytes());
            Some(())
        }
        // What came by IPv6 is not to be fragmented, and needs no identification.
        (Addresses::V6 { .. }, Addresses::V4 { .. }) => Some(()),
    }
}

/// Changes the options area `bytes`. What is behind a malformed option stays as it is; nobody reads it.
fn options(mut bytes: &mut [u8], relay: &Relay) {
    while let Some((kind, rest)) = bytes.split_first() {
        let len = match *kind {
            END => return,
            NOP => 1,
            _ => rest.first().map_or(0, |len| usize::from(*len)),
        };
        if len == 0 || len > bytes.len() || *kind != NOP && len < 2 {
            return;
        }
        let (option, rest) = bytes.split_at_mut(len);
        match (option[0], &relay.times, relay.sack_delta) {
            (TIMESTAMPS, Some(deltas), _) if len == 10 => {
                for (word, delta) in option[2..].chunks_exact_mut(4).zip(deltas) {
                    add(word, *delta);
                }
            }
            (SACK, _, Some(delta)) => {
                for word in option[2..].chunks_exact_mut(4) {
                    add(word, delta);
                }
            }
            // Blocks of what the other peer did not send.
            (SACK, _, None) => option.fill(NOP),
            _ => {}
        }
        bytes = rest;
    }
}

fn add(word: &mut [u8], delta: u32) {
    if let Ok(bytes) = <[u8; 4]>::try_from(&*word) {
        let sum = u32::from_be_bytes(bytes).wrapping_add(delta);
        word.copy_from_slice(&sum.to_be_bytes());
    }
}
