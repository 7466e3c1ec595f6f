// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The port with everything around it: counters, capture, faults.
//!
//! While no fault is set, a frame goes straight through. Else it goes through the lane of its direction.
//! Frames to the wire that wait there are sent by a timer thread, which sleeps when none waits; frames from
//! the wire have a lane for each queue and are let go by [`WirePort::take`], and [`WirePort::wait`] bounds its wait by
//! them. Lock order: a lane, then the capture.

use super::buffer::FrameBuf;
use super::capture::{Capture, FrameDirection};
use super::faults::FaultSpec;
use super::lane::{Lane, Mark};
use super::port::{Port, Sent, Taken, MIN_FRAME};
use super::WirePort;
use crate::counters::{Counter, Counters, DropReason};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Tells the random numbers of the two directions apart.
const SALT_IN: u64 = 0x6e69;
const SALT_OUT: u64 = 0x7475_6f00;

/// A port, counted, captured and with faults as wished.
pub struct Wire {
    outlet: Arc<Outlet>,
    /// Of each queue.
    incoming: Vec<Incoming>,
    outgoing: Arc<Outgoing>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

/// The port with what is noted of each frame on the wire.
struct Outlet {
    port: Box<dyn Port>,
    capture: Option<Capture>,
    counters: Arc<Counters>,
}

struct Incoming {
    lane: Mutex<InLane>,
    /// Whether frames from the wire must go through the lane.
    active: AtomicBool,
}

struct InLane {
    lane: Lane,
    /// Frames that left the lane.
    ready: VecDeque<Vec<u8>>,
}

struct Outgoing {
    lane: Mutex<OutLane>,
    /// Whether frames to the wire must go through the lane.
    active: AtomicBool,
    /// Something else is due first, or the end has come.
    changed: Condvar,
}

struct OutLane {
    lane: Lane,
    stopped: bool,
}

impl Wire {
    /// Puts the layers around `port`, without faults.
    pub fn new(
        port: Box<dyn Port>,
        capture: Option<Capture>,
        counters: Arc<Counters>,
    ) -> io::Result<Arc<Self>> {
        let lane = || Lane::new(counters.clone());
        let incoming = |_| Incoming {
            lane: Mutex::new(InLane {
                lane: lane(),
                ready: VecDeque::new(),
            }),
            active: AtomicBool::new(false),
        };
        Ok(Arc::new(Self {
            incoming: (0..port.queues()).map(incoming).collect(),
            outgoing: Arc::new(Outgoing {
                lane: Mutex::new(OutLane {
                    lane: lane(),
                    stopped: false,
                }),
                active: AtomicBool::new(false),
                changed: Condvar::new(),
            }),
            timer: Mutex::new(None),
            outlet: Arc::new(Outlet {
                port,
                capture,
                counters,
            }),
        }))
    }

    /// Whether there is another end.
    pub fn link_up(&self) -> bool {
        self.outlet.port.link_up()
    }

    /// Replaces the faults. Frames that are delayed already keep their time.
    pub fn set_faults(&self, spec: FaultSpec) -> io::Result<()> {
        let none = FaultSpec::default();
        let spec_in = if spec.dir.is_in() { spec } else { none };
        let spec_out = if spec.dir.is_out() { spec } else { none };
        if !spec_out.is_none() {
            self.start_timer()?;
        }
        for (salt, incoming) in (SALT_IN..=u64::MAX).zip(&self.incoming) {
            let mut lane = lock(&incoming.lane);
            lane.lane.set_spec(spec_in, salt);
            incoming.note_active(&lane);
        }
        let mut out = self.outgoing.lock();
        out.lane.set_spec(spec_out, SALT_OUT);
        self.outgoing.note_active(&out);
        Ok(())
    }

