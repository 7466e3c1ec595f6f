// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TCP options, in any order and with any padding.
//!
//! RFC 9293 section 3.1 (end, no-operation, MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK), RFC 2385
//! (MD5), RFC 5925 (AO), RFC 8684 (MPTCP).
//!
//! What is malformed is handled as Linux' `tcp_parse_options()` does: a length below 2 or beyond the
//! header ends the list, and what was read before counts; a known option of the wrong length is skipped;
//! of several of a kind the last counts.

use super::tcp::MAX_OPTIONS;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WSCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;
const AO: u8 = 29;
const MPTCP: u8 = 30;

/// Largest window scale (RFC 7323 section 2.3).
pub const MAX_WSCALE: u8 = 14;

/// Timestamps of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The clock of the receiver that is echoed.
    pub echo: u32,
}

/// The options that setup knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size, not 0.
    pub mss: Option<u16>,
    /// Window scale, at most [`MAX_WSCALE`].
    pub wscale: Option<u8>,
    /// Selective acknowledgements are welcome.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// The segment is signed with TCP-MD5.
    pub md5: bool,
    /// The segment is signed with TCP-AO.
    pub ao: bool,
    /// There is a Multipath TCP option.
    pub mptcp: bool,
}

impl Options {
    /// Reads the options area `bytes` of a header.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        while let Some((kind, rest)) = bytes.split_first() {
            match *kind {
                END => break,
                NOP => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let len = rest.first().map_or(0, |len| usize::from(*len));
            let Some(option) = bytes.get(2..len) else {
                break;
            };
            options.take(*kind, option);
            bytes = &bytes[len..];
        }
        options
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MSS, [high, low]) => {
                let mss = u16::from_be_bytes([*high, *low]);
                if mss != 0 {
                    self.mss = Some(mss);
                }
            }
            (WSCALE, [shift]) => self.wscale = Some((*shift).min(MAX_WSCALE)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, [v0, v1, v2, v3, e0, e1, e2, e3]) => {
                self.timestamps = Some(Timestamps {
                    value: u32::from_be_bytes([*v0, *v1, *v2, *v3]),
                    echo: u32::from_be_bytes([*e0, *e1, *e2, *e3]),
                });
            }
            (MD5, _) => self.md5 = true,
            (AO, _) => self.ao = true,
            (MPTCP, _) => self.mptcp = true,
            _ => {}
        }
    }

    /// Writes MSS, SACK-permitted, timestamps and window scale to `out`, in the order and with the padding
    /// of Linux, and returns their length, a multiple of 4.
    pub fn emit(&self, out: &mut [u8; MAX_OPTIONS]) -> usize {
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            out[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        if let Some(mss) = self.mss {
            put(&[MSS, 4]);
            put(&mss.to_be_bytes());
        }
        if self.sack_permitted {
            put(&[SACK_PERMITTED, 2]);
        }
        if let Some(timestamps) = self.timestamps {
            if !self.sack_permitted {
                put(&[NOP; 2]);
            }
            put(&[TIMESTAMPS, 10]);
            put(&timestamps.value.to_be_bytes());
            put(&timestamps.echo.to_be_bytes());
        } else if self.sack_permitted {
            put(&[NOP; 2]);
        }
        if let Some(shift) = self.wscale {
            put(&[NOP, WSCALE, 3, shift.min(MAX_WSCALE)]);
        }
        len
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn linux_syn() {
        let bytes = [
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let options = Options::parse(&bytes);
        assert_eq!(
            options,
            Options {
                mss: Some(1460),
                wscale: Some(7),
                sack_permitted: true,
                timestamps: Some(Timestamps { value: 9, echo: 0 }),
                ..Options::default()
            }
        );
        let mut out = [0; MAX_OPTIONS];
        let len = options.emit(&mut out);
        assert_eq!(out[..len], bytes);
    }

    #[test]
    fn peers_of_other_orders() {
        // Windows: MSS, NOP, WS, NOP, NOP, SACK. macOS: MSS, NOP, WS, NOP, NOP, TS, SACK, EOL.
        let windows = Options::parse(&[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]);
        assert_eq!((windows.mss, windows.wscale), (Some(1460), Some(8)));
        assert!(windows.sack_permitted && windows.timestamps.is_none());
        let macos = Options::parse(&[
            2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 4, 2, 0, 0,
        ]);
        assert_eq!((macos.mss, macos.wscale), (Some(1460), Some(6)));
        assert!(macos.sack_permitted);
        assert_eq!(macos.timestamps.unwrap().value, 0x0102_0304);
    }

    #[test]
    fn malformed_as_linux() {
        let mss = |bytes: &[u8]| Options::parse(bytes).mss;
        assert_eq!(mss(&[2, 4, 5, 0xb4, 3, 0]), Some(1460), "length 0 ends");
        assert_eq!(mss(&[3, 1, 2, 4, 5, 0xb4]), None, "length 1 ends");
        assert_eq!(mss(&[2, 4, 5]), None, "cut short");
        assert_eq!(mss(&[2]), None, "no length");
        assert_eq!(mss(&[2, 3, 5, 2, 4, 5, 0xb4]), Some(1460), "wrong length");
        assert_eq!(mss(&[0, 2, 4, 5, 0xb4]), None, "behind the end");
        assert_eq!(mss(&[99, 5, 0, 0, 0, 2, 4, 1, 0]), Some(256), "unknown");
        assert_eq!(mss(&[2, 4, 1, 0, 2, 4, 2, 0]), Some(512), "twice");
        assert_eq!(mss(&[2, 4, 1, 0, 2, 4, 0, 0]), Some(256), "zero");
        assert_eq!(Options::parse(&[3, 3, 15]).wscale, Some(14), "too large");
    }

    #[test]
    fn options_of_others() {
        let options = Options::parse(&[30, 4, 0, 1, 29, 4, 1, 1, 19, 2]);
        assert!(options.mptcp && options.ao && options.md5);
    }

    fn known() -> impl Strategy<Value = Options> {
        (
            proptest::option::of(1u16..),
            proptest::option::of(0u8..15),
            any::<bool>(),
            proptest::option::of(any::<(u32, u32)>()),
        )
            .prop_map(|(mss, wscale, sack_permitted, times)| Options {
                mss,
                wscale,
                sack_permitted,
                timestamps: times.map(|(value, echo)| Timestamps { value, echo }),
                ..Options::default()
            })
    }

    proptest! {
        #[test]
        fn round_trip(options in known()) {
            let mut out = [0xff; MAX_OPTIONS];
            let len = options.emit(&mut out);
            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(Options::parse(&out[..len]), options);
        }

        #[test]
        fn any_order_and_padding(
            options in known(),
            order in Just([0usize, 1, 2, 3]).prop_shuffle(),
            padding in proptest::collection::vec(0usize..4, 5),
            unknown in proptest::option::of((40u8..250, 0usize..5)),
        ) {
            let mut pieces: [Vec<u8>; 4] = Default::default();
            if let Some(mss) = options.mss {
                pieces[0] = [&[2, 4][..], &mss.to_be_bytes()].concat();
            }
            if let Some(shift) = options.wscale {
                pieces[1] = [3, 3, shift].to_vec();
            }
            if options.sack_permitted {
                pieces[2] = [4, 2].to_vec();
            }
            if let Some(times) = options.timestamps {
                pieces[3] = [&[8, 10][..], &times.value.to_be_bytes(), &times.echo.to_be_bytes()].concat();
            }
            let mut bytes = Vec::new();
            if let Some((kind, len)) = unknown {
                bytes.extend([kind, len as u8 + 2]);
                bytes.resize(len + 2, 0x55);
            }
            for (place, pad) in order.into_iter().zip(&padding) {
                bytes.resize(bytes.len() + pad, NOP);
                bytes.extend(&pieces[place]);
            }
            bytes.resize(bytes.len() + padding[4], END);
            prop_assert_eq!(Options::parse(&bytes), options);
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_OPTIONS)) {
            let options = Options::parse(&bytes);
            prop_assert!(options.wscale.unwrap_or(0) <= MAX_WSCALE && options.mss != Some(0));
        }
    }
}
