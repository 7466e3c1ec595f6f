// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Offloads for servers that know nothing of them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Result};

use crate::session::{Cmd, Session};

/// The library whose `listen()` asks for offloads, as the guest sees it.
const LIBRARY: &str = "/build/lib/libacceltcp_preload.so";

/// How long the card may take to get the listener's rule.
const RULE: Duration = Duration::from_secs(20);

/// Between two looks at the card.
const INTERVAL: Duration = Duration::from_millis(10);

/// Has the listeners of a command ask for offloads.
pub fn ask(cmd: Cmd, offload: &[String]) -> Cmd {
    match offload {
        [] => cmd,
        names => cmd
            .env("LD_PRELOAD", LIBRARY)
            .env("ACCELTCP_OFFLOAD", &names.join(",")),
    }
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
