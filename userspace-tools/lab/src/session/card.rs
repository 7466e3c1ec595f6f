// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One card: the model's process and its control socket.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{mpsc::channel, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{anyhow, bail, ensure, Context, Result};
use serde::Deserialize;
use serde_json::{json, Value};

use super::{console::tail_of, tools::Tools};

/// How long the model may take until it is ready, and until it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Frames that a queue of the wire holds while the model's thread waits for a core of this machine.
const TAP_QUEUE: &str = "10000";

/// Counters of a card by their dotted names.
pub type Counters = BTreeMap<String, u64>;

/// What can be done to a card from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Stop processing packets; what the driver asks by registers is still answered.
    Stall,
    /// Go on after [`Action::Stall`].
    Resume,
    /// Stop answering altogether, as when the firmware has crashed.
    Die,
    /// Come back after [`Action::Die`].
    Revive,
    /// Lose all state.
    Reset,
    /// Give the host garbage in its rings.
    Garbage,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Resume => "resume",
            Self::Die => "die",
            Self::Revive => "revive",
            Self::Reset => "reset",
            Self::Garbage => "garbage",
        }
    }
}

/// How a card is started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Settings {
    /// Wire port; a TAP named after the card if `None`.
    pub(super) wire: Option<String>,
    pub(super) faults: Option<String>,
    pub(super) wire_pcap: Option<PathBuf>,
    pub(super) host_pcap: Option<PathBuf>,
    pub(super) args: Vec<String>,
}

/// A card of a session.
#[derive(Debug)]
pub struct Card {
    number: usize,
    child: Mutex<Child>,
    control: Mutex<BufReader<UnixStream>>,
    log: PathBuf,
}

/// A line that the control socket answers.
#[derive(Debug, Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    counters: Counters,
}

impl Card {
    /// Starts the model and, if its wire port is a TAP, gives that its addresses.
    pub(super) fn start(
        number: usize,
        program: &Path,
        dir: &Path,
        log: PathBuf,
        settings: &Settings,
        tools: &Tools,
    ) -> Result<Self> {
        let tap = format!("wire{number}");
        let mut command = Command::new(program);
        command
            .args(["--socket", &socket_name(number)])
            .args(["--control", &control_name(number)])
            .args(["--mac", &format!("00:15:4d:00:00:{:02x}", number + 1)])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| log.display().to_string())?);
        match &settings.wire {
            Some(wire) => command.args(["--wire", wire]),
            None => command.args(["--wire", &format!("tap:{tap}")]),
        };
        if let Some(faults) = &settings.faults {
            command.args(["--faults", faults]);
        }
        if let Some(path) = &settings.wire_pcap {
            command.arg("--wire-pcap").arg(path);
        }
        if let Some(path) = &settings.host_pcap {
            command.arg("--host-pcap").arg(path);
        }
        command.args(&settings.args);
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let control = wait_ready(&mut child, number)
            .and_then(|()| connect(dir, &control_name(number)))
            .and_then(|control| {
                if settings.wire.is_none() {
                    address(tools, number, &tap)?;
                }
                Ok(control)
            });
        match control {
            Ok(control) => Ok(Self {
                number,
                child: Mutex::new(child),
                control: Mutex::new(BufReader::new(control)),
                log,
            }),
            Err(error) => {
                // It may have ended by itself; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
                let log = tail_of(&log);
                Err(anyhow!("card {number} does not start: {error:#}{log}"))
            }
        }
    }

    /// All counters.
    ///
    /// # Errors
    ///
    /// The card's process is gone.
    pub fn counters(&self) -> Result<Counters> {
        Ok(self.ask(&json!({"cmd": "counters"}))?.counters)
    }

    /// One counter; 0 if the card has none of that name yet.
    ///
    /// # Errors
    ///
    /// The card's process is gone.
    pub fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.counters()?.get(name).copied().unwrap_or(0))
    }

    /// Replaces the faults of the wire; an empty specification means none.
    ///
    /// # Errors
    ///
    /// The card refuses the specification, or its process is gone.
    pub fn faults(&self, spec: &str) -> Result<()> {
        self.ask(&json!({"cmd": "faults", "spec": spec})).map(drop)
    }

    /// Takes the link down or up.
    ///
    /// # Errors
    ///
    /// The card's process is gone.
    pub fn link(&self, up: bool) -> Result<()> {
        self.ask(&json!({"cmd": "link", "up": up})).map(drop)
    }

    /// Does something to the card.
    ///
    /// # Errors
    ///
    /// The card refuses it, or its process is gone.
    pub fn action(&self, action: Action) -> Result<()> {
        self.ask(&json!({"cmd": "card", "action": action.name()}))
            .map(drop)
    }

    /// Sends any command to the control socket and returns the answer.
    ///
    /// # Errors
    ///
    /// The card refuses it, or its process is gone.
    pub fn control(&self, command: &Value) -> Result<Value> {
        let line = self.exchange(command)?;
        let reply: Reply = serde_json::from_str(&line).context("answer of the card")?;
        self.check(&reply)?;
        serde_json::from_str(&line).context("answer of the card")
    }

    /// The log of the card's process.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether the card's process still runs.
    pub fn runs(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(child.try_wait(), Ok(None))
    }

    fn ask(&self, command: &Value) -> Result<Reply> {
        let line = self.exchange(command)?;
        let reply = serde_json::from_str(&line).context("answer of the card")?;
        self.check(&reply)?;
        Ok(reply)
    }

    fn check(&self, reply: &Reply) -> Result<()> {
        ensure!(reply.ok, "card {}: {}", self.number, reply.error);
        Ok(())
    }

    fn exchange(&self, command: &Value) -> Result<String> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut exchange = || -> Result<String> {
            control
                .get_mut()
                .write_all(format!("{command}\n").as_bytes())?;
            let mut line = String::new();
            ensure!(control.read_line(&mut line)? > 0, "its process ended");
            Ok(line)
        };
        exchange().map_err(|error| {
            let log = tail_of(&self.log);
            anyhow!("card {}: {error:#}{log}", self.number)
        })
    }

    /// Waits for the model's end after the virtual machine has ended, at most `patience`.
    pub(super) fn finish(&self, patience: Duration) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = super::wait_child(&mut child, patience)
            .with_context(|| format!("card {}", self.number))?;
        ensure!(
            status.success(),
            "card {}: {status}{}",
            self.number,
            tail_of(&self.log)
        );
        Ok(())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing to kill if it has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Name of a card's vfio-user socket in the session's folder.
