// SPDX-License-Identifier: GPL-2.0

//! The rules that a card has, and how they come to be those that listeners want.

use super::{
    counters::{
        count,
        Counter, //
    },
    device::{
        Commands,
        OffloadDevice, //
    },
    listen, //
};
use crate::net::{
    sock,
    trace,
    weak::Port, //
};
use acceltcp_abi::setup::{
    rule,
    ListenRule, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::SpinLock, //
};

/// Bytes of the IPv4 and IPv6 headers with that of TCP.
const HEADERS_V4: u32 = 40;
/// See [`HEADERS_V4`].
const HEADERS_V6: u32 = 60;

/// What no two rules of a card may share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    port: u16,
    family: u8,
    any: bool,
    vlans: [u16; 2],
    address: [u8; 16],
}

impl Key {
    /// Key of what a listener wants at `port`.
    pub(super) fn new(wanted: &ListenRule, port: &Port) -> Self {
        Self {
            port: wanted.port.get(),
            family: wanted.family,
            any: wanted.flags.get() & rule::ANY_ADDRESS != 0,
            vlans: port.vlans,
            address: wanted.address,
        }
    }
}

/// Whether the card must not have the rule for `port`: the host forwards what comes by it, and the card cannot
/// tell the host's addresses from others.
pub(super) fn is_refused(wanted: &ListenRule, port: &Port) -> bool {
    let forwards = match wanted.family {
        4 => port.forwards.0,
        _ => port.forwards.1,
    };
    forwards && wanted.flags.get() & rule::ANY_ADDRESS != 0
}

/// What a card is known to have.
#[pin_data]
pub(crate) struct Published {
    #[pin]
    state: SpinLock<State>,
}

#[derive(Default)]
struct State {
    /// Generation of the list of listeners, 0 for none.
    seen: u64,
    ports: KVec<Port>,
    /// In order.
    keys: KVVec<Key>,
}

impl Published {
    /// Of a card about which nothing is known.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock!(State::default()),
        })
    }

    /// How many of `keys` the card has. `None` when it has not seen the list since, or not these ports.
    pub(super) fn count(&self, keys: &[Key], since: u64, ports: &[Port]) -> Option<usize> {
        let state = self.state.lock();
        (state.seen >= since && state.ports.as_slice() == ports).then(|| {
            let has = |key: &&Key| state.keys.binary_search(key).is_ok();
            keys.iter().filter(has).count()
        })
    }

    /// How many rules the card has, as far as is known.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().keys.len()
    }

    fn set(&self, state: State) {
        let old = core::mem::replace(&mut *self.state.lock(), state);
        drop(old);
    }
}

/// Rules, or what belongs to them, by their keys.
struct Tree<V>(RBTree<Key, V>);

// Nodes do not point to their tree.
impl<V> Unpin for Tree<V> {}

impl<V> Tree<V> {
    fn new() -> Self {
        Self(RBTree::new())
    }

    fn insert(&mut self, key: Key, value: V) -> Result {
        self.0
            .try_create_and_insert(key, value, GFP_KERNEL)
            .map(drop)
    }
}

/// The rules that a card has.
pub(crate) struct Installed {
    /// With their handles.
    rules: Tree<(ListenRule, u32)>,
    /// Generation of the list that they are for, 0 for none.
    seen: u64,
    ports: KVec<Port>,
}

impl Installed {
    /// A card without rules.
    pub(crate) fn new() -> Self {
        Self {
            rules: Tree::new(),
            seen: 0,
            ports: KVec::new(),
        }
    }

    /// The card has lost its rules.
    pub(crate) fn forget(&mut self, device: &dyn OffloadDevice) {
        let ifindex = self.ifindex();
        for (rule, _) in self.rules.0.values() {
            trace::listener(ifindex, rule, false);
        }
        self.rules = Tree::new();
        self.withdraw(device);
    }

    /// It is not known what the card has.
    pub(crate) fn withdraw(&mut self, device: &dyn OffloadDevice) {
        self.seen = 0;
        device.published().set(State::default());
    }

    /// Gives the card the rules that are wanted (process context).
    pub(crate) fn sync(
        &mut self,
        device: &dyn OffloadDevice,
        commands: &mut dyn Commands,
    ) -> Result {
        listen::refresh();
        let ports = device.ports()?;
        if listen::generation() == self.seen && ports.as_slice() == self.ports.as_slice() {
            return Ok(());
        }
        let synced = desired(&ports).and_then(|(generation, desired)| {
            let ifindex = ports.first().map_or(self.ifindex(), |port| port.ifindex);
            self.apply(&desired, ifindex, commands)?;
            self.publish(device, generation, &ports)?;
            Ok(generation)
        });
        match synced {
            Ok(generation) => {
                self.ports = ports;
                self.seen = generation;
                Ok(())
            }
            Err(err) => {
                self.withdraw(device);
                Err(err)
            }
        }
    }

