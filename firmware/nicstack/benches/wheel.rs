// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The timer wheel against a heap and a hashed wheel that are behind a lock, at one and two threads.
//!
//! A round is what a flow costs that ends in time: its timer is disarmed and armed again. Each millisecond of a
//! thousand rounds, time passes and what is due fires and is armed again. Heap and hashed wheel forget a
//! disarmed timer when it comes up, by its generation. `idle` is a scan that finds nothing.
//!
//! These are times of the machine that runs them, and say nothing of an Agilio.

#![allow(missing_docs, reason = "criterion makes functions without")]

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use hierarchical_hash_wheel_timer::wheels::quad_wheel::{no_prune, QuadWheelWithOverflow};
use nicstack::wheel::Wheel;
use nicstack::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::Mutex;
use std::time;

const FLOWS: [u32; 3] = [1 << 10, 1 << 14, 1 << 18];
const THREADS: [u32; 2] = [1, 2];
const MS: u64 = 1_000_000;
/// Rounds of all threads in a millisecond.
const ROUNDS_PER_MS: u64 = 1000;

trait Timers: Sync {
    fn new(flows: u32) -> Self;
    fn arm(&self, flow: u32, at_ms: u64);
    fn disarm(&self, flow: u32);
    /// Calls `fire` for what is due. Only called with a time that is later than before by this thread.
    fn scan(&self, now_ms: u64, thread: usize, fire: impl FnMut(u32));
}

struct Bitmaps {
    words: Vec<AtomicU64>,
    wheel: Wheel,
    slots: Vec<AtomicU8>,
}

impl Timers for Bitmaps {
    fn new(flows: u32) -> Self {
        let zero = || AtomicU64::new(0);
        let words: Vec<_> = std::iter::repeat_with(zero)
            .take(Wheel::words(flows))
            .collect();
        Self {
            wheel: Wheel::new(&words, flows, 32 * MS),
            slots: (0..flows).map(|_| AtomicU8::new(0)).collect(),
            words,
        }
    }

    fn arm(&self, flow: u32, at_ms: u64) {
        let slot = self.wheel.arm(&self.words, flow, Instant(at_ms * MS));
        self.slots[flow as usize].store(slot, Ordering::Relaxed);
    }

    fn disarm(&self, flow: u32) {
        let slot = self.slots[flow as usize].load(Ordering::Relaxed);
        self.wheel.disarm(&self.words, flow, slot);
    }

    fn scan(&self, now_ms: u64, thread: usize, mut fire: impl FnMut(u32)) {
        let first = thread * self.wheel.blocks() / 2;
        self.wheel
            .scan(&self.words, Instant(now_ms * MS), first, |flow, _| {
                fire(flow);
            });
    }
}

/// Time, flow, generation.
type Entry = (u64, u32, u32);

struct Heap {
    entries: Mutex<BinaryHeap<Reverse<Entry>>>,
    generations: Vec<AtomicU32>,
}

impl Timers for Heap {
    fn new(flows: u32) -> Self {
        Self {
            entries: Mutex::default(),
            generations: (0..flows).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn arm(&self, flow: u32, at_ms: u64) {
        let generation = self.generations[flow as usize].load(Ordering::Relaxed);
        let entry = Reverse((at_ms, flow, generation));
        self.entries.lock().unwrap().push(entry);
    }

    fn disarm(&self, flow: u32) {
        self.generations[flow as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn scan(&self, now_ms: u64, _: usize, mut fire: impl FnMut(u32)) {
        let mut due = Vec::new();
        let mut entries = self.entries.lock().unwrap();
        while let Some(Reverse((at, flow, generation))) = entries.peek().copied() {
            if at > now_ms {
                break;
            }
            entries.pop();
            if self.generations[flow as usize].load(Ordering::Relaxed) == generation {
                due.push(flow);
            }
        }
        drop(entries);
        due.into_iter().for_each(&mut fire);
    }
}

struct Hashed {
    wheel: Mutex<(u64, QuadWheelWithOverflow<Entry>)>,
    generations: Vec<AtomicU32>,
}

impl Timers for Hashed {
    fn new(flows: u32) -> Self {
        Self {
            wheel: Mutex::new((0, QuadWheelWithOverflow::new(no_prune))),
            generations: (0..flows).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn arm(&self, flow: u32, at_ms: u64) {
        let generation = self.generations[flow as usize].load(Ordering::Relaxed);
        let mut wheel = self.wheel.lock().unwrap();
        let delay = time::Duration::from_millis(at_ms.saturating_sub(wheel.0).max(1));
        let entry = (at_ms, flow, generation);
        wheel.1.insert_with_delay(entry, delay).unwrap();
    }

    fn disarm(&self, flow: u32) {
        self.generations[flow as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn scan(&self, now_ms: u64, _: usize, mut fire: impl FnMut(u32)) {
        let mut due = Vec::new();
        let mut wheel = self.wheel.lock().unwrap();
        while wheel.0 < now_ms {
            wheel.0 += 1;
            for (_, flow, generation) in wheel.1.tick() {
                if self.generations[flow as usize].load(Ordering::Relaxed) == generation {
                    due.push(flow);
                }
            }
        }
        drop(wheel);
        due.into_iter().for_each(&mut fire);
    }
}

/// `rounds` of `threads`, each with flows of its own.
fn churn<T: Timers>(timers: &T, clock: &AtomicU64, flows: u32, threads: u32, rounds: u64) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut random = u64::from(thread) + 1;
                for round in 0..rounds / u64::from(threads) {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let flow = (random >> 40) as u32 % (flows / threads) * threads + thread;
                    let now = clock.load(Ordering::Relaxed);
                    timers.disarm(flow);
                    timers.arm(flow, now + 200 + (random >> 32) % 800);
                    if round % ROUNDS_PER_MS == 0 {
                        let now = clock.fetch_add(1, Ordering::Relaxed) + 1;
                        timers.scan(now, thread as usize, |flow| {
                            timers.arm(flow, now + 200);
                        });
                    }
                }
            });
        }
    });
}

fn armed<T: Timers>(flows: u32) -> T {
    let timers = T::new(flows);
    for flow in 0..flows {
        timers.arm(flow, 200 + u64::from(flow) % 800);
    }
    timers
}

fn compare<T: Timers>(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(format!("wheel/{name}"));
    group.throughput(Throughput::Elements(1));
    for flows in FLOWS {
        for threads in THREADS {
            let timers = armed::<T>(flows);
            let clock = AtomicU64::new(0);
            let id = BenchmarkId::new(format!("{threads} threads"), flows);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| {
                    let start = time::Instant::now();
                    churn(&timers, &clock, flows, threads, rounds.max(2));
                    start.elapsed()
                });
            });
        }
        let (timers, mut now) = (T::new(flows), 0);
        group.bench_function(BenchmarkId::new("idle", flows), |bencher| {
            bencher.iter(|| {
                now += 32;
                timers.scan(now, 0, |_| {});
            });
        });
    }
}

fn all(criterion: &mut Criterion) {
    compare::<Bitmaps>(criterion, "bitmaps");
    compare::<Heap>(criterion, "heap");
    compare::<Hashed>(criterion, "hashed");
}

criterion_group!(benches, all);
criterion_main!(benches);
