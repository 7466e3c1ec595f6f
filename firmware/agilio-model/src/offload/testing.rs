// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames for tests.

use super::frame::{ethertype, proto, TCP_LEN, UDP_LEN};
use proptest::prelude::*;

/// Builds a frame with correct lengths and with zeros for checksums.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    v6: bool,
    proto: u8,
    tags: usize,
    options: usize,
    ext: Vec<(u8, Vec<u8>)>,
    tcp_options: usize,
    payload: Vec<u8>,
}

impl Build {
    fn new(v6: bool, proto: u8) -> Self {
        Self {
            v6,
            proto,
            tags: 0,
            options: 0,
            ext: Vec::new(),
            tcp_options: 0,
            payload: Vec::new(),
        }
    }

    /// IPv4 with `proto`.
    pub(crate) fn v4(proto: u8) -> Self {
        Self::new(false, proto)
    }

    /// IPv6 with `proto`.
    pub(crate) fn v6(proto: u8) -> Self {
        Self::new(true, proto)
    }

    /// VLAN tags, the innermost a C-tag.
    pub(crate) fn tags(self, tags: usize) -> Self {
        Self { tags, ..self }
    }

    /// Bytes of IPv4 options.
    pub(crate) fn options(self, options: usize) -> Self {
        Self { options, ..self }
    }

    /// The same with another transport.
    pub(crate) fn with_proto(self, proto: u8) -> Self {
        Self { proto, ..self }
    }

    /// An IPv6 extension header with `body` behind its first two bytes.
    pub(crate) fn ext(mut self, kind: u8, body: &[u8]) -> Self {
        self.ext.push((kind, body.to_vec()));
        self
    }

    /// What the transport carries.
    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        let payload = payload.to_vec();
        Self { payload, ..self }
    }

    /// The frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0x15, 0x4d, 0, 0, 1, 2, 0x15, 0x4d, 0, 0, 2];
        for tag in (0..self.tags).rev() {
            let kind = if tag == 0 {
                ethertype::VLAN
            } else {
                ethertype::QINQ
            };
            frame.extend(kind.to_be_bytes());
            frame.extend([0x20, tag as u8 + 5]);
        }
        let l4 = self.transport();
        if self.v6 {
            self.push_ipv6(&mut frame, &l4);
        } else {
            self.push_ipv4(&mut frame, &l4);
        }
        frame
    }

    fn push_ipv4(&self, frame: &mut Vec<u8>, l4: &[u8]) {
        frame.extend(ethertype::IPV4.to_be_bytes());
        let header_len = 20 + self.options;
        frame.extend([0x40 | (header_len / 4) as u8, 0]);
        frame.extend(((header_len + l4.len()) as u16).to_be_bytes());
        frame.extend([0x77, 0xfe, 0x40, 0, 64, self.proto, 0, 0]);
        frame.extend([10, 99, 0, 2, 10, 99, 0, 1]);
        frame.extend(vec![1; self.options]);
        frame.extend(l4);
    }

    fn push_ipv6(&self, frame: &mut Vec<u8>, l4: &[u8]) {
        frame.extend(ethertype::IPV6.to_be_bytes());
        let mut body = Vec::new();
        for (i, (kind, ext)) in self.ext.iter().enumerate() {
            let next = self.ext.get(i + 1).map_or(self.proto, |(kind, _)| *kind);
            let words = match *kind {
                proto::AH => ((ext.len() + 2) / 4 - 2) as u8,
                proto::FRAGMENT => 0,
                _ => ((ext.len() + 2) / 8 - 1) as u8,
            };
            body.extend([next, words]);
            body.extend(ext);
        }
        body.extend(l4);
        let first = self.ext.first().map_or(self.proto, |(kind, _)| *kind);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((body.len() as u16).to_be_bytes());
        frame.extend([first, 64]);
        frame.extend([0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend([0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend(body);
    }

    fn transport(&self) -> Vec<u8> {
        let mut l4 = vec![0x12, 0x34, 0, 80];
        match self.proto {
            proto::TCP => {
                l4.extend(0xffff_fff0u32.to_be_bytes());
                l4.extend([0, 0, 0, 9]);
                let header_len = TCP_LEN + self.tcp_options;
                l4.extend([(header_len / 4) as u8 * 16, 0x18, 1, 2, 0, 0, 0, 0]);
                l4.extend(vec![1; self.tcp_options]);
            }
            proto::UDP => {
                l4.extend(((UDP_LEN + self.payload.len()) as u16).to_be_bytes());
                l4.extend([0, 0]);
            }
            _ => {}
        }
        l4.extend(&self.payload);
        l4
    }
}

prop_compose! {
    /// A TCP or UDP frame of any shape.
    pub(crate) fn any_build()(
        v6: bool,
        tcp: bool,
        tags in 0usize..3,
        options in 0usize..11,
        tcp_options in 0usize..11,
        ext in 0usize..3,
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> Build {
        let proto = if tcp { proto::TCP } else { proto::UDP };
        let mut build = Build::new(v6, proto).tags(tags).payload(&payload);
        build.options = options * 4;
        build.tcp_options = tcp_options * 4;
        for _ in 0..ext {
            build = build.ext(proto::DEST_OPTIONS, &[1; 14]);
        }
        build
    }
}

/// A frame with some bytes overwritten, cut or made longer, or plain noise.
pub(crate) fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..120);
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let bent = (
        any_build(),
        edits,
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    let bent = bent.prop_map(|(build, edits, cut, cuts)| {
        let mut frame = build.frame();
        for (at, value) in edits {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if cuts {
            frame.truncate(cut.index(frame.len()));
        }
        frame
    });
    prop_oneof![1 => noise, 4 => bent]
}
