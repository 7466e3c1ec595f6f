// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the control socket can do to the card.

use super::card::Card;
use super::datapath::Condition;
use crate::counters::FaultKind;
use acceltcp_abi::regs;

impl Card {
    /// Stops working; registers and doorbells are still taken.
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
        self.reconfigure_if_asked();
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
