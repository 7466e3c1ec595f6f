// SPDX-License-Identifier: GPL-2.0

//! The ULP on listening sockets whose applications have not asked for it, and its end.

use super::{
    base,
    copy,
    data,
    ops,
    remove_listener,
    Ulp, //
};
use crate::{
    bindings,
    net::sock::Locked, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Which ULP a socket has.
pub(crate) enum Has<U> {
    /// None.
    Nothing,
    /// This one, with its data.
    This(Arc<U>),
    /// Another one.
    Other,
}

/// Which ULP `sk` has.
pub(crate) fn find<U: Ulp>(sk: Locked<'_>) -> Has<U> {
    // SAFETY: The socket is alive.
    if unsafe { bindings::acceltcp_ulp_ops(sk.as_raw()) }.is_null() {
        return Has::Nothing;
    }
    data::<U>(*sk).map_or(Has::Other, Has::This)
}

/// Gives a listening socket the ULP (process context). `EBUSY` when it has one, or a protocol that is not the stock
/// one; `ENODEV` when the module is about to go.
pub(crate) fn attach<U: Ulp>(sk: Locked<'_>, data: Arc<U>) -> Result {
    // SAFETY: The ULP is registered. The reference is the socket's; no other one keeps the module here.
    if !unsafe { bindings::acceltcp_module_try_get((*ops()).owner) } {
        return Err(ENODEV);
    }
    let family = sk.family();
    let raw = data.into_raw();
    // SAFETY: The socket is alive and locked. The copy was made from this base; the reference to the data is the
    // socket's.
    let attached = unsafe {
        bindings::acceltcp_ulp_attach(
            sk.as_raw(),
            base(family),
            copy(family),
            ops(),
            raw.cast_mut().cast(),
        )
    };
    if attached {
        return Ok(());
    }
    // SAFETY: The socket was not changed: both references are ours again.
    unsafe {
        drop(Arc::from_raw(raw));
        bindings::module_put((*ops()).owner);
    }
    Err(EBUSY)
}

/// Gives a socket that has the ULP other data (process context).
pub(crate) fn exchange<U: Ulp>(sk: Locked<'_>, new: Arc<U>) {
    // SAFETY: The socket is alive and locked, and has the ULP; a grace period later nobody can be about to take a
    // reference from the old pointer.
    unsafe {
        let old = bindings::acceltcp_ulp_data(sk.as_raw()).cast::<U>();
        bindings::acceltcp_ulp_set_data(sk.as_raw(), new.into_raw().cast_mut().cast());
        bindings::synchronize_rcu_expedited();
        drop(Arc::from_raw(old.cast_const()));
    }
}

/// Takes the ULP from a listening socket that has it (process context). Its children keep it.
pub(crate) fn detach<U: Ulp>(sk: Locked<'_>) {
    if remove_listener::<U>(sk) {
        U::closed();
    }
    // SAFETY: The socket is alive and locked, and has the ULP. Nobody finds its data any more when this has returned.
    // The caller is not in an operation of the socket, so that the module may go.
    unsafe {
        let old = bindings::acceltcp_ulp_data(sk.as_raw()).cast::<U>();
        bindings::acceltcp_ulp_detach(sk.as_raw(), base(sk.family()));
        drop(Arc::from_raw(old.cast_const()));
        bindings::module_put((*ops()).owner);
    }
}