    /// Starts the thread that sends what waited long enough.
    fn start_timer(&self) -> io::Result<()> {
        let mut timer = lock(&self.timer);
        if timer.is_none() {
            let (outlet, outgoing) = (self.outlet.clone(), self.outgoing.clone());
            let run = move || outgoing.run_timer(&outlet);
            *timer = Some(
                thread::Builder::new()
                    .name("wire-timer".into())
                    .spawn(run)?,
            );
        }
        Ok(())
    }

    fn incoming(&self, queue: usize) -> io::Result<&Incoming> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the port has no such queue");
        self.incoming.get(queue).ok_or_else(missing)
    }
}

impl Incoming {
    fn note_active(&self, lane: &InLane) {
        let active = lane.lane.is_active() || !lane.ready.is_empty();
        self.active.store(active, Ordering::Release);
    }

    fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Takes a frame that the lane lets go, or leaves the lane if there will be none.
    fn take_ready(&self, buffer: &mut FrameBuf, counters: &Counters) -> bool {
        let mut lane = lock(&self.lane);
        let InLane {
            lane: faults,
            ready,
        } = &mut *lane;
        faults.poll(Instant::now(), &mut |frame, _| {
            ready.push_back(frame.to_vec());
        });
        while let Some(frame) = ready.pop_front() {
            if buffer.copy(&frame) {
                return true;
            }
            counters.drop_frame(DropReason::TooLong);
        }
        self.note_active(&lane);
        false
    }

    fn push(&self, frame: &[u8]) {
        let mut lane = lock(&self.lane);
        let InLane { lane, ready } = &mut *lane;
        lane.push(Instant::now(), frame, Mark::default(), &mut |frame, _| {
            ready.push_back(frame.to_vec());
        });
    }

    /// How long to wait for the next frame of the lane, if one is there.
    fn patience(&self) -> Option<Duration> {
        if !self.is_active() {
            return None;
        }
        let due = lock(&self.lane).lane.next_due()?;
        Some(due.saturating_duration_since(Instant::now()))
    }
}

impl WirePort for Wire {
    fn queues(&self) -> usize {
        self.incoming.len()
    }

    fn send(&self, queue: usize, frame: &[u8], csum_valid: bool) -> io::Result<()> {
        let mark = Mark { csum_valid, queue };
        if self.outgoing.active.load(Ordering::Acquire) {
            self.outgoing.push(frame, mark, &self.outlet)
        } else {
            self.outlet.send(frame, mark)
        }
    }

    fn wait(&self, queue: usize) -> io::Result<bool> {
        let patience = self.incoming(queue)?.patience();
        self.outlet.port.wait(queue, patience)
    }

    fn take(&self, queue: usize, buffer: &mut FrameBuf) -> io::Result<bool> {
        let incoming = self.incoming(queue)?;
        loop {
            if incoming.is_active() && incoming.take_ready(buffer, &self.outlet.counters) {
                return Ok(true);
            }
            match self.outlet.port.take(queue, buffer)? {
                Taken::Frame => {
                    if !self.outlet.note_received(buffer.frame()) {
                        continue;
                    }
                    if !incoming.is_active() {
                        return Ok(true);
                    }
                    incoming.push(buffer.frame());
                }
                Taken::Dropped(reason) => self.outlet.counters.drop_frame(reason),
                Taken::Nothing => return Ok(false),
            }
        }
    }

