// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The TCP header (RFC 9293 section 3.1).

use super::{be16, be32, Malformed};

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Most bytes of options.
pub const MAX_OPTIONS: usize = 40;

/// Control bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(1 << 0);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(1 << 1);
    /// Reset the connection.
    pub const RST: Self = Self(1 << 2);
    /// Push.
    pub const PSH: Self = Self(1 << 3);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(1 << 4);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(1 << 6);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(1 << 7);

    /// Whether all of `flags` are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether one of `flags` is set.
    pub const fn has_any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Fields of a header, as received or to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpHeader {
    /// Port of the sender.
    pub src_port: u16,
    /// Port of the receiver.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window, as in the header.
    pub window: u16,
}

/// View of a segment.
#[derive(Debug, Clone, Copy)]
pub struct Tcp<'a> {
    /// The fixed fields.
    pub header: TcpHeader,
    /// The options.
    pub options: &'a [u8],
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Reads the segment `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let read = || {
            let offset_flags = be16(bytes, 12)?;
            let header_len = usize::from(offset_flags >> 12) * 4;
            Some(Self {
                header: TcpHeader {
                    src_port: be16(bytes, 0)?,
                    dst_port: be16(bytes, 2)?,
                    seq: be32(bytes, 4)?,
                    ack: be32(bytes, 8)?,
                    flags: Flags(offset_flags & 0x1ff),
                    window: be16(bytes, 14)?,
                },
                options: bytes.get(HEADER..header_len)?,
                data: &bytes[header_len..],
            })
        };
        read().ok_or(Malformed)
    }
}

impl TcpHeader {
    /// Writes the header with `options`, a multiple of 4 bytes, to the front of `out` and returns its length, or
    /// `None` when it has no room. The checksum is left 0.
    pub fn emit(&self, options: &[u8], out: &mut [u8]) -> Option<usize> {
        let len = HEADER + options.len();
        if options.len() > MAX_OPTIONS || len % 4 != 0 {
            return None;
        }
        let out = out.get_mut(..len)?;
        let offset_flags = (len as u16 / 4) << 12 | self.flags.0 & 0x1ff;
        out[..2].copy_from_slice(&self.src_port.to_be_bytes());
        out[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        out[4..8].copy_from_slice(&self.seq.to_be_bytes());
        out[8..12].copy_from_slice(&self.ack.to_be_bytes());
        out[12..14].copy_from_slice(&offset_flags.to_be_bytes());
        out[14..16].copy_from_slice(&self.window.to_be_bytes());
        out[16..20].fill(0);
        out[20..].copy_from_slice(options);
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let header = TcpHeader {
            src_port: 80,
            dst_port: 0x1234,
            seq: 1,
            ack: 0x0102_0304,
            flags: Flags::SYN | Flags::ACK,
            window: 0xfaf0,
        };
        let mut out = [0xee; 24];
        assert_eq!(header.emit(&[2, 4, 5, 0xb4], &mut out), Some(24));
        assert_eq!(
            out,
            [
                0, 80, 0x12, 0x34, 0, 0, 0, 1, 1, 2, 3, 4, 0x60, 0x12, 0xfa, 0xf0, 0, 0, 0, 0, 2,
                4, 5, 0xb4
            ]
        );
        assert_eq!(header.emit(&[0; 3], &mut out), None);
        assert_eq!(header.emit(&[0; 8], &mut out), None);
    }

    #[test]
    fn refusals() {
        let mut bytes = [0; 24];
        bytes[12] = 0x40;
        assert!(Tcp::parse(&bytes).is_err(), "offset inside the header");
        bytes[12] = 0x70;
        assert!(Tcp::parse(&bytes).is_err(), "offset beyond the segment");
        bytes[12] = 0x60;
        assert_eq!(Tcp::parse(&bytes).unwrap().options.len(), 4);
        assert!(Tcp::parse(&bytes[..19]).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(
            ports: (u16, u16), seq: u32, ack: u32, flags in 0u16..0x200, window: u16,
            options in 0usize..11, data in 0usize..9,
        ) {
            let header = TcpHeader {
                src_port: ports.0, dst_port: ports.1, seq, ack, flags: Flags(flags), window,
            };
            let mut out = [7; HEADER + MAX_OPTIONS + 8];
            let len = header.emit(&[1; MAX_OPTIONS][..options * 4], &mut out).unwrap();
            let view = Tcp::parse(&out[..len + data]).unwrap();
            prop_assert_eq!(view.header, header);
            prop_assert_eq!((view.options.len(), view.data.len()), (options * 4, data));
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Tcp::parse(&bytes);
        }
    }
}
