// SPDX-License-Identifier: GPL-2.0

//! The access list of a card: which frames it drops before anything else looks at them.
//!
//! The list here is the truth; the card has a copy, which is made anew each time before the card may receive. Rules of
//! operators come first, then those of tc, both by their priorities, and equals by age.

use crate::net::sock::NetId;
use acceltcp_abi::acl::{
    AclCounts,
    AclRule, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Rules of tc are behind this priority, those of operators before it.
const TC: u32 = 0x1_0000;

/// Changes of all lists so far.
static GENERATION: Atomic<u32> = Atomic::new(1);

/// Who has made a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An operator, by netlink.
    Operator,
    /// A filter of tc, which it names so.
    Tc(usize),
}

/// What a rule has decided about.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames.
    pub(crate) frames: u64,
    /// Their bytes, with the Ethernet header.
    pub(crate) bytes: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What has come since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(before.frames),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl From<AclCounts> for Counts {
    fn from(counts: AclCounts) -> Self {
        Self {
            frames: counts.frames.get(),
            bytes: counts.bytes.get(),
        }
    }
}

/// A rule, as it is told.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// What it says, with its handle.
    pub(crate) rule: AclRule,
    /// Who has made it.
    pub(crate) origin: Origin,
    /// What it has decided about.
    pub(crate) counts: Counts,
}

impl Told {
    /// Its priority as its maker has given it.
    pub(crate) fn priority(&self) -> u16 {
        (self.rule.priority.get() % TC) as u16
    }
}

/// What an operator wants of the list of a card.
pub(crate) enum What {
    /// A new rule.
    Add {
        /// What it says; its handle is written to it.
        rule: AclRule,
        /// Its priority.
        priority: u16,
    },
    /// The rule of this handle goes.
    Remove(u32),
    /// All rules of operators go.
    Flush,
    /// Rules are told: those of a handle, or so many from a place in the list on.
    Tell {
        /// Of this handle only.
        handle: Option<u32>,
        /// Rules that are left out at the front.
        skip: usize,
        /// Most rules that are told.
        most: usize,
        /// Those that are.
        told: KVec<Told>,
        /// Rules that there are.
        total: usize,
    },
}

/// An operator's request to the card whose network device has this number in this namespace.
pub(crate) struct Order {
    /// The namespace.
    pub(crate) net: NetId,
    /// The number; any when `None`.
    pub(crate) ifindex: Option<u32>,
    /// What is wanted.
    pub(crate) what: What,
    /// Set by the card that it is for: the number of its device.
    pub(crate) found: Option<u32>,
}

/// The copy that a card has of its list (process context).
pub(crate) trait OnCard {
    /// Adds a rule. `ENOSPC` when the card has no room.
    fn add(&mut self, rule: &AclRule) -> Result;

    /// Removes a rule.
    fn remove(&mut self, handle: u32) -> Result;

    /// Removes all rules.
    fn flush(&mut self) -> Result;

    /// What a rule has decided about. `ENOENT` when the card does not have it.
    fn read(&mut self, handle: u32) -> Result<Counts>;
}

struct Entry {
    rule: AclRule,
    origin: Origin,
    /// What copies of it that are gone had decided about.
    before: Counts,
    /// What the present one had when it was read last.
    last: Counts,
    /// What its maker was told of last.
    told: Counts,
}

impl Entry {
    /// What it has decided about, as far as the card tells.
    fn counts(&mut self, copy: &mut dyn OnCard) -> Counts {
        if let Ok(counts) = copy.read(self.rule.handle.get()) {
            self.last = counts;
        }
        self.before.plus(self.last)
    }

    fn place(&self) -> (u32, u32) {
        (self.rule.priority.get(), self.rule.handle.get())
    }
}

/// The list of a card.
pub(crate) struct List {
    /// By priority, then by handle.
    entries: KVVec<Entry>,
    last_handle: u32,
}

impl List {
    /// A list without rules.
    pub(crate) const fn new() -> Self {
        Self {
            entries: KVVec::new(),
            last_handle: 0,
        }
    }

    /// How many rules there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are rules of tc.
    pub(crate) fn has_tc(&self) -> bool {
        let mut origins = self.entries.iter().map(|entry| entry.origin);
        origins.any(|origin| origin != Origin::Operator)
    }

    /// Changes of all lists so far, for those who read one in several parts.
    pub(crate) fn generation() -> u32 {
        GENERATION.load(Relaxed)
    }

