// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that the card joins.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use crate::{
    option::{get, give_ulp, is_no_option, set},
    uapi::{self, RawSplice, RawSpliceInfo},
};

/// How two connections are spliced.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SpliceOptions {
    /// Both connections are reset after so long without a segment; never, if `None`. Counted in milliseconds, at
    /// least one.
    pub idle: Option<Duration>,
    /// Do not wait until what the connections have under way has been passed on.
    pub nonblocking: bool,
    /// The pair goes on when its sockets are closed; without this it is reset.
    pub detach: bool,
}

impl SpliceOptions {
    fn raw(&self, other: BorrowedFd<'_>) -> io::Result<RawSplice> {
        let flag = |on: bool, bit| if on { bit } else { 0 };
        let idle_ms = match self.idle {
            None => 0,
            Some(time) => u32::try_from(time.as_millis().max(1))
                .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        };
        Ok(RawSplice {
            fd: other.as_raw_fd(),
            flags: flag(self.nonblocking, uapi::ACCELTCP_SPLICE_NONBLOCK)
                | flag(self.detach, uapi::ACCELTCP_SPLICE_DETACH),
            idle_ms,
            reserved: 0,
        })
    }
}

/// What has become of a connection that was spliced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpliceState {
    /// It never was.
    None,
    /// The card relays.
    Active,
    /// The connections are over.
    Ended,
    /// They are the host's again.
    Returned,
    /// A state that this version does not know.
    Other(u32),
}

impl From<u32> for SpliceState {
    fn from(number: u32) -> Self {
        match number {
            uapi::ACCELTCP_SPLICE_STATE_NONE => Self::None,
            uapi::ACCELTCP_SPLICE_STATE_ACTIVE => Self::Active,
            uapi::ACCELTCP_SPLICE_STATE_ENDED => Self::Ended,
            uapi::ACCELTCP_SPLICE_STATE_RETURNED => Self::Returned,
            other => Self::Other(other),
        }
    }
}

/// Why a splice has ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SpliceReason {
    /// It has not.
    None,
    /// Both peers have closed.
    Closed,
    /// A peer has reset its connection.
    Reset,
    /// Nothing was heard for [`SpliceOptions::idle`].
    Idle,
    /// A socket was closed.
    Aborted,
    /// A peer did not acknowledge.
    Timeout,
    /// The card could not do it.
    Refused,
    /// The card was lost.
    Lost,
    /// A reason that this version does not know.
    Other(u32),
}

impl From<u32> for SpliceReason {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::None,
            uapi::ACCELTCP_SPLICE_REASON_CLOSED => Self::Closed,
            uapi::ACCELTCP_SPLICE_REASON_RESET => Self::Reset,
            uapi::ACCELTCP_SPLICE_REASON_IDLE => Self::Idle,
            uapi::ACCELTCP_SPLICE_REASON_ABORTED => Self::Aborted,
            uapi::ACCELTCP_SPLICE_REASON_TIMEOUT => Self::Timeout,
            uapi::ACCELTCP_SPLICE_REASON_REFUSED => Self::Refused,
            uapi::ACCELTCP_SPLICE_REASON_LOST => Self::Lost,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for SpliceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "it has not ended",
            Self::Closed => "both peers have closed",
            Self::Reset => "a peer has reset its connection",
            Self::Idle => "nothing was heard for too long",
            Self::Aborted => "a socket was closed",
            Self::Timeout => "a peer did not acknowledge",
            Self::Refused => "the card could not do it",
            Self::Lost => "the card was lost",
            Self::Other(number) => return write!(f, "reason {number}"),
        })
    }
}

/// What is known of a splice. The numbers are complete when it has ended; before they are 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpliceInfo {
    /// What has become of it.
    pub state: SpliceState,
    /// Why it has ended.
    pub reason: SpliceReason,
    /// Bytes that the card has relayed from the peer of this socket.
    pub rx_bytes: u64,
    /// Bytes that it has relayed to it.
    pub tx_bytes: u64,
    /// Segments from the peer of this socket.
    pub rx_segments: u64,
    /// Segments to it.
    pub tx_segments: u64,
}

/// Has the card join two connections: what the peer of one sends comes to the peer of the other, and the host has no
/// part in it. Sockets without the ULP are given it.
///
/// What the peers have sent so far is passed on by the kernel; what the caller has received of one of them and the
/// other shall have must be written before. From then on there is nothing to read until the end, and writes fail with
/// `EBUSY`. When the connections end, `recv()` returns 0 or the error on both, and `poll()` tells; [`splice_info`]
/// says why.
///
/// # Errors
///
/// Nothing has changed then, but that data has been passed on:
///
/// * `EINVAL`: twice the same socket, or an idle time of more than the kernel takes;
/// * `ENOTCONN`: a connection is not established;
/// * `EBUSY`: one is spliced already, or closed for one direction, or at work in another thread;
/// * `EOPNOTSUPP`: one has options that a card cannot serve (TCP-MD5, TCP-AO, multipath TCP, IP options, AccECN), or
///   one has window scaling, SACK, timestamps or ECN and the other has not; or a socket is no internet socket;
/// * `EMSGSIZE`: the one path takes larger segments than the other;
/// * `EXDEV`: they do not go through the same card, or their namespaces differ;
/// * `ENODEV`: no card that can do it;
/// * `ENETDOWN`: the card's link is down;
/// * `EACCES`: BPF programs of a cgroup at ingress or egress, or a socket filter, are to see each segment;
/// * `ENOSPC`: the card has no room;
/// * `EAGAIN`: data is still under way ([`SpliceOptions::nonblocking`], or after a while);
/// * `ENOBUFS`: no memory;
/// * `ENOPROTOOPT`: one has another ULP, such as kTLS, or is no TCP socket;
/// * `ENOENT`, `ENOMEM`: a socket cannot be given the ULP, see [`set_offload`](crate::set_offload).
pub fn splice(a: impl AsFd, b: impl AsFd, options: SpliceOptions) -> io::Result<()> {
    let (a, b) = (a.as_fd(), b.as_fd());
    let raw = options.raw(b)?;
    let words = [
        raw.fd.to_ne_bytes(),
        raw.flags.to_ne_bytes(),
        raw.idle_ms.to_ne_bytes(),
        raw.reserved.to_ne_bytes(),
    ];
    let ask = || {
        let value = words.as_flattened();
        set(a, uapi::SOL_ACCELTCP, uapi::ACCELTCP_SPLICE, value)
    };
    match ask() {
        Err(error) if is_no_option(&error) => {
            for fd in [a, b] {
                give_missing_ulp(fd)?;
            }
            ask()
        }
        done => done,
    }
}

