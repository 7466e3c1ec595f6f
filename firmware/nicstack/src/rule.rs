// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listener rules as the NIC keeps them.

use crate::cookie::Tuple;
use crate::wire::ip::Addresses;
use crate::wire::options::MAX_WSCALE;
use acceltcp_abi::setup::{rule, ListenRule, NO_VLAN};

/// What a rule is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Address, or zero with the bit [`Key::ANY`].
    address: [u64; 2],
    /// Family, [`Key::ANY`], port and VLANs.
    rest: u64,
}

impl Key {
    /// Words of a key.
    pub const WORDS: usize = 3;
    const ANY: u64 = 1 << 63;

    fn new(v6: bool, port: u16, vlans: [Option<u16>; 2]) -> Self {
        let vlan = |id: Option<u16>| u64::from(id.unwrap_or(0)) & 0xfff;
        Self {
            address: [0; 2],
            rest: Self::ANY
                | u64::from(v6) << 62
                | vlan(vlans[0]) << 28
                | vlan(vlans[1]) << 16
                | u64::from(port),
        }
    }

    fn with_address(self, address: [u8; 16]) -> Self {
        let (high, low) = address.split_at(8);
        let word = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        Self {
            address: [word(high), word(low)],
            rest: self.rest & !Self::ANY,
        }
    }

    /// The keys of the rules for `tuple`, the more specific one first.
    pub fn of(tuple: &Tuple) -> [Self; 2] {
        let mut address = [0; 16];
        let v6 = match &tuple.addresses {
            Addresses::V4 { dst, .. } => {
                address[..4].copy_from_slice(dst);
                false
            }
            Addresses::V6 { dst, .. } => {
                address = *dst;
                true
            }
        };
        let any = Self::new(v6, tuple.dst_port, tuple.vlans);
        [any.with_address(address), any]
    }

    /// The key in `words`.
    pub const fn from_words([high, low, rest]: [u64; Self::WORDS]) -> Self {
        Self {
            address: [high, low],
            rest,
        }
    }

    /// The key as words.
    pub const fn words(&self) -> [u64; Self::WORDS] {
        [self.address[0], self.address[1], self.rest]
    }

    /// A number that spreads keys over buckets. Only the host chooses the keys in the table, so that no peer
    /// can make a bucket long.
    pub fn spread(&self) -> u64 {
        self.words().iter().fold(0, |hash: u64, word| {
            (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
        }) >> 32
    }
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Handle that the host knows the rule by.
    pub handle: u32,
    /// Bits of [`rule`].
    pub flags: u16,
    /// MSS of the SYN-ACK.
    pub mss: u16,
    /// Window of the SYN-ACK.
    pub window: u16,
    /// TTL or hop limit of the SYN-ACK.
    pub ttl: u8,
    /// DSCP of the SYN-ACK.
    pub dscp: u8,
    /// Window scale of the SYN-ACK.
    pub wscale: u8,
    /// Milliseconds that timestamps are ahead of the host's clock.
    pub ts_offset: u32,
}

impl Rule {
    /// Words of a rule.
    pub const WORDS: usize = 2;

    /// Whether all of `flags` are set.
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// The rule in `words`.
    pub const fn from_words([a, b]: [u64; Self::WORDS]) -> Self {
        Self {
            handle: (b >> 32) as u32,
            flags: (a >> 4) as u16 & 0xfff,
            mss: (a >> 32) as u16,
            window: (a >> 48) as u16,
            ttl: (a >> 16) as u8,
            dscp: (a >> 24) as u8,
            wscale: a as u8 & 0xf,
            ts_offset: b as u32,
        }
    }

