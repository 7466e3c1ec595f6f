// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Two connections, and copying between them.

use std::{
    io::{self, ErrorKind},
    net::Shutdown,
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{sleep_until, Instant},
};

/// Bytes that are read at a time.
const PIECE: usize = 16_384;

/// When copying is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// When both peers have closed.
    End,
    /// When the client has sent so many bytes.
    Bytes(u64),
    /// At this time.
    Time(Instant),
}

/// One direction: what was read and is not yet written.
#[derive(Debug, Default)]
struct Direction {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that were written.
    bytes: u64,
    /// The end was passed on.
    ended: bool,
}

impl Direction {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads or writes once. Nothing is lost when this is dropped before it is ready.
    async fn step(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        if self.is_empty() {
            from.readable().await?;
            self.buffer.resize(PIECE, 0);
            match from.try_read(&mut self.buffer) {
                Ok(0) => {
                    SockRef::from(to).shutdown(Shutdown::Write)?;
                    self.ended = true;
                    return Ok(());
                }
                Ok(length) => (self.start, self.end) = (0, length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        } else {
            to.writable().await?;
        }
        match to.try_write(&self.buffer[self.start..self.end]) {
            Ok(length) => {
                self.start += length;
                self.bytes += length as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A client, its backend, and what is under way between them.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
    up: Direction,
    down: Direction,
}

impl Relay {
    /// `head` was read of the client already.
    pub(crate) fn new(client: TcpStream, server: TcpStream, head: Vec<u8>) -> Self {
        let up = Direction {
            end: head.len(),
            buffer: head,
            ..Direction::default()
        };
        Self {
            client,
            server,
            up,
            down: Direction::default(),
        }
    }

    /// Bytes that were copied.
    pub(crate) fn copied(&self) -> u64 {
        self.up.bytes + self.down.bytes
    }

    /// Whether a direction has ended.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.up.ended || self.down.ended
    }

    /// Copies both ways, and passes the end of each on. Unless both have ended, all that was read is written then.
    pub(crate) async fn copy(&mut self, until: Until) -> Result<()> {
        let Self {
            client,
            server,
            up,
            down,
        } = self;
        let (is_limited, limit) = match until {
            Until::Time(time) => (true, time),
            Until::End | Until::Bytes(_) => (false, Instant::now()),
        };
        let time = sleep_until(limit);
        tokio::pin!(time);
        let mut is_late = false;
        while !(up.ended && down.ended) {
            let enough = match until {
                Until::End => false,
                Until::Bytes(bytes) => up.bytes >= bytes,
                Until::Time(_) => is_late,
            };
            if enough && up.is_empty() && down.is_empty() {
                break;
            }
            tokio::select! {
                done = up.step(client, server), if !up.ended => done.context("client to backend")?,
                done = down.step(server, client), if !down.ended => done.context("backend to client")?,
                () = &mut time, if is_limited && !is_late => is_late = true,
            }
        }
        Ok(())
    }

    /// Has both peers see a reset when the connections are dropped.
    pub(crate) fn reset(&self) {
        reset(&self.client);
        reset(&self.server);
    }
}

/// Has the peer see a reset when the connection is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    // If even that fails nothing more can be done.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
