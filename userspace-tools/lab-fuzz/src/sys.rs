// SPDX-License-Identifier: GPL-2.0 OR MIT

//! System calls on file descriptors that another thread may close at any time. Hence numbers, and no owners.

use std::{
    io::{Error, Result},
    net::SocketAddr,
};

use libc::{c_int, c_void, socklen_t};

/// `SOL_ACCELTCP`.
pub(crate) const SOL_ACCELTCP: c_int = 300;
/// `ACCELTCP_OFFLOAD`.
pub(crate) const OFFLOAD: c_int = 1;
/// `ACCELTCP_STATUS`.
pub(crate) const STATUS: c_int = 2;
/// `ACCELTCP_SPLICE`.
pub(crate) const SPLICE: c_int = 3;
/// `ACCELTCP_UNSPLICE`.
pub(crate) const UNSPLICE: c_int = 4;

/// A number, or what `errno` says.
fn checked(result: c_int) -> Result<c_int> {
    match result {
        -1 => Err(Error::last_os_error()),
        number => Ok(number),
    }
}

/// Gives up all privileges for those of `uid`.
pub(crate) fn set_user(uid: u32) -> Result<()> {
    // SAFETY: These calls take numbers, and a list of none.
    unsafe {
        checked(libc::setgroups(0, std::ptr::null()))?;
        checked(libc::setresgid(uid, uid, uid))?;
        checked(libc::setresuid(uid, uid, uid)).map(drop)
    }
}

/// An address as the kernel takes it.
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    len: socklen_t,
}

impl Address {
    /// Of `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        // SAFETY: Zeros are a valid value.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: The storage has room, and the right alignment, for all families.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: 0,
                };
                // SAFETY: The storage has room, and the right alignment, for all families.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self {
            storage,
            len: len as socklen_t,
        }
    }

    /// The one by which `connect()` ends a connection (`AF_UNSPEC`).
    pub(crate) fn none() -> Self {
        Self {
            // SAFETY: Zeros are a valid value.
            storage: unsafe { std::mem::zeroed() },
            len: size_of::<libc::sockaddr>() as socklen_t,
        }
    }
}

/// A TCP socket that never blocks, of the family of `address`.
pub(crate) fn socket(address: SocketAddr) -> Result<c_int> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: The call takes numbers.
    checked(unsafe { libc::socket(family, kind, 0) })
}

/// `bind()`.
pub(crate) fn bind(fd: c_int, address: &Address) -> Result<()> {
    // SAFETY: The address is there for the call, and so long.
    checked(unsafe { libc::bind(fd, (&raw const address.storage).cast(), address.len) }).map(drop)
}

/// `connect()`.
pub(crate) fn connect(fd: c_int, address: &Address) -> Result<()> {
    // SAFETY: The address is there for the call, and so long.
    checked(unsafe { libc::connect(fd, (&raw const address.storage).cast(), address.len) })
        .map(drop)
}

/// `listen()`.
pub(crate) fn listen(fd: c_int, backlog: c_int) -> Result<()> {
    // SAFETY: The call takes numbers.
    checked(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// `accept()`, of a socket that never blocks.
pub(crate) fn accept(fd: c_int) -> Result<c_int> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: No address is asked for.
    checked(unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) })
}

/// Port of a socket of IPv4.
pub(crate) fn local_port(fd: c_int) -> Result<u16> {
    // SAFETY: Zeros are a valid value.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_in>() as socklen_t;
    // SAFETY: The address is writable for the call, and so long.
    checked(unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut len) })?;
    Ok(u16::from_be(address.sin_port))
}

/// `dup()`.
pub(crate) fn duplicate(fd: c_int) -> Result<c_int> {
    // SAFETY: The call takes a number.
    checked(unsafe { libc::dup(fd) })
}

/// `close()`.
pub(crate) fn close(fd: c_int) -> Result<()> {
    // SAFETY: Descriptors are plain numbers in this program; who uses one that is gone gets an error.
    checked(unsafe { libc::close(fd) }).map(drop)
}

/// `shutdown()`.
pub(crate) fn shutdown(fd: c_int, how: c_int) -> Result<()> {
    // SAFETY: The call takes numbers.
    checked(unsafe { libc::shutdown(fd, how) }).map(drop)
}

/// `setsockopt()`.
pub(crate) fn set(fd: c_int, level: c_int, option: c_int, value: &[u8]) -> Result<()> {
    let len = value.len() as socklen_t;
    // SAFETY: The value is there for the call, and so long.
    checked(unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), len) }).map(drop)
}

/// `setsockopt()` of numbers.
pub(crate) fn set_numbers(fd: c_int, level: c_int, option: c_int, value: &[u32]) -> Result<()> {
    let bytes: Vec<u8> = value.iter().flat_map(|word| word.to_ne_bytes()).collect();
    set(fd, level, option, &bytes)
}

/// `setsockopt(TCP_ULP)`.
pub(crate) fn set_ulp(fd: c_int, name: &str) -> Result<()> {
    set(fd, libc::SOL_TCP, libc::TCP_ULP, name.as_bytes())
}

/// `getsockopt()`; returns how many bytes it has written.
pub(crate) fn get(fd: c_int, level: c_int, option: c_int, value: &mut [u8]) -> Result<usize> {
    let mut len = value.len() as socklen_t;
    let to: *mut c_void = value.as_mut_ptr().cast();
    // SAFETY: The value is writable for the call, and so long.
    checked(unsafe { libc::getsockopt(fd, level, option, to, &raw mut len) })?;
    Ok(len as usize)
}

/// `send()` of some bytes, which may be fewer.
pub(crate) fn send(fd: c_int, bytes: &[u8], flags: c_int) -> Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: The bytes are there for the call.
    match unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) } {
        -1 => Err(Error::last_os_error()),
        sent => Ok(sent as usize),
    }
}

/// `recv()` of what there is.
pub(crate) fn receive(fd: c_int, bytes: &mut [u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: The bytes are writable for the call.
    match unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), flags) } {
        -1 => Err(Error::last_os_error()),
        received => Ok(received as usize),
    }
}

/// Waits up to `ms` milliseconds for `events`; returns what there is.
pub(crate) fn poll(fd: c_int, events: i16, ms: c_int) -> Result<i16> {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: It is one structure, which is there for the call.
    checked(unsafe { libc::poll(&raw mut poll, 1, ms) })?;
    Ok(poll.revents)
}