pub(super) fn socket_name(number: usize) -> String {
    format!("card{number}.sock")
}

fn control_name(number: usize) -> String {
    format!("card{number}.ctl")
}

/// Waits for the model's line `ready`.
fn wait_ready(child: &mut Child, number: usize) -> Result<()> {
    let stdout = child.stdout.take().context("no standard output")?;
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name(format!("card{number}"))
        .spawn(move || {
            // Reads to the end, so that later lines do not stop the model.
            for line in BufReader::new(stdout).lines() {
                match line {
                    Ok(line) if line.trim() == "ready" => drop(sender.send(())),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        })?;
    match receiver.recv_timeout(PATIENCE) {
        Ok(()) => Ok(()),
        Err(_) => match child.try_wait()? {
            Some(status) => bail!("its process ended: {status}"),
            None => bail!("not ready after {PATIENCE:?}"),
        },
    }
}

/// Connects to a socket in `dir`, however long the path to it is.
fn connect(dir: &Path, name: &str) -> Result<UnixStream> {
    let folder = File::open(dir).with_context(|| dir.display().to_string())?;
    let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    let stream = UnixStream::connect(path).context("control socket")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Gives the wire side of a card its addresses.
fn address(tools: &Tools, number: usize, tap: &str) -> Result<()> {
    tools.ip(&[
        "address",
        "add",
        &format!("10.99.{number}.1/24"),
        "dev",
        tap,
    ])?;
    let address = format!("fd99:{number}::1/64");
    tools.ip(&["address", "add", &address, "dev", tap, "nodad"])?;
    tools.ip(&["link", "set", "dev", tap, "txqueuelen", TAP_QUEUE, "up"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let reply: Reply =
            serde_json::from_str(r#"{"ok":true,"counters":{"host.rx.packets":5}}"#).unwrap();
        assert!(reply.ok);
        assert_eq!(reply.counters["host.rx.packets"], 5);
        let reply: Reply = serde_json::from_str(r#"{"ok":false,"error":"no"}"#).unwrap();
        assert_eq!((reply.ok, reply.error.as_str()), (false, "no"));
    }
}
