// SPDX-License-Identifier: GPL-2.0

//! Socket lookup in advance: which listener would get a SYN from the TCP stack.
//!
//! A device answers a SYN if the listener that `__inet_lookup_listener()` would find asks for
//! setup. That function prefers listeners for the destination address to those for any address.
//! Within each of these two it takes the listener with the highest score, and the first of several;
//! the search ends at the first `SO_REUSEPORT` group whose score exceeds those before it. Which
//! member of a group gets a SYN depends on the packet. So the device answers for a group if one
//! member asks, with options that all members support, unless a member cannot take a handshake
//! (multipath TCP), and the member that the lookup chooses for the ACK gets the connection.
//! `BPF_SK_LOOKUP` programs run for the ACK only.

use super::{
    listen_table::{
        self,
        Candidate, //
    },
    rules::{
        self,
        Key, //
    }, //
};
use crate::net::weak::Port;
use acceltcp_abi::setup::{
    rule,
    ListenRule, //
};
use kernel::{
    prelude::*,
    rbtree::RBTree, //
};

/// Bytes of the IPv4 and TCP headers.
const HEADERS_V4: u32 = 40;
/// Bytes of the IPv6 and TCP headers.
const HEADERS_V6: u32 = 60;

/// A listener that matches a key.
#[derive(Clone, Copy)]
struct Match<'s> {
    key: Key,
    /// Position in the order of the lookup.
    place: usize,
    port: &'s Port,
    listener: &'s Candidate,
    rule: &'s ListenRule,
}

/// The result of the lookup for a key.
pub(super) struct Target<'s> {
    /// Family, address, port and VLANs.
    pub(super) key: Key,
    /// The device's rule; `None` if the host has to answer.
    pub(super) rule: Option<ListenRule>,
    members: Members<'s>,
}

/// The listeners that get the SYNs of a key: a `SO_REUSEPORT` group, or one listener.
#[derive(Clone, Copy)]
struct Members<'s> {
    matches: &'s [Match<'s>],
    /// The group, 0 for none.
    group: usize,
    /// The listener, if there is no group.
    id: usize,
}

impl<'s> Members<'s> {
    /// Searches as `inet_lhash2_lookup()` does. `matches` are of one key, in the order of the
    /// lookup.
    fn find(matches: &'s [Match<'s>]) -> Self {
        let mut best = Self {
            matches,
            group: 0,
            id: 0,
        };
        let mut high = 0;
        for one in matches {
            let score = one.listener.score(one.rule.family);
            if score <= high {
                continue;
            }
            high = score;
            best.id = one.listener.id;
            best.group = one.listener.group;
            if best.group != 0 {
                break;
            }
        }
        best
    }

    fn contains(&self, listener: &Candidate) -> bool {
        match self.group {
            0 => listener.id == self.id,
            group => listener.group == group,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'s Match<'s>> + '_ {
        self.matches
            .iter()
            .filter(move |one| self.contains(one.listener))
    }

    /// The rule with which a device can answer for all members; `None` if no member asks, or the
    /// device must not answer.
    fn rule(&self) -> Option<ListenRule> {
        // The TCP stack might choose it for the ACK.
        if self.iter().any(|one| one.listener.mptcp) {
            return None;
        }
        let asking = self
            .iter()
            .find(|one| one.listener.asks && !rules::is_refused(one.rule, one.port))?;
        let mut rule = rule_at(asking.rule, asking.port);
        for one in self.iter() {
            share(&mut rule, &rule_at(one.rule, one.port));
        }
        Some(rule)
    }
}

impl Target<'_> {
    /// Whether the listener with this [`Socket::id`](crate::net::sock::Socket::id) may get the
    /// SYNs.
    pub(super) fn includes(&self, id: usize) -> bool {
        self.members.iter().any(|one| one.listener.id == id)
    }
}

