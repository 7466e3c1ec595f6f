// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands, their streams and their end.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        mpsc::{channel, Receiver, RecvTimeoutError, Sender},
        PoisonError,
    },
    thread,
    time::Duration,
};

use anyhow::{bail, Context, Result};
use lab_proto::{Answer, Command as Asked, Size, Status, MAX_PIECE};
use nix::{libc, pty::openpty, unistd::Pid};

use crate::server::{Outlet, Processes};

/// How long output may follow a command's end: a child in the background can hold its streams.
const GRACE: Duration = Duration::from_millis(500);

/// A running command.
pub(crate) struct Process {
    pid: i32,
    /// To the thread that feeds the standard input; `None` once closed.
    input: Option<Sender<Vec<u8>>>,
    /// The agent's end of the terminal.
    terminal: Option<File>,
}

impl Process {
    /// Starts a command and the threads that serve it.
    ///
    /// # Errors
    ///
    /// The command is empty or cannot be started.
    pub(crate) fn start(
        id: u32,
        asked: Asked,
        outlet: &Outlet,
        processes: &Processes,
    ) -> Result<()> {
        let Some((program, args)) = asked.argv.split_first() else {
            bail!("empty command");
        };
        let mut command = Command::new(program);
        if asked.terminal.is_some() {
            command.env("TERM", "xterm-256color");
        }
        command
            .args(args)
            .envs(asked.env.iter().map(|(name, value)| (name, value)))
            .current_dir(asked.dir.as_deref().unwrap_or("/"));
        let terminal = match asked.terminal {
            Some(size) => Some(attach_terminal(&mut command, size)?),
            None => {
                command
                    .stdin(if asked.stdin {
                        Stdio::piped()
                    } else {
                        Stdio::null()
                    })
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .process_group(0);
                None
            }
        };
        // The lock is held so that the command cannot end before it is known.
        let mut known = processes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command.spawn().with_context(|| program.clone())?;
        // Drops this process's copies of the terminal's other end.
        drop(command);
        let mut input = None;
        let (ended, streams) = channel();
        if let Some(terminal) = &terminal {
            input = Some(feed(terminal.try_clone()?));
            forward(id, terminal.try_clone()?, Answer::Stdout, outlet, &ended);
        }
        if let Some(stdin) = child.stdin.take() {
            input = Some(feed(stdin));
        }
        if let Some(stdout) = child.stdout.take() {
            forward(id, stdout, Answer::Stdout, outlet, &ended);
        }
        if let Some(stderr) = child.stderr.take() {
            forward(id, stderr, Answer::Stderr, outlet, &ended);
        }
        drop(ended);
        let pid = child.id().cast_signed();
        known.insert(
            id,
            Self {
                pid,
                input,
                terminal,
            },
        );
        drop(known);
        let (outlet, processes) = (outlet.clone(), processes.clone());
        thread::spawn(move || finish(id, child, &streams, &outlet, &processes));
        Ok(())
    }

    /// Feeds the standard input.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        if self.input.as_ref().is_some_and(|i| i.send(bytes).is_err()) {
            self.input = None;
        }
    }

    /// Ends the standard input.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// Tells the terminal's new size.
    pub(crate) fn resize(&mut self, size: Size) {
        if let Some(terminal) = &self.terminal {
            set_size(terminal, size);
        }
    }

    /// Sends a signal to all processes of the command.
    pub(crate) fn signal(&mut self, signal: i32) {
        // SAFETY: kill takes plain numbers. The raw call because real-time signals are no `Signal`.
        if unsafe { libc::kill(-self.pid, signal) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("lab-agent: signal {signal} to {}: {error}", self.pid);
        }
    }

    /// All processes of the command, as `kill` takes them.
    pub(crate) fn group(&self) -> Pid {
        Pid::from_raw(-self.pid)
    }
}

/// Gives `command` a terminal of its own; returns the agent's end.
fn attach_terminal(command: &mut Command, size: Size) -> Result<File> {
    let pty = openpty(Some(&winsize(size)), None).context("terminal")?;
    command
        .stdin(pty.slave.try_clone()?)
        .stdout(pty.slave.try_clone()?)
        .stderr(pty.slave);
    // SAFETY: Both calls are async-signal-safe and change only the new process.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok(File::from(close_on_exec(pty.master)?))
}

