// SPDX-License-Identifier: GPL-2.0

//! The rules that a card has, and how they come to be those that listeners want.

use super::{
    counters::{
        count,
        Counter, //
    },
    demux::Desired,
    device::{
        Commands,
        OffloadDevice, //
    },
    listen,
    listen_table, //
};
use crate::net::{
    sock,
    trace,
    weak::Port, //
};
use acceltcp_abi::setup::{
    rule,
    ListenRule,
    COOKIE_LIFE_S, //
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

    /// The key with any address instead of its own.
    pub(super) fn with_any_address(&self) -> Self {
        Self {
            any: true,
            address: [0; 16],
            ..*self
        }
    }

    /// The key with any address, or `None` if this one has no address.
    pub(super) fn any_address(&self) -> Option<Self> {
        (!self.any).then(|| self.with_any_address())
    }

    /// Its address, as in [`ListenRule::address`].
    pub(super) fn address(&self) -> [u8; 16] {
        self.address
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

/// A rule that a card has.
struct Entry {
    rule: ListenRule,
    handle: u32,
    /// Set for a rule that is kept for pending handshakes only: the time ([`sock::coarse_ms`]) at
    /// which all of them have expired.
    until: Option<u32>,
}

impl Entry {
    fn answers(&self) -> bool {
        !is_to_host(&self.rule)
    }

    /// Whether it is kept for pending handshakes, and all of them have expired.
    fn has_expired(&self) -> bool {
        let over = |until| sock::coarse_ms().wrapping_sub(until) as i32 >= 0;
        self.until.is_some_and(over)
    }
}

struct Tree(RBTree<Key, Entry>);

// Nodes do not point to their tree.
impl Unpin for Tree {}

/// The rules that a card has.
pub(crate) struct Installed {
    rules: Tree,
    /// Generation of the registry that they belong to, 0 for none.
    seen: u64,
    ports: KVec<Port>,
}

impl Installed {
    /// A card without rules.
    pub(crate) fn new() -> Self {
        Self {
            rules: Tree(RBTree::new()),
            seen: 0,
            ports: KVec::new(),
        }
    }

    /// The card has lost its rules.
    pub(crate) fn forget(&mut self, device: &dyn OffloadDevice) {
        let ifindex = self.ifindex();
        for entry in self.rules.0.values().filter(|entry| entry.answers()) {
            trace::listener(ifindex, &entry.rule, false);
        }
        self.rules = Tree(RBTree::new());
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
        listen_table::refresh()?;
        let ports = device.ports()?;
        let same = listen::generation() == self.seen && ports.as_slice() == self.ports.as_slice();
        if same && !self.rules.0.values().any(Entry::has_expired) {
            return Ok(());
        }
        let synced = Desired::new(&ports).and_then(|desired| {
            let ifindex = ports.first().map_or(self.ifindex(), |port| port.ifindex);
            Change {
                rules: &mut self.rules,
                ifindex,
                commands,
            }
            .apply(&desired)?;
            self.publish(device, desired.generation, &ports)?;
            Ok(desired.generation)
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
        for (key, entry) in self.rules.0.iter() {
            if entry.answers() {
                state.keys.push(*key, GFP_KERNEL)?;
            }
        }
        device.published().set(state);
        Ok(())
    }
}

/// What has become of a rule.
enum Added {
    /// The card has it.
    Yes,
    /// The card refuses this rule.
    No,
    /// The card has no room.
    Full,
}

/// Brings a card from what it has to what is desired.
struct Change<'a> {
    rules: &'a mut Tree,
    ifindex: i32,
    commands: &'a mut dyn Commands,
}

impl Change<'_> {
    fn apply(&mut self, desired: &Desired) -> Result {
        self.retire_others(desired)?;
        // Before the rules for any address, which would answer for these listeners of the host.
        let uncovered = self.add_to_host(desired)?;
        self.replace_changed(desired, &uncovered)?;
        self.add_missing(desired, &uncovered)
    }

    /// Adds the rules that pass SYNs to the host. Returns the keys with any address for which the
    /// card must not answer, since it did not take all of these rules.
    fn add_to_host(&mut self, desired: &Desired) -> Result<RBTree<Key, ()>> {
        let mut uncovered = RBTree::new();
        let mut full = false;
        for (key, wanted) in desired.rules.iter().filter(|(_, rule)| is_to_host(rule)) {
            if self.rules.0.get(key).is_some() {
                continue;
            }
            let added = match full {
                true => Added::Full,
                false => self.add(key, wanted)?,
            };
            full = matches!(added, Added::Full);
            if !matches!(added, Added::Yes) {
                let any = key.with_any_address();
                drop(uncovered.try_create_and_insert(any, (), GFP_KERNEL)?);
            }
        }
        Ok(uncovered)
    }

    fn add_missing(&mut self, desired: &Desired, uncovered: &RBTree<Key, ()>) -> Result {
        for (key, wanted) in desired.rules.iter() {
            if is_to_host(wanted) || uncovered.get(key).is_some() || self.rules.0.get(key).is_some()
            {
                continue;
            }
            // The next ones would not fare better.
            if matches!(self.add(key, wanted)?, Added::Full) {
                break;
            }
        }
        Ok(())
    }

    /// Retires rules that are not desired. A rule whose key still has a listener is kept for
    /// pending handshakes: the listener takes them.
    fn retire_others(&mut self, desired: &Desired) -> Result {
        let mut others: KVVec<Key> = KVVec::new();
        for key in self.rules.0.keys() {
            if desired.rules.get(key).is_none() {
                others.push(*key, GFP_KERNEL)?;
            }
        }
        for key in &others {
            let Some(entry) = self.rules.0.get(key) else {
                continue;
            };
            if desired.host.get(key).is_none() || entry.has_expired() {
                self.remove(key)?;
            } else {
                self.leave_to_host(key)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result {
        if let Some(entry) = self.rules.0.get(key) {
            self.commands.remove(entry.handle)?;
            if entry.answers() {
                trace::listener(self.ifindex, &entry.rule, false);
            }
            count(Counter::rules_removed);
            self.rules.0.remove(key);
        }
        Ok(())
    }

    /// Has the card pass the SYNs of `key` to the host, and go on with pending handshakes until
    /// they expire.
    fn leave_to_host(&mut self, key: &Key) -> Result {
        let Some(entry) = self.rules.0.get_mut(key) else {
            return Ok(());
        };
        if entry.answers() {
            let rule = ListenRule {
                flags: (entry.rule.flags.get() | rule::SYN_TO_HOST).into(),
                ..entry.rule
            };
            match self.commands.replace(entry.handle, &rule) {
                Ok(()) => {}
                // The card does not know the flag.
                Err(err) if err == EINVAL => return self.remove(key),
                Err(err) => return Err(err),
            }
            trace::listener(self.ifindex, &entry.rule, false);
            count(Counter::rules_to_host);
            entry.rule = rule;
        }
        if entry.until.is_none() {
            entry.until = Some(sock::coarse_ms().wrapping_add(COOKIE_LIFE_S * 1000));
        }
        Ok(())
    }

    /// Pending handshakes of a rule that changes may fail, if their cookies depend on its options.
    fn replace_changed(&mut self, desired: &Desired, uncovered: &RBTree<Key, ()>) -> Result {
        // Whether the rule stays after its pending handshakes have expired.
        let mut to_host: KVVec<(Key, bool)> = KVVec::new();
        for (key, entry) in self.rules.0.iter_mut() {
            let Some(wanted) = desired.rules.get(key) else {
                continue;
            };
            if uncovered.get(key).is_some() {
                to_host.push((*key, false), GFP_KERNEL)?;
                continue;
            }
            if is_to_host(wanted) {
                // With its own options, on which the cookies of pending handshakes depend.
                to_host.push((*key, true), GFP_KERNEL)?;
                continue;
            }
            let wanted = ListenRule {
                ts_offset: entry.rule.ts_offset,
                ..*wanted
            };
            if wanted != entry.rule {
                self.commands.replace(entry.handle, &wanted)?;
                count(Counter::rules_replaced);
                if !entry.answers() {
                    trace::listener(self.ifindex, &wanted, true);
                }
                entry.rule = wanted;
            }
            entry.until = None;
        }
        for (key, stays) in &to_host {
            self.leave_to_host(key)?;
            if let Some(entry) = self.rules.0.get_mut(key).filter(|_| *stays) {
                entry.until = None;
            }
        }
        Ok(())
    }

    /// Adds a rule for `key`, for which the card has none.
    fn add(&mut self, key: &Key, wanted: &ListenRule) -> Result<Added> {
        // Pending handshakes of the rule for any address may be for this one, and go on with the
        // same timestamps.
        let ts_offset = match self.rules.0.get(&key.with_any_address()) {
            Some(entry) if is_to_host(wanted) => entry.rule.ts_offset,
            _ => u32::from_le_bytes(sock::random()).into(),
        };
        let rule = ListenRule {
            ts_offset,
            ..*wanted
        };
        let place = RBTreeNodeReservation::new(GFP_KERNEL)?;
        loop {
            match self.commands.add(&rule) {
                Ok(handle) => {
                    let entry = Entry {
                        rule,
                        handle,
                        until: None,
                    };
                    if entry.answers() {
                        trace::listener(self.ifindex, &rule, true);
                    } else {
                        count(Counter::rules_to_host);
                    }
                    drop(self.rules.0.insert(place.into_node(*key, entry)));
                    count(Counter::rules_added);
                    return Ok(Added::Yes);
                }
                // A rule that is kept for pending handshakes makes room.
                Err(err) if err == ENOSPC => {
                    let mut rules = self.rules.0.iter();
                    let over = rules.find(|(_, entry)| entry.until.is_some());
                    let Some(over) = over.map(|(key, _)| *key) else {
                        count(Counter::rules_table_full);
                        return Ok(Added::Full);
                    };
                    self.remove(&over)?;
                }
                // The card refuses this rule only.
                Err(err) if err == EINVAL => {
                    count(Counter::rules_failed);
                    return Ok(Added::No);
                }
                Err(err) => {
                    count(Counter::rules_failed);
                    return Err(err);
                }
            }
        }
    }
}

fn is_to_host(rule: &ListenRule) -> bool {
    rule.flags.get() & rule::SYN_TO_HOST != 0
}
