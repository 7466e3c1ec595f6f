// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the control socket can do to the card.

use super::card::Card;
use super::datapath::Condition;
use super::hostile::Hostile;
use crate::control::{CardAction, CardControl};
use crate::counters::{FaultKind, Snapshot};
use crate::wire::{FaultSpec, Wire};
use acceltcp_abi::regs;
use parking_lot::Mutex;
use std::sync::Arc;

/// A card and its wire, as the control socket drives them.
pub struct Controller {
    card: Arc<Card>,
    wire: Arc<Wire>,
    state: Mutex<State>,
}

struct State {
    /// Seed of the last fault spec, for everything random.
    seed: u64,
    hostile: Option<Hostile>,
}

impl Controller {
    /// A controller of `card`, whose port is `wire` with the faults `spec`.
    pub fn new(card: Arc<Card>, wire: Arc<Wire>, spec: FaultSpec) -> Self {
        Self {
            card,
            wire,
            state: Mutex::new(State {
                seed: spec.seed,
                hostile: None,
            }),
        }
    }
}

impl CardControl for Controller {
    fn counters(&self) -> Snapshot {
        self.card.snapshot()
    }

    fn set_faults(&self, spec: &str) -> Result<(), String> {
        let spec: FaultSpec = spec.parse().map_err(|error| format!("{error}"))?;
        self.state.lock().seed = spec.seed;
        self.wire
            .set_faults(spec)
            .map_err(|error| format!("cannot inject faults: {error}"))
    }

    fn set_link(&self, up: bool) {
        self.card.set_cable(up);
    }

    fn card(&self, action: CardAction) -> Result<(), String> {
        let mut state = self.state.lock();
        if action == CardAction::Garbage {
            if state.hostile.is_none() {
                let hostile = Hostile::start(self.card.clone(), state.seed)
                    .map_err(|error| format!("cannot start a thread: {error}"))?;
                state.hostile = Some(hostile);
            }
            return Ok(());
        }
        // Whatever comes next ends the torment.
        if let Some(hostile) = state.hostile.take() {
            hostile.stop();
        }
        match action {
            CardAction::Stall => self.card.stall(),
            CardAction::Resume => self.card.resume(),
            CardAction::Die => self.card.die(),
            CardAction::Revive => self.card.revive(),
            CardAction::Reset => self.card.reset_by_itself(),
            CardAction::Garbage => {}
        }
        Ok(())
    }
}

impl Card {
    /// Stops working on frames; registers, updates and doorbells are still taken.
    pub fn stall(&self) {
        self.counters.fault(FaultKind::Stall);
        let mut datapath = self.datapath.write();
        if datapath.condition == Condition::Running {
            datapath.condition = Condition::Stalled;
        }
    }

    /// Ends a stall, and carries on with what has come in meanwhile. Nothing happens when there is none.
    pub fn resume(&self) {
        let mut datapath = self.datapath.write();
        if datapath.condition != Condition::Stalled {
            return;
        }
        datapath.condition = Condition::Running;
        drop(datapath);
        self.wake_all();
    }

    /// The firmware dies: no ring moves, no update is answered.
    pub fn die(&self) {
        self.counters.fault(FaultKind::Die);
        self.datapath.write().condition = Condition::Dead;
    }

    /// Dead firmware is loaded anew: the card is as after a reset of its own. Nothing happens when it lives.
    pub fn revive(&self) {
        let mut datapath = self.datapath.write();
        if datapath.condition != Condition::Dead {
            return;
        }
        datapath.condition = Condition::Running;
        drop(datapath);
        self.reset_by_itself();
    }

    /// The card loses all its state, and tells the host by a link interrupt, which is all that it can do.
    pub fn reset_by_itself(&self) {
        self.counters.fault(FaultKind::Reset);
        let mut regs = self.regs.lock();
        let mut datapath = self.datapath.write();
        let vector = datapath.settings.lsc_vector;
        self.reset_state(&mut regs, &mut datapath);
        self.irqs.raise(vector, regs::ICR_LSC);
    }
}