    /// The rule as words.
    pub const fn words(&self) -> [u64; Self::WORDS] {
        [
            (self.window as u64) << 48
                | (self.mss as u64) << 32
                | (self.dscp as u64) << 24
                | (self.ttl as u64) << 16
                | (self.flags as u64 & 0xfff) << 4
                | self.wscale as u64 & 0xf,
            (self.handle as u64) << 32 | self.ts_offset as u64,
        ]
    }
}

/// A rule of the host does not make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRule;

/// Checks what the host sent, and takes it apart. The handle is left 0.
pub fn from_host(sent: &ListenRule) -> Result<(Key, Rule), BadRule> {
    let flags = sent.flags.get();
    let any = flags & rule::ANY_ADDRESS != 0;
    let v6 = match sent.family {
        4 => false,
        6 => true,
        _ => return Err(BadRule),
    };
    let (vlans, vlans_good) = vlans(sent);
    let unused = match (any, v6) {
        (true, _) => &sent.address[..],
        (false, false) => &sent.address[4..],
        (false, true) => &[],
    };
    let address_good = any || sent.address.iter().any(|byte| *byte != 0);
    let wscale_good = if flags & rule::WSCALE == 0 {
        sent.wscale == 0
    } else {
        sent.wscale <= MAX_WSCALE
    };
    let both_first = rule::DEFER | rule::SERVER_FIRST;
    let smallest_mss = if v6 { 1220 } else { 536 };
    let good = vlans_good
        && address_good
        && wscale_good
        && unused.iter().all(|byte| *byte == 0)
        && flags & both_first != both_first
        && sent.port.get() != 0
        && sent.mss.get() >= smallest_mss
        && sent.window.get() != 0
        && sent.ttl != 0
        && sent.dscp < 64;
    if !good {
        return Err(BadRule);
    }
    let mut key = Key::new(v6, sent.port.get(), vlans);
    if !any {
        key = key.with_address(sent.address);
    }
    let rule = Rule {
        handle: 0,
        flags,
        mss: sent.mss.get(),
        window: sent.window.get(),
        ttl: sent.ttl,
        dscp: sent.dscp,
        wscale: sent.wscale,
        ts_offset: sent.ts_offset.get(),
    };
    Ok((key, rule))
}

/// VLANs of `sent`, and whether they make sense: ids from 1 to 4094, an inner one only with an outer one.
fn vlans(sent: &ListenRule) -> ([Option<u16>; 2], bool) {
    let ids = [sent.vlan_outer.get(), sent.vlan_inner.get()];
    let good = ids
        .iter()
        .all(|id| *id == NO_VLAN || (1..4095).contains(id))
        && (ids[0] != NO_VLAN || ids[1] == NO_VLAN);
    (ids.map(|id| (id != NO_VLAN).then_some(id)), good)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use acceltcp_abi::setup::RULE_FLAGS;
    use proptest::prelude::*;

    /// A rule for any IPv4 address and `port` with all options.
    pub(crate) fn any_v4(port: u16) -> ListenRule {
        ListenRule {
            family: 4,
            wscale: 7,
            port: port.into(),
            vlan_outer: NO_VLAN.into(),
            vlan_inner: NO_VLAN.into(),
            flags: (rule::ANY_ADDRESS | rule::WSCALE | rule::SACK | rule::TIMESTAMPS | rule::ECN)
                .into(),
            mss: 1460.into(),
            window: 64_240.into(),
            ttl: 64,
            ..ListenRule::default()
        }
    }

    #[test]
    fn refusals() {
        let good = any_v4(80);
        assert!(from_host(&good).is_ok());
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[10, 0, 0, 1]);
        let mut long = address;
        long[4] = 1;
        let flags = good.flags.get();
        let exact = (flags & !rule::ANY_ADDRESS).into();
        let bad = [
            ListenRule { family: 5, ..good },
            ListenRule { wscale: 15, ..good },
            ListenRule {
                flags: (flags & !rule::WSCALE).into(),
                ..good
            },
            ListenRule {
                port: 0.into(),
                ..good
            },
            ListenRule {
                vlan_outer: 0.into(),
                ..good
            },
            ListenRule {
                vlan_outer: 4095.into(),
                ..good
            },
            ListenRule {
                vlan_inner: 5.into(),
                ..good
            },
            ListenRule { address, ..good },
            ListenRule {
                flags: exact,
                ..good
            },
            ListenRule {
                flags: exact,
                address: long,
                ..good
            },
            ListenRule {
                flags: (flags | rule::DEFER | rule::SERVER_FIRST).into(),
                ..good
            },
            ListenRule {
                mss: 535.into(),
                ..good
            },
            ListenRule {
                window: 0.into(),
                ..good
            },
            ListenRule { ttl: 0, ..good },
            ListenRule { dscp: 64, ..good },
        ];
        for rule in bad {
            assert_eq!(from_host(&rule), Err(BadRule), "{rule:?}");
        }
        let exact = ListenRule {
            flags: exact,
            address,
            ..good
        };
        assert!(from_host(&exact).is_ok());
    }

    #[test]
    fn the_address_is_more_specific() {
        let tuple = Tuple {
            addresses: Addresses::V4 {
                src: [10, 0, 0, 1],
                dst: [10, 0, 0, 2],
            },
            src_port: 1,
            dst_port: 80,
            vlans: [Some(3), None],
        };
        let mut rule = ListenRule {
            vlan_outer: 3.into(),
            ..any_v4(80)
        };
        let any = from_host(&rule).unwrap().0;
        rule.flags = (rule.flags.get() & !rule::ANY_ADDRESS).into();
        rule.address[..4].copy_from_slice(&[10, 0, 0, 2]);
        let exact = from_host(&rule).unwrap().0;
        assert_eq!(Key::of(&tuple), [exact, any]);
    }

    proptest! {
        #[test]
        fn words_round_trip(
            handle: u32, flags in 0..=RULE_FLAGS, mss: u16, window: u16, ttl: u8, dscp: u8,
            wscale in 0u8..15, ts_offset: u32, address: [u8; 16], port: u16,
        ) {
            let rule = Rule { handle, flags, mss, window, ttl, dscp, wscale, ts_offset };
            prop_assert_eq!(Rule::from_words(rule.words()), rule);
            let key = Key::new(true, port, [None; 2]).with_address(address);
            prop_assert_eq!(Key::from_words(key.words()), key);
        }
    }
}
