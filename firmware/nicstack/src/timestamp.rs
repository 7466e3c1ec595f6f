// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Options in the low bits of the SYN-ACK's timestamp, as in Linux' `cookie_init_timestamp()`.
//!
//! ```text
//!  31 ......... 6 |  5  |  4   | 3 ...... 0
//!   clock         | ECN | SACK | window scale, 15 for none
//! ```
//!
//! The client echoes the timestamp until it sees another one (RFC 7323 section 4.3). It is never ahead of the
//! clock, so that the connection's own timestamps go on from it.

use crate::wire::options::MAX_WSCALE;
use crate::wire::seq;

const BITS: u32 = 6;
const MASK: u32 = (1 << BITS) - 1;
const NO_WSCALE: u8 = 0xf;
const SACK: u8 = 1 << 4;
const ECN: u8 = 1 << 5;

/// Longest time in milliseconds from the SYN-ACK to the ACK that is believed: the life of a cookie, and what
/// its timestamp lags behind the clock.
pub const MAX_AGE_MS: u32 = 120_000 + (1 << BITS);
/// Milliseconds that the clock may have been set back in between.
pub const MAX_SET_BACK_MS: u32 = 1000;

/// Options that need timestamps to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimestampOptions {
    /// Window scale that the client offered, if it is in use.
    pub wscale: Option<u8>,
    /// SACK is in use.
    pub sack: bool,
    /// ECN is in use.
    pub ecn: bool,
}

impl TimestampOptions {
    /// The options as 6 bits.
    pub fn bits(&self) -> u8 {
        let wscale = self.wscale.map_or(NO_WSCALE, |shift| shift.min(MAX_WSCALE));
        let sack = if self.sack { SACK } else { 0 };
        let ecn = if self.ecn { ECN } else { 0 };
        wscale | sack | ecn
    }

    /// The options in the low bits of `timestamp`.
    pub fn from_timestamp(timestamp: u32) -> Self {
        let bits = (timestamp & MASK) as u8;
        let wscale = bits & 0xf;
        Self {
            wscale: (wscale != NO_WSCALE).then_some(wscale),
            sack: bits & SACK != 0,
            ecn: bits & ECN != 0,
        }
    }
}

/// The newest timestamp with `options` (6 bits) that is not ahead of `clock`.
pub const fn encode(clock: u32, options: u8) -> u32 {
    let timestamp = clock & !MASK | options as u32 & MASK;
    if seq::before(clock, timestamp) {
        timestamp.wrapping_sub(1 << BITS)
    } else {
        timestamp
    }
}

/// Whether a SYN-ACK that is good at `clock` can have had the timestamp `echo`.
pub const fn is_recent(clock: u32, echo: u32) -> bool {
    let age = clock.wrapping_sub(echo).wrapping_add(MAX_SET_BACK_MS);
    age <= MAX_AGE_MS + MAX_SET_BACK_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recent() {
        assert!(is_recent(5, 5) && is_recent(5, 5u32.wrapping_sub(MAX_AGE_MS)));
        assert!(!is_recent(5, 4u32.wrapping_sub(MAX_AGE_MS)));
        assert!(is_recent(5, 1005) && !is_recent(5, 1006));
    }

    proptest! {
        #[test]
        fn round_trip(clock: u32, wscale in proptest::option::of(0u8..15), sack: bool, ecn: bool) {
            let options = TimestampOptions { wscale, sack, ecn };
            let timestamp = encode(clock, options.bits());
            prop_assert_eq!(TimestampOptions::from_timestamp(timestamp), options);
            let lag = clock.wrapping_sub(timestamp);
            prop_assert!(lag < 64, "behind the clock, and as little as can be");
            prop_assert!(is_recent(clock.wrapping_add(120_000), timestamp));
        }
    }
}
