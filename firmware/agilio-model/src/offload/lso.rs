// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Large send: one TCP frame of the host becomes segments of at most MSS bytes of payload.

use super::checksum::{fill_ipv4, fill_transport, Wanted};
use super::frame::{be16, be32, ethertype, network, proto, Ip, Packet, IPV6_LEN, TCP_LEN};
use acceltcp_abi::nfd3;

/// Bits of byte 13 of a TCP header.
mod tcp_flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const PSH: u8 = 0x08;
    pub(super) const CWR: u8 = 0x80;
}

/// What a TX descriptor says about a frame to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsoParams {
    /// Most bytes of payload in a segment.
    pub mss: u16,
    /// Bytes of all headers.
    pub header_len: u8,
    /// Offset of the IP header.
    pub l3: u8,
    /// Offset of the TCP header.
    pub l4: u8,
}

impl LsoParams {
    /// What `desc` says.
    pub fn from_desc(desc: &nfd3::TxDesc) -> Self {
        Self {
            mss: desc.mss.get() & nfd3::TX_MSS_MASK,
            header_len: desc.lso_hdrlen,
            l3: desc.l3_offset,
            l4: desc.l4_offset,
        }
    }
}

/// Why a frame cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LsoError {
    /// A segment would have no payload.
    NoMss,
    /// The descriptor's offsets and the frame's headers contradict each other.
    BadHeader,
    /// Not TCP over IPv4 or IPv6, or a fragment.
    OtherProtocol,
    /// A segment would be longer than IP can say.
    TooLong,
}

/// A frame ready to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Lso<'f> {
    frame: &'f [u8],
    /// As for a segment, but for `end`.
    packet: Packet,
    header_len: usize,
    mss: usize,
    seq: u32,
    ip_id: u16,
}

impl<'f> Lso<'f> {
    /// Checks that `frame` can be cut as `params` say. Lengths in its IP header do not matter; they may be
    /// too small for it.
    pub fn new(frame: &'f [u8], params: LsoParams) -> Result<Self, LsoError> {
        let (l3, l4) = (usize::from(params.l3), usize::from(params.l4));
        let header_len = usize::from(params.header_len);
        let mss = usize::from(params.mss);
        if mss == 0 {
            return Err(LsoError::NoMss);
        }
        let headers = frame.get(..header_len).ok_or(LsoError::BadHeader)?;
        let (kind, found) = network(headers).ok_or(LsoError::BadHeader)?;
        if found != l3 {
            return Err(LsoError::BadHeader);
        }
        let ip = match kind {
            ethertype::IPV4 => Self::check_ipv4(headers, l3, l4)?,
            ethertype::IPV6 => Self::check_ipv6(headers, l3, l4)?,
            _ => return Err(LsoError::OtherProtocol),
        };
        let offset = headers.get(l4 + 12).ok_or(LsoError::BadHeader)?;
        let tcp_len = usize::from(offset >> 4) * 4;
        if tcp_len < TCP_LEN || l4 + tcp_len != header_len {
            return Err(LsoError::BadHeader);
        }
        let longest = header_len + mss.min(frame.len() - header_len);
        if longest - l3 > usize::from(u16::MAX) {
            return Err(LsoError::TooLong);
        }
        Ok(Self {
            frame,
            packet: Packet {
                ip,
                l3,
                l4,
                end: header_len,
                proto: proto::TCP,
                fragment: false,
                extended: false,
                routed: false,
            },
            header_len,
            mss,
            seq: be32(headers, l4 + 4).ok_or(LsoError::BadHeader)?,
            ip_id: be16(headers, l3 + 4).ok_or(LsoError::BadHeader)?,
        })
    }

    fn check_ipv4(headers: &[u8], l3: usize, l4: usize) -> Result<Ip, LsoError> {
        let ip = headers.get(l3..l4).ok_or(LsoError::BadHeader)?;
        if ip.len() < 20 || ip[0] >> 4 != 4 || usize::from(ip[0] & 0xf) * 4 != ip.len() {
            return Err(LsoError::BadHeader);
        }
        let whole = be16(ip, 6).is_some_and(|place| place & 0x3fff == 0);
        if ip[9] != proto::TCP || !whole {
            return Err(LsoError::OtherProtocol);
        }
        Ok(Ip::V4)
    }

    /// Walks the extension headers, which must end at `l4` with TCP. Those that make segments depend on more
    /// than their header (fragment, routing) are refused.
    fn check_ipv6(headers: &[u8], l3: usize, l4: usize) -> Result<Ip, LsoError> {
        let ip = headers.get(l3..l4).ok_or(LsoError::BadHeader)?;
        if ip.len() < IPV6_LEN || ip[0] >> 4 != 6 {
            return Err(LsoError::BadHeader);
        }
        let (mut next, mut at) = (ip[6], IPV6_LEN);
        while at < ip.len() {
            if next != proto::HOP_BY_HOP && next != proto::DEST_OPTIONS {
                return Err(LsoError::OtherProtocol);
            }
            next = ip[at];
            let words = ip.get(at + 1).ok_or(LsoError::BadHeader)?;
            at += usize::from(*words) * 8 + 8;
        }
        if at != ip.len() {
            return Err(LsoError::BadHeader);
        }
        if next != proto::TCP {
            return Err(LsoError::OtherProtocol);
        }
        Ok(Ip::V6)
    }

