// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the table.

extern crate std;
use super::headers::Headers;
use super::rule::Stored;
use super::table::{Acl, Busy, Refused, Verdict};
use crate::memory::Partition;
use crate::sync::{AtomicU64, Ordering};
use acceltcp_abi::acl::{action, flag, AclRule, ANY_VLAN};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::vec::Vec;

struct Fixture {
    memory: Vec<AtomicU64>,
    list: Acl,
}

impl Fixture {
    fn new(capacity: u32) -> Self {
        let words = Acl::words(capacity);
        // What was in the memory before does not matter.
        let memory: Vec<_> = (0..words).map(|_| AtomicU64::new(0x55)).collect();
        let region = Partition::new(words).take(words);
        let list = Acl::new(region, &memory, capacity);
        Self { memory, list }
    }

    fn add(&self, rule: &AclRule) -> Result<(), Refused> {
        let rule = Stored::from_host(rule).unwrap();
        self.list.add(&self.memory, &rule)
    }

    fn remove(&self, handle: u32) -> Result<(), Refused> {
        self.list.remove(&self.memory, handle)
    }

    fn judge(&self, protocol: u8) -> Result<Verdict, Busy> {
        self.list.judge(&self.memory, &packet(protocol), 100)
    }

    fn frames(&self, handle: u32) -> u64 {
        self.list.counts(&self.memory, handle).unwrap()[0]
    }
}

fn packet(protocol: u8) -> Headers {
    Headers {
        family: 4,
        source: 1 << 96,
        destination: 2 << 96,
        protocol,
        ports: None,
        vlan: None,
    }
}

fn rule(handle: u32, priority: u32, action: u8) -> AclRule {
    AclRule {
        handle: handle.into(),
        priority: priority.into(),
        action,
        vlan: ANY_VLAN.into(),
        ..AclRule::default()
    }
}

fn of(protocol: u8, rule: AclRule) -> AclRule {
    AclRule {
        protocol,
        flags: flag::PROTOCOL,
        ..rule
    }
}

#[test]
fn refusals() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.add(&rule(1, 9, action::DENY)), Ok(()));
    assert_eq!(fixture.add(&rule(1, 8, action::DENY)), Err(Refused::Exists));
    assert_eq!(fixture.remove(2), Err(Refused::Missing));
    assert_eq!(
        fixture.list.counts(&fixture.memory, 2),
        Err(Refused::Missing)
    );
    assert_eq!(fixture.add(&rule(2, 9, action::DENY)), Ok(()));
    assert_eq!(fixture.add(&rule(3, 9, action::DENY)), Err(Refused::Full));
    assert_eq!(fixture.list.usage().refused, 1);
    // The handle counts more than the room.
    assert_eq!(fixture.add(&rule(2, 1, action::DENY)), Err(Refused::Exists));
    assert_eq!(fixture.remove(1), Ok(()));
    assert_eq!(fixture.remove(1), Err(Refused::Missing));
}

#[test]
fn the_slot_that_is_free_for_longest_is_taken_first() {
    let fixture = Fixture::new(3);
    let slots = || {
        let (version, _) = fixture.list.published(Ordering::Relaxed);
        let order = &fixture.memory[3 * (version as usize % 2)..];
        [0, 1, 2].map(|place| order[place].load(Ordering::Relaxed))
    };
    fixture.add(&rule(1, 1, action::DENY)).unwrap();
    fixture.add(&rule(2, 2, action::DENY)).unwrap();
    assert_eq!(slots(), [0, 1, 2]);
    fixture.remove(1).unwrap();
    assert_eq!(slots(), [1, 2, 0]);
    fixture.add(&rule(3, 1, action::DENY)).unwrap();
    assert_eq!(slots(), [2, 1, 0]);
}

#[test]
fn memory_that_turned_to_garbage_does_no_harm() {
    let fixture = Fixture::new(8);
    fixture.add(&rule(1, 1, action::DENY)).unwrap();
    for value in [u64::MAX, 1 << 40, 7] {
        for word in &fixture.memory {
            word.store(value, Ordering::Relaxed);
        }
        let judged = fixture.judge(6);
        assert!(value == 7 || judged == Err(Busy), "{judged:?}");
        let _ = fixture.add(&rule(2, 1, action::DENY));
        let _ = fixture.remove(2);
    }
}

#[test]
fn a_change_that_has_begun_disturbs_nobody_but_the_one_after_it_does() {
    let fixture = Fixture::new(4);
    fixture.add(&rule(1, 1, action::DENY)).unwrap();
    let (version, _) = fixture.list.published(Ordering::Relaxed);
    fixture.list.begin(version);
    assert_eq!(fixture.judge(6), Ok(Verdict::Deny));
    // As a worker sees it that began a version ago.
    fixture.list.begin(version.wrapping_add(1));
    assert_eq!(fixture.judge(6), Err(Busy));
}

