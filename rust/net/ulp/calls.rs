// SPDX-License-Identifier: GPL-2.0

//! What applications do with sockets that have the ULP.

use super::{
    base,
    copy,
    data,
    exchange,
    find,
    holding,
    ops,
    socket,
    Has,
    OptionValue,
    Ulp, //
};
use crate::{
    bindings,
    net::{
        skb::SkBuff,
        sock::{
            Socket,
            State, //
        },
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::Arc, //
};

/// Level and option by which kTLS and others are put on a socket.
const TCP_ULP: c_int = bindings::TCP_ULP as c_int;

/// A use of the module by one of these functions, which may sleep while another thread has the socket give up
/// the ULP. They return into the module's text, which `exit` waits for by `synchronize_rcu_tasks()`.
pub(super) struct ModuleUse(());

impl ModuleUse {
    pub(super) fn new() -> Self {
        // SAFETY: The caller's socket has the ULP, so there is a use of the module already.
        unsafe { bindings::acceltcp_module_get((*ops()).owner) };
        Self(())
    }
}

impl Drop for ModuleUse {
    fn drop(&mut self) {
        // SAFETY: The use of `new()`.
        unsafe { bindings::module_put((*ops()).owner) };
    }
}

/// # Safety
///
/// See [`socket`].
pub(super) unsafe extern "C" fn close<U: Ulp>(sk: *mut bindings::sock, timeout: c_long) {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    let family = sk.family();
    U::parting(sk);
    if sk.state() == State::Other {
        if let Some(data) = data::<U>(sk) {
            sk.with_lock(|locked| {
                if U::closing(locked, &data) {
                    // SAFETY: The socket is alive and locked, and this its base.
                    unsafe {
                        bindings::acceltcp_closing_forget(
                            sk.as_raw(),
                            base(family),
                            Some(late::<U>),
                        );
                    };
                }
            });
        }
    }
    let _module = ModuleUse::new();
    // SAFETY: The base has this operation. It may give up the socket's reference to the module.
    unsafe {
        if let Some(close) = (*base(family)).close {
            close(sk.as_raw(), timeout);
        }
    }
}

/// Called by who releases the lock of `sk`, which a card has got meanwhile.
///
/// # Safety
///
/// See [`socket`]; `skb` is the callee's.
pub(in crate::net) unsafe extern "C" fn late<U: Ulp>(
    sk: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
) -> c_int {
    // SAFETY: See `socket()`; the frame is ours.
    let (sk, frame) = unsafe { (socket(sk), SkBuff::from_raw(NonNull::new_unchecked(skb))) };
    U::came_late(sk, frame);
    0
}

/// # Safety
///
/// See [`socket`].
pub(super) unsafe extern "C" fn sendmsg<U: Ulp>(
    sk: *mut bindings::sock,
    msg: *mut bindings::msghdr,
    size: usize,
) -> c_int {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    let _module = ModuleUse::new();
    let data = data::<U>(sk);
    let wait_ns = data.as_ref().map_or(0, |data| U::wait_ns(data));
    let mut result = 0;
    // SAFETY: The socket is alive and not locked, the message the caller's.
    let what = unsafe { bindings::acceltcp_write(sk.as_raw(), msg, size, wait_ns, &mut result) };
    match what {
        bindings::acceltcp_write_ACCELTCP_WRITE_HELD => {
            if let Some(data) = data {
                U::held(&data);
            }
        }
        bindings::acceltcp_write_ACCELTCP_WRITE_HELD_TOO => {}
        // SAFETY: The socket is alive; both are copies of its base.
        _ => unsafe {
            let family = sk.family();
            bindings::acceltcp_prot_change(sk.as_raw(), holding(family), copy(family));
        },
    }
    result
}

/// # Safety
///
/// See [`socket`].
pub(super) unsafe extern "C" fn setsockopt<U: Ulp>(
    sk: *mut bindings::sock,
    level: c_int,
    option: c_int,
    value: bindings::sockptr_t,
    len: c_uint,
) -> c_int {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    let _module = ModuleUse::new();
    if level == U::LEVEL {
        let value = OptionValue {
            value,
            len: len as usize,
        };
        return from_result(|| {
            let own = data::<U>(sk).ok_or(ENOPROTOOPT)?;
            if let Some(new) = U::set_option(sk, &own, option, &value)? {
                replace(sk, new);
            }
            changed::<U>(sk);
            Ok(0)
        });
    }
    if level == bindings::SOL_TCP as c_int && option == TCP_ULP && sk.state() == State::Other {
        return give_way::<U>(sk, level, option, value, len);
    }
    if level == bindings::SOL_TCP as c_int && option == TCP_ULP && sk.state() == State::Listen {
        let value = OptionValue {
            value,
            len: len as usize,
        };
        if let Some(claimed) = claim::<U>(sk, &value) {
            return from_result(|| claimed.map(|()| 0));
        }
    }
    // SAFETY: The base has this operation. What waits must not find itself corked.
    let result = unsafe {
        bindings::acceltcp_let_go(sk.as_raw());
        (*base(sk.family()))
            .setsockopt
            .map_or(ENOPROTOOPT.to_errno(), |set| {
                set(sk.as_raw(), level, option, value, len)
            })
    };
    if result == 0 && sk.state() == State::Listen {
        changed::<U>(sk);
    }
    result
}

/// Something that may bear on a listener has happened to `sk`.
fn changed<U: Ulp>(sk: Socket<'_>) {
    sk.with_lock(|locked| {
        if let Some(data) = data::<U>(sk) {
            U::changed(locked, &data);
        }
    });
}

/// An application asks for the ULP of a listening socket that was given it: from then on it is the application's.
fn claim<U: Ulp>(sk: Socket<'_>, value: &OptionValue) -> Option<Result> {
    if !value.names::<U>() {
        return None;
    }
    sk.with_lock(|sk| {
        let Has::This(data) = find::<U>(sk) else {
            return None;
        };
        Some(U::claim(&data)?.map(|new| {
            exchange(sk, new.clone());
            U::changed(sk, &new);
        }))
    })
}

/// Puts `new` in the place of the data of `sk`.
fn replace<U: Ulp>(sk: Socket<'_>, new: Arc<U>) {
    let old = sk.with_lock(|_| {
        // SAFETY: The socket is alive and locked, and has the ULP.
        unsafe {
            let old = bindings::acceltcp_ulp_data(sk.as_raw()).cast::<U>();
            bindings::acceltcp_ulp_set_data(sk.as_raw(), new.into_raw().cast_mut().cast());
            old
        }
    });
    // SAFETY: A grace period later nobody can be about to take a reference from the old pointer.
    unsafe {
        bindings::synchronize_rcu();
        drop(Arc::from_raw(old.cast_const()));
    }
}

/// Lets another ULP have a connection, as there can be one only: kTLS on an accepted socket goes first.
fn give_way<U: Ulp>(
    sk: Socket<'_>,
    level: c_int,
    option: c_int,
    value: bindings::sockptr_t,
    len: c_uint,
) -> c_int {
    let family = sk.family();
    let data = sk.with_lock(|_| {
        // A listener keeps the ULP, which keeps a list of them.
        if sk.state() != State::Other {
            return None;
        }
        let data = data::<U>(sk)?;
        // SAFETY: The socket is alive and locked, and has the ULP.
        unsafe { bindings::acceltcp_ulp_drop(sk.as_raw(), base(family)) };
        Some(data)
    });
    let Some(data) = data else {
        return ENOPROTOOPT.to_errno();
    };
    // SAFETY: The base has this operation. The socket's reference goes; `data` is another one, and so is the
    // one to the module that a caller within it needs: it is given back below.
    let result = unsafe {
        drop(Arc::from_raw(Arc::as_ptr(&data)));
        (*base(family))
            .setsockopt
            .map_or(ENOPROTOOPT.to_errno(), |set| {
                set(sk.as_raw(), level, option, value, len)
            })
    };
    // SAFETY: The socket's reference to the module. We return into the module's text, which `exit` waits for
    // by `synchronize_rcu_tasks()`.
    unsafe { bindings::module_put((*ops()).owner) };
    result
}

/// # Safety
///
/// See [`socket`]; `to` and `len` are user pointers.
pub(super) unsafe extern "C" fn getsockopt<U: Ulp>(
    sk: *mut bindings::sock,
    level: c_int,
    option: c_int,
    to: *mut c_char,
    len: *mut c_int,
) -> c_int {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    let _module = ModuleUse::new();
    if level != U::LEVEL {
        // SAFETY: The base has this operation.
        return unsafe {
            (*base(sk.family()))
                .getsockopt
                .map_or(ENOPROTOOPT.to_errno(), |get| {
                    get(sk.as_raw(), level, option, to, len)
                })
        };
    }
    from_result(|| {
        let data = data::<U>(sk).ok_or(ENOPROTOOPT)?;
        let mut value = [0; 64];
        let size = U::get_option(sk, &data, option, &mut value)?.min(value.len());
        // SAFETY: The copy checks the user's pointers; `value` has `size` bytes.
        to_result(unsafe {
            bindings::acceltcp_put_user(to, len, value.as_ptr().cast(), size as c_int)
        })?;
        Ok(0)
    })
}
