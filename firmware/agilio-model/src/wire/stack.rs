// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The port with everything around it: counters, capture, faults.
//!
//! While no fault is set, a frame goes straight through. Else it goes through the lane of its direction.
//! Frames to the wire that wait there are sent by a timer thread, which sleeps when none waits; frames from
//! the wire are let go by [`WirePort::recv`], which bounds its wait by them. Lock order: a lane, then the
//! capture.

use super::capture::{Capture, FrameDirection};
use super::faults::FaultSpec;
use super::lane::Lane;
use super::port::{Port, Received, Sent, MIN_FRAME};
use super::WirePort;
use crate::counters::{Counter, Counters, DropReason};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Tells the random numbers of the two directions apart.
const SALT_IN: u64 = 0x6e69;
const SALT_OUT: u64 = 0x7475_6f00;

/// A port, counted, captured and with faults as wished.
pub struct Wire {
    outlet: Arc<Outlet>,
    incoming: Mutex<Incoming>,
    /// Whether frames from the wire must go through their lane.
    in_active: AtomicBool,
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
        Ok(Arc::new(Self {
            incoming: Mutex::new(Incoming {
                lane: lane(),
                ready: VecDeque::new(),
            }),
            in_active: AtomicBool::new(false),
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
        let mut incoming = lock(&self.incoming);
        incoming.lane.set_spec(spec_in, SALT_IN);
        self.in_active
            .store(incoming.lane.is_active(), Ordering::Release);
        drop(incoming);
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

    /// Takes what the lane has ready, and says until when `recv` may wait otherwise.
    fn take_ready(&self, buf: &mut [u8]) -> Result<usize, Option<Instant>> {
        let mut incoming = lock(&self.incoming);
        let Incoming { lane, ready } = &mut *incoming;
        lane.poll(Instant::now(), &mut |frame, _| {
            ready.push_back(frame.to_vec())
        });
        while let Some(frame) = ready.pop_front() {
            if let Some(room) = buf.get_mut(..frame.len()) {
                room.copy_from_slice(&frame);
                return Ok(frame.len());
            }
            self.outlet.counters.drop_frame(DropReason::TooLong);
        }
        self.in_active.store(lane.is_active(), Ordering::Release);
        Err(lane.next_due())
    }

    fn push_incoming(&self, frame: &[u8]) {
        let mut incoming = lock(&self.incoming);
        let Incoming { lane, ready } = &mut *incoming;
        lane.push(Instant::now(), frame, false, &mut |frame, _| {
            ready.push_back(frame.to_vec());
        });
    }
}

impl WirePort for Wire {
    fn send(&self, frame: &[u8], csum_valid: bool) -> io::Result<()> {
        if self.outgoing.active.load(Ordering::Acquire) {
            self.outgoing.push(frame, csum_valid, &self.outlet)
        } else {
            self.outlet.send(frame, csum_valid)
        }
    }

    fn recv(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let mut due = None;
            if self.in_active.load(Ordering::Acquire) {
                match self.take_ready(buf) {
                    Ok(len) => return Ok(Some(len)),
                    Err(next) => due = next,
                }
            }
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            match self.outlet.port.recv(buf, timeout)? {
                Received::Frame(len) => {
                    let frame = &buf[..len];
                    if !self.outlet.note_received(frame) {
                        continue;
                    }
                    if !self.in_active.load(Ordering::Acquire) {
                        return Ok(Some(len));
                    }
                    self.push_incoming(frame);
                }
                Received::Dropped(reason) => self.outlet.counters.drop_frame(reason),
                Received::Timeout => {}
                Received::Stopped => return Ok(None),
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
    fn send(&self, frame: &[u8], csum_valid: bool) -> io::Result<()> {
        if frame.len() < MIN_FRAME {
            self.counters.drop_frame(DropReason::TooShort);
            return Ok(());
        }
        if let Some(capture) = &self.capture {
            if self.port.link_up() {
                capture.record(FrameDirection::Out, frame);
            }
        }
        match self.port.send(frame, csum_valid) {
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

    fn push(&self, frame: &[u8], csum_valid: bool, outlet: &Outlet) -> io::Result<()> {
        let mut out = self.lock();
        let due = out.lane.next_due();
        let mut result = Ok(());
        out.lane.push(
            Instant::now(),
            frame,
            csum_valid,
            &mut |frame, csum_valid| {
                if let Err(err) = outlet.send(frame, csum_valid) {
                    result = Err(err);
                }
            },
        );
        self.note_active(&out);
        if out.lane.next_due() != due {
            self.changed.notify_one();
        }
        result
    }

    fn run_timer(&self, outlet: &Outlet) {
        let mut out = self.lock();
        while !out.stopped {
            out.lane.poll(Instant::now(), &mut |frame, csum_valid| {
                // Counted there; nobody is here to be told.
                let _ = outlet.send(frame, csum_valid);
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
            let mut buf = [0; 2048];
            let mut next = || match self.far.recv(&mut buf, None).unwrap() {
                Received::Frame(_) => buf[0],
                other => panic!("{other:?}"),
            };
            (0..count).map(|_| next()).collect()
        }

        /// First bytes of the next `count` frames that the card gets.
        fn card_gets(&self, count: usize) -> Vec<u8> {
            let mut buf = [0; 2048];
            let mut next = || {
                assert!(self.wire.recv(&mut buf).unwrap().is_some());
                buf[0]
            };
            (0..count).map(|_| next()).collect()
        }
    }

    #[test]
    fn frames_pass_and_are_counted() {
        let bench = bench("");
        bench.wire.send(&[1; 60], true).unwrap();
        bench.far.send(&[2; 100], true).unwrap();
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
        bench.wire.send(&[1; 13], true).unwrap();
        assert_eq!(bench.counters.drops(DropReason::TooShort), 1);
        bench.far.send(&[2; 4000], true).unwrap();
        bench.far.send(&[2; 13], true).unwrap();
        bench.far.send(&[3; 60], true).unwrap();
        assert_eq!(bench.card_gets(1), [3]);
        assert_eq!(bench.counters.drops(DropReason::TooLong), 1);
        assert_eq!(bench.counters.drops(DropReason::TooShort), 2);
        drop(bench.far);
        bench.wire.send(&[1; 60], true).unwrap();
        assert_eq!(bench.counters.drops(DropReason::LinkDown), 1);
    }

    #[test]
    fn held_and_delayed_frames_leave_without_traffic() {
        let bench = bench("reorder=1,delay=1");
        bench.wire.send(&[1; 60], true).unwrap();
        bench.far.send(&[2; 60], true).unwrap();
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
                bench.far.send(&[id; 60], true).unwrap();
                bench.wire.send(&[id; 60], true).unwrap();
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
            bench.far.send(&[5; 60], true).unwrap();
            while bench.counters.faults(FaultKind::Dup) == 0 {
                thread::yield_now();
            }
            bench.wire.set_faults(FaultSpec::default()).unwrap();
            bench.far.send(&[6; 60], true).unwrap();
            assert_eq!(card.join().unwrap(), [5, 5, 6]);
        });
    }

    #[test]
    fn stop_ends_recv_and_the_timer() {
        let bench = bench("delay=60000");
        bench.wire.send(&[1; 60], true).unwrap();
        thread::scope(|scope| {
            let card = scope.spawn(|| bench.wire.recv(&mut [0; 64]).unwrap());
            bench.wire.stop();
            assert_eq!(card.join().unwrap(), None);
        });
        assert_eq!(bench.wire.recv(&mut [0; 64]).unwrap(), None);
    }
}
