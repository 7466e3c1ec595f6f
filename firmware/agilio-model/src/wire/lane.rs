// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The faults of one direction: frames and time in, frames out. It knows no clock and no socket.

use super::faults::FaultSpec;
use crate::counters::{Counters, DropReason, FaultKind};
use fastrand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time that a reordered frame waits for others to pass it.
pub(super) const HOLD_LIMIT: Duration = Duration::from_millis(20);
/// Most frames that may pass a reordered one.
const HOLD_FRAMES: u32 = 3;
/// Most frames that may be delayed at a time.
const MAX_DELAYED: usize = 16_384;

/// What a frame has with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its checksums are known to be right.
    pub(super) csum_valid: bool,
    /// The queue that it is to go out on.
    pub(super) queue: usize,
}

/// Where frames leave a lane.
pub(super) type Emit<'a> = &'a mut dyn FnMut(&[u8], Mark);

/// The faults of one direction.
#[derive(Debug)]
pub(super) struct Lane {
    spec: FaultSpec,
    rng: Rng,
    held: VecDeque<Held>,
    delayed: VecDeque<Delayed>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    mark: Mark,
    copies: u32,
    /// Frames that have still to pass.
    passing: u32,
    until: Instant,
}

#[derive(Debug)]
struct Delayed {
    frame: Vec<u8>,
    mark: Mark,
    due: Instant,
}

/// What was decided about a frame. Every frame draws the same number of random numbers, so that one
/// fault does not shift the others.
struct Fate {
    lost: bool,
    copies: u32,
    passing: u32,
    delay: Duration,
    flip: Option<(usize, u8)>,
}

