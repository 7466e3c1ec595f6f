// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The calls, each with random arguments.

use std::{
    io::{Error, Result},
    net::SocketAddr,
    sync::{
        atomic::{AtomicI32, Ordering},
        Arc,
    },
};

use libc::c_int;

use crate::{
    random::Random,
    sys::{self, Address, OFFLOAD, SOL_ACCELTCP, SPLICE, STATUS, UNSPLICE},
};

/// Sockets at a time.
const SLOTS: usize = 24;
/// An empty slot.
const NONE: c_int = -1;

/// Names for `TCP_ULP`: this one, one that takes its place, one that never can, and none.
const ULPS: &[&str] = &["acceltcp", "acceltcp", "tls", "mptcp", "nosuch"];
/// Values for `ACCELTCP_OFFLOAD`, of which some are wrong.
const OFFLOADS: &[u32] = &[0, 1, 2, 3, 3, 3, 0x0b, 0x13, 0x23, 0x1b, 0x80];
/// Flags for `ACCELTCP_SPLICE`; none waits.
const SPLICE_FLAGS: &[u32] = &[1, 1, 1, 3];

/// The sockets that all threads share.
pub(crate) struct Shared {
    slots: [AtomicI32; SLOTS],
    hosts: Vec<SocketAddr>,
    servers: Vec<SocketAddr>,
}

impl Shared {
    /// None yet.
    pub(crate) fn new(hosts: Vec<SocketAddr>, servers: Vec<SocketAddr>) -> Self {
        Self {
            slots: [const { AtomicI32::new(NONE) }; SLOTS],
            hosts,
            servers,
        }
    }

    /// Closes all.
    pub(crate) fn close_all(&self) {
        for slot in &self.slots {
            let fd = slot.swap(NONE, Ordering::Relaxed);
            if fd != NONE {
                let _ = sys::close(fd);
            }
        }
    }
}

/// A kind of call.
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: &'static str,
    /// How often it is made, compared with others.
    weight: usize,
    make: fn(&mut Caller) -> Result<()>,
}

const fn call(name: &'static str, weight: usize, make: fn(&mut Caller) -> Result<()>) -> Call {
    Call { name, weight, make }
}

/// All kinds.
pub(crate) const CALLS: &[Call] = &[
    call("listen", 4, Caller::open_listener),
    call("listen-again", 2, Caller::listen),
    call("connect", 8, Caller::open),
    call("disconnect", 1, Caller::disconnect),
    call("accept", 14, Caller::accept),
    call("ulp", 10, Caller::ulp),
    call("offload", 12, Caller::offload),
    call("look", 8, Caller::look),
    call("send", 10, Caller::send),
    call("receive", 8, Caller::receive),
    call("shutdown", 3, Caller::shutdown),
    call("close", 6, Caller::close),
    call("duplicate", 3, Caller::duplicate),
    call("option", 6, Caller::option),
    call("splice", 4, Caller::splice),
    call("relay", 5, Caller::relay),
    call("unsplice", 3, Caller::unsplice),
];

/// The names of all kinds.
pub(crate) fn names() -> Vec<&'static str> {
    CALLS.iter().map(|call| call.name).collect()
}

/// A thread at work.
pub(crate) struct Caller {
    shared: Arc<Shared>,
    random: Random,
    bytes: Vec<u8>,
}

impl Caller {
    /// Makes calls as `random` has it.
    pub(crate) fn new(shared: Arc<Shared>, random: Random) -> Self {
        Self {
            shared,
            random,
            bytes: vec![0; 65_536],
        }
    }

    /// Makes a call; which one, and whether it succeeded.
    pub(crate) fn step(&mut self) -> (usize, bool) {
        let all = CALLS.iter().map(|call| call.weight).sum();
        let mut place = self.random.below(all);
        let kind = CALLS.iter().position(|call| {
            let found = place < call.weight;
            place = place.wrapping_sub(call.weight);
            found
        });
        let kind = kind.unwrap_or(0);
        (kind, (CALLS[kind].make)(self).is_ok())
    }

    /// Some socket, of whatever kind.
    fn any(&mut self) -> Result<c_int> {
        let first = self.random.below(SLOTS);
        (first..first + SLOTS)
            .map(|slot| self.shared.slots[slot % SLOTS].load(Ordering::Relaxed))
            .find(|fd| *fd != NONE)
            .ok_or_else(nothing)
    }

    /// Has all threads use `fd`, instead of some other one.
    fn keep(&mut self, fd: c_int) {
        let slot = self.random.below(SLOTS);
        let old = self.shared.slots[slot].swap(fd, Ordering::Relaxed);
        if old != NONE {
            let _ = sys::close(old);
        }
    }

    fn ask(&mut self, fd: c_int) -> Result<()> {
        sys::set_ulp(fd, "acceltcp")?;
        let flags = self.random.pick(OFFLOADS);
        sys::set_numbers(fd, SOL_ACCELTCP, OFFLOAD, &[flags])
    }

    fn open_listener(&mut self) -> Result<()> {
        let address = self.random.pick(&self.shared.hosts);
        let fd = sys::socket(address)?;
        // Other threads have it before it listens.
        self.keep(fd);
        sys::set_numbers(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1])?;
        sys::set_numbers(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &[1])?;
        if self.random.once_in(2) {
            let _ = self.ask(fd);
        }
        sys::bind(fd, &Address::new(address))?;
        sys::listen(fd, 8)?;
        if self.random.once_in(2) {
            let _ = self.ask(fd);
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        let fd = self.any()?;
        sys::listen(fd, self.random.pick(&[0, 1, 64]))
    }

