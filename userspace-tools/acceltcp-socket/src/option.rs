// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The socket options.

use std::{
    fmt, io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use libc::{c_int, c_void, socklen_t};

use crate::{
    uapi::{self, RawStatus},
    Offload,
};

/// Why the host sets a listener's connections up.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// It does not: the card does.
    None,
    /// [`Offload::SETUP`] is not set.
    NotAsked,
    /// The socket does not listen.
    NotListening,
    /// There is no card in its network namespace.
    NoDevice,
    /// The card has no room for all of its rules.
    TableFull,
    /// It uses TCP-MD5 or TCP-AO.
    Authenticated,
    /// It uses multipath TCP.
    Mptcp,
    /// `net.ipv4.tcp_syncookies` is 0.
    Syncookies,
    /// It listens on any address, and the host forwards.
    Forwarding,
    /// The card has not been told yet.
    Pending,
    /// The operator has switched setup off (`net.acceltcp.offloads`).
    Disabled,
    /// Its namespace has as many listeners with cards as it may (`net.acceltcp.quota_listeners`).
    Quota,
    /// Another listener, which the host serves, gets the SYNs.
    OtherListener,
    /// A reason that this version does not know.
    Other(u32),
}

impl From<u32> for Reason {
    fn from(number: u32) -> Self {
        match number {
            uapi::ACCELTCP_REASON_NONE => Self::None,
            uapi::ACCELTCP_REASON_NOT_ASKED => Self::NotAsked,
            uapi::ACCELTCP_REASON_NOT_LISTENING => Self::NotListening,
            uapi::ACCELTCP_REASON_NO_DEVICE => Self::NoDevice,
            uapi::ACCELTCP_REASON_TABLE_FULL => Self::TableFull,
            uapi::ACCELTCP_REASON_AUTHENTICATED => Self::Authenticated,
            uapi::ACCELTCP_REASON_MPTCP => Self::Mptcp,
            uapi::ACCELTCP_REASON_SYNCOOKIES => Self::Syncookies,
            uapi::ACCELTCP_REASON_FORWARDING => Self::Forwarding,
            uapi::ACCELTCP_REASON_PENDING => Self::Pending,
            uapi::ACCELTCP_REASON_DISABLED => Self::Disabled,
            uapi::ACCELTCP_REASON_QUOTA => Self::Quota,
            uapi::ACCELTCP_REASON_OTHER_LISTENER => Self::OtherListener,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "the card sets connections up",
            Self::NotAsked => "setup is not asked for",
            Self::NotListening => "the socket does not listen",
            Self::NoDevice => "no card whose frames reach it",
            Self::TableFull => "the card has no room",
            Self::Authenticated => "TCP-MD5 or TCP-AO",
            Self::Mptcp => "multipath TCP",
            Self::Syncookies => "net.ipv4.tcp_syncookies is 0",
            Self::Forwarding => "any address, on a host that forwards",
            Self::Pending => "the card has not been told yet",
            Self::Disabled => "net.acceltcp.offloads does not have setup",
            Self::Quota => "net.acceltcp.quota_listeners is used up",
            Self::OtherListener => "another listener gets the SYNs",
            Self::Other(number) => return write!(f, "reason {number}"),
        })
    }
}

/// What a socket has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// What it asks for.
    pub offload: Offload,
    /// Why the host sets its connections up.
    pub reason: Reason,
    /// Rules for it on all cards.
    pub rules: u32,
}