    /// Adds a rule of this priority, and returns its handle. In failure the list is as before.
    pub(crate) fn add(
        &mut self,
        rule: &AclRule,
        priority: u16,
        origin: Origin,
        copy: &mut dyn OnCard,
    ) -> Result<u32> {
        let handle = self.next_handle();
        let priority = match origin {
            Origin::Operator => 0,
            Origin::Tc(_) => TC,
        } + u32::from(priority);
        let entry = Entry {
            rule: AclRule {
                handle: handle.into(),
                priority: priority.into(),
                ..*rule
            },
            origin,
            before: Counts::default(),
            last: Counts::default(),
            told: Counts::default(),
        };
        self.entries.reserve(1, GFP_KERNEL)?;
        copy.add(&entry.rule)?;
        let place = entry.place();
        let mut entries = self.entries.iter();
        let behind = entries.position(|other| other.place() > place);
        let at = behind.unwrap_or(self.entries.len());
        // There is room.
        self.entries
            .insert_within_capacity(at, entry)
            .map_err(|_| ENOMEM)?;
        self.last_handle = handle;
        changed();
        Ok(handle)
    }

    /// The next handle that no rule has.
    fn next_handle(&self) -> u32 {
        let mut handle = self.last_handle;
        loop {
            handle = handle.checked_add(1).unwrap_or(1);
            let taken = |entry: &Entry| entry.rule.handle.get() == handle;
            if !self.entries.iter().any(taken) {
                return handle;
            }
        }
    }

    fn position(&self, which: impl Fn(&Entry) -> bool) -> Result<usize> {
        self.entries.iter().position(which).ok_or(ENOENT)
    }

    /// Removes a rule of an operator. `ENOENT` when it is not there, `EPERM` when it is tc's. In failure the list is as
    /// before.
    pub(crate) fn remove(&mut self, handle: u32, copy: &mut dyn OnCard) -> Result {
        let at = self.position(|entry| entry.rule.handle.get() == handle)?;
        if self.entries[at].origin != Origin::Operator {
            return Err(EPERM);
        }
        copy.remove(handle)?;
        let _ = self.entries.remove(at);
        changed();
        Ok(())
    }

    /// Removes the rule of a filter of tc. In failure it is out of the list, but the card has it still; `ENOENT` when
    /// there is none.
    pub(crate) fn remove_tc(&mut self, cookie: usize, copy: &mut dyn OnCard) -> Result {
        let at = self.position(|entry| entry.origin == Origin::Tc(cookie))?;
        let entry = self.entries.remove(at).map_err(|_| ENOENT)?;
        changed();
        copy.remove(entry.rule.handle.get())
    }

    /// Removes all rules of operators, one by one. In failure those that are left are in the list.
    pub(crate) fn flush(&mut self, copy: &mut dyn OnCard) -> Result {
        loop {
            let mut entries = self.entries.iter();
            // From behind: what a rule lets pass is not denied by the next one for a moment.
            let last = entries.rposition(|entry| entry.origin == Origin::Operator);
            let Some(at) = last else {
                return Ok(());
            };
            let handle = self.entries[at].rule.handle.get();
            copy.remove(handle)?;
            let _ = self.entries.remove(at);
            changed();
        }
    }

    /// Makes the card's copy anew. In failure it is not known what the card has.
    pub(crate) fn install(&mut self, copy: &mut dyn OnCard) -> Result {
        for entry in self.entries.iter_mut() {
            // A card that was reset does not know it any more.
            entry.before = entry.counts(copy);
            entry.last = Counts::default();
        }
        copy.flush()?;
        for entry in self.entries.iter() {
            copy.add(&entry.rule)?;
        }
        Ok(())
    }

    /// Tells rules, see [`What::Tell`].
    pub(crate) fn tell(
        &mut self,
        handle: Option<u32>,
        (skip, most): (usize, usize),
        told: &mut KVec<Told>,
        copy: &mut dyn OnCard,
    ) -> Result {
        let wanted = |entry: &Entry| handle.is_none_or(|one| entry.rule.handle.get() == one);
        let entries = self.entries.iter_mut().filter(|entry| wanted(entry));
        for entry in entries.skip(skip).take(most) {
            let counts = entry.counts(copy);
            let Entry { rule, origin, .. } = *entry;
            let one = Told {
                rule,
                origin,
                counts,
            };
            told.push(one, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// What the rule of a filter of tc has decided about since this was asked last. `ENOENT` when there is none.
    pub(crate) fn news(&mut self, cookie: usize, copy: &mut dyn OnCard) -> Result<Counts> {
        let at = self.position(|entry| entry.origin == Origin::Tc(cookie))?;
        let entry = &mut self.entries[at];
        let counts = entry.counts(copy);
        let before = core::mem::replace(&mut entry.told, counts);
        Ok(counts.since(before))
    }
}

fn changed() {
    GENERATION.add(1, Relaxed);
}
