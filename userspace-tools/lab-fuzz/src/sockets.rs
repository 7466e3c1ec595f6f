// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Threads that make random calls, and what came of them.

use std::{
    array,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, Result};

use crate::{
    calls::{Caller, Shared, CALLS},
    random::Random,
    Sockets,
};

/// How often each kind was called, and succeeded.
type Tally = [[u64; 2]; CALLS.len()];

/// When a run is over.
struct Until {
    /// Not before this time.
    end: Instant,
    /// Not after this one.
    last: Instant,
    /// Kinds that must have succeeded in between, and whether they have.
    wanted: [bool; CALLS.len()],
    good: [AtomicBool; CALLS.len()],
}

impl Until {
    fn new(args: &Sockets) -> Self {
        let now = Instant::now();
        let time = Duration::from_secs(args.seconds);
        Self {
            end: now + time,
            last: now + 10 * time,
            wanted: array::from_fn(|kind| args.until.iter().any(|name| name == CALLS[kind].name)),
            good: [const { AtomicBool::new(false) }; CALLS.len()],
        }
    }

    fn is_over(&self) -> bool {
        let now = Instant::now();
        let mut kinds = self.wanted.iter().zip(&self.good);
        now > self.last
            || now > self.end && kinds.all(|(wanted, good)| !wanted || good.load(Ordering::Relaxed))
    }
}

/// Runs all threads, and prints a line for each kind of call: its name, calls, and successes.
pub(crate) fn run(args: &Sockets) -> Result<()> {
    let shared = Arc::new(Shared::new(args.hosts.clone(), args.servers.clone()));
    let until = &Until::new(args);
    let tallies: Vec<thread::Result<Tally>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads)
            .map(|number| {
                let random = Random::new(args.seed, number);
                let caller = Caller::new(Arc::clone(&shared), random);
                scope.spawn(move || work(caller, args.calls, until))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    shared.close_all();
    let mut all = [[0; 2]; CALLS.len()];
    for tally in tallies {
        let tally = tally.map_err(|_| anyhow!("a thread has panicked"))?;
        for (sum, more) in all.iter_mut().flatten().zip(tally.as_flattened()) {
            *sum += more;
        }
    }
    for (call, [made, good]) in CALLS.iter().zip(all) {
        println!("{} {made} {good}", call.name);
    }
    Ok(())
}

fn work(mut caller: Caller, calls: u64, until: &Until) -> Tally {
    let mut tally = [[0; 2]; CALLS.len()];
    for _ in 0..calls {
        if until.is_over() {
            break;
        }
        let (kind, good) = caller.step();
        tally[kind][0] += 1;
        tally[kind][1] += u64::from(good);
        if good {
            until.good[kind].store(true, Ordering::Relaxed);
        }
    }
    tally
}
