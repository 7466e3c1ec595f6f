// SPDX-License-Identifier: GPL-2.0

//! The rules of a network namespace, in the order in which they are looked at.

use super::{
    super::socket::reason,
    Rule, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Most rules of a namespace.
const MOST: usize = 1024;

/// A rule and what it has done.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Its number.
    pub(crate) id: u32,
    /// What it says.
    pub(crate) rule: Arc<Rule>,
    /// Sockets that it was applied to.
    pub(crate) hits: u64,
    /// Sockets that it could not be applied to.
    pub(crate) refused: u64,
    /// Why that was so the last time.
    pub(crate) last_reason: u32,
    /// Not all sockets have been looked at since it was added.
    pub(super) fresh: bool,
}

impl Entry {
    fn new(id: u32, rule: Arc<Rule>) -> Self {
        Self {
            id,
            rule,
            hits: 0,
            refused: 0,
            last_reason: reason::NONE,
            fresh: true,
        }
    }
}

/// What a new set of rules has changed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Changes {
    /// Rules that are new.
    pub(crate) added: u32,
    /// Rules that are gone.
    pub(crate) removed: u32,
    /// Rules that stay as they were.
    pub(crate) unchanged: u32,
    /// The set is another one, or has another order.
    pub(super) differs: bool,
}

/// The rules of a namespace.
pub(crate) struct Rules {
    /// By priority; among equals in the order in which they were given.
    entries: KVVec<Entry>,
    last_id: u32,
    generation: u32,
}

impl Rules {
    /// No rules.
    pub(crate) const fn new() -> Self {
        Self {
            entries: KVVec::new(),
            last_id: 0,
            generation: 1,
        }
    }

    /// The rules in order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, whose counters may be changed.
    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// Another number whenever the list has changed.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Adds a rule behind those of its priority, and returns its number.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there are too many.
    pub(super) fn add(&mut self, rule: Arc<Rule>) -> Result<u32> {
        if self.entries.len() >= MOST {
            return Err(ENOSPC);
        }
        let id = self.last_id.checked_add(1).ok_or(ENOSPC)?;
        let priority = rule.priority;
        let place = self
            .entries
            .iter()
            .position(|entry| entry.rule.priority > priority)
            .unwrap_or(self.entries.len());
        self.entries.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let entry = Entry::new(id, rule);
        self.entries
            .insert_within_capacity(place, entry)
            .map_err(|_| ENOMEM)?;
        self.last_id = id;
        self.changed();
        Ok(id)
    }

    /// Removes the rules whose numbers `which` picks. Returns how many.
    pub(super) fn remove(&mut self, which: impl Fn(u32) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !which(entry.id));
        let removed = before - self.entries.len();
        if removed != 0 {
            self.changed();
        }
        removed
    }

    /// Replaces all rules by `wanted`. A rule that says the same as one that is there takes its place, with number and
    /// counters. In failure nothing has changed.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there are too many.
    pub(super) fn replace(&mut self, wanted: &[Arc<Rule>]) -> Result<Changes> {
        if wanted.len() > MOST {
            return Err(ENOSPC);
        }
        let mut order = KVVec::with_capacity(wanted.len(), GFP_KERNEL)?;
        for (place, rule) in wanted.iter().enumerate() {
            order.push((rule.priority, place), GFP_KERNEL)?;
        }
        order.sort_unstable();
        let mut kept = KVVec::from_elem(false, self.entries.len(), GFP_KERNEL)?;
        let mut entries = KVVec::with_capacity(wanted.len(), GFP_KERNEL_ACCOUNT)?;
        let mut last_id = self.last_id;
        for rule in order.iter().filter_map(|(_, place)| wanted.get(*place)) {
            let mut old = self.entries.iter().zip(&mut kept);
            let same = old.find(|(entry, kept)| !**kept && *entry.rule == **rule);
            let entry = match same {
                Some((entry, kept)) => {
                    *kept = true;
                    entry.clone()
                }
                None => {
                    last_id = last_id.checked_add(1).ok_or(ENOSPC)?;
                    Entry::new(last_id, rule.clone())
                }
            };
            entries.push(entry, GFP_KERNEL_ACCOUNT)?;
        }
        let unchanged = kept.iter().filter(|kept| **kept).count();
        let numbers = |entries: &[Entry]| -> u32 { entries.len() as u32 };
        let changes = Changes {
            added: numbers(&entries) - unchanged as u32,
            removed: numbers(&self.entries) - unchanged as u32,
            unchanged: unchanged as u32,
            differs: !entries
                .iter()
                .map(|entry| entry.id)
                .eq(self.entries.iter().map(|entry| entry.id)),
        };
        if changes.differs {
            self.entries = entries;
            self.last_id = last_id;
            self.changed();
        }
        Ok(changes)
    }

    fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_policy_set)]
mod tests {
    use super::*;

    fn rule(priority: u32, port: u16) -> Result<Arc<Rule>> {
        let rule = Rule {
            priority,
            ports: Some((port, port)),
            ..Rule::default()
        };
        Ok(Arc::new(rule, GFP_KERNEL)?)
    }

    fn ports(rules: &Rules) -> impl Iterator<Item = u16> + '_ {
        let ports = |entry: &Entry| entry.rule.ports.map(|(first, _)| first);
        rules.entries().iter().filter_map(ports)
    }

    #[test]
    fn rules_are_in_order() -> Result {
        let mut rules = Rules::new();
        for (priority, port) in [(10, 1), (5, 2), (10, 3), (5, 4)] {
            rules.add(rule(priority, port)?)?;
        }
        assert!(ports(&rules).eq([2, 4, 1, 3]));
        let wanted = [rule(10, 1)?, rule(5, 2)?, rule(10, 3)?, rule(5, 4)?];
        let changes = rules.replace(&wanted)?;
        assert!(!changes.differs && changes.unchanged == 4);
        Ok(())
    }

    #[test]
    fn what_stays_keeps_its_number_and_counters() -> Result {
        let mut rules = Rules::new();
        let stays = rules.add(rule(1, 1)?)?;
        rules.add(rule(1, 2)?)?;
        for entry in rules.entries_mut() {
            entry.hits = 7;
        }
        let generation = rules.generation();
        let changes = rules.replace(&[rule(1, 3)?, rule(1, 1)?, rule(1, 1)?])?;
        assert_eq!(
            (changes.added, changes.removed, changes.unchanged),
            (2, 1, 1)
        );
        assert!(changes.differs && rules.generation() != generation);
        // Of two that say the same, one is the old one.
        let hits = rules
            .entries()
            .iter()
            .map(|entry| (entry.id == stays, entry.hits));
        assert!(hits.eq([(false, 0), (true, 7), (false, 0)]));
        // The order alone makes a difference, too.
        let changes = rules.replace(&[rule(1, 1)?, rule(1, 3)?, rule(1, 1)?])?;
        assert!(changes.differs && changes.unchanged == 3);
        let generation = rules.generation();
        let changes = rules.replace(&[rule(1, 1)?, rule(1, 3)?, rule(1, 1)?])?;
        assert!(!changes.differs && rules.generation() == generation);
        assert!(rules.replace(&[])?.removed == 3 && rules.entries().is_empty());
        Ok(())
    }
}