    fn open(&mut self) -> Result<()> {
        let address = self.random.pick(&self.shared.hosts);
        let fd = sys::socket(address)?;
        if self.random.once_in(2) {
            let _ = self.ask(fd);
        }
        self.keep(fd);
        connected(sys::connect(fd, &Address::new(address)))
    }

    fn disconnect(&mut self) -> Result<()> {
        sys::connect(self.any()?, &Address::none())
    }

    fn accept(&mut self) -> Result<()> {
        let fd = sys::accept(self.any()?)?;
        self.keep(fd);
        Ok(())
    }

    fn ulp(&mut self) -> Result<()> {
        let fd = self.any()?;
        sys::set_ulp(fd, self.random.pick(ULPS))
    }

    fn offload(&mut self) -> Result<()> {
        let fd = self.any()?;
        let flags = self.random.pick(OFFLOADS);
        sys::set_numbers(fd, SOL_ACCELTCP, OFFLOAD, &[flags])
    }

    fn look(&mut self) -> Result<()> {
        let fd = self.any()?;
        let (level, option) = self.random.pick(&[
            (SOL_ACCELTCP, OFFLOAD),
            (SOL_ACCELTCP, STATUS),
            (SOL_ACCELTCP, SPLICE),
            (libc::SOL_TCP, libc::TCP_ULP),
            (libc::SOL_TCP, libc::TCP_INFO),
            (libc::SOL_SOCKET, libc::SO_ERROR),
        ]);
        sys::get(fd, level, option, &mut self.bytes[..256]).map(drop)
    }

    fn send(&mut self) -> Result<()> {
        let fd = self.any()?;
        let size = self.random.pick(&[0, 1, 100, 1000, 4000, 60_000]);
        let flags = self.random.pick(&[0, 0, 0, libc::MSG_MORE, libc::MSG_OOB]);
        sys::send(fd, &self.bytes[..size], flags).map(drop)
    }

    fn receive(&mut self) -> Result<()> {
        let fd = self.any()?;
        sys::receive(fd, &mut self.bytes).map(drop)
    }

    fn shutdown(&mut self) -> Result<()> {
        let fd = self.any()?;
        let how = self
            .random
            .pick(&[libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR]);
        sys::shutdown(fd, how)
    }

    fn close(&mut self) -> Result<()> {
        let slot = self.random.below(SLOTS);
        match self.shared.slots[slot].swap(NONE, Ordering::Relaxed) {
            NONE => Err(nothing()),
            fd => sys::close(fd),
        }
    }

    fn duplicate(&mut self) -> Result<()> {
        let fd = sys::duplicate(self.any()?)?;
        self.keep(fd);
        Ok(())
    }

    /// Options that change how a connection ends, or what its socket is.
    fn option(&mut self) -> Result<()> {
        const IPV6_ADDRFORM: c_int = 1;
        let fd = self.any()?;
        let (level, option, value): (_, _, &[u32]) = self.random.pick(&[
            (libc::SOL_TCP, libc::TCP_NODELAY, &[1][..]),
            (libc::SOL_TCP, libc::TCP_CORK, &[1]),
            (libc::SOL_TCP, libc::TCP_CORK, &[0]),
            (libc::SOL_TCP, libc::TCP_QUICKACK, &[1]),
            (libc::SOL_TCP, libc::TCP_DEFER_ACCEPT, &[1]),
            (libc::SOL_TCP, libc::TCP_USER_TIMEOUT, &[500]),
            (libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0]),
            (libc::SOL_SOCKET, libc::SO_LINGER, &[0, 0]),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[1]),
            (libc::SOL_SOCKET, libc::SO_RCVBUF, &[8192]),
            (libc::SOL_IPV6, IPV6_ADDRFORM, &[libc::AF_INET as u32]),
        ]);
        sys::set_numbers(fd, level, option, value)
    }

    fn splice_with(&mut self, fd: c_int, other: c_int) -> Result<()> {
        let flags = self.random.pick(SPLICE_FLAGS);
        let idle_ms = self.random.pick(&[0, 50, 1000]);
        let argument = [other as u32, flags, idle_ms, 0];
        sys::set_numbers(fd, SOL_ACCELTCP, SPLICE, &argument)
    }

    fn splice(&mut self) -> Result<()> {
        let (fd, other) = (self.any()?, self.any()?);
        self.splice_with(fd, other)
    }

    /// Joins some connection with one to a server, as a proxy does.
    fn relay(&mut self) -> Result<()> {
        let fd = self.any()?;
        if self.shared.servers.is_empty() {
            return Err(nothing());
        }
        let address = self.random.pick(&self.shared.servers);
        let server = sys::socket(address)?;
        let _ = self.ask(server);
        self.keep(server);
        connected(sys::connect(server, &Address::new(address)))?;
        sys::poll(server, libc::POLLOUT, 1000)?;
        let _ = sys::set_ulp(fd, "acceltcp");
        self.splice_with(fd, server)
    }

    fn unsplice(&mut self) -> Result<()> {
        sys::set_numbers(self.any()?, SOL_ACCELTCP, UNSPLICE, &[0])
    }
}

/// `connect()` on a socket that does not block has begun.
fn connected(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

fn nothing() -> Error {
    Error::from_raw_os_error(libc::EBADF)
}
