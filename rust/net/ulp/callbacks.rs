// SPDX-License-Identifier: GPL-2.0

//! What the TCP stack calls when sockets get the ULP, inherit it, listen, and die.

use super::{
    changed,
    locked::{
        self,
        UlpLocked, //
    },
    ops::{
        base,
        Kind, //
    },
    socket,
    Shared,
    Ulp, //
};
use crate::{
    bindings,
    net::sock::Locked, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_result,
    prelude::*, //
};

/// An application asks for the ULP, which the socket does not have.
///
/// # Safety
///
/// See [`socket`]; the socket must be locked.
pub(super) unsafe extern "C" fn init<U: Ulp>(sk: *mut bindings::sock) -> c_int {
    // SAFETY: The socket is alive and locked.
    let mut sk = unsafe { Locked::new(socket(sk)) };
    from_result(|| {
        let data = U::init(*sk)?;
        locked::init(&mut sk, data).map(|()| 0)
    })
}

/// A socket with the ULP dies.
///
/// # Safety
///
/// See [`socket`]; nobody else may change the socket. Any context.
pub(super) unsafe extern "C" fn release<U: Ulp>(sk: *mut bindings::sock) {
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    // SAFETY: The socket is alive, nobody else changes it, and this is its base.
    let data = unsafe { bindings::acceltcp_ulp_release(sk.as_raw(), base(sk.family())) };
    if let Some(data) = NonNull::new(data) {
        // SAFETY: The socket's reference, which was taken away from it. Readers may have the data for a grace period more.
        drop(unsafe { Shared::<U>::from_raw(data) });
    }
}

/// A socket was copied from a listening one with the ULP, which may have died or lost the ULP since.
///
/// # Safety
///
/// See [`socket`]; `sk` is the child, which only the caller knows so far, and `req` its request. To be called in the RCU read section in which it was copied.
pub(super) unsafe extern "C" fn clone<U: Ulp>(
    req: *const bindings::request_sock,
    sk: *mut bindings::sock,
    _priority: bindings::gfp_t,
) {
    // SAFETY: The child is alive.
    let sk = unsafe { socket(sk) };
    let ops = U::ops();
    let family = sk.family();
    // SAFETY: The child is alive, and nobody else's.
    let data = NonNull::new(unsafe { bindings::acceltcp_ulp_raw_data(sk.as_raw()) });
    // The listener's reference was copied, which is none of the child's.
    // SAFETY: The listener had it within this RCU read section. It was not the data of another ULP: see ulp.c.
    let data = data.and_then(|data| unsafe { Shared::<U>::try_get(data) });
    // SAFETY: The module is there until a grace period after the last socket with the ULP has gone. The TCP stack does not take a
    // reference for a child, but gives one back when the child dies.
    let module = unsafe { bindings::acceltcp_module_try_get(ops.module()) };
    match data {
        Some(data) if module => {
            let kind = match U::wait_ns(&data) {
                0 => Kind::Plain,
                _ => Kind::Holding,
            };
            // SAFETY: Child and request are alive, and only the caller knows the child; all operations are copies of those of its base.
            unsafe {
                if bindings::acceltcp_reqsk_is_verified(req) && U::answers(&data) {
                    bindings::acceltcp_child_answers(sk.as_raw());
                }
                bindings::acceltcp_ulp_inherit(sk.as_raw(), ops.proto(kind, family), base(family));
            }
            // It is the child's.
            let _ = data.into_raw();
        }
        _ => {
            // SAFETY: The child is alive, and nobody else's; it is to have no reference to the module.
            unsafe {
                bindings::acceltcp_ulp_strip(sk.as_raw(), base(family));
                if module {
                    bindings::module_put(ops.module());
                }
            }
        }
    }
}

/// # Safety
///
/// See [`socket`]; the socket must be locked.
pub(super) unsafe extern "C" fn hash<U: Ulp>(sk: *mut bindings::sock) -> c_int {
    // SAFETY: The socket is alive and locked.
    let mut sk = unsafe { Locked::new(socket(sk)) };
    // SAFETY: The base has this operation.
    let result = unsafe {
        (*base(sk.family()))
            .hash
            .map_or(0, |hash| hash(sk.as_raw()))
    };
    if result == 0 {
        if let Some(locked) = UlpLocked::<U>::new(&mut sk) {
            changed(&locked);
        }
    }
    result
}

/// # Safety
///
/// See [`socket`]; the socket must be locked if it listens. May be called in atomic context.
pub(super) unsafe extern "C" fn unhash<U: Ulp>(sk: *mut bindings::sock) {
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    let base = base(sk.family());
    let mut removed = false;
    // SAFETY: The socket is alive.
    let ops = unsafe { bindings::acceltcp_ulp_ops(sk.as_raw()) };
    if ops != U::ops().ulp().cast_const() {
        // SAFETY: A child that was copied when its listener was losing the ULP, and that is ended now: see ulp.c. Nobody else
        // knows it.
        unsafe { bindings::acceltcp_ulp_strip(sk.as_raw(), base) };
    } else if sk.is_listening() {
        // SAFETY: `tcp_set_state()` is called with the lock of a listening socket, and changes the state behind this.
        let mut sk = unsafe { Locked::new(sk) };
        removed = UlpLocked::<U>::new(&mut sk).is_some_and(|locked| locked.remove_listener());
    }
    // SAFETY: The base has this operation.
    unsafe {
        if let Some(unhash) = (*base).unhash {
            unhash(sk.as_raw());
        }
    }
    // Who looks then must not find it among the listeners of the kernel's table that do not ask.
    if removed {
        U::closed();
    }
}
