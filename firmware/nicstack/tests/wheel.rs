// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The timer wheel against a sorted list, and under several workers.

use nicstack::wheel::{Wheel, BLOCK, SLOTS};
use nicstack::Instant;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

const TICK: u64 = 1000;

fn wheel(timers: u32) -> (Vec<AtomicU64>, Wheel) {
    let words: Vec<_> = (0..Wheel::words(timers))
        .map(|_| AtomicU64::new(u64::MAX))
        .collect();
    let wheel = Wheel::new(&words, timers, TICK);
    (words, wheel)
}

#[derive(Debug, Clone)]
enum Step {
    Arm { timer: u32, ahead: u64 },
    Disarm { timer: u32 },
    Pass { ns: u64 },
}

fn step(timers: u32) -> impl Strategy<Value = Step> {
    // From less than a tick to many rounds.
    let span = prop_oneof![0..TICK * 2, 0..TICK * 40, 0..TICK * 400];
    prop_oneof![
        (0..timers, span.clone()).prop_map(|(timer, ahead)| Step::Arm { timer, ahead }),
        (0..timers).prop_map(|timer| Step::Disarm { timer }),
        span.prop_map(|ns| Step::Pass { ns }),
    ]
}

/// A timer that is armed: when for, in which slot, and the first tick that can fire it.
#[derive(Debug, Clone, Copy)]
struct Armed {
    at: u64,
    slot: u8,
    tick: u64,
}

proptest! {
    /// An owner that compares and arms again sees each timer fire once, not before its time, and not after the scan
    /// that comes upon the end of its tick: as a sorted list would have it.
    #[test]
    fn fires_as_a_sorted_list(
        timers in prop_oneof![1u32..200, BLOCK - 1..BLOCK * 2 + 70],
        start in 0..TICK * 100,
        first in 0usize..4,
        steps in (1u32..200).prop_flat_map(|n| proptest::collection::vec(step(n * 43), 1..200)),
    ) {
        let (words, wheel) = wheel(timers);
        let mut list: BTreeMap<u32, Armed> = BTreeMap::new();
        let (mut now, mut scanned) = (start, 0);
        for step in steps {
            match step {
                Step::Arm { timer, ahead } => {
                    let timer = timer % timers;
                    if let Some(old) = list.remove(&timer) {
                        prop_assert!(wheel.disarm(&words, timer, old.slot));
                    }
                    let at = now + ahead;
                    let slot = wheel.arm(&words, timer, Instant(at));
                    let tick = at.div_ceil(TICK).max(scanned + 1);
                    list.insert(timer, Armed { at, slot, tick });
                }
                Step::Disarm { timer } => {
                    let timer = timer % timers;
                    if let Some(old) = list.remove(&timer) {
                        prop_assert!(wheel.disarm(&words, timer, old.slot));
                        prop_assert!(!wheel.disarm(&words, timer, old.slot), "it is gone");
                    }
                }
                Step::Pass { ns } => {
                    now += ns;
                    let tick = now / TICK;
                    let mut fired = Vec::new();
                    wheel.scan(&words, Instant(now), first, |timer, slot| {
                        let armed = list.get_mut(&timer).expect("only armed timers fire");
                        assert_eq!(armed.slot, slot);
                        if armed.at <= now {
                            fired.push(timer);
                        } else {
                            armed.slot = wheel.arm(&words, timer, Instant(armed.at));
                        }
                    });
                    for (timer, armed) in &list {
                        let must = armed.tick <= tick && tick > scanned;
                        prop_assert!(fired.contains(timer) || !must, "timer {} is late", timer);
                    }
                    scanned = scanned.max(tick);
                    for timer in fired {
                        list.remove(&timer);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_that_it_does_not_have() {
    let (words, wheel) = wheel(70);
    for timer in [70, 127, BLOCK, u32::MAX] {
        let slot = wheel.arm(&words, timer, Instant(TICK));
        assert!(!wheel.disarm(&words, timer, slot));
    }
    assert!(!wheel.disarm(&words, 1, SLOTS as u8));
    wheel.scan(&words, Instant(TICK * 99), 7, |_, _| panic!());
    let none = Wheel::new(&[], 0, TICK);
    none.arm(&[], 0, Instant(0));
    none.scan(&[], Instant(TICK), 0, |_, _| panic!());
}

#[test]
fn what_it_takes() {
    // 32 bits for each timer, and little more.
    assert_eq!(Wheel::words(0), 0);
    assert!(Wheel::words(196_608) * 8 <= 196_608 * 41 / 10);
}

/// Workers arm, disarm and scan at the same time. Whatever they do to each other: a timer that was armed is either
/// disarmed or fired, once.
#[test]
fn workers_share_the_wheel() {
    const TIMERS: u32 = BLOCK + 100;
    const EACH: u32 = 30_000;
    let (words, wheel) = wheel(TIMERS);
    let armed: Vec<AtomicU32> = (0..TIMERS).map(|_| AtomicU32::new(0)).collect();
    let (clock, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let fire = |timer: u32, _| {
        let before = armed[timer as usize].fetch_sub(1, Ordering::SeqCst);
        assert_eq!(before, 1, "fired without being armed");
    };
    std::thread::scope(|scope| {
        for worker in 0..2usize {
            let (words, wheel, clock, done) = (&words, &wheel, &clock, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let now = clock.fetch_add(TICK / 3, Ordering::Relaxed);
                    wheel.scan(words, Instant(now), worker, fire);
                }
            });
        }
        let owners: Vec<_> = (0..2u32)
            .map(|owner| {
                let (words, wheel, clock, armed) = (&words, &wheel, &clock, &armed);
                scope.spawn(move || {
                    let mut random = owner + 1;
                    for _ in 0..EACH {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let timer = (random >> 8) % (TIMERS / 2) * 2 + owner;
                        let count = &armed[timer as usize];
                        if count.load(Ordering::SeqCst) != 0 {
                            continue;
                        }
                        count.store(1, Ordering::SeqCst);
                        let now = clock.load(Ordering::Relaxed);
                        let at = Instant(now + u64::from(random >> 28) * TICK);
                        let slot = wheel.arm(words, timer, at);
                        if random & 0x10 != 0 && wheel.disarm(words, timer, slot) {
                            assert_eq!(count.fetch_sub(1, Ordering::SeqCst), 1);
                        }
                    }
                })
            })
            .collect();
        for owner in owners {
            owner.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let end = clock.load(Ordering::Relaxed) + TICK * SLOTS as u64;
    wheel.scan(&words, Instant(end), 0, fire);
    for (timer, count) in armed.iter().enumerate() {
        assert_eq!(count.load(Ordering::SeqCst), 0, "timer {timer} was lost");
    }
}
