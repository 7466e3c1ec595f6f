// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Offloads for servers that know nothing of them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Result};

use crate::session::{Cmd, Session};

/// The operators' tool, as the guest sees it.
pub const TOOL: &str = "/build/bin/acceltcp";

/// How long the card may take to get the listener's rule.
const RULE: Duration = Duration::from_secs(20);

/// Between two looks at the card.
const INTERVAL: Duration = Duration::from_millis(10);

/// Has the policy give `offload` to all listeners of the guest, and nothing else.
///
/// # Errors
///
/// The guest's module does not take the rule.
pub fn ask(session: &Session, offload: &[String]) -> Result<()> {
    let guest = session.guest();
    if offload.is_empty() {
        // Rules of an earlier row; other drivers have none.
        guest.run(Cmd::new([TOOL, "policy", "flush"]))?;
        return Ok(());
    }
    guest.run_ok(Cmd::new([TOOL, "policy", "flush"]))?;
    let list = offload.join(",");
    guest.run_ok(Cmd::new([TOOL, "policy", "add", "--offload", &list]))?;
    Ok(())
}

/// Waits until a card has a rule for a listener.
///
/// # Errors
///
/// It gets none in time, or a card's process is gone.
pub fn wait_rule(session: &Session) -> Result<()> {
    let end = Instant::now() + RULE;
    loop {
        for card in session.cards() {
            if card.counter("nic.table.listeners.used")? > 0 {
                return Ok(());
            }
        }
        ensure!(
            Instant::now() < end,
            "no card has a rule for the server's listener after {RULE:?}"
        );
        thread::sleep(INTERVAL);
    }
}
