// SPDX-License-Identifier: GPL-2.0

//! What applications do with connections that are at rest, as a card relays them.
//!
//! They wait for the end, and close. What would have the host say something is refused.

use super::{
    calls,
    ops::{
        base,
        Kind,
        ModuleUse, //
    },
    socket,
    Ulp, //
};
use crate::bindings;
use kernel::prelude::*;

/// Puts the operations of connections at rest into `proto`, a copy of those with the ULP.
pub(super) fn replace<U: Ulp>(proto: &mut bindings::proto) {
    proto.sendmsg = Some(sendmsg);
    proto.recvmsg = Some(recvmsg::<U>);
    proto.setsockopt = Some(setsockopt::<U>);
    proto.disconnect = Some(disconnect);
    proto.shutdown = Some(shutdown);
    proto.keepalive = Some(keepalive);
    proto.splice_eof = None;
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn sendmsg(
    _sk: *mut bindings::sock,
    _msg: *mut bindings::msghdr,
    _len: usize,
) -> c_int {
    EBUSY.to_errno()
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn recvmsg<U: Ulp>(
    sk: *mut bindings::sock,
    msg: *mut bindings::msghdr,
    len: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    let _module = match ModuleUse::new::<U>() {
        Ok(module) => module,
        Err(restart) => return restart,
    };
    let quiesced = U::ops().proto(Kind::Quiesced, sk.family());
    // SAFETY: The socket is alive and not locked.
    let err = unsafe { bindings::acceltcp_splice_wait(sk.as_raw(), quiesced, flags) };
    if err != 0 {
        return err;
    }
    // SAFETY: The base has this operation.
    unsafe {
        (*base(sk.family()))
            .recvmsg
            .map_or(ENOTCONN.to_errno(), |receive| {
                receive(sk.as_raw(), msg, len, flags)
            })
    }
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn setsockopt<U: Ulp>(
    sk: *mut bindings::sock,
    level: c_int,
    option: c_int,
    value: bindings::sockptr_t,
    len: c_uint,
) -> c_int {
    if level == bindings::SOL_TCP as c_int {
        return EBUSY.to_errno();
    }
    // SAFETY: The same contract.
    unsafe { calls::setsockopt::<U>(sk, level, option, value, len) }
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn disconnect(_sk: *mut bindings::sock, _flags: c_int) -> c_int {
    EBUSY.to_errno()
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn shutdown(sk: *mut bindings::sock, how: c_int) {
    // The connection is not closed, and may come back to the host so.
    // SAFETY: The socket is alive, and locked by the caller.
    unsafe { bindings::acceltcp_undo_shutdown(sk, how) };
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn keepalive(_sk: *mut bindings::sock, _on: c_int) {}
