// SPDX-License-Identifier: GPL-2.0 OR MIT

//! MSI-X vectors and their cause registers (ICR).
//!
//! A vector fires when its cause is 0, and sets the cause; the host writes 0 when it has seen to the work. What
//! happens in between is kept and fires at that write, so that no wake-up is lost.

use crate::counters::{Counter, Counters};
use acceltcp_abi::regs::ICR_UNMASKED;
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

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
}

impl Vector {
    fn forget(&mut self) {
        self.cause = ICR_UNMASKED;
        self.waiting = 0;
        self.pending = false;
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
    counters: Arc<Counters>,
}

impl Interrupts {
    /// `count` vectors.
    pub fn new(count: u16, counters: Arc<Counters>) -> Self {
        Self {
            vectors: (0..count).map(|_| Mutex::default()).collect(),
            counters,
        }
    }

    /// Number of vectors.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Something happened that the host must see to; `cause` is not 0. No such vector: nothing is done.
    pub fn raise(&self, vector: u8, cause: u8) {
        let Some(vector) = self.vectors.get(usize::from(vector)) else {
            return;
        };
        let mut vector = vector.lock();
        if vector.cause == ICR_UNMASKED {
            vector.cause = cause;
            vector.fire(&self.counters);
        } else {
            vector.waiting = cause;
        }
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

    /// Forgets every cause and event. The eventfds are the VMM's and stay.
    pub fn reset(&self) {
        for vector in &self.vectors {
            vector.lock().forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use acceltcp_abi::regs::{ICR_LSC, ICR_RXTX};
    use std::io::Read;
    use std::os::fd::OwnedFd;

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
}
