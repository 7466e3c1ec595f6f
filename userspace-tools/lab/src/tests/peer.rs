// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Servers and clients, which a script runs in the guest or on the wire side.

use std::{
    sync::mpsc::{channel, Receiver},
    time::Duration,
};

use anyhow::{bail, ensure, Context as _, Result};
use serde::Deserialize;
use serde_json::{json, Value};

use crate::session::{Cmd, Piece, Process, Session};

const PEER: &str = concat!(include_str!("peer.py"), include_str!("commands.py"));
const RAW: &str = concat!(include_str!("raw.py"), include_str!("commands.py"));

/// Time for one command of the script.
const PATIENCE: Duration = Duration::from_secs(150);

/// Reasons of `ACCELTCP_STATUS`, see `include/uapi/linux/acceltcp.h`.
pub(super) mod reason {
    pub(in super::super) const NONE: u32 = 0;
    pub(in super::super) const NOT_ASKED: u32 = 1;
    pub(in super::super) const NO_DEVICE: u32 = 3;
    pub(in super::super) const TABLE_FULL: u32 = 4;
    pub(in super::super) const AUTHENTICATED: u32 = 5;
    pub(in super::super) const SYNCOOKIES: u32 = 7;
    pub(in super::super) const FORWARDING: u32 = 8;
    pub(in super::super) const OTHER_LISTENER: u32 = 14;
}

/// What an end of a connection knows of it (`TCP_INFO`).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Connection {
    /// The client's port, and 4 or 6.
    port: u16,
    family: u8,
    pub(super) timestamps: bool,
    pub(super) sack: bool,
    pub(super) wscale: bool,
    pub(super) ecn: bool,
    pub(super) snd_wscale: u8,
    pub(super) rcv_wscale: u8,
    pub(super) snd_mss: u32,
    pub(super) advmss: u32,
    /// `ACCELTCP_OFFLOAD` of an accepted socket.
    #[serde(default)]
    pub(super) flags: Option<u32>,
}

impl Connection {
    /// The same at both ends, and different for all connections of a listener at a time.
    pub(super) fn key(&self) -> (u8, u16) {
        (self.family, self.port)
    }
}

#[derive(Debug, Deserialize)]
struct Connections {
    connections: Vec<Connection>,
    errors: Vec<String>,
}

impl Connections {
    fn checked(value: Value) -> Result<Vec<Connection>> {
        let found: Self = serde_json::from_value(value)?;
        ensure!(
            found.errors.is_empty(),
            "{} connections failed: {}",
            found.errors.len(),
            found.errors[..found.errors.len().min(5)].join("; ")
        );
        Ok(found.connections)
    }
}

/// A running script.
#[derive(Debug)]
pub(super) struct Peer {
    process: Process,
    lines: Receiver<String>,
    patience: Duration,
}

impl Peer {
    /// In the guest.
    pub(super) fn guest(session: &Session) -> Result<Self> {
        Self::new(session.guest().spawn(Self::command())?)
    }

    /// On the wire side.
    pub(super) fn wire(session: &Session) -> Result<Self> {
        Self::new(session.wire().spawn(Self::command())?)
    }

    /// Another script in the guest.
    pub(super) fn guest_script(session: &Session, script: &str) -> Result<Self> {
        let command = ["python3", "-c", script];
        Self::new(session.guest().spawn(Cmd::new(command).open_stdin())?)
    }

    /// Another script on the wire side.
    pub(super) fn wire_script(session: &Session, script: &str) -> Result<Self> {
        let command = ["python3", "-c", script];
        Self::new(session.wire().spawn(Cmd::new(command).open_stdin())?)
    }

    /// In a network namespace of the guest's.
    pub(super) fn netns(session: &Session, name: &str) -> Result<Self> {
        let script = ["ip", "netns", "exec", name, "python3", "-c", PEER];
        Self::new(session.guest().spawn(Cmd::new(script).open_stdin())?)
    }

    /// Another script in a network namespace of the guest's.
    pub(super) fn netns_script(session: &Session, name: &str, script: &str) -> Result<Self> {
        let command = ["ip", "netns", "exec", name, "python3", "-c", script];
        Self::new(session.guest().spawn(Cmd::new(command).open_stdin())?)
    }

    /// On the wire side; the commands are those of `raw.py`.
    pub(super) fn raw(session: &Session) -> Result<Self> {
        let script = ["python3", "-c", RAW];
        Self::new(session.wire().spawn(Cmd::new(script).open_stdin())?)
    }

    fn command() -> Cmd {
        Cmd::new(["python3", "-c", PEER]).open_stdin()
    }

    fn new(mut process: Process) -> Result<Self> {
        let (sender, lines) = channel();
        let mut part = Vec::new();
        process.watch(move |piece| {
            let Piece::Stdout(bytes) = piece else { return };
            part.extend_from_slice(bytes);
            while let Some(end) = part.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = part.drain(..=end).collect();
                // Nobody waits if the test has failed.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Ok(Self {
            process,
            lines,
            patience: PATIENCE,
        })
    }

