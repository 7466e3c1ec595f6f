// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pair of connections. The kernel passes on the data, this program the ends.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use anyhow::{anyhow, bail, Context as _, Result};
use rustix::{
    event::{poll, PollFd, PollFlags, Timespec},
    net::{recv, RecvFlags},
};

use crate::{bpf::Redirect, progress, Stats};

/// Between two looks whether all has been sent; it doubles.
const LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// One direction.
#[derive(Clone, Copy, Debug)]
struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    /// [`progress::taken`] of `to` before anything was sent.
    taken: u64,
}

impl<'a> Direction<'a> {
    fn new(from: &'a TcpStream, to: &'a TcpStream) -> io::Result<Self> {
        let taken = progress::taken(to)?;
        Ok(Self { from, to, taken })
    }

    /// Has the kernel relay, or copies if it refuses.
    fn run(self, redirect: Option<&Redirect>, stats: &Stats) -> Result<()> {
        match redirect {
            Some(redirect) if redirect.start(self.from).is_ok() => self.redirected(),
            _ => self.copy(stats),
        }
    }

    fn redirected(self) -> Result<()> {
        // What was received before the program was there does not come to its notice otherwise.
        match recv(self.from, &mut [0; 1], RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(rustix::io::Errno::AGAIN) => {}
            Ok(_) => bail!("data for this program"),
            Err(error) => return Err(error.into()),
        }
        self.wait(PollFlags::RDHUP)?;
        let mut pause = LOOKS[0];
        // The FIN is one of those received.
        while progress::taken(self.to)? - self.taken + 1 < progress::received(self.from)? {
            let mut to = [PollFd::new(self.to, PollFlags::empty())];
            poll(&mut to, Some(&timespec(pause)?))?;
            is_well(None, &to[0])?;
            pause = (2 * pause).min(LOOKS[1]);
        }
        self.end()
    }

    /// A connection that one peer has closed already cannot be redirected.
    fn copy(self, stats: &Stats) -> Result<()> {
        let (mut from, mut to) = (self.from, self.to);
        let mut buffer = vec![0; 65_536];
        loop {
            self.wait(PollFlags::IN)?;
            match from.read(&mut buffer) {
                Ok(0) => return self.end(),
                Ok(length) => {
                    to.write_all(&buffer[..length])?;
                    stats
                        .copied_bytes
                        .fetch_add(length as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for an event of one socket, or the failure of any.
    fn wait(self, event: PollFlags) -> Result<()> {
        loop {
            let mut fds = [
                PollFd::new(self.from, event),
                PollFd::new(self.to, PollFlags::empty()),
            ];
            poll(&mut fds, None)?;
            is_well(Some(&fds[0]), &fds[1])?;
            if fds[0].revents().intersects(event) {
                return Ok(());
            }
        }
    }

    fn end(self) -> Result<()> {
        Ok(self.to.shutdown(Shutdown::Write)?)
    }
}

/// Relays until both connections have ended.
pub(crate) fn run(
    redirect: &Redirect,
    stats: &Stats,
    client: &TcpStream,
    server: &TcpStream,
) -> Result<()> {
    let [up, down] = [
        Direction::new(client, server)?,
        Direction::new(server, client)?,
    ];
    // Both are known before the first one is read.
    let is_paired = redirect
        .pair(client, server)
        .and_then(|()| redirect.pair(server, client))
        .is_ok();
    let redirect = is_paired.then_some(redirect);
    let count = if is_paired {
        &stats.redirected
    } else {
        &stats.copied
    };
    count.fetch_add(1, Ordering::Relaxed);
    let (up, down) = thread::scope(|scope| {
        let down = scope.spawn(|| down.run(redirect, stats));
        let up = up.run(redirect, stats);
        let panicked = |_| Err(anyhow!("the thread panicked"));
        (up, down.join().unwrap_or_else(panicked))
    });
    up.context("client to backend")?;
    down.context("backend to client")
}

/// Fails with a socket's error, which is left to the other thread, too; and when `to` has hung up, whose direction
/// this thread alone closes. That `from` has is also what it looks like when both of its directions are over.
fn is_well(from: Option<&PollFd<'_>>, to: &PollFd<'_>) -> Result<()> {
    let has_failed = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::ERR);
    if from.is_some_and(has_failed) {
        bail!("the receiving connection has failed");
    }
    if has_failed(to) || to.revents().contains(PollFlags::HUP) {
        bail!("the sending connection has failed");
    }
    Ok(())
}

fn timespec(time: Duration) -> Result<Timespec> {
    Ok(Timespec::try_from(time)?)
}
