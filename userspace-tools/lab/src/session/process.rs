// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands and running processes, the same for the guest and the wire side.

use std::{
    fmt,
    sync::{
        mpsc::{channel, Receiver, RecvTimeoutError, Sender},
        Arc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Result};
use lab_proto::{Answer, Command, Size, Status};

use super::isolate::patience;

/// How long a command may take unless [`Cmd::timeout`] says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A command to run. A string is a command line for the shell.
#[derive(Clone, Debug)]
pub struct Cmd {
    pub(super) command: Command,
    pub(super) timeout: Duration,
    input: Option<Vec<u8>>,
}

impl Cmd {
    /// A program with arguments, without a shell.
    pub fn new<I: IntoIterator>(argv: I) -> Self
    where
        I::Item: Into<String>,
    {
        Self {
            command: Command {
                argv: argv.into_iter().map(Into::into).collect(),
                ..Command::default()
            },
            timeout: DEFAULT_TIMEOUT,
            input: None,
        }
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &str) -> Self {
        self.command.dir = Some(dir.into());
        self
    }

    /// Gives the whole standard input; it is empty otherwise.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.command.stdin = true;
        self.input = Some(input.into());
        self
    }

    /// Leaves the standard input open for [`Process::write`].
    pub fn open_stdin(mut self) -> Self {
        self.command.stdin = true;
        self
    }

    /// Runs it on a terminal of its own (in the guest only).
    pub fn terminal(mut self, size: Size) -> Self {
        self.command.stdin = true;
        self.command.terminal = Some(size);
        self
    }

    /// Limits the time that [`Process::wait`] waits; 60 s otherwise. With a kernel that is slower than
    /// the stock one it waits longer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl From<&str> for Cmd {
    fn from(line: &str) -> Self {
        Self::new(["sh", "-c", line])
    }
}

impl From<&String> for Cmd {
    fn from(line: &String) -> Self {
        Self::from(line.as_str())
    }
}

impl From<String> for Cmd {
    fn from(line: String) -> Self {
        Self::from(line.as_str())
    }
}

/// What a command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A piece of output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// Of the standard output.
    Stdout(&'a [u8]),
    /// Of the standard error.
    Stderr(&'a [u8]),
}

/// The way to a running process.
pub(super) trait Control: Send + Sync {
    fn stdin(&self, bytes: Vec<u8>) -> Result<()>;
    fn close_stdin(&self) -> Result<()>;
    fn signal(&self, signal: i32) -> Result<()>;
    fn resize(&self, size: Size) -> Result<()>;
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A running process. Dropping it kills the process and its children.
pub struct Process {
    name: String,
    timeout: Duration,
    events: Receiver<Answer>,
    control: Arc<dyn Control>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<Status>,
}

impl Process {
    pub(super) fn new(
        cmd: Cmd,
        events: Receiver<Answer>,
        control: Arc<dyn Control>,
    ) -> Result<Self> {
        let process = Self {
            name: describe(&cmd.command.argv),
            timeout: patience(cmd.timeout),
            events,
            control,
            stdout: Vec::new(),
            stderr: Vec::new(),
            status: None,
        };
        if let Some(input) = cmd.input {
            process.write(input)?;
            process.close_stdin()?;
        }
        Ok(process)
    }

    /// Limits the time that waiting takes from now on, instead of [`Cmd::timeout`].
    pub fn limit(mut self, timeout: Duration) -> Self {
        self.timeout = patience(timeout);
        self
    }

    /// The command, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `sink` with each piece of output, as it comes, besides keeping it.
    pub fn watch(&mut self, mut sink: impl FnMut(Piece<'_>) + Send + 'static) {
        let (sender, receiver) = channel();
        let events = std::mem::replace(&mut self.events, receiver);
        thread::spawn(move || {
            for answer in events {
                match &answer {
                    Answer::Stdout(bytes) => sink(Piece::Stdout(bytes)),
                    Answer::Stderr(bytes) => sink(Piece::Stderr(bytes)),
                    _ => {}
                }
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
    }

    /// A handle that other threads can feed it through.
    pub fn remote(&self) -> Remote {
        Remote(Arc::clone(&self.control))
    }

    /// Feeds the standard input.
    ///
    /// # Errors
    ///
    /// The process has no open standard input, or its place is gone.
    pub fn write(&self, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.control.stdin(bytes.into())
    }

    /// Ends the standard input.
    ///
    /// # Errors
    ///
    /// The process's place is gone.
    pub fn close_stdin(&self) -> Result<()> {
        self.control.close_stdin()
    }

    /// Sends a signal to the process and its children; no error if they have ended.
    ///
    /// # Errors
    ///
    /// The process's place is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.control.signal(signal)
    }

    /// How it ended, if it has; does not wait.
    pub fn try_status(&mut self) -> Option<Status> {
        while self.status.is_none() {
            match self.events.try_recv() {
                // An error comes again in `wait`.
                Ok(answer) => self.take(answer).ok()?,
                Err(_) => break,
            }
        }
        self.status
    }

    /// Waits until the standard output contains `text`.
    ///
    /// # Errors
    ///
    /// The process ends without, or the command's time limit passes.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let end = Instant::now() + self.timeout;
        loop {
            if String::from_utf8_lossy(&self.stdout).contains(text) {
                return Ok(());
            }
            if let Some(status) = self.status {
                bail!(
                    "{}: {status}, output without {text:?}{}",
                    self.name,
                    self.tail()
                );
            }
            self.step(end)?;
        }
    }

    /// Waits for the end. After the command's time limit the process is killed and an error returned.
    ///
    /// # Errors
    ///
    /// It could not be started, takes too long, or its place is gone.
    pub fn wait(mut self) -> Result<Output> {
        let end = Instant::now() + self.timeout;
        while self.status.is_none() {
            self.step(end)?;
        }
        let text =
            |bytes: &mut Vec<u8>| String::from_utf8_lossy(&std::mem::take(bytes)).into_owned();
        match self.status {
            Some(status) => Ok(Output {
                status,
                stdout: text(&mut self.stdout),
                stderr: text(&mut self.stderr),
            }),
            None => bail!("{}: no status", self.name),
        }
    }

    /// Waits for the end and for success; returns the standard output.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`], or the status is not 0.
    pub fn wait_ok(self) -> Result<String> {
        let name = self.name.clone();
        let output = self.wait()?;
        ensure!(
            output.status.success(),
            "{name}: {}{}",
            output.status,
            tail(output.stdout.as_bytes(), output.stderr.as_bytes())
        );
        Ok(output.stdout)
    }

    fn step(&mut self, end: Instant) -> Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(answer) => self.take(answer),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "{}: still runs after {:?}{}",
                    self.name,
                    self.timeout,
                    self.tail()
                )
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.status = Some(Status::Signaled(0));
                bail!("{}: lost, where it ran is gone{}", self.name, self.tail())
            }
        }
    }

    fn take(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Stdout(bytes) => self.stdout.extend(bytes),
            Answer::Stderr(bytes) => self.stderr.extend(bytes),
            Answer::Exit(status) => self.status = Some(status),
            Answer::Failed(reason) => {
                self.status = Some(Status::Exited(127));
                bail!("{}: {reason}", self.name)
            }
            Answer::Ports(_) | Answer::File(_) | Answer::Activity(_) | Answer::Done => {}
        }
        Ok(())
    }

    fn tail(&self) -> String {
        tail(&self.stdout, &self.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.try_status().is_none() {
            // If its place is gone, so is the process.
            let _ = self.control.signal(nix::libc::SIGKILL);
        }
    }
}

