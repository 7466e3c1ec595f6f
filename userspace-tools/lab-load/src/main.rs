// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Clients and servers that say all kinds of things to each other, through whatever is between them. Every byte is
//! known from the seed and its place, and checked; so is when each direction ends.

mod content;
mod end;
mod plan;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, PoisonError,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context as _, Result};
use clap::{Args, Parser};
use socket2::{Domain, Socket, Type};

use crate::{
    content::Random,
    plan::{Hello, Plan, GREETING},
};

/// Errors that are told; of more there is only the number.
const TOLD: u64 = 10;

#[derive(Debug, Parser)]
enum Cli {
    /// Serves until killed, and tells what goes wrong
    Server(Server),
    /// Opens connections, and tells how they went
    Client(Client),
}

#[derive(Debug, Args)]
struct Server {
    /// Addresses to listen on
    #[arg(long = "listen", required = true, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Receive buffer of all of them, of which the window scale depends; one for each address, or none
    #[arg(long = "rcvbuf", value_name = "BYTES")]
    rcvbuf: Vec<usize>,
    /// Time in which something must happen
    #[arg(long, default_value_t = 60, value_name = "S")]
    patience: u64,
}

#[derive(Debug, Args)]
struct Client {
    /// Addresses to connect to, by turns
    #[arg(long = "to", required = true, value_name = "ADDR")]
    to: Vec<SocketAddr>,
    /// Receive buffers of the sockets, by chance; the system's without
    #[arg(long = "rcvbuf", value_name = "BYTES")]
    rcvbuf: Vec<usize>,
    /// Connections
    #[arg(long, default_value_t = 100, value_name = "N")]
    connections: u64,
    /// Connections at a time
    #[arg(long, default_value_t = 16, value_name = "N")]
    parallel: u64,
    /// What all is derived from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Fewest bytes that are sent at a time, other than by who has little to ask for
    #[arg(long, default_value_t = 1, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..))]
    min_size: u64,
    /// Most bytes that are sent each way at a time
    #[arg(long, default_value_t = 10_000_000, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..))]
    max_size: u64,
    /// Begin when the server has said a word: what is between may do something about the connection before
    #[arg(long)]
    greeting: bool,
    /// Time in which something must happen
    #[arg(long, default_value_t = 60, value_name = "S")]
    patience: u64,
}

fn main() -> Result<ExitCode> {
    match Cli::parse() {
        Cli::Server(args) => serve(&args),
        Cli::Client(args) => clients(args),
    }
}

fn serve(args: &Server) -> Result<ExitCode> {
    let patience = Duration::from_secs(args.patience);
    let mut threads = Vec::new();
    for (number, address) in args.listen.iter().enumerate() {
        let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if let Some(bytes) = args.rcvbuf.get(number) {
            socket.set_recv_buffer_size(*bytes)?;
        }
        socket
            .bind(&(*address).into())
            .with_context(|| address.to_string())?;
        socket.listen(1024)?;
        let listener = TcpListener::from(socket);
        threads.push(thread::spawn(move || accept(&listener, patience)));
    }
    println!("ready");
    for thread in threads {
        // They end only when accepting fails.
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
    }
    Ok(ExitCode::SUCCESS)
}

fn accept(listener: &TcpListener, patience: Duration) -> Result<()> {
    loop {
        let (stream, address) = listener.accept().context("accept")?;
        thread::spawn(move || {
            if let Err(error) = answer(&stream, patience) {
                eprintln!("lab-load: server of {address}: {error:#}");
            }
        });
    }
}

/// Serves one connection.
fn answer(mut stream: &TcpStream, patience: Duration) -> Result<u64> {
    stream.set_read_timeout(Some(patience))?;
    let mut bytes = [0; Hello::SIZE];
    stream.read_exact(&mut bytes).context("hello")?;
    let hello = Hello::from_bytes(&bytes).context("that was no hello")?;
    if hello.greeting {
        stream.write_all(&[GREETING]).context("greeting")?;
    }
    end::run(stream, &Plan::new(hello).server, patience)
        .with_context(|| format!("seed {}", hello.seed))
}

/// Numbers of all clients.
#[derive(Debug, Default)]
struct Numbers {
    next: AtomicU64,
    received: AtomicU64,
    errors: Mutex<Vec<String>>,
}

fn clients(args: Client) -> Result<ExitCode> {
    ensure!(
        args.min_size <= args.max_size,
        "the fewest bytes are more than the most"
    );
    let start = Instant::now();
    let (args, numbers) = (Arc::new(args), Arc::new(Numbers::default()));
    let work = |_| {
        let (args, numbers) = (Arc::clone(&args), Arc::clone(&numbers));
        thread::spawn(move || loop {
            let number = numbers.next.fetch_add(1, Ordering::Relaxed);
            if number >= args.connections {
                return;
            }
            match ask(&args, number) {
                Ok(bytes) => drop(numbers.received.fetch_add(bytes, Ordering::Relaxed)),
                Err(error) => {
                    let mut errors = numbers
                        .errors
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    if (errors.len() as u64) < TOLD {
                        eprintln!("lab-load: client {number}: {error:#}");
                    }
                    errors.push(format!("{error:#}"));
                }
            }
        })
    };
    let threads: Vec<_> = (0..args.parallel).map(work).collect();
    let panics = threads
        .into_iter()
        .filter_map(|thread| thread.join().err())
        .count();
    let errors = numbers
        .errors
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len()
        + panics;
    let received = numbers.received.load(Ordering::Relaxed);
    println!(
        "{} connections, {errors} errors, {received} bytes received, {:.1} s",
        args.connections,
        start.elapsed().as_secs_f32()
    );
    Ok(ExitCode::from(u8::from(errors > 0)))
}

/// One client.
fn ask(args: &Client, number: u64) -> Result<u64> {
    let patience = Duration::from_secs(args.patience);
    let seed = (args.seed << 32) | number;
    let address = args.to[number as usize % args.to.len()];
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if !args.rcvbuf.is_empty() {
        let which = Random::new(!seed).below(args.rcvbuf.len() as u64);
        socket.set_recv_buffer_size(args.rcvbuf[which as usize])?;
    }
    socket
        .connect_timeout(&address.into(), patience)
        .context("connect")?;
    let mut stream = TcpStream::from(socket);
    let hello = Hello {
        seed,
        least: args.min_size,
        most: args.max_size,
        greeting: args.greeting,
    };
    let plan = Plan::new(hello);
    let mut run = || {
        stream.write_all(&hello.to_bytes()).context("hello")?;
        if hello.greeting {
            let mut word = [0];
            stream.set_read_timeout(Some(patience))?;
            stream.read_exact(&mut word).context("greeting")?;
            ensure!(word == [GREETING], "the greeting is {word:?}");
        }
        end::run(&stream, &plan.client, patience)
    };
    let received = run().with_context(|| format!("seed {seed}, {:?}", stream.local_addr()))?;
    ensure!(received == plan.client.total, "{received} bytes received");
    Ok(received)
}
