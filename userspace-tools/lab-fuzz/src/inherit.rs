// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listeners that are given the ULP, and closed, while connections come in: what those have.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, Context as _, Result};
use libc::c_int;

use crate::sys::{self, Address, OFFLOAD, SOL_ACCELTCP};

/// Connections that are accepted before the listener has the ULP, and behind that.
const EACH: usize = 8;
/// How long a connection is waited for, in milliseconds.
const PATIENCE: c_int = 20_000;

/// Runs for `time` with so many clients at a time, and prints how many connections were without the ULP and with it.
pub(crate) fn run(time: Duration, clients: u64) -> Result<()> {
    let end = Instant::now() + time;
    let port = AtomicU16::new(0);
    let over = AtomicBool::new(false);
    let [without, with] = thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let address = (Ipv4Addr::LOCALHOST, port.load(Ordering::Relaxed));
                    // A listener that is being closed resets it, or is gone.
                    drop(TcpStream::connect(address));
                }
            });
        }
        let found = listeners(end, &port);
        over.store(true, Ordering::Relaxed);
        found
    })?;
    println!("without {without}\nwith {with}");
    Ok(())
}

fn listeners(end: Instant, port: &AtomicU16) -> Result<[u64; 2]> {
    let mut found = [0; 2];
    while Instant::now() < end {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let fd = sys::socket(any)?;
        sys::bind(fd, &Address::new(any))?;
        sys::listen(fd, 64)?;
        port.store(sys::local_port(fd)?, Ordering::Relaxed);
        accept(fd, &mut found)?;
        sys::set_ulp(fd, "acceltcp").context("the ULP of a listening socket")?;
        sys::set_numbers(fd, SOL_ACCELTCP, OFFLOAD, &[2])?;
        accept(fd, &mut found)?;
        // There are connections in its queue, and more come in.
        sys::close(fd)?;
    }
    Ok(found)
}

/// Accepts some connections. Each has the ULP or is a plain one, which can get it.
fn accept(fd: c_int, found: &mut [u64; 2]) -> Result<()> {
    for _ in 0..EACH {
        if sys::poll(fd, libc::POLLIN, PATIENCE)? == 0 {
            bail!("no connection comes in");
        }
        let child = sys::accept(fd).context("accept")?;
        match sys::set_ulp(child, "acceltcp") {
            Ok(()) => found[0] += 1,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => found[1] += 1,
            Err(error) => return Err(error).context("a connection that is neither"),
        }
        sys::close(child)?;
    }
    Ok(())
}
