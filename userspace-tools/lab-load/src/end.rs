// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An end of a connection at work.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context as _, Result};

use crate::plan::{End, Step};

/// Bytes that are sent or received at a time.
const PIECE: usize = 65_536;

/// What has happened so far.
struct State<'a> {
    stream: &'a TcpStream,
    end: &'a End,
    sent: u64,
    received: u64,
    ended: bool,
    piece: Vec<u8>,
    spare: Vec<u8>,
}

/// Takes all steps, and checks all that comes. Nothing may last longer than `patience`. Bytes received.
pub(crate) fn run(stream: &TcpStream, end: &End, patience: Duration) -> Result<u64> {
    stream.set_nonblocking(true)?;
    let mut state = State {
        stream,
        end,
        sent: 0,
        received: 0,
        ended: false,
        piece: vec![0; PIECE],
        spare: Vec::new(),
    };
    for (number, step) in end.steps.iter().enumerate() {
        state.take(*step, patience).with_context(|| {
            let State { sent, received, .. } = state;
            format!(
                "step {number}, {step:?}: {sent} sent, {received} of {} received",
                end.total
            )
        })?;
    }
    while !state.ended {
        state
            .wait(false, Instant::now() + patience)
            .with_context(|| format!("at the end: {} of {} received", state.received, end.total))?;
    }
    Ok(state.received)
}

impl State<'_> {
    fn take(&mut self, step: Step, patience: Duration) -> Result<()> {
        // What takes long is all right as long as something happens.
        let deadline = || Instant::now() + patience;
        match step {
            Step::Send(bytes) => {
                let end = self.sent + bytes;
                while self.sent < end {
                    if self.wait(true, deadline())? {
                        self.send(end)?;
                    }
                }
            }
            Step::Await(total) => {
                while self.received < total {
                    ensure!(!self.ended, "the stream ends early");
                    self.wait(false, deadline())?;
                }
            }
            Step::AwaitEnd => {
                while !self.ended {
                    self.wait(false, deadline())?;
                }
            }
            Step::Pause(time) => std::thread::sleep(time),
            Step::End => self.stream.shutdown(Shutdown::Write)?,
        }
        Ok(())
    }

    /// Waits until something can be received, which it does, or sent, which it tells.
    fn wait(&mut self, to_send: bool, deadline: Instant) -> Result<bool> {
        let mut events = if self.ended { 0 } else { libc::POLLIN };
        events |= if to_send { libc::POLLOUT } else { 0 };
        let mut poll = libc::pollfd {
            fd: self.stream.as_raw_fd(),
            events,
            revents: 0,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        // SAFETY: It is one structure, which lives long enough.
        match unsafe { libc::poll(&raw mut poll, 1, left.as_millis() as libc::c_int) } {
            0 => bail!("nothing happens"),
            1.. => {}
            _ => return Err(std::io::Error::last_os_error()).context("poll"),
        }
        if !self.ended {
            self.receive()?;
        }
        Ok(poll.revents & (libc::POLLOUT | libc::POLLERR | libc::POLLHUP) != 0)
    }

    fn receive(&mut self) -> Result<()> {
        match (&mut &*self.stream).read(&mut self.piece) {
            Ok(0) => {
                let missing = self.end.total - self.received;
                ensure!(missing == 0, "the stream ends {missing} bytes early");
                self.ended = true;
            }
            Ok(length) => {
                let bytes = &self.piece[..length];
                let wrong = self
                    .end
                    .receives
                    .differs(self.received, bytes, &mut self.spare);
                if let Some(place) = wrong {
                    bail!(
                        "wrong byte at {place}, in {length} bytes from {} on",
                        self.received
                    );
                }
                self.received += length as u64;
                ensure!(self.received <= self.end.total, "more bytes than were sent");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("receive"),
        }
        Ok(())
    }

    fn send(&mut self, end: u64) -> Result<()> {
        let length = (end - self.sent).min(PIECE as u64) as usize;
        self.spare.resize(length, 0);
        self.end.sends.fill(self.sent, &mut self.spare);
        match (&mut &*self.stream).write(&self.spare) {
            Ok(length) => self.sent += length as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("send"),
        }
        Ok(())
    }
}
