// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A server in the guest, from its start to the time that it listens.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{bail, Result};
use nix::libc::SIGTERM;

use super::offload;
use crate::session::{Cmd, Piece, Process, Session};

/// How long a server may take until it listens.
const LISTEN: Duration = Duration::from_secs(60);

/// Between two looks whether the server has given up.
const SLICE: Duration = Duration::from_millis(500);

/// How long a server may take to end when asked.
const END: Duration = Duration::from_secs(10);

/// A server does not end by itself.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// When a server is ready for its clients.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ready {
    /// A TCP port listens that did not before.
    #[default]
    NewPort,
    /// This TCP port listens.
    Port(u16),
    /// At once.
    AtOnce,
}

/// What a server says on its standard output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said(Arc<Mutex<String>>);

impl Said {
    /// Takes it all.
    pub(crate) fn sink(&self) -> impl FnMut(Piece<'_>) + Send + 'static {
        let Self(words) = self.clone();
        move |piece| {
            if let Piece::Stdout(bytes) = piece {
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                words.push_str(&String::from_utf8_lossy(bytes));
            }
        }
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        let Self(words) = self;
        words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server(Process);

impl Server {
    /// Starts a server whose listeners the policy gives `offload`, and waits until it is ready and a card has a
    /// rule for it. `sink` gets its output as it comes.
    ///
    /// # Errors
    ///
    /// It ends, or is not ready in time.
    pub fn start(
        session: &Session,
        command: &str,
        offload: &[String],
        ready: Ready,
        sink: impl FnMut(Piece<'_>) + Send + 'static,
    ) -> Result<Self> {
        let guest = session.guest();
        let known = guest.listening()?;
        offload::ask(session, offload)?;
        let mut process = guest.spawn(Cmd::from(command).timeout(FOR_EVER))?;
        process.watch(sink);
        let end = Instant::now() + LISTEN;
        loop {
            let found = match ready {
                Ready::AtOnce => Ok(()),
                Ready::Port(port) => guest.wait_listening(port, SLICE),
                Ready::NewPort => guest.wait_new_port(known.clone(), SLICE).map(drop),
            };
            let Err(error) = found else {
                if !offload.is_empty() {
                    offload::wait_rule(session)?;
                }
                return Ok(Self(process));
            };
            if let Some(status) = process.try_status() {
                let output = process.wait()?;
                bail!(
                    "the server ended ({status}) before it listened: {command}\n{}{}",
                    output.stdout,
                    output.stderr
                );
            }
            if Instant::now() >= end {
                return Err(error.context(format!("the server is not ready: {command}")));
            }
        }
    }

    /// Ends the server; whatever its exit status, that is no error.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn stop(self) -> Result<()> {
        self.0.signal(SIGTERM)?;
        self.0.limit(END).wait().map(drop)
    }
}
