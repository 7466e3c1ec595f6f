// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The initial sequence number of a SYN-ACK as a cookie: what the NIC need not remember of a SYN (RFC 4987
//! section 3.6).
//!
//! ```text
//!  31 30 | 29  | 28 27 26 | 25 ... 20 | 19 ............ 0
//!  time  | key |   MSS    |   proof   |  position + c * ISN
//! ```
//!
//! * *time*: the low bits of a counter of [`STEP_NS`]. A cookie of the step of now or of the two steps
//!   before is good, so that it lives for 80 s at least and 120 s at most.
//! * *key*: which of the two [`Keys`] it was made with.
//! * *MSS*: a step of [`MSS_V4`] or [`MSS_V6`].
//! * *position*: bits of a hash *h* over addresses, ports, VLANs, the whole time counter, the MSS, the options
//!   in the timestamp and the window scale that was offered, to which the client's ISN, times an odd constant
//!   (`SPREAD`), is added.
//! * *proof*: bits of a hash over *h* and the client's ISN.
//!
//! # What is bound, and how fast a check is
//!
//! Everything above is authenticated, the options in the timestamp included. Time and key are readable
//! without a hash, so that most of what is no cookie costs none, and the rest costs one: *proof* is
//! looked at only when *position* fits.
//!
//! That the ISN can be told from the sum closes a hole of cookies: a segment that is not the client's first has a
//! sequence number that is `n` too large, and so is the ISN that it claims. Up to 2^20 it is never taken for the first,
//! whatever the hash; and as the client may send no more than the SYN-ACK's window of at most 65,535 bytes, such
//! a segment is recognised ([`Verdict::Early`]).
//!
//! The constant is for what follows: both numbers of a connection grow. Without it a segment of one in which as much
//! came back as was sent would show the right sum, and only the six bits of proof would speak against it.
//!
//! # False accepts
//!
//! Of the 2^32 acknowledgement numbers of a segment, 3 of 4 time values, both keys, all 8 MSS values and one of 2^26
//! hash values are accepted: a random ACK passes with probability 3/4 * 2^-26 = 1.1e-8 ([`FALSE_ACCEPT`]; half of
//! it while there is one key). A forger who sends a million ACKs a second is let in about once in 90 s, with a
//! connection of which he sees nothing. (Linux' own cookies, which keep fewer segment sizes and do not tell an
//! early segment from a forged one, come to 2^-29.)
//! A random segment is taken for an early one with probability 3/4 * window * 2^-26; one of a connection that the
//! client has opened within the last step, with probability window * 2^-26, one in 1024.

use crate::clock::Instant;
use crate::hash::{HalfSipHash, Key};
use crate::keys::Keys;
use crate::wire::ip::Addresses;
use acceltcp_abi::setup::COOKIE_LIFE_S;

/// Nanoseconds of a step of the time counter.
pub const STEP_NS: u64 = 40_000_000_000;
/// Steps that a cookie is good for, the one that it was made in included.
pub const STEPS: u32 = 3;
const _: () = assert!(STEP_NS * STEPS as u64 == COOKIE_LIFE_S as u64 * 1_000_000_000);
/// Probability that a random acknowledgement number is taken for a cookie.
pub const FALSE_ACCEPT: f64 = 0.75 / (1u64 << 26) as f64;

const TIME_SHIFT: u32 = 30;
const KEY_SHIFT: u32 = 29;
const MSS_SHIFT: u32 = 26;
const PROOF_SHIFT: u32 = 20;
const PROOF_MASK: u32 = 0x3f;
const POSITION_MASK: u32 = (1 << PROOF_SHIFT) - 1;

/// Inverse of [`SPREAD`]: odd, and far from small multiples and fractions of 2^20 (by the golden ratio).
const INVERSE: u32 = 0x9_e377;
/// What an ISN is multiplied by.
const SPREAD: u32 = inverse(INVERSE);

/// The inverse modulo 2^32 of an odd number, by Newton's iteration, which doubles the good bits each time.
const fn inverse(odd: u32) -> u32 {
    let mut found = odd;
    let mut bits = 3;
    while bits < 32 {
        found = found.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(found)));
        bits *= 2;
    }
    found
}

/// Segment sizes that a cookie can hold for IPv4: the default, tunnels, PPPoE, Ethernet, jumbo frames.
pub const MSS_V4: [u16; 8] = [536, 1220, 1300, 1360, 1400, 1440, 1460, 8960];
/// Segment sizes that a cookie can hold for IPv6.
pub const MSS_V6: [u16; 8] = [1220, 1280, 1340, 1380, 1420, 1440, 4000, 8940];

/// The addresses of a handshake, as the client sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// Client and server.
    pub addresses: Addresses,
    /// Port of the client.
    pub src_port: u16,
    /// Port of the server.
    pub dst_port: u16,
    /// VLANs, the outer one first.
    pub vlans: [Option<u16>; 2],
}

