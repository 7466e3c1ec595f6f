// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From copying to splicing, and back.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd as _,
    time::Duration,
};

use acceltcp_socket::{splice, splice_info, unsplice, SpliceOptions, SpliceReason, SpliceState};
use anyhow::{bail, Context as _, Result};
use tokio::{
    net::TcpStream,
    task::spawn_blocking,
    time::{sleep, timeout, Instant},
};

use crate::{
    relay::{Relay, Until},
    stats::Stats,
    Mode, Proxy,
};

/// How long data that is under way may keep connections from being spliced, and looks at that.
const UNDER_WAY: Duration = Duration::from_secs(3);
const LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// Between the first two tries to take connections back, and how many times as long before each other one: while a try lasts the
/// card relays nothing new, which the peers send again ever more rarely.
const AGAIN: Duration = Duration::from_millis(5);
const LATER: u32 = 4;

/// Relays until both connections have ended, or are the card's alone.
pub(crate) async fn run(proxy: &Proxy, relay: &mut Relay) -> Result<()> {
    let done = relay_all(proxy, relay).await;
    Stats::add(&proxy.stats.copied_bytes, relay.copied());
    done
}

async fn relay_all(proxy: &Proxy, relay: &mut Relay) -> Result<()> {
    let args = &proxy.args;
    if args.mode == Mode::Copy {
        return relay.copy(Until::End).await;
    }
    relay.copy(Until::Bytes(args.splice_after)).await?;
    let every = Duration::from_millis(args.take_back_every);
    let mut cycles = if every.is_zero() { 0 } else { args.cycles };
    loop {
        // What is closed for one direction cannot be spliced.
        if relay.is_half_closed() {
            return relay.copy(Until::End).await;
        }
        if let Err(error) = splice_both(proxy, relay).await {
            proxy.stats.not_spliced(&error);
            return relay.copy(Until::End).await;
        }
        Stats::count(&proxy.stats.spliced);
        if args.detach {
            return Ok(());
        }
        if cycles == 0 || !take_back(proxy, relay, every).await? {
            return ended(proxy, relay).await;
        }
        cycles -= 1;
        Stats::count(&proxy.stats.taken_back);
        relay.copy(Until::Time(Instant::now() + every)).await?;
    }
}

/// Splices as soon as what is under way allows it. The kernel is not asked to wait: others are served meanwhile.
async fn splice_both(proxy: &Proxy, relay: &Relay) -> io::Result<()> {
    let options = SpliceOptions {
        idle: (proxy.args.idle != 0).then(|| Duration::from_millis(proxy.args.idle)),
        nonblocking: true,
        detach: proxy.args.detach,
    };
    let (start, mut pause) = (Instant::now(), LOOKS[0]);
    loop {
        match splice(&relay.client, &relay.server, options) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < UNDER_WAY => {
                sleep(pause).await;
                pause = (2 * pause).min(LOOKS[1]);
            }
            done => return done,
        }
    }
}

/// Takes the connections back after a while, unless they end before.
async fn take_back(proxy: &Proxy, relay: &Relay, after: Duration) -> Result<bool> {
    let (mut pause, mut next) = (after, AGAIN);
    loop {
        if timeout(pause, end(&relay.client)).await.is_ok() {
            return Ok(false);
        }
        match ask_back(&relay.client)
            .await
            .map_err(|error| (error.raw_os_error(), error))
        {
            Ok(()) => return Ok(true),
            Err((Some(libc::EAGAIN), _)) => {
                pause = next;
                next *= LATER;
            }
            Err((Some(libc::EALREADY), _)) => return Ok(false),
            Err((_, error)) => {
                proxy.stats.not_spliced(&error);
                return Err(error).context("take back");
            }
        }
    }
}

/// Takes a connection and the other one of its pair back. The call waits for the peers, in a thread of its own: others are
/// served meanwhile.
async fn ask_back(stream: &TcpStream) -> io::Result<()> {
    let socket = stream.as_fd().try_clone_to_owned()?;
    let call = move || loop {
        match unsplice(&socket) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It has come back when the call was interrupted.
            Err(_) if splice_info(&socket)?.state == SpliceState::Returned => return Ok(()),
            done => return done,
        }
    };
    spawn_blocking(call).await?
}

/// Waits for the end of what the card relays.
async fn ended(proxy: &Proxy, relay: &Relay) -> Result<()> {
    let ends = tokio::join!(end(&relay.client), end(&relay.server));
    let info = splice_info(&relay.client).context("splice info")?;
    proxy.stats.ended(info.reason);
    Stats::add(&proxy.stats.relayed_bytes, info.rx_bytes + info.tx_bytes);
    ends.0.with_context(|| format!("client, {}", info.reason))?;
    ends.1
        .with_context(|| format!("backend, {}", info.reason))?;
    if info.reason != SpliceReason::Closed {
        bail!("both connections end, but {}", info.reason);
    }
    Ok(())
}

/// Waits until a spliced connection ends. Nothing comes before.
async fn end(stream: &TcpStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "data of a spliced connection",
                ))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