    fn stop(&self) {
        self.outgoing.lock().stopped = true;
        self.outgoing.changed.notify_all();
        if let Some(timer) = lock(&self.timer).take() {
            // A panic of the thread was reported when it happened.
            let _ = timer.join();
        }
        self.outlet.port.stop();
        if let Some(capture) = &self.outlet.capture {
            capture.flush();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Outlet {
    /// Sends a frame and counts what became of it. The capture has it before the other end can answer.
    fn send(&self, frame: &[u8], mark: Mark) -> io::Result<()> {
        if frame.len() < MIN_FRAME {
            self.counters.drop_frame(DropReason::TooShort);
            return Ok(());
        }
        if let Some(capture) = &self.capture {
            if self.port.link_up() {
                capture.record(FrameDirection::Out, frame);
            }
        }
        match self.port.send(mark.queue, frame, mark.csum_valid) {
            Ok(Sent::Done) => {
                let bytes = frame.len();
                self.counters
                    .add_frame(Counter::WireTxPackets, Counter::WireTxBytes, bytes);
            }
            Ok(Sent::NoLink) => self.counters.drop_frame(DropReason::LinkDown),
            Ok(Sent::Full) => self.counters.drop_frame(DropReason::WireFull),
            Err(err) => {
                self.counters.drop_frame(DropReason::WireError);
                return Err(err);
            }
        }
        Ok(())
    }

    /// Notes a frame from the wire; `false` when it is of no use.
    fn note_received(&self, frame: &[u8]) -> bool {
        if frame.len() < MIN_FRAME {
            self.counters.drop_frame(DropReason::TooShort);
            return false;
        }
        self.counters
            .add_frame(Counter::WireRxPackets, Counter::WireRxBytes, frame.len());
        if let Some(capture) = &self.capture {
            capture.record(FrameDirection::In, frame);
        }
        true
    }
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, OutLane> {
        lock(&self.lane)
    }

    fn note_active(&self, out: &OutLane) {
        self.active.store(out.lane.is_active(), Ordering::Release);
    }

    fn push(&self, frame: &[u8], mark: Mark, outlet: &Outlet) -> io::Result<()> {
        let mut out = self.lock();
        let due = out.lane.next_due();
        let mut result = Ok(());
        out.lane
            .push(Instant::now(), frame, mark, &mut |frame, mark| {
                if let Err(err) = outlet.send(frame, mark) {
                    result = Err(err);
                }
            });
        self.note_active(&out);
        if out.lane.next_due() != due {
            self.changed.notify_one();
        }
        result
    }

    fn run_timer(&self, outlet: &Outlet) {
        let mut out = self.lock();
        while !out.stopped {
            out.lane.poll(Instant::now(), &mut |frame, mark| {
                // Counted there; nobody is here to be told.
                let _ = outlet.send(frame, mark);
            });
            self.note_active(&out);
            out = match out.lane.next_due() {
                Some(due) => {
                    let wait = due.saturating_duration_since(Instant::now());
                    let woken = self.changed.wait_timeout(out, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(out);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// Takes a lock whose data stay usable when a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::FaultKind;
    use crate::wire::unix::UnixPort;

    struct Bench {
        wire: Arc<Wire>,
        far: UnixPort,
        counters: Arc<Counters>,
    }

    fn bench(faults: &str) -> Bench {
        let (near, far) = UnixPort::pair().unwrap();
        let counters = Arc::new(Counters::new());
        let wire = Wire::new(Box::new(near), None, counters.clone()).unwrap();
        wire.set_faults(faults.parse().unwrap()).unwrap();
        Bench {
            wire,
            far,
            counters,
        }
    }

    impl Bench {
        /// First bytes of the next `count` frames that come out of the wire's far end.
        fn far_gets(&self, count: usize) -> Vec<u8> {
            let mut buffer = FrameBuf::new(2048);
            let mut next = || loop {
                match self.far.take(0, &mut buffer).unwrap() {
                    Taken::Frame => break buffer.frame()[0],
                    Taken::Nothing => assert!(self.far.wait(0, None).unwrap()),
                    other => panic!("{other:?}"),
                }
            };
            (0..count).map(|_| next()).collect()
        }

        /// First bytes of the next `count` frames that the card gets.
        fn card_gets(&self, count: usize) -> Vec<u8> {
            let mut buffer = FrameBuf::new(2048);
            let mut next = || {
                assert!(self.wire.recv(0, &mut buffer).unwrap());
                buffer.frame()[0]
            };
            (0..count).map(|_| next()).collect()
        }
    }

    #[test]
    fn frames_pass_and_are_counted() {
        let bench = bench("");
        bench.wire.send(0, &[1; 60], true).unwrap();
        bench.far.send(0, &[2; 100], true).unwrap();
        assert_eq!(bench.far_gets(1), [1]);
        assert_eq!(bench.card_gets(1), [2]);
        let counts = bench.counters.snapshot();
        assert_eq!(counts["wire.tx.packets"], 1);
        assert_eq!(counts["wire.tx.bytes"], 60);
        assert_eq!(counts["wire.rx.packets"], 1);
        assert_eq!(counts["wire.rx.bytes"], 100);
        assert!(lock(&bench.wire.timer).is_none());
    }

    #[test]
    fn every_drop_has_its_reason() {
        let bench = bench("");
        bench.wire.send(0, &[1; 13], true).unwrap();
        assert_eq!(bench.counters.drops(DropReason::TooShort), 1);
        bench.far.send(0, &[2; 4000], true).unwrap();
        bench.far.send(0, &[2; 13], true).unwrap();
        bench.far.send(0, &[3; 60], true).unwrap();
        assert_eq!(bench.card_gets(1), [3]);
        assert_eq!(bench.counters.drops(DropReason::TooLong), 1);
        assert_eq!(bench.counters.drops(DropReason::TooShort), 2);
        drop(bench.far);
        bench.wire.send(0, &[1; 60], true).unwrap();
        assert_eq!(bench.counters.drops(DropReason::LinkDown), 1);
    }

    #[test]
    fn held_and_delayed_frames_leave_without_traffic() {
        let bench = bench("reorder=1,delay=1");
        bench.wire.send(0, &[1; 60], true).unwrap();
        bench.far.send(0, &[2; 60], true).unwrap();
        assert_eq!(bench.far_gets(1), [1]);
        assert_eq!(bench.card_gets(1), [2]);
        assert_eq!(bench.counters.faults(FaultKind::Reorder), 2);
        assert_eq!(bench.counters.faults(FaultKind::Delay), 2);
    }

    #[test]
    fn faults_keep_to_their_direction() {
        let bench = bench("dup=1,dir=in");
        let both_ways = |first: u8| {
            for id in [first, first + 1] {
                bench.far.send(0, &[id; 60], true).unwrap();
                bench.wire.send(0, &[id; 60], true).unwrap();
            }
        };
        both_ways(1);
        assert_eq!(bench.card_gets(4), [1, 1, 2, 2]);
        assert_eq!(bench.far_gets(2), [1, 2]);
        let out = "dup=1,dir=out".parse().unwrap();
        bench.wire.set_faults(out).unwrap();
        both_ways(3);
        assert_eq!(bench.card_gets(2), [3, 4]);
        assert_eq!(bench.far_gets(4), [3, 3, 4, 4]);
    }

    #[test]
    fn faults_can_be_replaced_while_recv_waits() {
        let bench = bench("");
        thread::scope(|scope| {
            let card = scope.spawn(|| bench.card_gets(3));
            bench.wire.set_faults("dup=1".parse().unwrap()).unwrap();
            bench.far.send(0, &[5; 60], true).unwrap();
            while bench.counters.faults(FaultKind::Dup) == 0 {
                thread::yield_now();
            }
            bench.wire.set_faults(FaultSpec::default()).unwrap();
            bench.far.send(0, &[6; 60], true).unwrap();
            assert_eq!(card.join().unwrap(), [5, 5, 6]);
        });
    }

    #[test]
    fn stop_ends_recv_and_the_timer() {
        let bench = bench("delay=60000");
        bench.wire.send(0, &[1; 60], true).unwrap();
        thread::scope(|scope| {
            let card = scope.spawn(|| bench.wire.recv(0, &mut FrameBuf::new(64)).unwrap());
            bench.wire.stop();
            assert!(!card.join().unwrap());
        });
        assert!(!bench.wire.recv(0, &mut FrameBuf::new(64)).unwrap());
    }
}