impl Tuple {
    /// Segment sizes of the family.
    pub const fn mss_steps(&self) -> &'static [u16; 8] {
        match self.addresses {
            Addresses::V4 { .. } => &MSS_V4,
            Addresses::V6 { .. } => &MSS_V6,
        }
    }

    /// Adds the tuple to `hash`.
    pub fn hash_into(&self, hash: HalfSipHash) -> HalfSipHash {
        let hash = match &self.addresses {
            Addresses::V4 { src, dst } => hash.bytes(src).bytes(dst),
            Addresses::V6 { src, dst } => hash.bytes(src).bytes(dst),
        };
        let vlan = |id: Option<u16>| u32::from(id.unwrap_or(0));
        hash.word(u32::from(self.src_port) << 16 | u32::from(self.dst_port))
            .word(vlan(self.vlans[0]) << 16 | vlan(self.vlans[1]))
    }
}

/// What a cookie keeps of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Step of the MSS, below 8.
    pub mss_step: u8,
    /// Options that the timestamp keeps (6 bits), or `None` when there are no timestamps.
    pub options: Option<u8>,
    /// Window scale of the rule, below 16. It is not kept, but a cookie made for another one is not good.
    pub rcv_wscale: u8,
}

impl Kept {
    const fn word(self) -> u32 {
        let options = match self.options {
            Some(options) => 1 << 6 | options as u32 & 0x3f,
            None => 0,
        };
        (self.rcv_wscale as u32 & 0xf) << 10 | options << 3 | self.mss_step as u32 & 7
    }
}

/// What an acknowledgement shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It acknowledges a cookie, and its sequence number is the one behind the client's SYN.
    Good {
        /// Segment size that the cookie holds.
        mss: u16,
    },
    /// It acknowledges a cookie, but bytes of the client are missing in front of it.
    Early {
        /// Segment size that the cookie holds.
        mss: u16,
        /// How many bytes are missing, never 0.
        skipped: u32,
    },
    /// Time or key rule a cookie out.
    Stale,
    /// It does not acknowledge a cookie.
    Mismatch,
}

/// The step in `steps` for a client that announced `mss`: the largest that is not more. `None` when all are.
pub fn mss_step(steps: &[u16; 8], mss: u16) -> Option<u8> {
    let fitting = steps.iter().take_while(|step| **step <= mss).count();
    fitting.checked_sub(1).map(|step| step as u8)
}

const fn count(now: Instant) -> u32 {
    (now.0 / STEP_NS) as u32
}

fn position(key: Key, tuple: &Tuple, count: u32, kept: Kept) -> u32 {
    tuple
        .hash_into(HalfSipHash::new(key))
        .word(count)
        .word(kept.word())
        .finish()
}

fn proof(key: Key, position: u32, isn: u32) -> u32 {
    // Shorter than what the position is hashed over: the two never hash the same input.
    let hash: HalfSipHash = HalfSipHash::new(key);
    hash.word(position).word(isn).finish() >> (32 - PROOF_MASK.count_ones())
}

/// The cookie for a SYN with `isn`. `None` when no key is set.
pub fn make(keys: &Keys, now: Instant, tuple: &Tuple, isn: u32, kept: Kept) -> Option<u32> {
    let (number, key) = keys.current()?;
    let count = count(now);
    let position = position(key, tuple, count, kept);
    Some(
        count << TIME_SHIFT
            | number << KEY_SHIFT
            | u32::from(kept.mss_step & 7) << MSS_SHIFT
            | proof(key, position, isn) << PROOF_SHIFT
            | position.wrapping_add(isn.wrapping_mul(SPREAD)) & POSITION_MASK,
    )
}

/// A segment that may acknowledge a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its sequence number.
    pub seq: u32,
    /// Its acknowledgement number.
    pub ack: u32,
    /// Options in the timestamp that it echoes (6 bits), or `None` when there are no timestamps.
    pub options: Option<u8>,
    /// Window scale of the rule.
    pub rcv_wscale: u8,
    /// Most bytes that the SYN-ACK let the client send.
    pub window: u16,
}