    /// Number of the card's device, when it was last seen; 0 for none.
    fn ifindex(&self) -> i32 {
        self.ports.first().map_or(0, |port| port.ifindex)
    }

    fn publish(&self, device: &dyn OffloadDevice, seen: u64, ports: &[Port]) -> Result {
        let mut state = State {
            seen,
            ..State::default()
        };
        state.ports.extend_from_slice(ports, GFP_KERNEL)?;
        for key in self.rules.0.keys() {
            state.keys.push(*key, GFP_KERNEL)?;
        }
        device.published().set(state);
        Ok(())
    }

    /// Brings the card from what it has to what is desired.
    fn apply(
        &mut self,
        desired: &Tree<ListenRule>,
        ifindex: i32,
        commands: &mut dyn Commands,
    ) -> Result {
        self.remove_others(desired, ifindex, commands)?;
        self.replace_changed(desired, commands)?;
        self.add_missing(desired, ifindex, commands)
    }

    fn remove_others(
        &mut self,
        desired: &Tree<ListenRule>,
        ifindex: i32,
        commands: &mut dyn Commands,
    ) -> Result {
        let mut others: KVVec<Key> = KVVec::new();
        for key in self.rules.0.keys() {
            if desired.0.get(key).is_none() {
                others.push(*key, GFP_KERNEL)?;
            }
        }
        for key in &others {
            if let Some((rule, handle)) = self.rules.0.get(key) {
                commands.remove(*handle)?;
                trace::listener(ifindex, rule, false);
                count(Counter::rules_removed);
                self.rules.0.remove(key);
            }
        }
        Ok(())
    }

    /// Handshakes under way with the old rule may fail, if what it had promised is part of their cookie.
    fn replace_changed(
        &mut self,
        desired: &Tree<ListenRule>,
        commands: &mut dyn Commands,
    ) -> Result {
        for (key, (rule, handle)) in self.rules.0.iter_mut() {
            let Some(wanted) = desired.0.get(key) else {
                continue;
            };
            let wanted = ListenRule {
                ts_offset: rule.ts_offset,
                ..*wanted
            };
            if wanted != *rule {
                commands.replace(*handle, &wanted)?;
                count(Counter::rules_replaced);
                *rule = wanted;
            }
        }
        Ok(())
    }

    fn add_missing(
        &mut self,
        desired: &Tree<ListenRule>,
        ifindex: i32,
        commands: &mut dyn Commands,
    ) -> Result {
        for (key, wanted) in desired.0.iter() {
            if self.rules.0.get(key).is_some() {
                continue;
            }
            let rule = ListenRule {
                ts_offset: u32::from_le_bytes(sock::random()).into(),
                ..*wanted
            };
            let place = RBTreeNodeReservation::new(GFP_KERNEL)?;
            match commands.add(&rule) {
                Ok(handle) => {
                    let old = self.rules.0.insert(place.into_node(*key, (rule, handle)));
                    drop(old);
                    count(Counter::rules_added);
                    trace::listener(ifindex, &rule, true);
                }
                // The next ones would not fare better.
                Err(err) if err == ENOSPC => {
                    count(Counter::rules_table_full);
                    break;
                }
                // This rule only; the others are no worse for it.
                Err(err) if err == EINVAL => count(Counter::rules_failed),
                Err(err) => {
                    count(Counter::rules_failed);
                    return Err(err);
                }
            }
        }
        Ok(())
    }
}

/// The rules that a card with these ports ought to have, and the generation of the list. Listeners that share a
/// port (`SO_REUSEPORT`) share a rule, which promises no more than each of them.
fn desired(ports: &[Port]) -> Result<(u64, Tree<ListenRule>)> {
    let mut found: KVVec<(Key, ListenRule)> = KVVec::new();
    let generation = loop {
        let room = found.capacity();
        let mut needed = 0;
        found.clear();
        let generation = listen::for_each(|listener| {
            for port in ports {
                for wanted in listener.rules_at(port) {
                    needed += 1;
                    // What does not fit is counted, for the next round.
                    let rule = (Key::new(wanted, port), rule_at(wanted, port));
                    let _ = found.push_within_capacity(rule);
                }
            }
        });
        if needed <= room {
            break generation;
        }
        found.reserve(needed, GFP_KERNEL)?;
    };
    let mut desired = Tree::new();
    for (key, rule) in found {
        match desired.0.get_mut(&key) {
            Some(have) => share(have, &rule),
            None => desired.insert(key, rule)?,
        }
    }
    Ok((generation, desired))
}

/// Has `rule` promise no more than `other`.
fn share(rule: &mut ListenRule, other: &ListenRule) {
    rule.window = rule.window.get().min(other.window.get()).into();
    rule.mss = rule.mss.get().min(other.mss.get()).into();
    rule.wscale = rule.wscale.min(other.wscale);
    rule.flags = (rule.flags.get() & other.flags.get()).into();
}

/// What a listener wants, completed for `port`.
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
