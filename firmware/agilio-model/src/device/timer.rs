// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One thread that sleeps until the earliest of many deadlines.
//!
//! The deadlines themselves are kept by their owner, who is asked for all of them when one has come. The timer
//! knows only when to ask: too early costs a look, too late cannot be.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

#[derive(Debug, Default)]
struct State {
    /// When to look at the deadlines; `None` while there is none.
    wake_at: Option<Instant>,
    stopped: bool,
}

/// What the thread sleeps on.
#[derive(Debug, Default)]
pub struct Timer {
    state: Mutex<State>,
    changed: Condvar,
}

impl Timer {
    /// There is a deadline at `at`. Wakes the thread only when that is earlier than what it sleeps for.
    pub fn arm(&self, at: Instant) {
        let mut state = self.state.lock();
        if state.wake_at.is_none_or(|wake_at| at < wake_at) {
            state.wake_at = Some(at);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The thread: until [`Timer::stop`], calls `expire` when a deadline has come. That sees to whatever is due at
    /// the time it is given and returns the next deadline. It may be called with nothing due.
    pub fn serve(&self, mut expire: impl FnMut(Instant) -> Option<Instant>) {
        let mut state = self.state.lock();
        while !state.stopped {
            match state.wake_at {
                None => self.changed.wait(&mut state),
                Some(at) if Instant::now() < at => {
                    self.changed.wait_until(&mut state, at);
                }
                Some(_) => {
                    // What is armed from here on may be missed by the look, but not in the state.
                    state.wake_at = None;
                    let next = MutexGuard::unlocked(&mut state, || expire(Instant::now()));
                    state.wake_at = [state.wake_at, next].into_iter().flatten().min();
                }
            }
        }
    }

    /// Ends the thread, for good.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);
    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn the_earliest_deadline_wakes() {
        let timer = Arc::new(Timer::default());
        let (looked, looks) = channel();
        let start = Instant::now();
        let soon = start + Duration::from_millis(1);
        let after = start + Duration::from_millis(2);
        let served = timer.clone();
        let thread = thread::spawn(move || {
            let mut next = Some(after);
            served.serve(|now| {
                looked.send(now).unwrap();
                next.take()
            });
        });
        timer.arm(start + HOUR);
        timer.arm(soon);
        assert!(looks.recv_timeout(PATIENCE).unwrap() >= soon);
        assert!(looks.recv_timeout(PATIENCE).unwrap() >= after);
        // It sleeps without a deadline now.
        timer.arm(Instant::now());
        looks.recv_timeout(PATIENCE).unwrap();
        timer.arm(start + HOUR);
        timer.stop();
        thread.join().unwrap();
        assert!(looks.try_recv().is_err());
    }

    #[test]
    fn a_later_deadline_changes_nothing() {
        let timer = Timer::default();
        let start = Instant::now();
        timer.arm(start + HOUR);
        timer.arm(start + HOUR * 2);
        assert_eq!(timer.state.lock().wake_at, Some(start + HOUR));
        timer.arm(start);
        assert_eq!(timer.state.lock().wake_at, Some(start));
    }

    #[test]
    fn stops_before_it_starts() {
        let timer = Timer::default();
        timer.stop();
        timer.arm(Instant::now());
        timer.serve(|_| panic!("stopped"));
    }
}
