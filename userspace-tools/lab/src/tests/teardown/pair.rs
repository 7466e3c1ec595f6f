// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A connection between the guest and the wire side, both ends of which do what a test says.

use anyhow::{Context as _, Result};
use serde_json::{json, Value};

use super::super::{
    observe::{counter_until, guest_until},
    peer::Peer,
};
use crate::session::Session;

/// What both ends run.
pub(super) const SCRIPT: &str = concat!(
    include_str!("ends.py"),
    include_str!("../bpf.py"),
    include_str!("../commands.py")
);

/// Port of the listener.
pub(super) const PORT: u16 = 7000;
/// Offloads of the listener: setup and teardown.
pub(super) const FLAGS: u32 = 3;

/// A script in the guest and one on the wire side; the names of their sockets are "s" each.
pub(super) struct Pair<'a> {
    pub(super) session: &'a Session,
    pub(super) guest: Peer,
    pub(super) wire: Peer,
}

impl<'a> Pair<'a> {
    /// With a listener in the guest, which the card serves.
    pub(super) fn new(session: &'a Session) -> Result<Self> {
        Self::with(session, FLAGS)
    }

    /// The same with these offloads.
    pub(super) fn with(session: &'a Session, flags: u32) -> Result<Self> {
        Self::of(session, Peer::guest_script(session, SCRIPT)?, flags)
    }

    /// The same with a script that runs already.
    pub(super) fn of(session: &'a Session, mut guest: Peer, flags: u32) -> Result<Self> {
        let wire = Peer::wire_script(session, SCRIPT)?;
        guest.ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": flags}))?;
        if flags & 1 != 0 {
            counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
        }
        Ok(Self {
            session,
            guest,
            wire,
        })
    }

    /// A step of the guest's end.
    pub(super) fn host(&mut self, step: &Value) -> Result<Value> {
        self.guest.ask(step).context("in the guest")
    }

    /// A step of the other end.
    pub(super) fn peer(&mut self, step: &Value) -> Result<Value> {
        self.wire.ask(step).context("on the wire side")
    }

    /// Opens a connection to `host`.
    pub(super) fn open(&mut self, host: &str) -> Result<()> {
        self.peer(&json!({"do": "connect", "name": "s", "host": host, "port": PORT}))?;
        self.host(&json!({"do": "accept", "name": "s", "listener": "l"}))
            .map(drop)
    }

    /// The host knows nothing of any connection.
    pub(super) fn host_is_free(&self) -> Result<()> {
        host_is_free(self.session)
    }

    /// The card has ended all connections that it was given.
    pub(super) fn card_is_free(&self) -> Result<()> {
        card_is_free(self.session)
    }
}

/// The host knows nothing of any connection.
pub(super) fn host_is_free(session: &Session) -> Result<()> {
    guest_until(
        session,
        "no socket is left",
        "grep -q 'TCP: inuse [0-9]* orphan 0 tw 0 ' /proc/net/sockstat && \
         [ -z \"$(ss -Htan state all exclude listening)\" ]",
    )
    .or_else(|error| {
        let found = session.guest().run_ok("cat /proc/net/sockstat; ss -tani")?;
        Err(error.context(found))
    })
}

/// The card has ended all connections that it was given.
pub(super) fn card_is_free(session: &Session) -> Result<()> {
    counter_until(session, "nic.table.flows.used", |used| used == 0)?;
    for state in ["fin_wait_1", "fin_wait_2", "closing", "last_ack"] {
        let name = format!("nic.teardown.state.{state}");
        counter_until(session, &name, |count| count == 0)?;
    }
    counter_until(session, "nic.table.buffers.used", |used| used == 0)
}
