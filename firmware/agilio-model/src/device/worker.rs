// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The threads that move packets. They sleep until a doorbell or a frame.

use super::card::Card;
use super::tx::Progress;
use crate::wire::FrameBuf;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

/// Longest frame that a wire port hands over.
const MAX_FRAME: usize = 0x1_0000;
/// Pause after a wire port failed, so that a broken one does not eat a core.
const WIRE_RETRY: Duration = Duration::from_millis(100);

/// Priority of the threads, as of `nice`.
const PRIORITY: i32 = -10;

/// What wakes a worker: a bit for each TX ring.
#[derive(Debug, Default)]
pub struct Waker {
    rings: AtomicU64,
    thread: OnceLock<Thread>,
}

impl Waker {
    /// Adds `rings` to the worker's tasks.
    pub fn wake(&self, rings: u64) {
        if self.rings.fetch_or(rings, Ordering::AcqRel) == 0 {
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    /// Takes the tasks.
    fn take(&self) -> u64 {
        self.rings.swap(0, Ordering::AcqRel)
    }
}

/// The running threads.
pub struct Workers {
    card: Arc<Card>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads of `card`. To be called once, before the host can ring a doorbell.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn start(card: &Arc<Card>) -> io::Result<Self> {
        let mut workers = Self {
            card: card.clone(),
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        };
        for number in 0..card.wakers.len() {
            let (card, stop) = (workers.card.clone(), workers.stop.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || serve_rings(&card, number, &stop))?;
            let waker = &workers.card.wakers[number];
            waker.thread.get_or_init(|| thread.thread().clone());
            workers.threads.push(thread);
        }
        let served = workers.card.clone();
        workers.threads.push(
            thread::Builder::new()
                .name("deadlines".to_owned())
                .spawn(move || served.irqs.serve_deadlines())?,
        );
        let card = workers.card.clone();
        workers.threads.push(
            thread::Builder::new()
                .name("clock".to_owned())
                .spawn(move || card.serve_clock())?,
        );
        for queue in 0..workers.card.wire.queues() {
            let (card, stop) = (workers.card.clone(), workers.stop.clone());
            let thread = thread::Builder::new()
                .name(format!("wire-{queue}"))
                .spawn(move || serve_wire(&card, queue, &stop))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Ends the threads and waits for them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.card.wire.stop();
        self.card.irqs.stop();
        self.card.stop_clock();
        for thread in self.threads {
            thread.thread().unpark();
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        if let Some(capture) = &self.card.host_capture {
            capture.flush();
        }
    }
}

/// Goes before the programs of this machine: a real card has cores of its own, and does not lose frames because the
/// senders are busy sending. Without the right to do so the model is as good as it gets.
fn go_first() {
    let _ = rustix::process::setpriority_process(None, PRIORITY);
}

fn serve_rings(card: &Card, number: usize, stop: &AtomicBool) {
    go_first();
    let waker = &card.wakers[number];
    while !stop.load(Ordering::Acquire) {
        let mut rings = waker.take();
        if rings == 0 {
            thread::park();
            continue;
        }
        while rings != 0 {
            let ring = rings.trailing_zeros() as usize;
            rings &= rings - 1;
            if card.service_tx(ring) == Progress::More {
                waker.wake(1 << ring);
            }
        }
    }
}

fn serve_wire(card: &Card, queue: usize, stop: &AtomicBool) {
    go_first();
    let mut buffer = FrameBuf::new(MAX_FRAME);
    loop {
        let served = match card.wire.wait(queue) {
            Ok(true) => card.service_wire(queue, &mut buffer),
            Ok(false) => break,
            Err(err) => Err(err),
        };
        match served {
            Ok(()) => {}
            Err(_) if stop.load(Ordering::Acquire) => break,
            Err(_) => thread::sleep(WIRE_RETRY),
        }
    }
}
