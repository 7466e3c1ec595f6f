// SPDX-License-Identifier: GPL-2.0

//! An upper layer protocol (ULP) of TCP that puts itself between a socket and `tcp_prot`.
//!
//! A socket with the ULP has a copy of its protocol's operations, of which some are ours; the others, and
//! ours in the end, are those of the base. Its children share its data ([`Shared`]).
//!
//! * [`UlpLocked`]: a socket that is locked and has the ULP. All that changes operations, ULP and data needs one, so that a check
//!   cannot be forgotten, nor outlive the lock.
//! * [`ops`]: the copies, and the module's lifetime; [`callbacks`]: what the TCP stack calls; [`calls`], [`give_way`], [`spliced`]:
//!   what applications call. `rust/bindings/ulp.c` says how softirqs that copy listening sockets are dealt with.
//!
//! C header: [`include/net/tcp.h`](srctree/include/net/tcp.h), `struct tcp_ulp_ops`

mod callbacks;
mod calls;
mod give_way;
mod locked;
mod ops;
mod shared;
mod spliced;

pub(crate) use locked::{
    attach,
    find,
    peek,
    peek_shared,
    shared,
    Has,
    Quiesced,
    TakenOff,
    UlpLocked, //
};
pub(crate) use ops::{
    Ops,
    Registration, //
};
pub(crate) use shared::{
    Barrier,
    Shared, //
};

pub(super) use calls::late;

use super::{
    listeners::Listeners,
    skb::SkBuff,
    sock::Socket, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// Option value in user or kernel memory.
pub(crate) struct OptionValue {
    value: bindings::sockptr_t,
    len: usize,
}

impl OptionValue {
    fn new(value: bindings::sockptr_t, len: c_uint) -> Self {
        Self {
            value,
            len: len as usize,
        }
    }

    /// Reads a u32, which is all that there may be.
    pub(crate) fn read_u32(&self) -> Result<u32> {
        let [value] = self.read()?;
        Ok(value)
    }

    /// Reads `N` u32, which is all that there may be.
    pub(crate) fn read<const N: usize>(&self) -> Result<[u32; N]> {
        if self.len != 4 * N {
            return Err(EINVAL);
        }
        let mut value = [0u32; N];
        // SAFETY: The destination has so many bytes; the source is checked by the copy.
        let left =
            unsafe { bindings::copy_from_sockptr(value.as_mut_ptr().cast(), self.value, self.len) };
        if left == 0 {
            Ok(value)
        } else {
            Err(EFAULT)
        }
    }
}

/// What the ULP does. Its type is what a socket and its children share; it is dropped in softirq context.
pub(crate) trait Ulp: Send + Sync + Sized + 'static {
    /// What is kept for a listening socket.
    type Listener: Send + 'static;

    /// Name, as in `setsockopt(TCP_ULP)`, with final NUL.
    const NAME: &'static CStr;
    /// Level of its socket options.
    const LEVEL: c_int;

    /// Its operations, always the same ones.
    fn ops() -> &'static Ops<Self>;

    /// The list of listening sockets, always the same one, and of this ULP only.
    fn listeners() -> &'static Listeners<Self::Listener>;

    /// Data for a socket that is given the ULP, which may listen already (socket locked).
    fn init(sk: Socket<'_>) -> Result<Shared<Self>>;

    /// Sets an option of its level (socket not locked). `data` may be replaced.
    fn set_option(
        sk: Socket<'_>,
        data: &Shared<Self>,
        option: c_int,
        value: &OptionValue,
    ) -> Result<Option<Shared<Self>>>;

    /// Reads an option of its level (socket not locked) to `to`, and returns its length.
    fn get_option(
        sk: Socket<'_>,
        data: &Shared<Self>,
        option: c_int,
        to: &mut [u8; 64],
    ) -> Result<usize>;

    /// Data for a socket whose application asks for the ULP although a listener was given it already; `None` when it has asked
    /// before (socket locked).
    fn claim(data: &Self) -> Option<Result<Shared<Self>>>;

    /// Something that bears on a listener has happened: it has begun to listen, or one of its options was set
    /// (process context).
    fn changed(sk: &UlpLocked<'_, Self>);

    /// How long the first answer of a connection may wait for the connection's end, in nanoseconds; 0 for not at all.
    fn wait_ns(data: &Self) -> u32;

    /// An answer has begun to wait.
    fn held(data: &Self);

    /// Whether [`Ulp::closing`] is to be asked for a connection (process context, not locked, in an RCU read section).
    fn may_close(sk: Socket<'_>, data: &Self) -> bool;

    /// The last user of a connection closes it (process context). True has the socket forgotten, without a word to
    /// the peer.
    fn closing(sk: &UlpLocked<'_, Self>) -> bool;

    /// A frame came in while a connection was looked at that a card has now.
    fn came_late(sk: Socket<'_>, frame: SkBuff);

    /// The last user of a connection closes it that is, or was, joined with another one (process context, not
    /// locked). What is at rest is forgotten then, without a word to the peer.
    fn parting(sk: Socket<'_>);

    /// The ULP was taken off the socket of this number ([`Socket::id`]), which was joined with another one (process context, not
    /// locked).
    fn left(id: usize);

    /// `sk` has been given another ULP (process context).
    fn gave_way(sk: Socket<'_>);

    /// Whether the first acknowledgement of a connection that a device has set up may wait for an answer, as it does
    /// later on in the connection (any context).
    fn answers(data: &Self) -> bool;

    /// Whether `sk`, whose first answer may wait, comes in by a device to which it could be given with that (process
    /// context, socket locked).
    fn has_device(sk: &UlpLocked<'_, Self>) -> bool;

    /// A socket that was in the list of listeners does not listen any more (process context).
    fn closed();
}

/// # Safety
///
/// `sk` must be a TCP socket that is alive during the call. The callbacks of this module are called by the TCP
/// stack only, with such sockets.
unsafe fn socket<'a>(sk: *mut bindings::sock) -> Socket<'a> {
    // SAFETY: The caller promises a socket that is alive during the call, so the pointer is not null.
    unsafe { Socket::from_raw(NonNull::new_unchecked(sk)) }
}

/// Something that may bear on a listener has happened to `sk`.
fn changed<U: Ulp>(sk: &UlpLocked<'_, U>) {
    if sk.is_listening() {
        U::changed(sk);
    }
}
