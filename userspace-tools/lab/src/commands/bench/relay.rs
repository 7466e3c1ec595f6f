// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A connection through a proxy of the guest, of which a script of the wire side has both ends.

use std::{
    sync::mpsc::{channel, Receiver},
    time::Duration,
};

use anyhow::{ensure, Context, Result};

use crate::session::{Cmd, Piece, Process, Session};

const SCRIPT: &str = include_str!("relay.py");
/// For all that one line asks for.
const PATIENCE: Duration = Duration::from_secs(120);
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Traffic {
    /// Nothing.
    Idle,
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Traffic {
    /// Of the rows, and what the script calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A connection, which ends with it.
#[derive(Debug)]
pub(super) struct Relay {
    process: Process,
    lines: Receiver<String>,
}

impl Relay {
    /// Connects to the proxy, and waits for its connection to the server.
    pub(super) fn open(session: &Session, proxy: u16, server: u16) -> Result<Self> {
        let (proxy, server) = (proxy.to_string(), server.to_string());
        let command = [
            "python3",
            "-c",
            SCRIPT,
            "10.99.0.2",
            proxy.as_str(),
            "10.99.0.1",
            server.as_str(),
        ];
        let cmd = Cmd::new(command).open_stdin().timeout(FOR_EVER);
        let mut process = session.wire().spawn(cmd)?;
        let (sender, lines) = channel();
        let mut part = String::new();
        process.watch(move |piece| {
            let Piece::Stdout(bytes) = piece else { return };
            part.push_str(&String::from_utf8_lossy(bytes));
            while let Some(end) = part.find('\n') {
                let line: String = part.drain(..=end).collect();
                // Nobody waits if the bench has failed.
                let _ = sender.send(line.trim().to_owned());
            }
        });
        let mut relay = Self { process, lines };
        let line = relay.line()?;
        ensure!(line == "ready", "the script says {line:?}");
        Ok(relay)
    }

    /// Sends for a while; how many bytes came.
    pub(super) fn run(&mut self, traffic: Traffic, time: Duration) -> Result<u64> {
        let line = format!("{} {}\n", traffic.name(), time.as_secs_f64());
        self.process.write(line)?;
        let line = self.line()?;
        line.parse().with_context(|| line)
    }

    /// Closes both ends.
    pub(super) fn close(self) -> Result<()> {
        self.process.close_stdin()?;
        self.process.limit(PATIENCE).wait_ok().map(drop)
    }

    fn line(&mut self) -> Result<String> {
        self.lines.recv_timeout(PATIENCE).map_err(|_| {
            let status = self.process.try_status();
            anyhow::anyhow!("the script does not answer, its status is {status:?}")
        })
    }
}
