// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A TCP proxy whose connections the host's kernel relays: a BPF program on a sockmap redirects what one socket
//! receives to the other one, as the kernel's selftests do it. It is what splicing by the card is compared with.
//!
//! Both sockets go into the maps before anything of them is read, so the program sees all data. Connections that the
//! kernel does not take are copied.

mod bpf;
mod progress;
mod relay;

use std::{
    fmt,
    net::{SocketAddr, TcpListener, TcpStream},
    process,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use socket2::SockRef;

use crate::bpf::Redirect;

/// Passes each connection on to a backend
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Backends, which take turns
    #[arg(long = "backend", required = true, value_name = "ADDR")]
    backends: Vec<SocketAddr>,
}

/// What has happened.
#[derive(Debug, Default)]
struct Stats {
    accepted: AtomicU64,
    redirected: AtomicU64,
    copied: AtomicU64,
    copied_bytes: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("accepted", &self.accepted),
            ("redirected", &self.redirected),
            ("copied", &self.copied),
            ("copied bytes", &self.copied_bytes),
            ("failed", &self.failed),
        ];
        for (name, count) in counts {
            writeln!(f, "{name}: {}", count.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let redirect = Arc::new(Redirect::load()?);
    let stats = Arc::new(Stats::default());
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let told = Arc::clone(&stats);
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            print!("{told}");
            process::exit(0);
        }
    });
    println!("listening on {}", listener.local_addr()?);
    for backend in args.backends.iter().copied().cycle() {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                // Such as no file descriptor left: the ends of others help, asking again at once does not.
                eprintln!("sockmap-proxy: accept: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let (redirect, stats) = (Arc::clone(&redirect), Arc::clone(&stats));
        thread::spawn(move || serve(&redirect, &stats, &client, backend));
    }
    Ok(())
}

fn serve(redirect: &Redirect, stats: &Stats, client: &TcpStream, backend: SocketAddr) {
    stats.accepted.fetch_add(1, Ordering::Relaxed);
    if let Err(error) = connection(redirect, stats, client, backend) {
        eprintln!("sockmap-proxy: {backend}: {error:#}");
        reset(client);
        stats.failed.fetch_add(1, Ordering::Relaxed);
    }
}

fn connection(
    redirect: &Redirect,
    stats: &Stats,
    client: &TcpStream,
    backend: SocketAddr,
) -> Result<()> {
    let server = TcpStream::connect(backend)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let done = relay::run(redirect, stats, client, &server);
    if done.is_err() {
        reset(&server);
    }
    done
}

/// Has the peer see a reset when the connection is dropped.
fn reset(stream: &TcpStream) {
    // If even that fails nothing more can be done.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
