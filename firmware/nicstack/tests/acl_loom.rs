// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All that a worker may see of the access list while it changes, up to a number of switches between the threads: also what a
//! memory with weak order may show it. The worker is the thread that is spawned: loom tries more orders of it than of the first.
//!
//! Run with more switches: `LOOM_MAX_PREEMPTIONS=4 cargo test -p nicstack --release --test acl_loom`.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    reason = "the source is compiled a second time, with loom's atomics"
)]

#[path = "../src/acl/rule.rs"]
mod rule;
#[path = "../src/acl/table.rs"]
mod table;

/// In place of the crate's.
mod sync {
    pub(crate) use loom::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
}

/// In place of the crate's: all of the memory.
mod memory {
    use super::sync::AtomicU64;

    #[derive(Debug, Default)]
    pub struct Region;

    impl Region {
        pub fn of<'m>(&self, memory: &'m [AtomicU64]) -> &'m [AtomicU64] {
            memory
        }
    }

    #[derive(Debug)]
    pub struct Usage {
        pub words: usize,
        pub used: u32,
        pub capacity: u32,
        pub refused: u32,
    }
}

/// In place of the crate's.
mod headers {
    #[derive(Debug, Clone, Copy)]
    pub struct Headers {
        pub family: u8,
        pub source: u128,
        pub destination: u128,
        pub protocol: u8,
        pub ports: Option<[u16; 2]>,
        pub vlan: Option<u16>,
    }
}

use acceltcp_abi::acl::{action, flag, AclRule, ANY_VLAN};
use headers::Headers;
use loom::sync::Arc;
use loom::thread;
use rule::Stored;
use sync::AtomicU64;
use table::{Acl, Busy, Verdict};

/// Of the packet.
const TCP: u8 = 6;
const SOURCE: [u8; 4] = [10, 0, 0, 2];

struct Shared {
    words: Vec<AtomicU64>,
    list: Acl,
}

/// A rule for `protocol` from the host `source`.
fn of(handle: u32, priority: u32, action: u8, protocol: u8, source: [u8; 4]) -> Stored {
    let mut prefix = [0; 16];
    prefix[..4].copy_from_slice(&source);
    Stored::from_host(&AclRule {
        source: prefix,
        source_len: 32,
        handle: handle.into(),
        priority: priority.into(),
        action,
        family: 4,
        protocol,
        flags: flag::PROTOCOL,
        vlan: ANY_VLAN.into(),
        ..AclRule::default()
    })
    .unwrap()
}

impl Shared {
    /// A list of `capacity` with one rule, which denies the packet.
    fn new(capacity: u32) -> Arc<Self> {
        let words: Vec<_> = (0..Acl::words(capacity))
            .map(|_| AtomicU64::new(0))
            .collect();
        let list = Acl::new(memory::Region, &words, capacity);
        let shared = Self { words, list };
        shared.add(&of(1, 5, action::DENY, TCP, SOURCE));
        Arc::new(shared)
    }

    fn add(&self, rule: &Stored) {
        self.list.add(&self.words, rule).unwrap();
    }

    fn remove(&self, handle: u32) {
        self.list.remove(&self.words, handle).unwrap();
    }

    /// Whether one look would let the packet through. Busy is no such: judging looks again, or drops the frame.
    fn passes(&self) -> bool {
        let headers = Headers {
            family: 4,
            source: u128::from(u32::from_be_bytes(SOURCE)) << 96,
            destination: 0,
            protocol: TCP,
            ports: None,
            vlan: None,
        };
        match self.list.look(&self.words, &headers) {
            Ok(first) => first.is_none_or(|(verdict, _)| verdict == Verdict::Allow),
            Err(Busy) => false,
        }
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(check);
}

/// A rule in front comes, goes, and another takes its slot. Neither allows the packet, but half of the one with half of the
/// other would.
#[test]
fn a_slot_is_used_again() {
    model(|| {
        let shared = Shared::new(2);
        let worker = shared.clone();
        let looks = thread::spawn(move || assert!(!worker.passes()));
        shared.add(&of(2, 1, action::ALLOW, TCP, [10, 0, 0, 1]));
        shared.remove(2);
        shared.add(&of(3, 1, action::ALLOW, 17, SOURCE));
        looks.join().unwrap();
    });
}

/// The rule that denies is replaced by one that does, too, which comes first.
#[test]
fn one_goes_when_the_other_is_there() {
    model(|| {
        let shared = Shared::new(2);
        let worker = shared.clone();
        let looks = thread::spawn(move || assert!(!worker.passes()));
        shared.add(&of(2, 9, action::DENY, TCP, SOURCE));
        shared.remove(1);
        shared.add(&of(4, 7, action::DENY, 17, SOURCE));
        looks.join().unwrap();
    });
}

/// Who is told of the rule by the one who added it, finds it.
#[test]
fn what_is_there_is_seen() {
    model(|| {
        let shared = Shared::new(2);
        shared.remove(1);
        assert!(shared.passes());
        let host = shared.clone();
        let changes = thread::spawn(move || host.add(&of(2, 1, action::DENY, TCP, SOURCE)));
        changes.join().unwrap();
        assert!(!shared.passes());
    });
}

/// Who sees that there is a rule sees all of it.
#[test]
fn what_is_published_is_whole() {
    model(|| {
        // The slot of the new rule was never used.
        let shared = Shared::new(2);
        shared.remove(1);
        let worker = shared.clone();
        let looks = thread::spawn(move || {
            if !worker.list.is_empty() {
                assert!(!worker.passes());
            }
        });
        shared.add(&of(2, 1, action::DENY, TCP, SOURCE));
        looks.join().unwrap();
    });
}
