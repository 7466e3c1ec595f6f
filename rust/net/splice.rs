// SPDX-License-Identifier: GPL-2.0

//! Connections that their owners join, and that a card is to relay.

use super::{
    closing::{
        Closing,
        Stays, //
    },
    skb::SkBuff,
    sock::{
        Locked,
        Socket, //
    },
    ulp::{
        self,
        Quiesced,
        Ulp, //
    },
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// A TCP socket that is held by its file, as a file descriptor named it.
pub(crate) struct NamedSocket {
    socket: NonNull<bindings::socket>,
    sk: NonNull<bindings::sock>,
}

impl NamedSocket {
    /// The socket behind descriptor `fd` of the calling process. `EBADF`, `ENOTSOCK`, and `EOPNOTSUPP` when it is none of
    /// TCP.
    pub(crate) fn new(fd: c_int) -> Result<Self> {
        let mut err = 0;
        // SAFETY: The destination is writable.
        let socket = unsafe { bindings::acceltcp_socket_of(fd, &mut err) };
        let Some(socket) = NonNull::new(socket) else {
            to_result(err)?;
            return Err(EBADF);
        };
        // SAFETY: The socket is held by its file.
        let sk = unsafe { bindings::acceltcp_tcp_sock(socket.as_ptr()) };
        let Some(sk) = NonNull::new(sk) else {
            // SAFETY: Our reference.
            unsafe { bindings::acceltcp_socket_put(socket.as_ptr()) };
            return Err(EOPNOTSUPP);
        };
        Ok(Self { socket, sk })
    }

    /// The socket.
    pub(crate) fn get(&self) -> Socket<'_> {
        // SAFETY: It is held by its file.
        unsafe { Socket::from_raw(self.sk) }
    }
}

impl Drop for NamedSocket {
    fn drop(&mut self) {
        // SAFETY: Our reference.
        unsafe { bindings::acceltcp_socket_put(self.socket.as_ptr()) };
    }
}

/// Runs `f` with two different sockets locked (process context).
pub(crate) fn with_both<R>(
    a: Socket<'_>,
    b: Socket<'_>,
    f: impl FnOnce([Locked<'_>; 2]) -> R,
) -> R {
    // SAFETY: Both sockets are alive, and different.
    unsafe { bindings::acceltcp_lock_two(a.as_raw(), b.as_raw()) };
    // SAFETY: Just locked.
    let result = f(unsafe { [Locked::new(a), Locked::new(b)] });
    // SAFETY: Locked above.
    unsafe { bindings::acceltcp_release_two(a.as_raw(), b.as_raw()) };
    result
}

/// Passes on what `from` has received (process context; both are held by their files, and not locked). `EAGAIN` when
/// `to` has no room, or data keeps coming; `EBUSY` when the peer of `from` has closed; `EOPNOTSUPP` with `SO_PEEK_OFF`.
pub(crate) fn pass_on(from: Socket<'_>, to: Socket<'_>, buffer: &mut [u8]) -> Result {
    // SAFETY: Both sockets are alive and have files; the buffer is writable.
    to_result(unsafe {
        bindings::acceltcp_splice_move(
            from.as_raw(),
            to.as_raw(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    })
}

/// Waits for a moment (process context). `EINTR` when a signal is pending.
pub(crate) fn pause() -> Result {
    // SAFETY: Process context, no preconditions.
    match unsafe { bindings::acceltcp_pause() } {
        true => Ok(()),
        false => Err(EINTR),
    }
}

/// What conntrack knows of a connection, if it does.
pub(crate) struct Tracked(*mut bindings::nf_conntrack);

impl Tracked {
    /// Takes it off the frame of a connection.
    fn of(frame: &mut SkBuff) -> Self {
        // SAFETY: The frame is ours, and its reference goes over to us.
        Self(unsafe { bindings::acceltcp_take_conntrack(frame.as_raw()) })
    }

    /// No other segment of the connection comes by conntrack: its entry is over soon.
    pub(crate) fn end(self) {
        // SAFETY: Our reference, or null.
        unsafe { bindings::acceltcp_conntrack_end(self.0) };
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // SAFETY: Our reference, or null.
        unsafe { bindings::nf_conntrack_put(self.0) };
    }
}

/// The frame of two templates, the bytes of the first one, and what conntrack knows of both connections.
pub(crate) fn frame(
    ends: &[Closing<'_>; 2],
    headroom: usize,
) -> Result<(SkBuff, usize, [Tracked; 2]), Stays> {
    let [a, b] = ends;
    let mut first = a.frame(headroom, Closing::HEADERS + b.len as usize)?;
    let mut second = b.frame(0, 0)?;
    let tracked = [&mut first, &mut second].map(Tracked::of);
    let len = first.len();
    // SAFETY: Both frames are ours.
    match unsafe { bindings::acceltcp_append(first.as_raw(), second.as_raw()) } {
        true => Ok((first, len, tracked)),
        false => Err(Stays::NoMemory),
    }
}

/// The device has `sk`: the host does nothing for it any more.
pub(crate) fn freeze<U: Ulp>(sk: &Quiesced<'_, U>) {
    // SAFETY: The socket is alive and locked.
    unsafe { bindings::acceltcp_splice_freeze(sk.as_raw(), Some(ulp::late::<U>)) };
}

/// How a connection that comes back is now.
pub(crate) type Returned = bindings::acceltcp_returned;

/// Makes `sk` a connection of the host again. `EADDRINUSE` when another one has its place: then it has ended with
/// `ECONNABORTED`.
pub(crate) fn thaw<U: Ulp>(sk: Quiesced<'_, U>, now: &Returned) -> Result {
    let sk = sk.end();
    // SAFETY: The socket is alive and locked, and was quiesced.
    to_result(unsafe { bindings::acceltcp_splice_thaw(sk.as_raw(), now) })
}

/// Ends `sk` with EOF or an error; so many bytes have come from its peer and went there.
pub(crate) fn finish<U: Ulp>(sk: Quiesced<'_, U>, error: Option<Error>, received: u64, sent: u64) {
    let err = error.map_or(0, |error| -error.to_errno());
    let sk = sk.end();
    // SAFETY: The socket is alive and locked, and was quiesced.
    unsafe { bindings::acceltcp_splice_finish(sk.as_raw(), err, received, sent) };
}

/// Forgets `sk` without a word to the peer.
pub(crate) fn forget<U: Ulp>(sk: Quiesced<'_, U>) {
    sk.end().forget();
}