/// Calls `f` with the result of the lookup for each key that listeners of `number`, or of all port
/// numbers, have at `ports`. Returns the generation of the registry that the results belong to
/// (process context).
pub(super) fn for_each_target(
    ports: &[Port],
    number: Option<u16>,
    mut f: impl FnMut(Target<'_>) -> Result,
) -> Result<u64> {
    listen_table::with(|table, generation| {
        let mut matches: KVVec<Match<'_>> = KVVec::new();
        for port in ports {
            for listener in table.of(number) {
                for rule in listener.rules_at(port) {
                    let one = Match {
                        key: Key::new(rule, port),
                        place: matches.len(),
                        port,
                        listener,
                        rule,
                    };
                    matches.push(one, GFP_KERNEL)?;
                }
            }
        }
        matches
            .as_mut_slice()
            .sort_unstable_by_key(|one| (one.key, one.place));
        for matches in matches.as_slice().chunk_by(|a, b| a.key == b.key) {
            let Some(first) = matches.first() else {
                continue;
            };
            let members = Members::find(matches);
            f(Target {
                key: first.key,
                rule: members.rule(),
                members,
            })?;
        }
        Ok(generation)
    })
}

/// The state that a device should be in.
pub(super) struct Desired {
    /// Its rules, including those that pass SYNs to the host.
    pub(super) rules: RBTree<Key, ListenRule>,
    /// Keys with listeners for which the host answers.
    pub(super) host: RBTree<Key, ()>,
    /// Generation of the registry.
    pub(super) generation: u64,
}

impl Desired {
    /// The state for a device with `ports` (process context).
    pub(super) fn new(ports: &[Port]) -> Result<Self> {
        let mut desired = Self {
            rules: RBTree::new(),
            host: RBTree::new(),
            generation: 0,
        };
        desired.generation = for_each_target(ports, None, |target| match target.rule {
            Some(rule) => insert(&mut desired.rules, target.key, rule),
            None => insert(&mut desired.host, target.key, ()),
        })?;
        // Without a rule of its own such an address falls under the rule for any address.
        for key in desired.host.keys() {
            let Some(any) = key.any_address() else {
                continue;
            };
            let Some(rule) = desired.rules.get(&any) else {
                continue;
            };
            let flags = rule.flags.get() & !rule::ANY_ADDRESS | rule::SYN_TO_HOST;
            let rule = ListenRule {
                address: key.address(),
                flags: flags.into(),
                ..*rule
            };
            insert(&mut desired.rules, *key, rule)?;
        }
        Ok(desired)
    }
}

fn insert<V>(tree: &mut RBTree<Key, V>, key: Key, value: V) -> Result {
    tree.try_create_and_insert(key, value, GFP_KERNEL).map(drop)
}

/// Reduces `rule` to what `other` supports as well.
///
/// One listener with [`rule::SERVER_FIRST`] is enough for the device to retransmit SYN-ACKs, which
/// the others' clients can take. [`rule::DEFER`] needs all of them: a client that waits for the
/// server would get no connection.
fn share(rule: &mut ListenRule, other: &ListenRule) {
    rule.window = rule.window.get().min(other.window.get()).into();
    rule.mss = rule.mss.get().min(other.mss.get()).into();
    rule.wscale = rule.wscale.min(other.wscale);
    let both = rule.flags.get() & other.flags.get();
    let first = (rule.flags.get() | other.flags.get()) & rule::SERVER_FIRST;
    let flags = match first {
        0 => both,
        _ => both & !rule::DEFER | first,
    };
    rule.flags = flags.into();
}

/// Completes a listener's `wanted` for `port`.
fn rule_at(wanted: &ListenRule, port: &Port) -> ListenRule {
    let headers = match wanted.family {
        4 => HEADERS_V4,
        _ => HEADERS_V6,
    };
    let mss = port.mtu.saturating_sub(headers).min(u16::MAX.into()) as u16;
    let [outer, inner] = port.vlans;
    ListenRule {
        vlan_outer: outer.into(),
        vlan_inner: inner.into(),
        mss: mss.into(),
        // The host rounds the window down to whole segments of the client's size.
        window: wanted.window.get().saturating_sub(mss).max(mss).into(),
        ..*wanted
    }
}