/// Asks for `flags`, instead of what was asked for before. A socket without the ULP is given it.
///
/// # Errors
///
/// * `EINVAL`: the flags make no sense, see [`Offload::is_valid`];
/// * `ENOENT`: the module is not loaded (and was not found, or the caller may not load it);
/// * `EEXIST`: the socket has another ULP, such as kTLS;
/// * `EBUSY`: a BPF sockmap or another extension has replaced the socket's protocol;
/// * `EOPNOTSUPP`: the socket asks for setup with TCP-MD5 or TCP-AO on, or is no internet socket;
/// * `ENOPROTOOPT`: no TCP socket, or one of multipath TCP; or the ULP was taken away meanwhile;
/// * `ENOMEM`: no memory.
pub fn set_offload(fd: impl AsFd, flags: Offload) -> io::Result<()> {
    let fd = fd.as_fd();
    let value = flags.bits().to_ne_bytes();
    let ask = || set(fd, uapi::SOL_ACCELTCP, uapi::ACCELTCP_OFFLOAD, &value);
    match ask() {
        // Sockets without the ULP do not know the level.
        Err(error) if is_no_option(&error) => {
            give_ulp(fd)?;
            ask()
        }
        done => done,
    }
}

/// What the socket asks for.
///
/// # Errors
///
/// `ENOPROTOOPT` (or `EOPNOTSUPP`, when it is no internet socket): it has not the ULP.
pub fn offload(fd: impl AsFd) -> io::Result<Offload> {
    let mut bits = 0u32;
    // SAFETY: Any bytes make a u32.
    unsafe { get(fd.as_fd(), uapi::ACCELTCP_OFFLOAD, &mut bits)? };
    Ok(Offload::from_bits_retain(bits))
}

/// What the socket has.
///
/// # Errors
///
/// As [`offload`].
pub fn status(fd: impl AsFd) -> io::Result<Status> {
    let mut raw = RawStatus::default();
    // SAFETY: Any bytes make a `RawStatus`.
    unsafe { get(fd.as_fd(), uapi::ACCELTCP_STATUS, &mut raw)? };
    Ok(Status {
        offload: Offload::from_bits_retain(raw.offload),
        reason: raw.reason.into(),
        rules: raw.rules,
    })
}

/// Gives a socket the ULP.
pub(crate) fn give_ulp(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::SOL_TCP, libc::TCP_ULP, uapi::ULP.as_bytes())
}

pub(crate) fn is_no_option(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    errno == Some(libc::ENOPROTOOPT)
}

pub(crate) fn set(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: &[u8]) -> io::Result<()> {
    let len = value.len() as socklen_t;
    let start = value.as_ptr().cast::<c_void>();
    // SAFETY: The kernel reads `len` bytes, which `value` has.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, start, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads an option of `SOL_ACCELTCP`, which must be at least as long as `T`.
///
/// # Safety
///
/// Any bytes must make a valid `T`.
pub(crate) unsafe fn get<T>(fd: BorrowedFd<'_>, option: c_int, to: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as socklen_t;
    let start = std::ptr::from_mut(to).cast::<c_void>();
    // SAFETY: The kernel writes at most `len` bytes, which `to` has and of which any are good.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), uapi::SOL_ACCELTCP, option, start, &mut len) };
    match result {
        0 if len as usize == size_of::<T>() => Ok(()),
        0 => Err(io::Error::from_raw_os_error(libc::EPROTO)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::unix::net::UnixDatagram};

    use super::*;

    #[test]
    fn what_is_no_tcp_socket_is_refused() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let errno = set_offload(&udp, Offload::SETUP)
            .unwrap_err()
            .raw_os_error();
        assert_eq!(errno, Some(libc::ENOPROTOOPT));
        assert!(offload(&udp).is_err() && status(&udp).is_err());
        let unix = UnixDatagram::unbound().unwrap();
        let errno = set_offload(&unix, Offload::SETUP)
            .unwrap_err()
            .raw_os_error();
        assert_eq!(errno, Some(libc::EOPNOTSUPP));
    }

    #[test]
    fn every_reason_has_its_own_text() {
        let texts: Vec<_> = (0..=12).map(|n| Reason::from(n).to_string()).collect();
        for (number, text) in texts.iter().enumerate() {
            assert!(!texts[..number].contains(text), "{text}");
        }
        assert_eq!(Reason::from(10), Reason::Other(10));
    }
}