/// Checks what the client of `tuple` claims.
pub fn check(keys: &Keys, now: Instant, tuple: &Tuple, claim: &Claim) -> Verdict {
    let Claim { seq, ack, .. } = *claim;
    let cookie = ack.wrapping_sub(1);
    let now = count(now);
    let age = now.wrapping_sub(cookie >> TIME_SHIFT) & 3;
    if age >= STEPS {
        return Verdict::Stale;
    }
    let Some(key) = keys.get(cookie >> KEY_SHIFT) else {
        return Verdict::Stale;
    };
    let mss_step = (cookie >> MSS_SHIFT & 7) as u8;
    let kept = Kept {
        mss_step,
        options: claim.options,
        rcv_wscale: claim.rcv_wscale,
    };
    let position = position(key, tuple, now.wrapping_sub(age), kept);

    let claimed = cookie.wrapping_sub(position).wrapping_mul(INVERSE);
    let skipped = seq.wrapping_sub(1).wrapping_sub(claimed) & POSITION_MASK;
    if skipped > u32::from(claim.window) {
        return Verdict::Mismatch;
    }
    let isn = seq.wrapping_sub(1).wrapping_sub(skipped);
    if proof(key, position, isn) != cookie >> PROOF_SHIFT & PROOF_MASK {
        return Verdict::Mismatch;
    }
    let mss = tuple.mss_steps()[usize::from(mss_step)];
    if skipped == 0 {
        Verdict::Good { mss }
    } else {
        Verdict::Early { mss, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Instant = Instant(10 * STEP_NS + 7);
    const TUPLE: Tuple = Tuple {
        addresses: Addresses::V4 {
            src: [10, 99, 0, 1],
            dst: [10, 99, 0, 2],
        },
        src_port: 40_000,
        dst_port: 80,
        vlans: [None; 2],
    };
    const KEPT: Kept = Kept {
        mss_step: 6,
        options: Some(0x17),
        rcv_wscale: 7,
    };
    const ISN: u32 = 0xffff_ff00;
    const WINDOW: u16 = 64_240;

    fn keys() -> Keys {
        let keys = Keys::default();
        keys.set(0x0123_4567_89ab_cdef);
        keys
    }

    /// Checks the ACK of a client with `ISN`, as `make` answered it.
    fn verdict(keys: &Keys, now: Instant, tuple: &Tuple, seq: u32, cookie: u32) -> Verdict {
        let ack = cookie.wrapping_add(1);
        check(keys, now, tuple, &claim(seq, ack))
    }

    const fn claim(seq: u32, ack: u32) -> Claim {
        Claim {
            seq,
            ack,
            options: KEPT.options,
            rcv_wscale: KEPT.rcv_wscale,
            window: WINDOW,
        }
    }

    #[test]
    fn steps_of_mss() {
        assert_eq!(mss_step(&MSS_V4, 1460), Some(6));
        assert_eq!(mss_step(&MSS_V4, 1459), Some(5));
        assert_eq!(mss_step(&MSS_V4, u16::MAX), Some(7));
        assert_eq!(mss_step(&MSS_V4, 535), None);
        assert_eq!(mss_step(&MSS_V6, 1220), Some(0));
        for steps in [MSS_V4, MSS_V6] {
            assert!(steps.is_sorted());
        }
    }

    #[test]
    fn lives_between_80_and_120_seconds() {
        let keys = keys();
        let seq = ISN.wrapping_add(1);
        for made in [0, STEP_NS / 2, STEP_NS - 1] {
            let made = Instant(10 * STEP_NS + made);
            let cookie = make(&keys, made, &TUPLE, ISN, KEPT).unwrap();
            let after = |ns: u64| verdict(&keys, Instant(made.0 + ns), &TUPLE, seq, cookie);
            let good = Verdict::Good { mss: 1460 };
            assert_eq!(after(0), good);
            assert_eq!(after(80_000_000_000), good);
            for seconds in 120..400 {
                assert_ne!(after(seconds * 1_000_000_000), good, "after {seconds} s");
            }
        }
    }

    #[test]
    fn dies_at_the_second_rotation() {
        let keys = keys();
        let seq = ISN.wrapping_add(1);
        let cookie = make(&keys, NOW, &TUPLE, ISN, KEPT).unwrap();
        keys.rotate(1);
        let good = Verdict::Good { mss: 1460 };
        assert_eq!(verdict(&keys, NOW, &TUPLE, seq, cookie), good);
        keys.rotate(2);
        assert_ne!(verdict(&keys, NOW, &TUPLE, seq, cookie), good);
        keys.rotate(0x0123_4567_89ab_cdef);
        assert_ne!(verdict(&keys, NOW, &TUPLE, seq, cookie), good);
    }

    #[test]
    fn every_part_of_the_tuple_is_bound() {
        let keys = keys();
        let cookie = make(&keys, NOW, &TUPLE, ISN, KEPT).unwrap();
        let others = [
            Tuple {
                addresses: Addresses::V4 {
                    src: [10, 99, 0, 3],
                    dst: [10, 99, 0, 2],
                },
                ..TUPLE
            },
            Tuple {
                addresses: Addresses::V4 {
                    src: [10, 99, 0, 1],
                    dst: [10, 99, 0, 3],
                },
                ..TUPLE
            },
            Tuple {
                src_port: 40_001,
                ..TUPLE
            },
            Tuple {
                dst_port: 81,
                ..TUPLE
            },
            Tuple {
                vlans: [Some(5), None],
                ..TUPLE
            },
        ];
        for other in others {
            let seen = verdict(&keys, NOW, &other, ISN.wrapping_add(1), cookie);
            assert_eq!(seen, Verdict::Mismatch, "{other:?}");
        }
    }

    /// The ACK and the first segment are lost, the second comes.
    /// A server that sends back what it gets, one that sends five bytes for each 36, and one that sends most.
    #[test]
    fn segments_of_a_live_connection_are_no_handshakes() {
        let keys = keys();
        let cookie = make(&keys, NOW, &TUPLE, ISN, KEPT).unwrap();
        let mut early = 0;
        const SEGMENTS: u32 = 300_000;
        for step in 1..=SEGMENTS / 3 {
            for (sent, received) in [(step, step), (36 * step, 5 * step), (step, 1448 * step)] {
                let seq = ISN.wrapping_add(1).wrapping_add(sent);
                let ack = cookie.wrapping_add(received);
                match verdict(&keys, NOW, &TUPLE, seq, ack) {
                    Verdict::Good { .. } => panic!("{sent} bytes there, {received} back"),
                    Verdict::Early { .. } => early += 1,
                    _ => {}
                }
            }
        }
        assert!(early < 2 * SEGMENTS / 1024, "{early} of {SEGMENTS}");
    }

    #[test]
    fn a_later_segment_is_never_the_first() {
        let keys = keys();
        let cookie = make(&keys, NOW, &TUPLE, ISN, KEPT).unwrap();
        for skipped in 1..=POSITION_MASK {
            let seq = ISN.wrapping_add(1 + skipped);
            let seen = verdict(&keys, NOW, &TUPLE, seq, cookie);
            if skipped <= u32::from(WINDOW) {
                assert_eq!(seen, Verdict::Early { mss: 1460, skipped });
            } else {
                assert_eq!(seen, Verdict::Mismatch);
            }
        }
    }

    /// SplitMix64: numbers that are random enough, and the same in every run.
    fn numbers(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    #[test]
    fn ten_million_forged_acks() {
        const TRIES: u32 = 10_000_000;
        let keys = keys();
        keys.rotate(99);
        let mut next = numbers(1);
        let (mut good, mut early) = (0u32, 0u32);
        for _ in 0..TRIES {
            let numbers = next();
            let (seq, ack) = (numbers as u32, (numbers >> 32) as u32);
            match check(&keys, NOW, &TUPLE, &claim(seq, ack)) {
                Verdict::Good { .. } => good += 1,
                Verdict::Early { .. } => early += 1,
                Verdict::Stale | Verdict::Mismatch => {}
            }
        }
        // 0.11 are expected; of a Poisson distribution with that mean 5 or more come once in 10^7.
        assert!(FALSE_ACCEPT * f64::from(TRIES) < 0.12);
        assert!(good < 5, "{good} forged ACKs passed");
        // The early ones are many enough to tell that the hash is even: 5 standard deviations.
        let expected = FALSE_ACCEPT * f64::from(WINDOW) * f64::from(TRIES);
        let off = f64::from(early) - expected;
        assert!(
            off * off < 25.0 * expected,
            "{early} early, {expected} expected"
        );
    }

    proptest! {
        #[test]
        fn round_trip(
            key: u64, isn: u32, mss_step in 0u8..8, options in proptest::option::of(0u8..64),
            start in 0u64..1 << 50, wait in 0u64..80_000_000_000, v6: bool, vlan in proptest::option::of(1u16..4095),
        ) {
            let keys = Keys::default();
            keys.set(key);
            let kept = Kept { mss_step, options, rcv_wscale: 7 };
            let addresses = if v6 {
                Addresses::V6 { src: [1; 16], dst: [2; 16] }
            } else {
                TUPLE.addresses
            };
            let tuple = Tuple { addresses, vlans: [vlan, None], ..TUPLE };
            let cookie = make(&keys, Instant(start), &tuple, isn, kept).unwrap();
            let claim = Claim { options, ..claim(isn.wrapping_add(1), cookie.wrapping_add(1)) };
            let seen = check(&keys, Instant(start + wait), &tuple, &claim);
            let mss = tuple.mss_steps()[usize::from(mss_step)];
            prop_assert_eq!(seen, Verdict::Good { mss });
            // Other options in the echo, or none: not the client that was answered.
            let other = match options {
                Some(options) => Some(options ^ 1),
                None => Some(0),
            };
            for wrong in [Claim { options: other, ..claim }, Claim { rcv_wscale: 6, ..claim }] {
                let seen = check(&keys, Instant(start + wait), &tuple, &Claim { window: 0, ..wrong });
                prop_assert_eq!(seen, Verdict::Mismatch);
            }
        }
    }
}