fn close_on_exec(fd: OwnedFd) -> Result<OwnedFd> {
    use nix::fcntl::{fcntl, FcntlArg, FdFlag};
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

fn winsize(size: Size) -> nix::pty::Winsize {
    nix::pty::Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn set_size(terminal: &File, size: Size) {
    let size = winsize(size);
    // SAFETY: TIOCSWINSZ reads one winsize, which lives until the call returns.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) } != 0 {
        let error = std::io::Error::last_os_error();
        eprintln!("lab-agent: terminal size: {error}");
    }
}

/// Starts the thread that writes the standard input, which may block.
fn feed(mut stdin: impl Write + Send + 'static) -> Sender<Vec<u8>> {
    let (sender, receiver) = channel::<Vec<u8>>();
    thread::spawn(move || {
        for piece in receiver {
            // A command that closed its input is no error.
            if stdin
                .write_all(&piece)
                .and_then(|()| stdin.flush())
                .is_err()
            {
                return;
            }
        }
    });
    sender
}

/// Starts the thread that sends a stream to the lab; it drops `ended` at the stream's end.
fn forward(
    id: u32,
    mut stream: impl Read + Send + 'static,
    wrap: fn(Vec<u8>) -> Answer,
    outlet: &Outlet,
    ended: &Sender<()>,
) {
    let (outlet, ended) = (outlet.clone(), ended.clone());
    thread::spawn(move || {
        let mut piece = vec![0; MAX_PIECE];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => outlet.answer(id, wrap(piece[..length].to_vec())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EIO is how a terminal says that its last process is gone.
                Err(_) => break,
            }
        }
        drop(ended);
    });
}

/// Waits for a command's end and then for its output.
fn finish(id: u32, mut child: Child, ended: &Receiver<()>, outlet: &Outlet, known: &Processes) {
    let status = child.wait();
    // Nothing is ever sent: the channel closes when all streams have ended.
    if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(GRACE) {
        eprintln!("lab-agent: command {id} ended, but something still holds its output");
    }
    known
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&id);
    outlet.answer(
        id,
        match status {
            Ok(status) => Answer::Exit(convert(status)),
            Err(error) => Answer::Failed(format!("wait: {error}")),
        },
    );
}

fn convert(status: ExitStatus) -> Status {
    match status.code() {
        Some(code) => Status::Exited(code),
        None => Status::Signaled(status.signal().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use lab_proto::{read_frame, Event};

    use super::*;

    /// Runs a command line, lets `act` do something with it, and returns its output and end.
    fn run(line: &str, terminal: Option<Size>, act: impl FnOnce(&mut Process)) -> (String, Answer) {
        let (here, mut there) = UnixStream::pair().unwrap();
        let outlet = Outlet::new(File::from(OwnedFd::from(here)));
        let processes = Processes::default();
        let asked = Asked {
            argv: ["sh", "-c", line].map(String::from).to_vec(),
            stdin: true,
            terminal,
            ..Asked::default()
        };
        Process::start(7, asked, &outlet, &processes).unwrap();
        if let Some(process) = processes.lock().unwrap().get_mut(&7) {
            act(process);
        }
        let mut output = Vec::new();
        loop {
            match read_frame(&mut there).unwrap() {
                Some(Event::Answer { id: 7, answer }) => match answer {
                    Answer::Stdout(bytes) | Answer::Stderr(bytes) => output.extend(bytes),
                    end => return (String::from_utf8(output).unwrap(), end),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn output_comes_before_the_status() {
        let (output, end) = run("echo one; echo two >&2; exit 3", None, |_| ());
        assert!(
            output.contains("one\n") && output.contains("two\n"),
            "{output}"
        );
        assert_eq!(end, Answer::Exit(Status::Exited(3)));
    }

    #[test]
    fn input_is_fed_and_ended() {
        let (output, end) = run("cat", None, |process| {
            process.feed(b"fed ".to_vec());
            process.feed(b"twice".to_vec());
            process.close();
        });
        assert_eq!(output, "fed twice");
        assert_eq!(end, Answer::Exit(Status::Exited(0)));
    }

    #[test]
    fn signal_reaches_the_whole_group() {
        let (_, end) = run("sleep 1000 & sleep 1000", None, |process| {
            process.signal(libc::SIGTERM);
        });
        assert_eq!(end, Answer::Exit(Status::Signaled(libc::SIGTERM)));
    }

    #[test]
    fn child_in_the_background_does_not_hold_the_status() {
        let (_, end) = run("sleep 5 & exit 4", None, |_| ());
        assert_eq!(end, Answer::Exit(Status::Exited(4)));
    }

    #[test]
    fn terminal_has_the_size_that_was_asked() {
        let size = Size {
            rows: 33,
            columns: 101,
        };
        let (output, end) = run("stty size; tty >/dev/null", Some(size), |_| ());
        assert_eq!(output, "33 101\r\n");
        assert_eq!(end, Answer::Exit(Status::Exited(0)));
    }
}
