// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A connection whose ULP one thread replaces while others set and read its options, again and again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context as _, Result};

use crate::sys::{self, Address, OFFLOAD, SOL_ACCELTCP, STATUS};

/// What takes the place of the ULP, or does not.
const NAMES: [&str; 4] = ["nosuch", "tls", "acceltcp", "mptcp"];

/// Runs for `time`, and prints how often each name was taken.
pub(crate) fn run(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let current = AtomicI32::new(-1);
    let over = AtomicBool::new(false);
    let going = || !over.load(Ordering::Relaxed);
    let taken = thread::scope(|scope| {
        for flags in [2u32, 3] {
            let (current, going) = (&current, &going);
            scope.spawn(move || {
                while going() {
                    let fd = current.load(Ordering::Relaxed);
                    let _ = sys::set_numbers(fd, SOL_ACCELTCP, OFFLOAD, &[flags]);
                }
            });
        }
        scope.spawn(|| {
            while going() {
                let fd = current.load(Ordering::Relaxed);
                let mut value = [0; 16];
                let _ = sys::get(fd, SOL_ACCELTCP, STATUS, &mut value);
                let _ = sys::get(fd, libc::SOL_TCP, libc::TCP_ULP, &mut value);
            }
        });
        let taken = replace(end, &current);
        over.store(true, Ordering::Relaxed);
        taken
    })?;
    for (name, count) in NAMES.iter().zip(taken) {
        println!("{name} {count}");
    }
    Ok(())
}

/// Opens connections to a listener with the ULP, and replaces that of the accepted ones.
fn replace(end: Instant, current: &AtomicI32) -> Result<[u64; NAMES.len()]> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fd = sys::socket(any)?;
    sys::set_ulp(fd, "acceltcp").context("no ULP \"acceltcp\"")?;
    sys::set_numbers(fd, SOL_ACCELTCP, OFFLOAD, &[3])?;
    sys::bind(fd, &Address::new(any))?;
    sys::listen(fd, 16)?;
    let address = (Ipv4Addr::LOCALHOST, sys::local_port(fd)?);
    let mut taken = [0; NAMES.len()];
    let mut round = 0;
    while Instant::now() < end {
        let client = std::net::TcpStream::connect(address).context("connect")?;
        ensure!(
            sys::poll(fd, libc::POLLIN, 20_000)? != 0,
            "no connection to accept"
        );
        let child = sys::accept(fd).context("accept")?;
        current.store(child, Ordering::Relaxed);
        for _ in 0..8 {
            let which = round % NAMES.len();
            round += 1;
            taken[which] += u64::from(sys::set_ulp(child, NAMES[which]).is_ok());
        }
        sys::close(child)?;
        drop(client);
    }
    sys::close(fd)?;
    Ok(taken)
}