/// Takes both connections of a pair back, of which `fd` is one; they can be used as ever then, as if they had never
/// been spliced.
///
/// # Errors
///
/// * `EINVAL`: it is not spliced;
/// * `EAGAIN`: not now, as data that the host has handed over is not acknowledged yet;
/// * `EALREADY`: the pair is being closed by its peers, or has ended;
/// * `ENOPROTOOPT`: the socket has not the ULP.
pub fn unsplice(fd: impl AsFd) -> io::Result<()> {
    let zero = 0u32.to_ne_bytes();
    set(
        fd.as_fd(),
        uapi::SOL_ACCELTCP,
        uapi::ACCELTCP_UNSPLICE,
        &zero,
    )
}

/// What has become of the splice of a connection.
///
/// # Errors
///
/// `ENOPROTOOPT` (or `EOPNOTSUPP`, when it is no internet socket): it has not the ULP.
pub fn splice_info(fd: impl AsFd) -> io::Result<SpliceInfo> {
    let mut raw = RawSpliceInfo::default();
    // SAFETY: Any bytes make a `RawSpliceInfo`.
    unsafe { get(fd.as_fd(), uapi::ACCELTCP_SPLICE, &mut raw)? };
    Ok(SpliceInfo {
        state: raw.state.into(),
        reason: raw.reason.into(),
        rx_bytes: raw.rx_bytes,
        tx_bytes: raw.tx_bytes,
        rx_segments: raw.rx_segments,
        tx_segments: raw.tx_segments,
    })
}

/// Gives a socket the ULP if it has none.
fn give_missing_ulp(fd: BorrowedFd<'_>) -> io::Result<()> {
    match give_ulp(fd) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::unix::net::UnixStream,
    };

    use super::*;

    fn errno<T: fmt::Debug>(result: io::Result<T>) -> Option<i32> {
        result.unwrap_err().raw_os_error()
    }

    #[test]
    fn what_is_no_tcp_socket_is_refused() {
        let udp = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let refused = splice(&udp[0], &udp[1], SpliceOptions::default());
        assert_eq!(errno(refused), Some(libc::ENOPROTOOPT));
        assert_eq!(errno(unsplice(&udp[0])), Some(libc::ENOPROTOOPT));
        assert!(splice_info(&udp[0]).is_err());
        let (one, other) = UnixStream::pair().unwrap();
        let refused = splice(&one, &other, SpliceOptions::default());
        assert_eq!(errno(refused), Some(libc::EOPNOTSUPP));
    }

    /// With the module loaded the card is what is missing, without it the ULP.
    #[test]
    fn connections_of_no_card_are_refused_and_stay_usable() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        let mut accepted = [(); 2].map(|()| listener.accept().unwrap().0);
        let refused = errno(splice(&accepted[0], &accepted[1], SpliceOptions::default()));
        let expected = [libc::ENOENT, libc::EXDEV, libc::ENODEV].map(Some);
        assert!(expected.contains(&refused), "{refused:?}");
        let mut byte = [0];
        for (client, accepted) in clients.iter_mut().zip(&mut accepted) {
            client.write_all(b"x").unwrap();
            accepted.read_exact(&mut byte).unwrap();
        }
    }

    #[test]
    fn options_are_passed_as_the_kernel_wants_them() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let raw = |options: SpliceOptions| options.raw(udp.as_fd());
        let none = raw(SpliceOptions::default()).unwrap();
        assert_eq!((none.fd, none.flags), (udp.as_raw_fd(), 0));
        assert_eq!((none.idle_ms, none.reserved), (0, 0));
        let all = raw(SpliceOptions {
            idle: Some(Duration::from_secs(2)),
            nonblocking: true,
            detach: true,
        });
        let all = all.unwrap();
        assert_eq!((all.flags, all.idle_ms), (3, 2000));
        let idle = |time| {
            raw(SpliceOptions {
                idle: Some(time),
                ..SpliceOptions::default()
            })
        };
        // 0 would be for ever.
        assert_eq!(idle(Duration::from_nanos(1)).unwrap().idle_ms, 1);
        assert_eq!(errno(idle(Duration::MAX)), Some(libc::EINVAL));
    }

    #[test]
    fn every_number_of_the_kernel_has_its_own_meaning() {
        let texts: Vec<_> = (0..=9).map(|n| SpliceReason::from(n).to_string()).collect();
        for (number, text) in texts.iter().enumerate() {
            assert!(!texts[..number].contains(text), "{text}");
        }
        assert_eq!(SpliceReason::from(9), SpliceReason::Other(9));
        assert_eq!(SpliceState::from(3), SpliceState::Returned);
        assert_eq!(SpliceState::from(4), SpliceState::Other(4));
    }
}
