// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupt moderation: how long events of rings may wait for others before they are signalled together.
//!
//! This is the policy of one vector and nothing more: it knows neither clock nor interrupt, so what it decides
//! depends on what it is told alone. Rings of one direction that share a vector count together.

use std::time::{Duration, Instant};

/// Cycles of the flow processing cores per tick of the moderation registers (`nfp_net_coalesce_write_cfg` in Linux).
const CYCLES_PER_TICK: u64 = 16;
/// A count of frames that is never reached.
const NO_FRAMES: u32 = u32::MAX;

/// Kind of ring that an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Frames to the host.
    Rx,
    /// Frames from the host, done.
    Tx,
}

/// What makes events due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Frames since the last interrupt, at least 1.
    frames: u32,
    /// Time since the first event that is not signalled; `None` waits for frames alone.
    delay: Option<Duration>,
}

impl Limit {
    /// No event waits.
    pub const IMMEDIATE: Self = Self {
        frames: 1,
        delay: None,
    };

    /// The limit in a register: frames in the upper half, ticks in the lower; 0 is no limit, and 0 for both does
    /// not moderate. `me_freq_mhz` is the announced clock.
    pub fn from_register(value: u32, me_freq_mhz: u32) -> Self {
        let ticks = u64::from(value & 0xffff);
        let nanos = ticks * CYCLES_PER_TICK * 1000 / u64::from(me_freq_mhz.max(1));
        match (value >> 16, ticks) {
            (0, 0) => Self::IMMEDIATE,
            (0, _) => Self {
                frames: NO_FRAMES,
                delay: Some(Duration::from_nanos(nanos)),
            },
            (frames, ticks) => Self {
                frames,
                delay: (ticks != 0).then_some(Duration::from_nanos(nanos)),
            },
        }
    }

    /// The limit that keeps both.
    fn strictest(self, other: Self) -> Self {
        Self {
            frames: self.frames.min(other.frames),
            delay: [self.delay, other.delay].into_iter().flatten().min(),
        }
    }
}

/// Limits of a vector. Without a ring there is none to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits([Option<Limit>; 2]);

impl Limits {
    /// Adds a ring.
    pub fn add(&mut self, direction: Direction, limit: Limit) {
        let own = &mut self.0[direction as usize];
        *own = Some(own.map_or(limit, |own| own.strictest(limit)));
    }

    fn get(&self, direction: usize) -> Limit {
        self.0[direction].unwrap_or(Limit::IMMEDIATE)
    }
}

/// Events of one direction that are not signalled.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Frames, at least 1.
    frames: u32,
    /// When the first of them came.
    since: Instant,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is due, with everything that was held.
    Signal,
    /// It is held. When it made the deadline of the vector an earlier one, that.
    Hold(Option<Instant>),
}

/// Moderation of one vector.
#[derive(Debug, Default)]
pub struct Moderation {
    limits: Limits,
    held: [Option<Held>; 2],
}

impl Moderation {
    /// Takes an event of `frames` frames; one of none counts as one. `now` is asked when the time matters.
    pub fn event(
        &mut self,
        direction: Direction,
        frames: u32,
        now: impl FnOnce() -> Instant,
    ) -> Verdict {
        let index = direction as usize;
        let limit = self.limits.get(index);
        let held = self.held[index];
        let frames = held
            .map_or(0, |held| held.frames)
            .saturating_add(frames.max(1));
        if frames >= limit.frames {
            self.forget();
            return Verdict::Signal;
        }
        if let Some(held) = &mut self.held[index] {
            held.frames = frames;
            return Verdict::Hold(None);
        }
        let earliest = self.deadline();
        let since = now();
        self.held[index] = Some(Held { frames, since });
        let deadline = self.deadline();
        Verdict::Hold(deadline.filter(|_| deadline != earliest))
    }

    /// Whether an event waits.
    pub fn holds(&self) -> bool {
        self.held.iter().any(Option::is_some)
    }

    /// When what is held becomes due by itself.
    pub fn deadline(&self) -> Option<Instant> {
        let due = |(index, held): (usize, &Option<Held>)| {
            // What would be beyond the clock never comes.
            (*held)?.since.checked_add(self.limits.get(index).delay?)
        };
        self.held.iter().enumerate().filter_map(due).min()
    }