/// Workers judge while rules are put in front of, behind and in place of others. A rule for each protocol from 1 on says
/// by its action what may come of it.
#[test]
fn no_half_and_no_missing_rule_under_change() {
    const ROUNDS: u32 = 300_000;
    /// Denied by a rule that is always there, in an order that changes, and behind it what allows all.
    const DENIED: u8 = 1;
    /// Denied by one of two rules, of which one is always there.
    const TWICE: u8 = 2;
    /// Allowed by a rule in front of one that denies, both always there.
    const ALLOWED: u8 = 3;
    let fixture = Fixture::new(16);
    fixture.add(&of(DENIED, rule(1, 50, action::DENY))).unwrap();
    fixture.add(&of(TWICE, rule(2, 50, action::DENY))).unwrap();
    fixture
        .add(&of(ALLOWED, rule(3, 50, action::ALLOW)))
        .unwrap();
    fixture
        .add(&of(ALLOWED, rule(4, 51, action::DENY)))
        .unwrap();
    fixture.add(&rule(5, 1000, action::ALLOW)).unwrap();
    let done = AtomicBool::new(false);
    let judged: u64 = std::thread::scope(|scope| {
        let worker = || {
            let mut judged = 0;
            while !done.load(Ordering::Relaxed) {
                for (protocol, wanted) in [
                    (DENIED, Verdict::Deny),
                    (TWICE, Verdict::Deny),
                    (ALLOWED, Verdict::Allow),
                    // Left to the last rule.
                    (9, Verdict::Allow),
                ] {
                    if let Ok(verdict) = fixture.judge(protocol) {
                        assert_eq!(verdict, wanted, "{protocol}");
                        judged += 1;
                    }
                }
            }
            judged
        };
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        for round in 0..ROUNDS {
            // Noise, in all places of the order: to ports, which the packets do not have.
            let noise = AclRule {
                flags: flag::PROTOCOL | flag::SOURCE_PORTS,
                source_ports: [0.into(), u16::MAX.into()],
                ..of(6, rule(100 + round % 7, round % 100, action::DENY))
            };
            match fixture.add(&noise) {
                Err(Refused::Exists) => fixture.remove(noise.handle.get()).unwrap(),
                other => other.unwrap(),
            }
            // The other one comes before this one goes.
            let (new, old) = if round % 2 == 0 { (6, 2) } else { (2, 6) };
            let twice = of(TWICE, rule(new, 40 + round % 20, action::DENY));
            fixture.add(&twice).unwrap();
            fixture.remove(old).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert!(judged > 0, "nobody judged anything");
    // What was judged was counted, and nothing twice: the rules that stay have seen it all.
    assert!(fixture.frames(1) > 0 && fixture.frames(3) > 0);
    assert_eq!(fixture.frames(4), 0);
    assert!(
        [1, 3, 5]
            .map(|handle| fixture.frames(handle))
            .iter()
            .sum::<u64>()
            <= judged
    );
}

#[derive(Debug, Clone)]
enum Step {
    Add(u32, u32, u8),
    Remove(u32),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let handle = || 1u32..16;
    prop_oneof![
        8 => (handle(), 0u32..4, 0u8..4).prop_map(|(h, p, what)| Step::Add(h, p, what)),
        4 => handle().prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn behaves_as_an_ordered_map(steps in proptest::collection::vec(step(), 0..120)) {
        const CAPACITY: usize = 8;
        let fixture = Fixture::new(CAPACITY as u32);
        // By priority and handle: a protocol that is denied.
        let mut model: BTreeMap<(u32, u32), u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(handle, priority, protocol) => {
                    let expected = if model.keys().any(|(_, known)| *known == handle) {
                        Err(Refused::Exists)
                    } else if model.len() == CAPACITY {
                        Err(Refused::Full)
                    } else {
                        model.insert((priority, handle), protocol);
                        Ok(())
                    };
                    let what = if handle % 2 == 0 { action::DENY } else { action::ALLOW };
                    let added = fixture.add(&of(protocol, rule(handle, priority, what)));
                    prop_assert_eq!(added, expected);
                }
                Step::Remove(handle) => {
                    let before = model.len();
                    model.retain(|(_, known), _| *known != handle);
                    let expected = if model.len() < before { Ok(()) } else { Err(Refused::Missing) };
                    prop_assert_eq!(fixture.remove(handle), expected);
                }
                Step::Clear => {
                    fixture.list.clear(&fixture.memory);
                    model.clear();
                }
            }
            prop_assert_eq!(fixture.list.usage().used as usize, model.len());
            prop_assert_eq!(fixture.list.is_empty(), model.is_empty());
            for protocol in 0..5 {
                let first = model.iter().find(|(_, of)| **of == protocol);
                let denied = first.is_some_and(|((_, handle), _)| handle % 2 == 0);
                let wanted = if denied { Verdict::Deny } else { Verdict::Allow };
                let before = first.map(|((_, handle), _)| fixture.frames(*handle));
                prop_assert_eq!(fixture.judge(protocol), Ok(wanted));
                if let (Some(before), Some(((_, handle), _))) = (before, first) {
                    prop_assert_eq!(fixture.frames(*handle), before + 1);
                }
            }
        }
    }
}
