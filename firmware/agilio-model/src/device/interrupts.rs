// SPDX-License-Identifier: GPL-2.0 OR MIT

//! MSI-X vectors and their cause registers (ICR).
//!
//! A vector fires when its cause is 0, and sets the cause; the host writes 0 when it has seen to the work. What
//! happens in between is kept and fires at that write, so that no wake-up is lost.
//!
//! Events of rings are moderated before that: those that are held become due by a later event or by a deadline,
//! for which a thread sleeps in [`Interrupts::serve_deadlines`].

use super::moderation::{Direction, Limits, Moderation, Verdict};
use super::timer::Timer;
use crate::counters::{Counter, Counters};
use acceltcp_abi::regs::{ICR_RXTX, ICR_UNMASKED};
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Default)]
struct Vector {
    /// Where the VMM takes the interrupt; absent while the vector is masked or MSI-X is off.
    eventfd: Option<File>,
    /// What the host reads from ICR.
    cause: u8,
    /// Cause of an event that waits for ICR to become 0, or 0.
    waiting: u8,
    /// Fired without an eventfd: the pending bit.
    pending: bool,
    /// Events of rings that are not due yet.
    moderation: Moderation,
}

impl Vector {
    fn forget(&mut self) {
        self.cause = ICR_UNMASKED;
        self.waiting = 0;
        self.pending = false;
        self.moderation.forget();
    }

    fn raise(&mut self, cause: u8, counters: &Counters) {
        if self.cause == ICR_UNMASKED {
            self.cause = cause;
            self.fire(counters);
        } else {
            self.waiting = cause;
        }
    }

    fn fire(&mut self, counters: &Counters) {
        match &self.eventfd {
            Some(eventfd) => {
                counters.add(Counter::Interrupts, 1);
                // It can only fail when the counter is full, and then the VMM has a wake-up to come.
                let _ = (&*eventfd).write(&1_u64.to_ne_bytes());
            }
            None => self.pending = true,
        }
    }
}

/// The vectors of the card.
pub struct Interrupts {
    vectors: Vec<Mutex<Vector>>,
    timer: Timer,
    counters: Arc<Counters>,
}

impl Interrupts {
    /// `count` vectors.
    pub fn new(count: u16, counters: Arc<Counters>) -> Self {
        Self {
            vectors: (0..count).map(|_| Mutex::default()).collect(),
            timer: Timer::default(),
            counters,
        }
    }

    /// Number of vectors.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Something happened that the host must see to at once; `cause` is not 0. No such vector: nothing is done.
    pub fn raise(&self, vector: u8, cause: u8) {
        if let Some(vector) = self.vectors.get(usize::from(vector)) {
            vector.lock().raise(cause, &self.counters);
        }
    }

    /// `frames` frames of a ring are done, which the host is to see to as it asked for. No such vector: nothing is
    /// done.
    pub fn ring_event(&self, vector: u8, direction: Direction, frames: u32) {
        self.ring_event_at(vector, direction, frames, Instant::now);
    }

    fn ring_event_at(
        &self,
        vector: u8,
        direction: Direction,
        frames: u32,
        now: impl FnOnce() -> Instant,
    ) {
        let Some(vector) = self.vectors.get(usize::from(vector)) else {
            return;
        };
        let mut vector = vector.lock();
        if vector.waiting == ICR_RXTX {
            // The interrupt that is to come is for this event, too.
            return;
        }
        if vector.cause == ICR_UNMASKED && vector.moderation.holds() {
            self.counters.add(Counter::InterruptsModerated, 1);
        }
        match vector.moderation.event(direction, frames, now) {
            Verdict::Signal => vector.raise(ICR_RXTX, &self.counters),
            Verdict::Hold(None) => {}
            Verdict::Hold(Some(deadline)) => {
                drop(vector);
                self.timer.arm(deadline);
            }
        }
    }

    /// Sets the moderation of the first vectors, one after the other. It holds for what waits already.
    pub fn moderate(&self, limits: &[Limits]) {
        for (vector, limits) in self.vectors.iter().zip(limits) {
            let mut vector = vector.lock();
            if vector.moderation.set_limits(*limits) {
                vector.raise(ICR_RXTX, &self.counters);
            }
            let deadline = vector.moderation.deadline();
            drop(vector);
            if let Some(deadline) = deadline {
                self.timer.arm(deadline);
            }
        }
    }

