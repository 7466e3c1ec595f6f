// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control socket: one JSON object a line in, one a line out.
//!
//! | request | answer |
//! |---|---|
//! | `{"cmd":"counters"}` | `{"ok":true,"counters":{NAME:NUMBER,...}}` |
//! | `{"cmd":"faults","spec":"loss=0.1"}` | `{"ok":true}` |
//! | `{"cmd":"link","up":false}` | `{"ok":true}` |
//! | `{"cmd":"card","action":"stall"}` | `{"ok":true}` |
//! | anything else | `{"ok":false,"error":"..."}` |

mod request;
mod server;

pub use server::ControlServer;

use crate::counters::Snapshot;
use serde::Deserialize;

/// What can be done to the card itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CardAction {
    /// Stop working on rings, but take doorbells and answer updates.
    Stall,
    /// End a stall.
    Resume,
    /// The firmware dies: no ring moves and no reconfiguration is answered.
    Die,
    /// The firmware comes back, as after a reset.
    Revive,
    /// The card resets itself: rings off, registers at their defaults.
    Reset,
    /// Give the host random descriptors and lengths.
    Garbage,
}

/// A card as the control socket drives it. Called from the control thread.
pub trait CardControl: Send + Sync {
    /// All counters.
    fn counters(&self) -> Snapshot;
    /// Replaces the faults on the wire; the empty spec removes them. `Err` with what is wrong with the spec.
    fn set_faults(&self, spec: &str) -> Result<(), String>;
    /// Pulls out or plugs in the cable.
    fn set_link(&self, up: bool);
    /// Does `action`. `Err` with why it cannot be done.
    fn card(&self, action: CardAction) -> Result<(), String>;
}