    /// How many segments there are; at least one.
    pub fn segments(&self) -> usize {
        let payload = self.frame.len() - self.header_len;
        payload.div_ceil(self.mss).max(1)
    }

    /// Bytes of the longest segment, headers included.
    pub fn max_segment(&self) -> usize {
        self.frame.len().min(self.header_len + self.mss)
    }

    /// Writes segment `index` to the front of `out` with all its checksums, and returns its length. `None`
    /// when there is no such segment or `out` is shorter than it.
    pub fn emit(&self, index: usize, out: &mut [u8]) -> Option<usize> {
        let segments = self.segments();
        if index >= segments {
            return None;
        }
        let headers = self.frame.get(..self.header_len)?;
        let from = index * self.mss;
        let payload = self.frame.get(self.header_len + from..)?;
        let payload = payload.get(..self.mss).unwrap_or(payload);
        let len = self.header_len + payload.len();
        let out = out.get_mut(..len)?;
        out[..self.header_len].copy_from_slice(headers);
        out[self.header_len..].copy_from_slice(payload);

        let Packet { l3, l4, .. } = self.packet;
        match self.packet.ip {
            Ip::V4 => {
                put16(out, l3 + 2, (len - l3) as u16);
                put16(out, l3 + 4, self.ip_id.wrapping_add(index as u16));
                fill_ipv4(out, l3, l4);
            }
            Ip::V6 => put16(out, l3 + 4, (len - l3 - IPV6_LEN) as u16),
        }
        let seq = self.seq.wrapping_add(from as u32);
        out[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
        if index > 0 {
            out[l4 + 13] &= !tcp_flag::CWR;
        }
        if index + 1 < segments {
            out[l4 + 13] &= !(tcp_flag::FIN | tcp_flag::PSH);
        }
        let packet = Packet {
            end: len,
            ..self.packet
        };
        let tcp = Wanted {
            tcp: true,
            ..Wanted::default()
        };
        fill_transport(out, &packet, tcp).ok()?;
        Some(len)
    }
}

fn put16(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::checksum::{verify, Check};
    use super::super::frame::{parse, Parsed};
    use super::super::testing::*;
    use super::*;
    use proptest::prelude::*;

    fn params(frame: &[u8], mss: u16) -> LsoParams {
        let Parsed::Ip(packet) = parse(frame) else {
            panic!()
        };
        let tcp_len = (frame[packet.l4 + 12] >> 4) * 4;
        LsoParams {
            mss,
            header_len: packet.l4 as u8 + tcp_len,
            l3: packet.l3 as u8,
            l4: packet.l4 as u8,
        }
    }

    fn cut(frame: &[u8], params: LsoParams) -> Vec<Vec<u8>> {
        let lso = Lso::new(frame, params).unwrap();
        let segment = |index| {
            let mut out = vec![0; lso.max_segment()];
            let len = lso.emit(index, &mut out).unwrap();
            out.truncate(len);
            out
        };
        assert_eq!(lso.emit(lso.segments(), &mut [0; 100]), None);
        (0..lso.segments()).map(segment).collect()
    }

    #[test]
    fn three_segments_of_ipv4() {
        let payload: Vec<u8> = (0..25).collect();
        let mut frame = Build::v4(proto::TCP).payload(&payload).frame();
        frame[47] = 0xff;
        // A frame longer than 64 KiB cannot say its length.
        frame[16..18].copy_from_slice(&[0, 0]);
        let params = LsoParams {
            mss: 10,
            header_len: 54,
            l3: 14,
            l4: 34,
        };
        let segments = cut(&frame, params);
        let lens: Vec<_> = segments.iter().map(Vec::len).collect();
        assert_eq!(lens, [64, 64, 59]);
        let field = |at| -> Vec<_> { segments.iter().map(|s| be16(s, at).unwrap()).collect() };
        assert_eq!(field(16), [50, 50, 45]);
        assert_eq!(field(18), [0x77fe, 0x77ff, 0x7800]);
        let seqs: Vec<_> = segments.iter().map(|s| be32(s, 38).unwrap()).collect();
        assert_eq!(seqs, [0xffff_fff0, 0xffff_fffa, 4]);
        let flags: Vec<_> = segments.iter().map(|s| s[47]).collect();
        // CWR on the first, FIN and PSH on the last.
        assert_eq!(flags, [0xf6, 0x76, 0x7f]);
        for segment in &segments {
            let verdict = verify(segment);
            assert_eq!((verdict.ipv4, verdict.tcp), (Check::Good, Check::Good));
        }
    }

    #[test]
    fn one_segment_keeps_its_flags() {
        let mut frame = Build::v6(proto::TCP).frame();
        frame[67] = 0xff;
        let params = params(&frame, 1400);
        let segments = cut(&frame, params);
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0][67], 0xff);
        assert_eq!(verify(&segments[0]).tcp, Check::Good);
    }

    #[test]
    fn descriptors_that_contradict_the_frame() {
        let frame = Build::v4(proto::TCP).payload(&[0; 100]).frame();
        let good = LsoParams {
            mss: 10,
            header_len: 54,
            l3: 14,
            l4: 34,
        };
        assert!(Lso::new(&frame, good).is_ok());
        for (params, error) in [
            (LsoParams { mss: 0, ..good }, LsoError::NoMss),
            (LsoParams { l3: 18, ..good }, LsoError::BadHeader),
            (LsoParams { l4: 38, ..good }, LsoError::BadHeader),
            (LsoParams { l4: 10, ..good }, LsoError::BadHeader),
            (
                LsoParams {
                    header_len: 53,
                    ..good
                },
                LsoError::BadHeader,
            ),
            (
                LsoParams {
                    header_len: 58,
                    ..good
                },
                LsoError::BadHeader,
            ),
            (
                LsoParams {
                    header_len: 0,
                    ..good
                },
                LsoError::BadHeader,
            ),
            (
                LsoParams {
                    header_len: 255,
                    ..good
                },
                LsoError::BadHeader,
            ),
        ] {
            assert_eq!(Lso::new(&frame, params).err(), Some(error), "{params:?}");
        }
        for (at, value, error) in [
            (12, 0, LsoError::OtherProtocol),
            (14, 0x65, LsoError::BadHeader),
            (14, 0x46, LsoError::BadHeader),
            (20, 0x20, LsoError::OtherProtocol),
            (23, proto::UDP, LsoError::OtherProtocol),
            (46, 0x40, LsoError::BadHeader),
            (46, 0x60, LsoError::BadHeader),
        ] {
            let mut frame = frame.clone();
            frame[at] = value;
            assert_eq!(Lso::new(&frame, good).err(), Some(error), "{at}");
        }
    }

    #[test]
    fn a_segment_longer_than_ip_can_say() {
        let frame = Build::v4(proto::TCP).frame();
        let long = [frame, vec![0; 70_000]].concat();
        let params = LsoParams {
            mss: u16::MAX,
            header_len: 54,
            l3: 14,
            l4: 34,
        };
        assert_eq!(Lso::new(&long, params).err(), Some(LsoError::TooLong));
    }

    #[test]
    fn extension_headers_stay_in_front() {
        let build = Build::v6(proto::TCP).ext(proto::HOP_BY_HOP, &[1; 6]);
        let frame = build.clone().payload(&[7; 30]).frame();
        let segments = cut(&frame, params(&frame, 20));
        assert_eq!(segments.len(), 2);
        assert_eq!(segments[1].len(), 14 + 40 + 8 + 20 + 10);
        assert_eq!(verify(&segments[1]).tcp, Check::Good);
        let fragment = Build::v6(proto::TCP).ext(proto::FRAGMENT, &[0; 6]).frame();
        let error = Lso::new(&fragment, params(&fragment, 20)).err();
        assert_eq!(error, Some(LsoError::OtherProtocol));
    }

    proptest! {
        #[test]
        fn segments_join_to_the_frame(build in any_build(), mss in 1u16..300) {
            let frame = build.with_proto(proto::TCP).frame();
            let params = params(&frame, mss);
            let mut joined = frame[..usize::from(params.header_len)].to_vec();
            for segment in cut(&frame, params) {
                let Parsed::Ip(packet) = parse(&segment) else { panic!() };
                prop_assert_eq!(packet.end, segment.len());
                let verdict = verify(&segment);
                prop_assert_eq!(verdict.tcp, Check::Good);
                prop_assert!(!verdict.is_bad());
                joined.extend(&segment[usize::from(params.header_len)..]);
            }
            prop_assert_eq!(joined, frame);
        }

        #[test]
        fn hostile_frames_do_not_panic(
            frame in hostile_frame(), mss: u16, header_len: u8, l3: u8, l4: u8, honest: bool,
        ) {
            let mut params = LsoParams { mss, header_len, l3, l4 };
            if let (true, Parsed::Ip(packet)) = (honest, parse(&frame)) {
                params.l3 = packet.l3 as u8;
                params.l4 = packet.l4 as u8;
            }
            if let Ok(lso) = Lso::new(&frame, params) {
                let mut out = vec![0; lso.max_segment()];
                prop_assert!(lso.emit(lso.segments() - 1, &mut out).is_some());
            }
        }
    }
}
