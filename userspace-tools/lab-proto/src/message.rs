// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The messages.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// From the lab to the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Request {
    /// Chosen by the lab. [`Ask::Stdin`], [`Ask::CloseStdin`], [`Ask::Resize`] and [`Ask::Signal`]
    /// carry the id of the command that they are for, and have no answer of their own.
    pub id: u32,
    /// What to do.
    pub ask: Ask,
}

/// What the lab can ask.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Start a command. Answers: any number of [`Answer::Stdout`] and [`Answer::Stderr`], then
    /// [`Answer::Exit`]; or [`Answer::Failed`] when it cannot be started.
    Run(Command),
    /// Bytes for the standard input of a running command; ignored once it has ended.
    Stdin(Vec<u8>),
    /// End of the standard input.
    CloseStdin,
    /// The terminal of a command with [`Command::terminal`] has another size now.
    Resize(Size),
    /// A signal for all processes of a command.
    Signal(i32),
    /// The TCP ports in state LISTEN, as [`Answer::Ports`].
    Listening,
    /// Wait for a listening TCP port: `port`, or any that is not in `known` if it is `None`.
    /// Answers: [`Answer::Ports`] with the port found, or [`Answer::Failed`] after `timeout`.
    WaitListening {
        /// The port.
        port: Option<u16>,
        /// Ports that listened before.
        known: Vec<u16>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Load a kernel module from a file. Answer: [`Answer::Done`].
    LoadModule {
        /// The module's file, also compressed.
        path: String,
        /// Parameters, as `insmod` takes them.
        params: String,
    },
    /// Wait for a network interface, name it, bring it up, give it addresses and wait for its
    /// carrier. Answer: [`Answer::Done`].
    Configure(Interface),
    /// Read a whole file. Answer: [`Answer::File`].
    ReadFile(String),
    /// Read the guest's clock and its kernel's counters. Answer: [`Answer::Activity`].
    Activity,
    /// Power the guest off. No answer.
    PowerOff,
}

/// A command to run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Command {
    /// Program and arguments; the program is looked up in PATH.
    pub argv: Vec<String>,
    /// Added to the agent's environment.
    pub env: Vec<(String, String)>,
    /// Working directory; the root if `None`.
    pub dir: Option<String>,
    /// Whether [`Ask::Stdin`] will follow; else the standard input is empty.
    pub stdin: bool,
    /// Run it on a terminal of this size. Its output comes as [`Answer::Stdout`].
    pub terminal: Option<Size>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A network interface to set up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Interface {
    /// Address of the PCI device that it belongs to, such as `0000:00:10.0`.
    pub device: String,
    /// The name that it gets.
    pub name: String,
    /// Addresses with prefix length. IPv6 ones are usable at once, without duplicate detection.
    pub addresses: Vec<String>,
    /// Whether to wait for the carrier.
    pub carrier: bool,
    /// How long to wait for the interface, and again for its carrier.
    pub timeout: Duration,
}

/// From the agent to the lab.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// The agent is ready.
    Hello {
        /// Its [`crate::VERSION`].
        version: u32,
    },
    /// What became of a request.
    Answer {
        /// The request's id.
        id: u32,
        /// The answer.
        answer: Answer,
    },
}

/// The guest's clock, and what its kernel has counted since its start.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Activity {
    /// `CLOCK_MONOTONIC_RAW`.
    pub clock: Duration,
    /// `/proc/stat`.
    pub stat: String,
    /// `/proc/interrupts`.
    pub interrupts: String,
}

/// Answers to requests.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// Output of a command.
    Stdout(Vec<u8>),
    /// Error output of a command.
    Stderr(Vec<u8>),
    /// A command ended; all its output was sent before.
    Exit(Status),
    /// Listening TCP ports, ascending.
    Ports(Vec<u16>),
    /// Contents of a file.
    File(Vec<u8>),
    /// Clock and counters.
    Activity(Activity),
    /// It is done.
    Done,
    /// It could not be done, with the reason.
    Failed(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Status {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

impl Status {
    /// Whether it exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The exit code; 128 and the signal's number as in a shell if a signal ended it.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signaled(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}