    /// The same with another time for one command.
    pub(super) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts a command, whose answer is for [`Peer::answer`].
    pub(super) fn start(&self, command: &Value) -> Result<()> {
        self.process.write(format!("{command}\n"))
    }

    fn reply(&mut self) -> Result<Value> {
        let Ok(line) = self.lines.recv_timeout(self.patience) else {
            let status = self.process.try_status();
            bail!("the script does not answer, its status is {status:?}");
        };
        serde_json::from_str(&line).context("answer of the script")
    }

    /// The answer to the command that was started.
    pub(super) fn answer(&mut self) -> Result<Value> {
        let mut reply = self.reply()?;
        match reply.get("error") {
            Some(error) => bail!("{error}"),
            None => Ok(reply["ok"].take()),
        }
    }

    /// Runs a command, which must succeed.
    pub(super) fn ask(&mut self, command: &Value) -> Result<Value> {
        self.start(command)?;
        self.answer().with_context(|| command.to_string())
    }

    /// Runs a command, which must fail; returns the name of the error.
    pub(super) fn refused(&mut self, command: &Value) -> Result<String> {
        self.start(command)?;
        match self.reply()?.get("error") {
            Some(error) => Ok(error.as_str().unwrap_or_default().to_owned()),
            None => bail!("{command}: was not refused"),
        }
    }

    /// Opens a listener and waits until the card serves it.
    pub(super) fn listen(&mut self, listener: &Value) -> Result<()> {
        let name = listener["name"].as_str().context("a listener has a name")?;
        self.open(listener)?;
        self.wait_status(name, reason::NONE)
    }

    /// Opens a listener.
    pub(super) fn open(&mut self, listener: &Value) -> Result<()> {
        let mut command = listener.clone();
        command["do"] = json!("listen");
        self.ask(&command).map(drop)
    }

    /// Waits until a listener's status has this reason.
    pub(super) fn wait_status(&mut self, name: &str, reason: u32) -> Result<()> {
        self.ask(&json!({"do": "wait_status", "name": name, "reason": reason}))
            .map(drop)
    }

    /// Connections that a listener has accepted so far.
    pub(super) fn accepted(&mut self, name: &str) -> Result<Vec<Connection>> {
        let found = self.ask(&json!({"do": "accepted", "name": name}))?;
        Connections::checked(found)
    }

    /// The accepted ends of these clients' connections, each with its client.
    pub(super) fn ends(
        &mut self,
        name: &str,
        clients: &[Connection],
    ) -> Result<Vec<(Connection, Connection)>> {
        let accepted = self.accepted(name)?;
        clients
            .iter()
            .map(|client| {
                // Ports come again; the last one is meant.
                let child = accepted.iter().rev().find(|one| one.key() == client.key());
                let child = child.with_context(|| format!("{name} has not accepted {client:?}"))?;
                Ok((child.clone(), client.clone()))
            })
            .collect()
    }

    /// Closes a listener when its connections have ended.
    pub(super) fn close(&mut self, name: &str) -> Result<()> {
        self.ask(&json!({"do": "close", "name": name})).map(drop)
    }

    /// Runs connections to the end; all must go well. Sets of clients are as the script's `clients`.
    pub(super) fn clients(&mut self, set: &Value) -> Result<Vec<Connection>> {
        self.start_clients(set)?;
        self.finish_clients(set)
    }

    /// Starts what [`Peer::clients`] does.
    pub(super) fn start_clients(&self, set: &Value) -> Result<()> {
        let mut command = set.clone();
        command["do"] = json!("clients");
        self.start(&command)
    }

    /// Ends what [`Peer::start_clients`] has started.
    pub(super) fn finish_clients(&mut self, set: &Value) -> Result<Vec<Connection>> {
        let found = self
            .answer()
            .and_then(Connections::checked)
            .with_context(|| set.to_string())?;
        ensure!(set["count"] == found.len(), "{set}: {} only", found.len());
        Ok(found)
    }

    /// Kills the script, and waits for its end.
    pub(super) fn kill(self) -> Result<()> {
        self.process.signal(libc::SIGKILL)?;
        self.process.limit(PATIENCE).wait().map(drop)
    }
}

/// What raw clients, of IPv4 and of IPv6, need to know of a server on port 7000 of card 0. Replies of the host find
/// them.
pub(super) fn raw_targets(session: &Session) -> Result<[Value; 2]> {
    let guest = session.guest();
    let mac = guest.run_ok("cat /sys/class/net/nic0/address")?;
    let target = |host: &str, near: &str, source: &str| {
        guest.run_ok(format!(
            "ping -n -c 1 -W 5 {near} > /dev/null && ip neigh replace {source} dev nic0 lladdr \
             $(ip neigh show {near} dev nic0 | sed 's/.*lladdr //; s/ .*//')"
        ))?;
        anyhow::Ok(json!({
            "device": "wire0", "mac": mac.trim(), "source": source, "host": host, "port": 7000,
        }))
    };
    Ok([
        target("10.99.0.2", "10.99.0.1", "10.99.0.77")?,
        target("fd99:0::2", "fd99:0::1", "fd99:0::77")?,
    ])
}
