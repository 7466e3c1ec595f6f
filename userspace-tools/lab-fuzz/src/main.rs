// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random system calls on sockets that all threads of a process share, the peers of such sockets, and random requests to the
//! module's netlink family.
//!
//! Each thread takes its calls from a seed and its number, so that a run can be repeated; in which order the calls of
//! different threads meet, cannot. A run ends after a number of calls, or of seconds, whichever comes first; on a slow
//! machine it goes on until some kinds of calls have succeeded. Nothing is expected of a single call: what counts is that
//! the kernel lives, and that every kind of call has succeeded.

mod calls;
mod inherit;
mod netlink;
mod peer;
mod random;
mod sockets;
mod swap;
mod sys;

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::{builder::PossibleValuesParser, Args, Parser};

#[derive(Debug, Parser)]
enum Cli {
    /// Makes random calls on shared sockets, and prints how many of each kind succeeded
    Sockets(Sockets),
    /// Connects to sockets of another host and is connected to, until killed
    Peer(Peer),
    /// Makes random requests to the netlink family, and prints how many of each kind were done
    Netlink(Netlink),
    /// Replaces the ULP of accepted connections while other threads set its options
    Swap(Timed),
    /// Gives listeners the ULP, and closes them, while connections come in
    Inherit(Timed),
}

#[derive(Debug, Args)]
struct Sockets {
    /// What the calls are derived from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Threads
    #[arg(long, default_value_t = 6, value_name = "N")]
    threads: u64,
    /// Calls of each thread at most
    #[arg(long, default_value_t = u64::MAX, value_name = "N")]
    calls: u64,
    /// Seconds, beyond which a run goes on only for what --until asks for
    #[arg(long, default_value_t = 10, value_name = "S")]
    seconds: u64,
    /// Kinds of calls that must have succeeded; without them a run ends after ten times its seconds
    #[arg(long = "until", value_name = "KIND", value_parser = PossibleValuesParser::new(calls::names()))]
    until: Vec<String>,
    /// Addresses to listen on and to connect to
    #[arg(long = "host", required = true, value_name = "ADDR")]
    hosts: Vec<SocketAddr>,
    /// Servers to connect to, by way of which connections are spliced
    #[arg(long = "server", value_name = "ADDR")]
    servers: Vec<SocketAddr>,
    /// User to become first
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
}

#[derive(Debug, Args)]
struct Netlink {
    /// What the requests are derived from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Threads
    #[arg(long, default_value_t = 4, value_name = "N")]
    threads: u64,
    /// Seconds; a run goes on for ten times as many at most, until each kind of request was done
    #[arg(long, default_value_t = 10, value_name = "S")]
    seconds: u64,
}

#[derive(Debug, Args)]
struct Peer {
    /// Addresses to connect to
    #[arg(long = "to", value_name = "ADDR")]
    to: Vec<SocketAddr>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// What all is derived from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Connections at a time
    #[arg(long, default_value_t = 4, value_name = "N")]
    parallel: u64,
}

#[derive(Debug, Args)]
struct Timed {
    /// Seconds
    #[arg(long, default_value_t = 10, value_name = "S")]
    seconds: u64,
    /// User to become first
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
}

fn main() -> Result<()> {
    match Cli::parse() {
        Cli::Sockets(args) => {
            become_user(args.uid)?;
            sockets::run(&args)
        }
        Cli::Peer(args) => {
            peer::start(&args)?;
            println!("ready");
            loop {
                thread::park();
            }
        }
        Cli::Netlink(args) => netlink::run(&args),
        Cli::Swap(args) => {
            become_user(args.uid)?;
            swap::run(Duration::from_secs(args.seconds))
        }
        Cli::Inherit(args) => {
            become_user(args.uid)?;
            inherit::run(Duration::from_secs(args.seconds), 3)
        }
    }
}

fn become_user(uid: Option<u32>) -> Result<()> {
    let Some(uid) = uid else { return Ok(()) };
    sys::set_user(uid).with_context(|| format!("cannot become user {uid}"))
}
