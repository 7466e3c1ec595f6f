// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wire side: programs of the build root in the network namespace of the cards' TAPs.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Stdio},
    sync::{
        mpsc::{channel, Receiver, Sender},
        Arc, Mutex, PoisonError,
    },
    thread,
    time::Duration,
};

use anyhow::{bail, Context, Result};
use lab_proto::{Answer, Size, Status, MAX_PIECE};
use nix::{
    errno::Errno,
    libc,
    sys::signal::{kill, Signal},
    unistd::Pid,
};

use super::{
    process::{Cmd, Control, Events, Output, Process},
    tools::Tools,
};

/// How long output may follow a command's end: a child in the background can hold its streams.
const GRACE: Duration = Duration::from_millis(500);

/// The wire side of a session. Commands start in /tmp.
#[derive(Debug)]
pub struct Wire {
    tools: Tools,
}

impl Wire {
    pub(super) fn new(tools: Tools) -> Self {
        Self { tools }
    }

    /// Runs a command to its end, whatever its status.
    ///
    /// # Errors
    ///
    /// It cannot be started or takes too long.
    pub fn run(&self, cmd: impl Into<Cmd>) -> Result<Output> {
        self.spawn(cmd)?.wait()
    }

    /// Runs a command, which must succeed, and returns its standard output.
    ///
    /// # Errors
    ///
    /// It cannot be started, takes too long or fails.
    pub fn run_ok(&self, cmd: impl Into<Cmd>) -> Result<String> {
        self.spawn(cmd)?.wait_ok()
    }

    /// Starts a command.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn spawn(&self, cmd: impl Into<Cmd>) -> Result<Process> {
        let cmd = cmd.into();
        let asked = &cmd.command;
        let Some((program, args)) = asked.argv.split_first() else {
            bail!("empty command");
        };
        let mut child = self
            .tools
            .command(program, asked.dir.as_deref().unwrap_or("/tmp"))
            .args(args)
            .envs(asked.env.iter().map(|(name, value)| (name, value)))
            .stdin(if asked.stdin {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| program.clone())?;
        let group = Pid::from_raw(-child.id().cast_signed());
        let (events, receiver) = channel();
        let (ended, streams) = channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, Answer::Stdout, &events, &ended);
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, Answer::Stderr, &events, &ended);
        }
        drop(ended);
        let input = Mutex::new(child.stdin.take().map(feed));
        thread::spawn(move || finish(child, &streams, &events));
        Process::new(cmd, receiver, Arc::new(Handle { group, input }))
    }
}

/// The way to a process of the wire side.
struct Handle {
    group: Pid,
    input: Mutex<Option<Sender<Vec<u8>>>>,
}

impl Control for Handle {
    fn stdin(&self, bytes: Vec<u8>) -> Result<()> {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_ref().context("standard input is not open")?;
        // A process that no longer reads is no error, as in a pipe of the shell.
        let _ = input.send(bytes);
        Ok(())
    }

    fn close_stdin(&self) -> Result<()> {
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn signal(&self, signal: i32) -> Result<()> {
        match kill(self.group, Signal::try_from(signal)?) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).context("kill"),
        }
    }

    fn resize(&self, _size: Size) -> Result<()> {
        bail!("commands of the wire side have no terminal")
    }
}

fn feed(mut stdin: impl Write + Send + 'static) -> Sender<Vec<u8>> {
    let (sender, receiver) = channel::<Vec<u8>>();
    thread::spawn(move || {
        for piece in receiver {
            if stdin.write_all(&piece).is_err() {
                return;
            }
        }
    });
    sender
}

/// Passes a stream on; drops `ended` at its end.
fn forward(
    mut stream: impl Read + Send + 'static,
    wrap: fn(Vec<u8>) -> Answer,
    events: &Events,
    ended: &Sender<()>,
) {
    let (events, ended) = (events.clone(), ended.clone());
    thread::spawn(move || {
        let mut piece = vec![0; MAX_PIECE];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => {
                    if events.send(wrap(piece[..length].to_vec())).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        drop(ended);
    });
}

fn finish(mut child: Child, ended: &Receiver<()>, events: &Events) {
    let status = child.wait();
    // Nothing is ever sent: the channel closes when both streams have ended.
    let _ = ended.recv_timeout(GRACE);
    let answer = match status {
        Ok(status) => Answer::Exit(match status.code() {
            Some(code) => Status::Exited(code),
            None => Status::Signaled(status.signal().unwrap_or(libc::SIGKILL)),
        }),
        Err(error) => Answer::Failed(format!("wait: {error}")),
    };
    // Nobody may be waiting any more.
    let _ = events.send(answer);
}
