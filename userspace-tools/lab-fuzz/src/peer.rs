// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The other ends of connections, which say and end what they like.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{random::Random, sys, Peer};

/// How long nothing may happen on a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Turns that a connection has at most.
const TURNS: usize = 8;

/// Starts all threads.
pub(crate) fn start(args: &Peer) -> Result<()> {
    for number in 0..args.parallel {
        let (to, random) = (args.to.clone(), Random::new(args.seed, number));
        if !to.is_empty() {
            thread::spawn(move || clients(&to, random));
        }
    }
    if let Some(address) = args.listen {
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        let mut random = Random::new(args.seed, args.parallel);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let random = Random::new(random.next(), 0);
                thread::spawn(move || talk(stream, random));
            }
        });
    }
    Ok(())
}

fn clients(to: &[SocketAddr], mut random: Random) {
    loop {
        match TcpStream::connect_timeout(&random.pick(to), PATIENCE) {
            Ok(stream) => talk(stream, random.clone()),
            // Nobody listens at the moment.
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
        random.next();
    }
}

/// Sends and receives for a while, and ends the connection in some way. Errors are as good as anything else.
fn talk(mut stream: TcpStream, mut random: Random) {
    let mut bytes = [0; 16_384];
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    for _ in 0..random.below(TURNS) {
        let done = match random.below(4) {
            0 => stream.read(&mut bytes).map(|length| length == 0),
            _ => {
                let size = random.pick(&[1, 100, 5000, 16_384]);
                stream.write(&bytes[..size]).map(|_| false)
            }
        };
        if !matches!(done, Ok(false)) {
            break;
        }
    }
    match random.below(4) {
        0 => {
            let fd = stream.as_raw_fd();
            let _ = sys::set_numbers(fd, libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0]);
        }
        1 => {
            let _ = stream.shutdown(Shutdown::Write);
            while matches!(stream.read(&mut bytes), Ok(1..)) {}
        }
        _ => {}
    }
}