    /// Whether what is held is due at `now`. It counts as signalled then.
    pub fn expire(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.forget();
        }
        due
    }

    /// Changes the limits, also for what is held. Returns whether that is due by its frames now; it counts as
    /// signalled then.
    pub fn set_limits(&mut self, limits: Limits) -> bool {
        self.limits = limits;
        let due =
            self.held.iter().enumerate().any(|(index, held)| {
                held.is_some_and(|held| held.frames >= limits.get(index).frames)
            });
        if due {
            self.forget();
        }
        due
    }

    /// Forgets what is held.
    pub fn forget(&mut self) {
        self.held = [None; 2];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use Direction::{Rx, Tx};

    const MHZ: u32 = 1200;

    /// The limit of a driver that asks for `frames` and `usecs`.
    fn limit(frames: u32, usecs: u32) -> Limit {
        Limit::from_register((frames << 16) | (MHZ / 16 * usecs), MHZ)
    }

    fn moderation(rx: Limit, tx: Limit) -> Moderation {
        let mut limits = Limits::default();
        limits.add(Rx, rx);
        limits.add(Tx, tx);
        let mut moderation = Moderation::default();
        assert!(!moderation.set_limits(limits));
        moderation
    }

    fn usecs(usecs: u64) -> Duration {
        Duration::from_micros(usecs)
    }

    #[test]
    fn registers() {
        assert_eq!(limit(0, 0), Limit::IMMEDIATE);
        assert_eq!(limit(1, 0), Limit::IMMEDIATE);
        assert_eq!(limit(64, 50).frames, 64);
        assert_eq!(limit(64, 50).delay, Some(usecs(50)));
        assert_eq!(limit(0, 8).frames, NO_FRAMES);
        assert_eq!(limit(8, 0).delay, None);
        let longest = Limit::from_register(0xffff, MHZ).delay.unwrap();
        assert_eq!(longest, Duration::from_nanos(873_800));
        let _ = Limit::from_register(u32::MAX, 0);
    }

    #[test]
    fn frames_or_time() {
        let start = Instant::now();
        let mut moderation = moderation(limit(3, 50), limit(0, 20));
        let hold = moderation.event(Rx, 1, || start);
        assert_eq!(hold, Verdict::Hold(Some(start + usecs(50))));
        let again = moderation.event(Rx, 1, || panic!("armed already"));
        assert_eq!(again, Verdict::Hold(None));
        let earlier = moderation.event(Tx, 9, || start + usecs(10));
        assert_eq!(earlier, Verdict::Hold(Some(start + usecs(30))));
        assert!(!moderation.expire(start + usecs(29)));
        assert!(moderation.expire(start + usecs(30)));
        assert!(!moderation.holds(), "one interrupt for both");
        assert_eq!(moderation.deadline(), None);
        moderation.event(Rx, 2, || start);
        assert_eq!(moderation.event(Rx, 1, || start), Verdict::Signal);
        assert!(!moderation.holds());
    }

    #[test]
    fn a_later_deadline_does_not_count() {
        let start = Instant::now();
        let mut moderation = moderation(limit(64, 50), limit(64, 50));
        moderation.event(Rx, 1, || start);
        let later = moderation.event(Tx, 1, || start + usecs(1));
        assert_eq!(later, Verdict::Hold(None));
    }

    #[test]
    fn without_limits_nothing_waits() {
        let mut moderation = Moderation::default();
        let verdict = moderation.event(Tx, 0, || panic!("no need of a clock"));
        assert_eq!(verdict, Verdict::Signal);
    }

    #[test]
    fn frames_alone_have_no_deadline() {
        let mut moderation = moderation(limit(2, 0), Limit::IMMEDIATE);
        assert_eq!(moderation.event(Rx, 1, Instant::now), Verdict::Hold(None));
        assert!(moderation.holds());
        assert_eq!(moderation.event(Rx, 0, Instant::now), Verdict::Signal);
    }

    #[test]
    fn rings_that_share_a_vector() {
        let mut limits = Limits::default();
        limits.add(Rx, limit(64, 50));
        limits.add(Rx, limit(8, 0));
        limits.add(Rx, limit(0, 90));
        assert_eq!(limits.get(Rx as usize), limit(8, 50));
        assert_eq!(limits.get(Tx as usize), Limit::IMMEDIATE);
    }

    #[test]
    fn new_limits_hold_for_what_waits() {
        let start = Instant::now();
        let mut moderation = moderation(limit(64, 50), limit(64, 50));
        moderation.event(Rx, 4, || start);
        let mut limits = Limits::default();
        limits.add(Rx, limit(5, 20));
        assert!(!moderation.set_limits(limits));
        assert_eq!(moderation.deadline(), Some(start + usecs(20)));
        assert!(moderation.set_limits(Limits::default()), "not moderated");
        assert!(!moderation.holds());
    }

    proptest! {
        /// Events at any time, with a timer that is exact.
        #[test]
        fn in_time_and_not_too_often(
            rx in (2_u32..80, 1_u32..200),
            tx in (2_u32..80, 1_u32..200),
            events in vec((any::<bool>(), 1_u32..20, 0_u64..100), 1..200),
        ) {
            let of = |rx_event| if rx_event { rx } else { tx };
            let start = Instant::now();
            let mut now = start;
            let mut moderation = moderation(limit(rx.0, rx.1), limit(tx.0, tx.1));
            // What is not signalled: direction, frames, time.
            let mut waiting: Vec<(bool, u32, Instant)> = Vec::new();
            let mut last_signal = start;
            for (rx_event, frames, pause) in events {
                let next = now + usecs(pause);
                while let Some(due) = moderation.deadline().filter(|due| *due <= next) {
                    prop_assert!(moderation.expire(due));
                    for (direction, _, at) in waiting.drain(..) {
                        prop_assert!(due <= at + usecs(of(direction).1.into()), "in time");
                    }
                    let window = usecs(rx.1.min(tx.1).into());
                    prop_assert!(due >= last_signal + window, "one in a window");
                    last_signal = due;
                }
                now = next;
                let verdict = moderation.event(if rx_event { Rx } else { Tx }, frames, || now);
                waiting.push((rx_event, frames, now));
                let sum: u32 = waiting.iter().filter(|w| w.0 == rx_event).map(|w| w.1).sum();
                prop_assert_eq!(verdict == Verdict::Signal, sum >= of(rx_event).0);
                prop_assert_eq!(moderation.holds(), verdict != Verdict::Signal);
                if verdict == Verdict::Signal {
                    waiting.clear();
                    last_signal = now;
                } else {
                    prop_assert!(moderation.deadline().is_some());
                }
            }
        }
    }
}
