// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A rule of the access list in memory: [`AclRule`] without its reserved end, as little-endian words.

use super::headers::Headers;
use acceltcp_abi::acl::{action, flag, AclRule, ANY_VLAN, NO_VLAN};
use core::ops::RangeInclusive;
use zerocopy::IntoBytes;

/// Words of a rule.
pub const WORDS: usize = 7;
/// Two words each.
const SOURCE: usize = 0;
const DESTINATION: usize = 2;
/// Handle in the low half, priority in the high half.
const NAME: usize = 4;
/// Action, family, protocol, flags, lengths of the prefixes, VLAN.
const WHAT: usize = 5;
/// First and last source port, first and last destination port.
const PORTS: usize = 6;

/// Handle of the rule whose words `word` gives.
pub fn handle(word: impl Fn(usize) -> u64) -> u32 {
    word(NAME) as u32
}

/// What the rules are ordered by: priority, then handle.
pub fn rank(word: impl Fn(usize) -> u64) -> u64 {
    word(NAME)
}

/// Whether the rule drops what it matches.
pub fn denies(word: impl Fn(usize) -> u64) -> bool {
    word(WHAT).to_le_bytes()[0] == action::DENY
}

/// Whether the rule matches `headers`. What is in two words first, as most rules end there.
pub fn matches(word: impl Fn(usize) -> u64, headers: &Headers) -> bool {
    let [_, family, protocol, flags, source_len, destination_len, vlan @ ..] =
        word(WHAT).to_le_bytes();
    if family != 0 && family != headers.family {
        return false;
    }
    if flags & flag::PROTOCOL != 0 && protocol != headers.protocol {
        return false;
    }
    let vlan = u16::from_le_bytes(vlan);
    if vlan != ANY_VLAN && vlan != headers.vlan.unwrap_or(NO_VLAN) {
        return false;
    }
    if flags & (flag::SOURCE_PORTS | flag::DESTINATION_PORTS) != 0 {
        let Some([source, destination]) = headers.ports else {
            return false;
        };
        let [sources, destinations] = ranges(word(PORTS));
        if flags & flag::SOURCE_PORTS != 0 && !sources.contains(&source) {
            return false;
        }
        if flags & flag::DESTINATION_PORTS != 0 && !destinations.contains(&destination) {
            return false;
        }
    }
    let prefix = |place: usize| [word(place), word(place + 1)];
    (source_len == 0 || is_in(headers.source, prefix(SOURCE), source_len))
        && (destination_len == 0
            || is_in(headers.destination, prefix(DESTINATION), destination_len))
}

fn ranges(word: u64) -> [RangeInclusive<u16>; 2] {
    let [a, b, c, d] = [0, 16, 32, 48].map(|shift| (word >> shift) as u16);
    [a..=b, c..=d]
}

/// Whether `address` begins with the first `len` bits of `prefix`, whose words are in the order of memory.
fn is_in(address: u128, prefix: [u64; 2], len: u8) -> bool {
    let [high, low] = prefix.map(u64::swap_bytes);
    let differ = address ^ (u128::from(high) << 64 | u128::from(low));
    let behind = 128u32.saturating_sub(len.into());
    differ.checked_shr(behind).unwrap_or(0) == 0
}

/// A rule that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored([u64; WORDS]);

impl Stored {
    /// The rule that the host sent, or `None` when it makes no sense.
    pub fn from_host(sent: &AclRule) -> Option<Self> {
        let bytes = sent.as_bytes();
        let word = |place: usize| {
            let bytes = bytes.get(place * 8..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let mut words = [0; WORDS];
        for (place, slot) in words.iter_mut().enumerate() {
            *slot = word(place)?;
        }
        sent.is_valid().then_some(Self(words))
    }

    /// Word `place`, 0 behind the end.
    pub fn word(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }

    /// All words.
    pub const fn words(&self) -> &[u64; WORDS] {
        &self.0
    }
}