/// Feeds a process from another thread.
#[derive(Clone)]
pub struct Remote(Arc<dyn Control>);

impl Remote {
    /// Feeds the standard input.
    ///
    /// # Errors
    ///
    /// The process has no open standard input, or its place is gone.
    pub fn write(&self, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.0.stdin(bytes.into())
    }

    /// Ends the standard input.
    ///
    /// # Errors
    ///
    /// The process's place is gone.
    pub fn close_stdin(&self) -> Result<()> {
        self.0.close_stdin()
    }

    /// Tells the size of the terminal.
    ///
    /// # Errors
    ///
    /// The process has no terminal, or its place is gone.
    pub fn resize(&self, size: Size) -> Result<()> {
        self.0.resize(size)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// A way to pass on what a process says.
pub(super) type Events = Sender<Answer>;

fn describe(argv: &[String]) -> String {
    match argv {
        [shell, option, line] if shell == "sh" && option == "-c" => line.clone(),
        _ => argv.join(" "),
    }
}

/// The last lines of both streams, for an error message.
fn tail(stdout: &[u8], stderr: &[u8]) -> String {
    const LINES: usize = 10;
    let mut text = String::new();
    for bytes in [stdout, stderr] {
        let stream = String::from_utf8_lossy(bytes);
        let lines: Vec<_> = stream.trim_end().lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Control for Nowhere {
        fn stdin(&self, _bytes: Vec<u8>) -> Result<()> {
            Ok(())
        }
        fn close_stdin(&self) -> Result<()> {
            Ok(())
        }
        fn signal(&self, _signal: i32) -> Result<()> {
            Ok(())
        }
        fn resize(&self, _size: Size) -> Result<()> {
            Ok(())
        }
    }

    fn process(answers: Vec<Answer>) -> Process {
        let (sender, receiver) = channel();
        for answer in answers {
            sender.send(answer).unwrap();
        }
        Process::new("some command".into(), receiver, Arc::new(Nowhere)).unwrap()
    }

    #[test]
    fn output_is_collected_until_the_end() {
        let output = process(vec![
            Answer::Stdout(b"a".to_vec()),
            Answer::Stderr(b"b".to_vec()),
            Answer::Stdout(b"c".to_vec()),
            Answer::Exit(Status::Exited(3)),
        ])
        .wait()
        .unwrap();
        assert_eq!(output.stdout, "ac");
        assert_eq!(output.stderr, "b");
        assert_eq!(output.status, Status::Exited(3));
    }

    #[test]
    fn failure_names_command_status_and_last_words() {
        let error = process(vec![
            Answer::Stderr(b"no such thing\n".to_vec()),
            Answer::Exit(Status::Exited(2)),
        ])
        .wait_ok()
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "some command: exit status 2\n  no such thing"
        );
    }

    #[test]
    fn lost_place_is_an_error() {
        let error = process(vec![Answer::Stdout(b"x".to_vec())])
            .wait()
            .unwrap_err();
        assert!(error.to_string().contains("lost"), "{error}");
    }

    #[test]
    fn waiting_for_text_spans_pieces() {
        let mut process = process(vec![
            Answer::Stdout(b"rea".to_vec()),
            Answer::Stdout(b"dy\n".to_vec()),
            Answer::Exit(Status::Exited(0)),
        ]);
        process.wait_for("ready").unwrap();
        let error = process.wait_for("never").unwrap_err();
        assert!(error.to_string().contains("without \"never\""), "{error}");
    }
}
