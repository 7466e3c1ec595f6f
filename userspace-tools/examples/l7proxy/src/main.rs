// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A small HTTP proxy. It reads the head of the first request of a connection, picks a backend by it, and passes on
//! what it has read. The rest is none of its business: the card relays it (`--mode splice`), or this program copies
//! it (`--mode copy`, and whenever the kernel refuses).
//!
//! With `--raw` it looks at nothing, and every connection goes to a backend at once.

mod backends;
mod handover;
mod http;
mod relay;
mod stats;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use acceltcp_socket::Offload;
use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    signal::unix::{signal, SignalKind},
    time::{sleep, timeout},
};

use crate::{
    backends::{Backend, Backends},
    http::{Head, Refusal},
    relay::Relay,
    stats::Stats,
};

/// Who relays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Mode {
    /// The card, if the kernel does not refuse.
    Splice,
    /// This program.
    Copy,
}

/// Passes each connection on to the backend that its first request asks for
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on
    #[arg(long, default_value = "[::]:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Backend for requests whose target begins with a prefix, such as /images=192.0.2.1:80 or
    /// example.org/=192.0.2.2:80, or for all; those with the same prefix take turns
    #[arg(long = "backend", required = true, value_name = "[PREFIX=]ADDR")]
    backends: Vec<Backend>,
    /// Who relays
    #[arg(long, value_enum, default_value_t = Mode::Splice)]
    mode: Mode,
    /// Offloads of the listener: a list of setup, teardown, defer, server-first, no-hold
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    offload: Offload,
    /// Most bytes of a request's head
    #[arg(long, default_value_t = 16_384, value_name = "BYTES")]
    max_head: usize,
    /// Time for a request's head, and for a backend to answer a connection
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    patience: u64,
    /// Have spliced connections reset after so long without a segment; 0 is never
    #[arg(long, default_value_t = 0, value_name = "MS")]
    idle: u64,
    /// Forget connections as soon as they are spliced
    #[arg(long)]
    detach: bool,
    /// Do not look for requests
    #[arg(long)]
    raw: bool,
    /// Copy so many bytes of the client before splicing
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    splice_after: u64,
    /// Take spliced connections back after so long, copy for as long, and splice again; 0 is never
    #[arg(long, default_value_t = 0, value_name = "MS")]
    take_back_every: u64,
    /// How often each connection is taken back
    #[arg(long, default_value_t = 1, value_name = "N")]
    cycles: u32,
    /// Do not tell how connections fail
    #[arg(long)]
    quiet: bool,
}

/// What all connections have in common.
struct Proxy {
    args: Args,
    backends: Backends,
    stats: Stats,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let listener = listen(&args).with_context(|| format!("cannot listen on {}", args.listen))?;
    let proxy = Arc::new(Proxy {
        backends: Backends::new(&args.backends),
        stats: Stats::default(),
        args,
    });
    println!("listening on {}", listener.local_addr()?);
    let mut tell = signal(SignalKind::user_defined1())?;
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, address)) => {
                    tokio::spawn(serve(Arc::clone(&proxy), client, address));
                }
                Err(error) => {
                    // Such as no file descriptor left: the ends of others help, asking again at once does not.
                    eprintln!("l7proxy: accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            _ = tell.recv() => println!("{}", proxy.stats),
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    println!("{}", proxy.stats);
    Ok(())
}

fn listen(args: &Args) -> Result<TcpListener> {
    let socket = match args.listen {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if !args.offload.is_empty() {
        acceltcp_socket::set_offload(&socket, args.offload).context("offload")?;
    }
    socket.bind(args.listen)?;
    Ok(socket.listen(4096)?)
}

async fn serve(proxy: Arc<Proxy>, client: TcpStream, address: SocketAddr) {
    let start = Instant::now();
    Stats::count(&proxy.stats.accepted);
    if let Err(error) = connection(&proxy, client).await {
        Stats::count(&proxy.stats.failed);
        if !proxy.args.quiet {
            let time = start.elapsed().as_secs_f32();
            eprintln!("l7proxy: {address}, {time:.3} s: {error:#}");
        }
    }
}

/// Serves a connection to its end.
async fn connection(proxy: &Proxy, mut client: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    let patience = Duration::from_millis(proxy.args.patience);
    let head = if proxy.args.raw {
        Head::default()
    } else {
        let read = http::read(&mut client, proxy.args.max_head);
        match timeout(patience, read).await {
            Ok(Ok(Some(head))) => head,
            // It was only to be seen whether somebody is there.
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(refusal)) => return refuse(proxy, client, refusal).await,
            Err(_) => return refuse(proxy, client, Refusal::Timeout).await,
        }
    };
    let Some(backend) = proxy.backends.pick(&head.host, &head.path) else {
        return refuse(proxy, client, Refusal::NoBackend).await;
    };
    let connected = timeout(patience, connect(&proxy.args, backend)).await;
    let server = match connected.unwrap_or_else(|late| Err(late.into())) {
        Ok(server) => server,
        Err(error) => {
            if proxy.args.raw {
                relay::reset(&client);
            } else {
                refuse(proxy, client, Refusal::BadGateway).await?;
            }
            return Err(error).with_context(|| format!("backend {backend}"));
        }
    };
    server.set_nodelay(true)?;
    let mut relay = Relay::new(client, server, head.bytes);
    let done = handover::run(proxy, &mut relay).await;
    if done.is_err() {
        relay.reset();
    }
    done.with_context(|| format!("backend {backend}"))
}

/// Connects to a backend. Where the card cannot take part the kernel tells again when connections are spliced.
async fn connect(args: &Args, backend: SocketAddr) -> io::Result<TcpStream> {
    let socket = match backend {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let offload = args.offload & (Offload::TEARDOWN | Offload::NO_HOLD);
    if args.mode == Mode::Splice || !offload.is_empty() {
        let _ = acceltcp_socket::set_offload(&socket, offload);
    }
    socket.connect(backend).await
}

/// Answers a request that cannot be passed on.
async fn refuse(proxy: &Proxy, mut client: TcpStream, refusal: Refusal) -> Result<()> {
    Stats::count(&proxy.stats.refused);
    client.write_all(refusal.answer().as_bytes()).await?;
    client.shutdown().await?;
    // Closing with data unread would reset the connection, and the client might not get its answer.
    let mut sink = tokio::io::sink();
    let drain = tokio::io::copy(&mut client, &mut sink);
    let _ = timeout(Duration::from_secs(1), drain).await;
    Ok(())
}
