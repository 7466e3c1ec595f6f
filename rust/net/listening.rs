// SPDX-License-Identifier: GPL-2.0

//! Listening sockets of all applications: to hear of new ones, and to find those that are there. Those of the kernel's own
//! servers are not among them.

use super::sock::{
    NetId,
    SockRef,
    Socket, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// The listening TCP sockets of `net`, or of all namespaces (process context). The order means nothing.
pub(crate) fn all(net: Option<NetId>) -> Result<KVVec<SockRef>> {
    let net = net.map_or(core::ptr::null(), NetId::as_raw);
    let mut found: KVVec<SockRef> = KVVec::with_capacity(64, GFP_KERNEL)?;
    loop {
        let room = u32::try_from(found.capacity())?;
        // `SockRef` is a pointer, not null, with the reference that the function takes.
        const {
            assert!(core::mem::size_of::<SockRef>() == core::mem::size_of::<*mut bindings::sock>());
        }
        // SAFETY: There is room for so many pointers.
        let count = unsafe { bindings::acceltcp_listeners(net, found.as_mut_ptr().cast(), room) };
        let count = count as usize;
        // SAFETY: So many were written, each with a reference.
        unsafe { found.inc_len(count.min(room as usize)) };
        if count <= room as usize {
            return Ok(found);
        }
        found.clear();
        found.reserve(count + 64, GFP_KERNEL)?;
    }
}

/// What to do with sockets that are about to listen.
pub(crate) trait Listens: 'static {
    /// `sk` is about to listen (its caller has it locked; must not sleep).
    fn listens(sk: SockRef);
}

/// Calls [`Listens::listens`] until it is dropped. There may be one.
pub(crate) struct Watch(bindings::acceltcp_listens_t);

impl Watch {
    /// Begins (process context).
    pub(crate) fn new<L: Listens>() -> Result<Self> {
        let func: bindings::acceltcp_listens_t = Some(listens::<L>);
        // SAFETY: The function stays until `drop()` has returned.
        to_result(unsafe { bindings::acceltcp_watch_listen(func) })?;
        Ok(Self(func))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`. Waits for calls that run.
        unsafe { bindings::acceltcp_unwatch_listen(self.0) };
    }
}

/// # Safety
///
/// `sk` must be a TCP socket that is alive during the call.
unsafe extern "C" fn listens<L: Listens>(sk: *mut bindings::sock) {
    if let Some(sk) = NonNull::new(sk) {
        // SAFETY: Alive by the safety requirement.
        L::listens(SockRef::new(unsafe { Socket::from_raw(sk) }));
    }
}

/// Who made a socket.
impl Socket<'_> {
    /// User that has made it, as the initial namespace numbers it.
    pub(crate) fn uid(self) -> u32 {
        // SAFETY: The socket is alive.
        unsafe { bindings::acceltcp_sk_uid(self.as_raw()) }
    }
}