    /// Forgets the events that are held: their rings are off.
    pub fn forget_held(&self) {
        for vector in &self.vectors {
            vector.lock().moderation.forget();
        }
    }

    /// The thread that signals what is held when its time has come. Returns after [`Interrupts::stop`].
    pub fn serve_deadlines(&self) {
        self.timer.serve(|now| self.expire(now));
    }

    /// Ends [`Interrupts::serve_deadlines`], for good.
    pub fn stop(&self) {
        self.timer.stop();
    }

    /// Signals what is due at `now` and returns the next deadline.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let next = |vector: &Mutex<Vector>| {
            let mut vector = vector.lock();
            if vector.moderation.expire(now) {
                vector.raise(ICR_RXTX, &self.counters);
            }
            vector.moderation.deadline()
        };
        self.vectors.iter().filter_map(next).min()
    }

    /// Cause register of `vector`; 0 when there is no such vector.
    pub fn cause(&self, vector: usize) -> u8 {
        self.vectors.get(vector).map_or(0, |v| v.lock().cause)
    }

    /// The host writes the cause register of `vector`.
    pub fn set_cause(&self, vector: usize, cause: u8) {
        let Some(vector) = self.vectors.get(vector) else {
            return;
        };
        let mut vector = vector.lock();
        vector.cause = cause;
        if cause == ICR_UNMASKED && vector.waiting != 0 {
            vector.cause = std::mem::take(&mut vector.waiting);
            vector.fire(&self.counters);
        }
    }

    /// Fires `vector` whatever its cause register says: what only a broken card does.
    pub fn force(&self, vector: usize, cause: u8) {
        if let Some(vector) = self.vectors.get(vector) {
            let mut vector = vector.lock();
            vector.cause = cause;
            vector.fire(&self.counters);
        }
    }

    /// The VMM gives or takes the eventfd of `vector`. A pending interrupt fires now.
    pub fn set_eventfd(&self, vector: usize, eventfd: Option<File>) {
        if let Some(vector) = self.vectors.get(vector) {
            let mut vector = vector.lock();
            vector.eventfd = eventfd;
            if vector.eventfd.is_some() && std::mem::take(&mut vector.pending) {
                vector.fire(&self.counters);
            }
        }
    }

    /// Byte `index` of the pending bits.
    pub fn pending_byte(&self, index: usize) -> u8 {
        let bits = self.vectors.iter().skip(index.saturating_mul(8)).take(8);
        bits.enumerate().fold(0, |byte, (bit, vector)| {
            byte | u8::from(vector.lock().pending) << bit
        })
    }

    /// Forgets cause and events of `vector`, as if nothing had ever happened on it.
    pub fn forget(&self, vector: u8) {
        if let Some(vector) = self.vectors.get(usize::from(vector)) {
            vector.lock().forget();
        }
    }

    /// Forgets every cause, event and limit. The eventfds are the VMM's and stay.
    pub fn reset(&self) {
        for vector in &self.vectors {
            let mut vector = vector.lock();
            vector.forget();
            vector.moderation = Moderation::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::moderation::Limit;
    use acceltcp_abi::regs::ICR_LSC;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    fn eventfd() -> (File, File) {
        let fd: OwnedFd = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
        let file = File::from(fd);
        (file.try_clone().unwrap(), file)
    }

    fn fired(mut file: &File) -> u64 {
        let mut count = [0; 8];
        match file.read(&mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }

    #[test]
    fn fires_once_until_acknowledged() {
        let irqs = Interrupts::new(3, Arc::new(Counters::new()));
        let (ours, theirs) = eventfd();
        irqs.set_eventfd(2, Some(theirs));
        irqs.raise(2, ICR_RXTX);
        assert_eq!(fired(&ours), 1);
        assert_eq!(irqs.cause(2), ICR_RXTX);
        irqs.raise(2, ICR_RXTX);
        irqs.raise(2, ICR_RXTX);
        assert_eq!(fired(&ours), 0, "masked by its cause");
        irqs.set_cause(2, 0);
        assert_eq!(fired(&ours), 1, "what happened meanwhile is not lost");
        assert_eq!(irqs.cause(2), ICR_RXTX);
        irqs.set_cause(2, 0);
        assert_eq!(fired(&ours), 0);
        assert_eq!(irqs.cause(2), ICR_UNMASKED);
        assert_eq!(irqs.counters.get(Counter::Interrupts), 2);
    }

    #[test]
    fn pending_bits_fire_with_the_eventfd() {
        let irqs = Interrupts::new(10, Arc::new(Counters::new()));
        irqs.raise(9, ICR_LSC);
        assert_eq!((irqs.pending_byte(0), irqs.pending_byte(1)), (0, 2));
        assert_eq!(irqs.pending_byte(usize::MAX), 0);
        irqs.set_eventfd(9, None);
        let (ours, theirs) = eventfd();
        irqs.set_eventfd(9, Some(theirs));
        assert_eq!(fired(&ours), 1);
        assert_eq!(irqs.pending_byte(1), 0);
    }

    #[test]
    fn reset_keeps_the_eventfds() {
        let irqs = Interrupts::new(3, Arc::new(Counters::new()));
        let (ours, theirs) = eventfd();
        irqs.set_eventfd(0, Some(theirs));
        irqs.raise(0, ICR_LSC);
        irqs.raise(0, ICR_LSC);
        fired(&ours);
        irqs.reset();
        irqs.set_cause(0, 0);
        assert_eq!(fired(&ours), 0);
        irqs.raise(0, ICR_LSC);
        assert_eq!(fired(&ours), 1);
    }

    #[test]
    fn vectors_that_are_not_there() {
        let irqs = Interrupts::new(3, Arc::new(Counters::new()));
        irqs.raise(0xff, ICR_RXTX);
        irqs.set_cause(3, 0);
        irqs.force(3, 1);
        irqs.set_eventfd(usize::MAX, None);
        assert_eq!(irqs.cause(3), 0);
    }

    /// Limits of a vector whose rings wait for so many frames and microseconds.
    fn limits((frames, usecs): (u32, u32)) -> Limits {
        let mut limits = Limits::default();
        let limit = Limit::from_register((frames << 16) | (usecs * 10), 160);
        limits.add(Direction::Rx, limit);
        limits.add(Direction::Tx, limit);
        limits
    }

    /// Vectors with one that is moderated, and its eventfd.
    fn moderated(frames: u32, usecs: u32) -> (Interrupts, File) {
        let irqs = Interrupts::new(2, Arc::new(Counters::new()));
        let (ours, theirs) = eventfd();
        irqs.set_eventfd(1, Some(theirs));
        irqs.moderate(&[Limits::default(), limits((frames, usecs))]);
        (irqs, ours)
    }

    #[test]
    fn what_becomes_due_under_a_mask_waits() {
        let (irqs, ours) = moderated(4, 50);
        let start = Instant::now();
        let event = |frames| irqs.ring_event_at(1, Direction::Rx, frames, || start);
        event(4);
        assert_eq!(fired(&ours), 1);
        event(1);
        let deadline = start + Duration::from_micros(50);
        assert_eq!(irqs.expire(start), Some(deadline));
        assert_eq!(irqs.expire(deadline), None);
        event(1);
        assert_eq!(irqs.expire(deadline), None, "nothing to wait for but ICR");
        assert_eq!(fired(&ours), 0);
        irqs.set_cause(1, 0);
        assert_eq!(fired(&ours), 1);
        irqs.set_cause(1, 0);
        assert_eq!(fired(&ours), 0);
        assert_eq!(irqs.counters.get(Counter::InterruptsModerated), 0);
    }

    #[test]
    fn what_is_not_due_survives_the_unmasking() {
        let (irqs, ours) = moderated(4, 50);
        let start = Instant::now();
        irqs.ring_event_at(1, Direction::Rx, 4, || start);
        irqs.ring_event_at(1, Direction::Tx, 1, || start);
        fired(&ours);
        irqs.set_cause(1, 0);
        assert_eq!(fired(&ours), 0);
        irqs.ring_event_at(1, Direction::Tx, 1, || start);
        assert_eq!(irqs.counters.get(Counter::InterruptsModerated), 1);
        irqs.expire(start + Duration::from_micros(50));
        assert_eq!(fired(&ours), 1);
    }

    #[test]
    fn link_changes_are_not_moderated() {
        let (irqs, ours) = moderated(4, 50);
        irqs.raise(1, ICR_LSC);
        assert_eq!(fired(&ours), 1);
    }

    #[test]
    fn what_is_held_is_forgotten_with_its_ring() {
        let late = Instant::now() + Duration::from_secs(1);
        let forget: [fn(&Interrupts); 3] = [
            |irqs| irqs.forget(1),
            |irqs| irqs.forget_held(),
            |irqs| irqs.reset(),
        ];
        for forget in forget {
            let (irqs, ours) = moderated(4, 50);
            irqs.ring_event(1, Direction::Rx, 1);
            forget(&irqs);
            assert_eq!(irqs.expire(late), None);
            assert_eq!(fired(&ours), 0);
        }
    }

    #[test]
    fn limits_that_are_lifted_signal_what_is_held() {
        let (irqs, ours) = moderated(4, 50);
        irqs.ring_event(1, Direction::Rx, 1);
        assert_eq!(fired(&ours), 0);
        irqs.moderate(&[Limits::default(); 2]);
        assert_eq!(fired(&ours), 1);
    }

    /// What happens to a vector.
    #[derive(Debug, Clone)]
    enum Step {
        Event(bool, u32),
        /// The host writes 0 to ICR.
        Unmask,
        /// Time passes, in microseconds.
        Pass(u64),
        /// New limits: frames and microseconds.
        Moderate(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (any::<bool>(), 1_u32..10).prop_map(|(rx, frames)| Step::Event(rx, frames)),
            2 => Just(Step::Unmask),
            3 => (0_u64..80).prop_map(Step::Pass),
            1 => (0_u32..20, 1_u32..100).prop_map(|(frames, usecs)| Step::Moderate(frames, usecs)),
        ]
    }

    proptest! {
        /// Every event is signalled when it is due or, masked then, at the next write of 0, whatever happens.
        #[test]
        fn every_event_is_signalled_in_time(steps in vec(step(), 1..200)) {
            let mut limit = (8, 50);
            let (irqs, ours) = moderated(limit.0, limit.1);
            let mut now = Instant::now();
            // Direction, frames and time of what is neither signalled nor waits for ICR.
            let mut held: Vec<(bool, u32, Instant)> = Vec::new();
            let (mut masked, mut waits) = (false, false);
            for step in steps {
                // What is due by the clock, microsecond by microsecond, and then by frames.
                let ticks = if let Step::Pass(usecs) = step { usecs } else { 0 };
                let mut expected = 0;
                for _ in 0..ticks {
                    now += Duration::from_micros(1);
                    irqs.expire(now);
                    let delay = Duration::from_micros(u64::from(limit.1));
                    if held.iter().any(|event| event.2 + delay <= now) {
                        held.clear();
                        (expected, masked, waits) = (expected + u64::from(!masked), true, masked);
                    }
                }
                match step {
                    Step::Event(rx, frames) => {
                        let direction = if rx { Direction::Rx } else { Direction::Tx };
                        irqs.ring_event_at(1, direction, frames, || now);
                        if !waits {
                            held.push((rx, frames, now));
                        }
                    }
                    Step::Unmask => {
                        irqs.set_cause(1, 0);
                        expected += u64::from(waits);
                        (masked, waits) = (waits, false);
                    }
                    Step::Moderate(frames, usecs) => {
                        limit = (frames, usecs);
                        irqs.moderate(&[Limits::default(), limits(limit)]);
                        irqs.expire(now);
                    }
                    Step::Pass(_) => {}
                }
                let delay = Duration::from_micros(u64::from(limit.1));
                let late = held.iter().any(|event| event.2 + delay <= now);
                let full = limit.0 != 0 && [true, false].iter().any(|direction| {
                    let of_it = held.iter().filter(|event| event.0 == *direction);
                    let frames: u32 = of_it.map(|event| event.1).sum();
                    frames != 0 && frames >= limit.0
                });
                if late || full {
                    held.clear();
                    (expected, masked, waits) = (expected + u64::from(!masked), true, masked);
                }
                prop_assert_eq!(fired(&ours), expected);
            }
        }
    }
}