impl Lane {
    /// A lane without faults.
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            spec: FaultSpec::default(),
            rng: Rng::with_seed(0),
            held: VecDeque::new(),
            delayed: VecDeque::new(),
            counters,
        }
    }

    /// Replaces the faults and starts the random numbers anew. `salt` tells the two directions apart.
    /// Frames that wait already go on waiting for their time.
    pub(super) fn set_spec(&mut self, spec: FaultSpec, salt: u64) {
        self.spec = spec;
        self.rng = Rng::with_seed(spec.seed ^ salt);
    }

    /// Whether frames must go through the lane.
    pub(super) fn is_active(&self) -> bool {
        !self.spec.is_none() || !self.held.is_empty() || !self.delayed.is_empty()
    }

    /// Takes a frame.
    pub(super) fn push(&mut self, now: Instant, frame: &[u8], mut mark: Mark, emit: Emit<'_>) {
        let fate = self.decide(frame.len());
        if fate.lost {
            self.counters.fault(FaultKind::Loss);
            return;
        }
        if fate.copies > 1 {
            self.counters.fault(FaultKind::Dup);
        }
        let mut changed;
        let frame = match fate.flip {
            Some((at, bits)) => {
                self.counters.fault(FaultKind::Corrupt);
                changed = frame.to_vec();
                changed[at] ^= bits;
                mark.csum_valid = false;
                &changed[..]
            }
            None => frame,
        };
        if fate.passing > 0 {
            self.counters.fault(FaultKind::Reorder);
            self.held.push_back(Held {
                frame: frame.to_vec(),
                mark,
                copies: fate.copies,
                passing: fate.passing,
                until: now + HOLD_LIMIT,
            });
            return;
        }
        for _ in 0..fate.copies {
            self.pass(now, fate.delay, frame, mark, emit);
        }
        for held in &mut self.held {
            held.passing = held.passing.saturating_sub(1);
        }
        self.release(now, emit);
    }

    /// Lets go of the frames whose time has come.
    pub(super) fn poll(&mut self, now: Instant, emit: Emit<'_>) {
        self.release(now, emit);
        while self.delayed.front().is_some_and(|first| first.due <= now) {
            if let Some(first) = self.delayed.pop_front() {
                emit(&first.frame, first.mark);
            }
        }
    }

    /// When [`Lane::poll`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let held = self.held.iter().map(|held| held.until).min();
        let delayed = self.delayed.front().map(|delayed| delayed.due);
        held.into_iter().chain(delayed).min()
    }

    /// Lets held frames go that were passed by enough others or waited long enough.
    fn release(&mut self, now: Instant, emit: Emit<'_>) {
        let mut left = 0;
        while left < self.held.len() {
            if self.held[left].passing > 0 && self.held[left].until > now {
                left += 1;
                continue;
            }
            if let Some(held) = self.held.remove(left) {
                for _ in 0..held.copies {
                    self.pass(now, self.spec.delay, &held.frame, held.mark, emit);
                }
            }
        }
    }

    /// Sends a frame on its way, after `delay` and never before an earlier one.
    fn pass(&mut self, now: Instant, delay: Duration, frame: &[u8], mark: Mark, emit: Emit<'_>) {
        if delay.is_zero() && self.delayed.is_empty() {
            emit(frame, mark);
            return;
        }
        if self.delayed.len() >= MAX_DELAYED {
            self.counters.drop_frame(DropReason::DelayFull);
            return;
        }
        self.counters.fault(FaultKind::Delay);
        let earliest = self.delayed.back().map_or(now, |last| last.due);
        self.delayed.push_back(Delayed {
            frame: frame.to_vec(),
            mark,
            due: earliest.max(now + delay),
        });
    }

    fn decide(&mut self, len: usize) -> Fate {
        let spec = &self.spec;
        let rng = &mut self.rng;
        let lost = rng.f64() < spec.loss;
        let copies = if rng.f64() < spec.dup { 2 } else { 1 };
        let hold = rng.f64() < spec.reorder;
        let passing = rng.u32(1..=HOLD_FRAMES);
        let delay = spec.delay + spec.jitter.mul_f64(rng.f64());
        let corrupt = rng.f64() < spec.corrupt;
        // Of the length only the place may depend, not how many numbers are drawn.
        let at = (rng.f64() * len as f64) as usize;
        let bits = rng.u8(1..=255);
        Fate {
            lost,
            copies,
            passing: if hold { passing } else { 0 },
            delay,
            flip: (corrupt && at < len).then_some((at, bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: Mark = Mark {
        csum_valid: true,
        queue: 3,
    };

    /// Milliseconds at which a frame left, the frame, what it has with it.
    type Left = (u64, Vec<u8>, Mark);

    /// Runs `frames` frames, 1 ms apart, through the faults `spec`, then waits for the rest.
    fn run(spec: &str, frames: u8) -> (Vec<Left>, Arc<Counters>) {
        let counters = Arc::new(Counters::new());
        let mut lane = Lane::new(counters.clone());
        lane.set_spec(spec.parse().unwrap(), 1);
        let start = Instant::now();
        let mut out = Vec::new();
        for at in 0..u64::from(frames) + 200 {
            let now = start + Duration::from_millis(at);
            let mut emit = |frame: &[u8], mark: Mark| out.push((at, frame.to_vec(), mark));
            lane.poll(now, &mut emit);
            if at < u64::from(frames) {
                lane.push(now, &[at as u8; 60], MARK, &mut emit);
            }
        }
        assert!(lane.next_due().is_none());
        (out, counters)
    }

    fn ids(out: &[Left]) -> Vec<u8> {
        out.iter().map(|(_, frame, _)| frame[0]).collect()
    }

    #[test]
    fn loss() {
        let (out, counters) = run("seed=1,loss=0.5", 200);
        let lost = counters.faults(FaultKind::Loss);
        assert!(lost > 60 && lost < 140, "{lost}");
        assert_eq!(out.len() as u64, 200 - lost);
        assert!(ids(&out).is_sorted());
        let (out, _) = run("loss=1", 50);
        assert!(out.is_empty());
    }

    #[test]
    fn duplication() {
        let (out, counters) = run("dup=1", 3);
        assert_eq!(ids(&out), [0, 0, 1, 1, 2, 2]);
        assert_eq!(counters.faults(FaultKind::Dup), 3);
    }

    #[test]
    fn corruption_flips_bits_of_one_byte_and_withdraws_the_checksum() {
        let (out, counters) = run("corrupt=1", 100);
        assert_eq!(counters.faults(FaultKind::Corrupt), 100);
        for (at, frame, mark) in out {
            assert_eq!((mark.csum_valid, mark.queue), (false, MARK.queue));
            assert_eq!(frame.iter().filter(|b| u64::from(**b) != at).count(), 1);
        }
    }

    #[test]
    fn reordering_loses_nothing_and_passes_at_most_three() {
        let (out, counters) = run("seed=5,reorder=0.3", 200);
        let ids = ids(&out);
        assert!(!ids.is_sorted());
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..200).collect::<Vec<u8>>());
        assert!(counters.faults(FaultKind::Reorder) > 20);
        for (place, id) in ids.iter().enumerate() {
            let passed = ids[..place].iter().filter(|other| *other > id).count();
            // A frame held first may be let go by the very frame that a later one waits for.
            assert!(
                passed <= 2 * HOLD_FRAMES as usize,
                "{id} was passed by {passed}"
            );
        }
    }

    #[test]
    fn a_lone_held_frame_leaves_in_time() {
        let (out, _) = run("reorder=1", 1);
        assert_eq!(out.len(), 1);
        assert_eq!(u128::from(out[0].0), HOLD_LIMIT.as_millis());
    }

    #[test]
    fn delay_shifts_and_jitter_keeps_the_order() {
        let (out, counters) = run("delay=5", 10);
        let times: Vec<_> = out.iter().map(|(at, ..)| *at).collect();
        assert_eq!(times, (5..15).collect::<Vec<_>>());
        assert_eq!(counters.faults(FaultKind::Delay), 10);
        let (out, _) = run("delay=2,jitter=30", 100);
        assert_eq!(ids(&out), (0..100).collect::<Vec<u8>>());
        assert!(out
            .iter()
            .all(|(at, frame, _)| *at >= u64::from(frame[0]) + 2));
    }

    #[test]
    fn delayed_frames_outlive_their_faults() {
        let counters = Arc::new(Counters::new());
        let mut lane = Lane::new(counters);
        lane.set_spec("delay=10".parse().unwrap(), 0);
        let start = Instant::now();
        let mut out = Vec::new();
        lane.push(start, &[1; 60], MARK, &mut |f, _| out.push(f[0]));
        lane.set_spec(FaultSpec::default(), 0);
        assert!(lane.is_active());
        lane.push(start, &[2; 60], MARK, &mut |f, _| out.push(f[0]));
        assert!(out.is_empty());
        lane.poll(start + Duration::from_millis(10), &mut |f, _| {
            out.push(f[0])
        });
        assert_eq!(out, [1, 2]);
        assert!(!lane.is_active());
    }

    #[test]
    fn what_is_delayed_is_bounded() {
        let counters = Arc::new(Counters::new());
        let mut lane = Lane::new(counters.clone());
        lane.set_spec("delay=1000".parse().unwrap(), 0);
        let now = Instant::now();
        for _ in 0..MAX_DELAYED + 5 {
            lane.push(now, &[0; 14], MARK, &mut |_, _| {});
        }
        assert_eq!(counters.drops(DropReason::DelayFull), 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_seed_decides_everything(seed: u64) {
            let spec = format!("seed={seed},loss=0.1,dup=0.1,reorder=0.1,corrupt=0.1,delay=1,jitter=9");
            prop_assert_eq!(run(&spec, 100).0, run(&spec, 100).0);
        }

        #[test]
        fn faults_do_not_shift_each_other(seed: u64) {
            let lost = |spec: &str| run(spec, 100).1.faults(FaultKind::Loss);
            let alone = lost(&format!("seed={seed},loss=0.2"));
            prop_assert_eq!(lost(&format!("seed={seed},loss=0.2,corrupt=0.5,dup=0.5")), alone);
        }
    }
}
