// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How frames of a connection get to the peer: all of their headers but what TCP puts in.

use crate::cookie::Tuple;
use crate::wire::checksum;
use crate::wire::ethernet::{Ethernet, Tag};
use crate::wire::ip::{Addresses, IpHeader};
use crate::wire::options::{Options, Timestamps};
use crate::wire::segment::{Segment, SegmentHeader};
use crate::wire::tcp::{Flags, TcpHeader};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// ECN-capable transport, ECT(0) (RFC 3168 section 5).
const ECT: u8 = 2;
const ECN_MASK: u8 = 3;
const V6: u8 = 6;

/// The path, as the host's template shows it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Path {
    /// Ours and the peer's.
    src: [u8; 16],
    dst: [u8; 16],
    /// Protocol and TCI of the tags, 0 for none.
    tags: [[u16; 2]; 2],
    ports: [u16; 2],
    /// Flow label of IPv6.
    label: u32,
    macs: [[u8; 6]; 2],
    /// Next identification of IPv4.
    id: u16,
    family: u8,
    ttl: u8,
    /// Traffic class; the ECN bits are 0.
    class: u8,
    reserved: [u8; 7],
}

fn from_v4(address: [u8; 4]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..4].copy_from_slice(&address);
    wide
}

fn to_v4(wide: &[u8; 16]) -> [u8; 4] {
    [wide[0], wide[1], wide[2], wide[3]]
}

impl Path {
    /// The path of frames like `template`, in a frame whose IP packet begins with `ip`. `None` when it is too short.
    pub fn of(template: &Segment<'_>, ip: &[u8]) -> Option<Self> {
        let (family, src, dst) = match template.ip.addresses {
            Addresses::V4 { src, dst } => (4, from_v4(src), from_v4(dst)),
            Addresses::V6 { src, dst } => (V6, src, dst),
        };
        let ip: &[u8; 9] = ip.first_chunk()?;
        let (ttl, label, id) = if family == V6 {
            let label = u32::from_be_bytes([0, ip[1] & 0xf, ip[2], ip[3]]);
            (ip[7], label, 0)
        } else {
            (ip[8], 0, u16::from_be_bytes([ip[4], ip[5]]))
        };
        let header = &template.tcp.header;
        Some(Self {
            src,
            dst,
            tags: template
                .ethernet
                .tags
                .map(|tag| tag.map_or([0; 2], |tag| [tag.protocol, tag.tci])),
            ports: [header.src_port, header.dst_port],
            label,
            macs: [template.ethernet.src, template.ethernet.dst],
            id,
            family,
            ttl,
            class: template.ip.traffic_class & !ECN_MASK,
            reserved: [0; 7],
        })
    }

    /// Source and destination of our frames.
    pub fn addresses(&self) -> Addresses {
        if self.family == V6 {
            Addresses::V6 {
                src: self.src,
                dst: self.dst,
            }
        } else {
            Addresses::V4 {
                src: to_v4(&self.src),
                dst: to_v4(&self.dst),
            }
        }
    }

    fn ethernet(&self) -> Ethernet {
        let tag = |[protocol, tci]: [u16; 2]| (protocol != 0).then_some(Tag { protocol, tci });
        Ethernet {
            src: self.macs[0],
            dst: self.macs[1],
            tags: self.tags.map(tag),
            ethertype: 0,
        }
    }

    /// The tuple of the peer's frames.
    pub fn tuple(&self) -> Tuple {
        Tuple {
            addresses: self.addresses().answer(),
            src_port: self.ports[1],
            dst_port: self.ports[0],
            vlans: self.ethernet().vlans(),
        }
    }

    /// TTL or hop limit, traffic class without ECN, and flow label.
    pub const fn ip_fields(&self) -> (u8, u8, u32) {
        (self.ttl, self.class, self.label)
    }

    /// What of a frame on this path TCP does not put in.
    pub(crate) fn headers(&self) -> (Ethernet, IpHeader) {
        let ip = IpHeader {
            addresses: self.addresses(),
            traffic_class: self.class,
            ttl: self.ttl,
        };
        (self.ethernet(), ip)
    }

    /// Writes `segment` with `data` to the front of `out`, and returns its length. Takes an identification.
    pub fn emit(&mut self, segment: &Outgoing, data: &[u8], out: &mut [u8]) -> Option<usize> {
        let (ethernet, mut ip) = self.headers();
        if segment.ecn_capable {
            ip.traffic_class |= ECT;
        }
        let header = SegmentHeader {
            ethernet,
            ip,
            tcp: TcpHeader {
                src_port: self.ports[0],
                dst_port: self.ports[1],
                seq: segment.seq,
                ack: segment.ack,
                flags: segment.flags,
                window: segment.window,
            },
            options: options(segment.timestamps),
        };
        let len = header.emit(data, out)?;
        let ip = out.get_mut(header.ethernet.header_len()..len)?;
        if self.family == V6 {
            set_label(ip, self.label)?;
        } else {
            set_identification(ip, self.id)?;
            self.id = self.id.wrapping_add(1);
        }
        Some(len)
    }
}

/// What TCP puts into a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window, as in the header.
    pub window: u16,
    /// Value and echo of the timestamps.
    pub timestamps: Option<(u32, u32)>,
    /// It goes as ECN-capable.
    pub ecn_capable: bool,
}

/// The options of a segment with these timestamps.
pub(crate) fn options(timestamps: Option<(u32, u32)>) -> Options {
    Options {
        timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
        ..Options::default()
    }
}

/// Puts a flow label into an IPv6 header without one.
pub(crate) fn set_label(ip: &mut [u8], label: u32) -> Option<()> {
    let word = ip.first_chunk_mut::<4>()?;
    *word = (u32::from_be_bytes(*word) | label & 0xf_ffff).to_be_bytes();
    Some(())
}

/// Puts an identification into an IPv4 header that has 0.
fn set_identification(ip: &mut [u8], id: u16) -> Option<()> {
    let header = ip.first_chunk_mut::<12>()?;
    let old = u16::from_be_bytes([header[10], header[11]]);
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[10..12].copy_from_slice(&checksum::update(old, 0, id).to_be_bytes());
    Some(())
}
