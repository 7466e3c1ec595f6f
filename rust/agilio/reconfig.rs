// SPDX-License-Identifier: GPL-2.0

//! The reconfiguration handshake and the mailbox.
//!
//! The host writes fields of the control BAR, then what it changed to UPDATE, then rings the configuration
//! queue; the card clears UPDATE when it is done (`nfp_net_reconfig()` of Linux).

use super::regs::Regs;
use acceltcp_abi::{
    mbox,
    regs::{
        self,
        update, //
    }, //
};
use core::ops::DerefMut;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// How long the card may take.
const TIMEOUT: Delta = Delta::from_millis(5000);
/// Between two looks at UPDATE.
const POLL: Delta = Delta::from_micros(200);

/// State of the handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The card has answered the last request.
    Idle,
    /// A request was posted that nobody waits for.
    Posted,
    /// The card has not answered in time.
    Dead,
}

/// The configuration channel of a card. Its lock is the innermost of the driver's sleeping locks.
#[pin_data]
pub(crate) struct Reconfig<'a> {
    regs: Arc<Regs<'a>>,
    #[pin]
    state: Mutex<State>,
    /// Requests that failed or were not answered.
    pub(crate) errors: Atomic<u64>,
}

/// The right to write fields of the control BAR and to have the card take them.
pub(crate) struct Session<'s, 'a> {
    regs: &'s Regs<'a>,
    state: &'s mut State,
    errors: &'s Atomic<u64>,
}

/// What the card makes of the last request.
enum Progress {
    Busy,
    /// With the word of UPDATE, in which may be [`update::ERR`].
    Done(u32),
    /// The function does not decode its memory, as while the PCI core resets it.
    Gone,
}

impl Progress {
    fn read(regs: &Regs<'_>) -> Self {
        let word = regs.read32(regs::UPDATE);
        // Bridges answer for a function that is not there, with ones or with zeros. The version is neither.
        if word == !0 || matches!(regs.read32(regs::VERSION), 0 | u32::MAX) {
            Self::Gone
        } else if word == 0 || word & update::ERR != 0 {
            Self::Done(word)
        } else {
            Self::Busy
        }
    }
}

impl<'a> Reconfig<'a> {
    /// The configuration channel of the card behind `regs`.
    pub(crate) fn new(regs: Arc<Regs<'a>>) -> impl PinInit<Self> {
        pin_init!(Self {
            regs,
            state <- new_mutex!(State::Idle),
            errors: Atomic::new(0),
        })
    }

    /// Runs `f`, which writes fields and calls [`Session::update`], alone (process context).
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Session<'_, 'a>) -> R) -> R {
        let mut state = self.state.lock();
        f(&mut Session {
            regs: &self.regs,
            state: state.deref_mut(),
            errors: &self.errors,
        })
    }

    /// Gives a card that has not answered another chance, as nobody asks for its heartbeat while its device is down.
    pub(crate) fn retry(&self) {
        let dead = *self.state.lock() == State::Dead;
        if dead {
            let _ = self.heartbeat();
        }
    }

    /// Asks the card for a sign of life without waiting, and returns whether it gave one since the last
    /// call.
    pub(crate) fn heartbeat(&self) -> bool {
        let mut state = self.state.lock();
        if !matches!(Progress::read(&self.regs), Progress::Done(_)) {
            *state = State::Dead;
            return false;
        }
        self.regs.write32(regs::UPDATE, update::GEN);
        self.regs.ring(self.regs.config_doorbell(), 1);
        let alive = *state != State::Dead;
        *state = State::Posted;
        alive
    }
}

impl<'a> Session<'_, 'a> {
    /// The registers.
    pub(crate) fn regs(&self) -> &Regs<'a> {
        self.regs
    }

    /// Has the card take what `what` says. `EIO` when it refuses, `ETIMEDOUT` when it does not answer; once
    /// it has not, every further call fails at once with `ENODEV` until the heartbeat finds it again.
    pub(crate) fn update(&mut self, what: u32) -> Result {
        if *self.state == State::Dead {
            return Err(ENODEV);
        }
        if *self.state == State::Posted {
            // What was posted was asked of the state that is being replaced; its result does not matter.
            let _ = self.wait()?;
        }
        self.regs.write32(regs::UPDATE, what);
        self.regs.ring(self.regs.config_doorbell(), 1);
        if self.wait()? & update::ERR != 0 {
            self.count_error();
            return Err(EIO);
        }
        Ok(())
    }

    /// Runs mailbox command `command`, whose value `fill` writes to the place that it gets.
    pub(crate) fn mailbox(
        &mut self,
        place: usize,
        command: u32,
        fill: impl FnOnce(&Regs<'a>, usize),
    ) -> Result {
        fill(self.regs, place + mbox::VAL);
        self.regs.write64(place + mbox::CMD, u64::from(command));
        self.update(update::MBOX)?;
        match self.regs.read32(place + mbox::RET) {
            0 => Ok(()),
            errno => {
                self.count_error();
                // Errnos are small; anything else is the card's mistake.
                Err(i32::try_from(errno)
                    .ok()
                    .filter(|errno| *errno < 4096)
                    .map_or(EIO, |errno| Error::from_errno(-errno)))
            }
        }
    }

    /// Waits for the card and returns UPDATE.
    fn wait(&mut self) -> Result<u32> {
        let start = Instant::<Monotonic>::now();
        loop {
            match Progress::read(self.regs) {
                Progress::Done(word) => {
                    *self.state = State::Idle;
                    return Ok(word);
                }
                Progress::Busy if start.elapsed() <= TIMEOUT => fsleep(POLL),
                Progress::Busy | Progress::Gone => {
                    *self.state = State::Dead;
                    self.count_error();
                    return Err(ETIMEDOUT);
                }
            }
        }
    }

    fn count_error(&self) {
        self.errors.add(1, Relaxed);
    }
}
