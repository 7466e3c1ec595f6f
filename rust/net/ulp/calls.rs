// SPDX-License-Identifier: GPL-2.0

//! What applications do with sockets that have the ULP.

use super::{
    changed,
    find,
    give_way,
    ops::{
        base,
        Closing,
        Kind,
        ModuleUse, //
    },
    peek,
    shared,
    socket,
    Has,
    OptionValue,
    Shared,
    Ulp,
    UlpLocked, //
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
    prelude::*, //
};

/// Level and option by which kTLS and others are put on a socket.
const TCP_ULP: (c_int, c_int) = (bindings::SOL_TCP as c_int, bindings::TCP_ULP as c_int);

/// # Safety
///
/// See [`socket`].
pub(super) unsafe extern "C" fn close<U: Ulp>(sk: *mut bindings::sock, timeout: c_long) {
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    // No reference to the module is needed otherwise: see `ops`.
    let _closing = (sk.state() == State::Listen).then(Closing::new::<U>);
    // SAFETY: The socket is alive.
    let kind = U::ops().kind(unsafe { bindings::acceltcp_prot(sk.as_raw()) });
    if matches!(kind, Some(Kind::Quiesced | Kind::Joined)) {
        U::parting(sk);
    }
    let may_go =
        sk.state() == State::Other && peek(sk, |data: &U| U::may_close(sk, data)) == Some(true);
    if may_go {
        sk.with_lock(|mut sk| {
            if let Some(locked) = UlpLocked::<U>::new(&mut sk) {
                if U::closing(&locked) {
                    locked.forget();
                }
            }
        });
    }
    // SAFETY: The base has this operation. It gives up the socket's reference to the module.
    unsafe {
        if let Some(close) = (*base(sk.family())).close {
            close(sk.as_raw(), timeout);
        }
    }
}

/// Called by who releases the lock of `sk`, which a device has got meanwhile.
///
/// # Safety
///
/// See [`socket`]; `skb` is the callee's.
pub(in crate::net) unsafe extern "C" fn late<U: Ulp>(
    sk: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
) -> c_int {
    // SAFETY: The socket is alive; the frame is ours.
    let (sk, frame) = unsafe { (socket(sk), SkBuff::from_raw(NonNull::new_unchecked(skb))) };
    U::came_late(sk, frame);
    0
}

/// The first writes of a connection whose answer may wait.
///
/// # Safety
///
/// See [`socket`].
pub(super) unsafe extern "C" fn sendmsg<U: Ulp>(
    sk: *mut bindings::sock,
    msg: *mut bindings::msghdr,
    size: usize,
) -> c_int {
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    let _module = match ModuleUse::new::<U>() {
        Ok(module) => module,
        Err(restart) => return restart,
    };
    // SAFETY: The socket is alive and not locked, the message the caller's.
    let plain = unsafe { bindings::acceltcp_write_begin(sk.as_raw(), msg) };
    sk.with_lock(|mut sk| {
        let wait_ns = match UlpLocked::<U>::new(&mut sk) {
            Some(locked) if plain => match U::wait_ns(locked.data()) {
                0 => 0,
                wait_ns if U::has_device(&locked) => wait_ns,
                _ => 0,
            },
            _ => 0,
        };
        let mut result = 0;
        // SAFETY: The socket is alive and locked, the message the caller's. The lock may be given up in between: nothing is
        // borrowed from it.
        let what =
            unsafe { bindings::acceltcp_write(sk.as_raw(), msg, size, wait_ns, &mut result) };
        if let Some(mut locked) = UlpLocked::<U>::new(&mut sk) {
            match what {
                bindings::acceltcp_write_ACCELTCP_WRITE_HELD => U::held(locked.data()),
                bindings::acceltcp_write_ACCELTCP_WRITE_HELD_TOO => {}
                _ => locked.stop_holding(),
            }
        }
        result
    })
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
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    let _module = match ModuleUse::new::<U>() {
        Ok(module) => module,
        Err(restart) => return restart,
    };
    if level == U::LEVEL {
        let value = OptionValue::new(value, len);
        return from_result(|| set_option::<U>(sk, option, &value).map(|()| 0));
    }
    // What waits must not find itself corked.
    // SAFETY: The socket is alive and not locked.
    unsafe { bindings::acceltcp_let_go(sk.as_raw()) };
    if (level, option) == TCP_ULP {
        return give_way::set_ulp::<U>(sk, value, len);
    }
    // SAFETY: The base has this operation.
    let result = unsafe {
        (*base(sk.family()))
            .setsockopt
            .map_or(ENOPROTOOPT.to_errno(), |set| {
                set(sk.as_raw(), level, option, value, len)
            })
    };
    if result == 0 && sk.state() == State::Listen {
        sk.with_lock(|mut sk| {
            if let Some(locked) = UlpLocked::<U>::new(&mut sk) {
                changed(&locked);
            }
        });
    }
    result
}

/// A reference to the data of a socket. `ENOPROTOOPT` when it has lost the ULP meanwhile.
fn data<U: Ulp>(sk: Socket<'_>) -> Result<Shared<U>> {
    match sk.with_lock(|mut sk| shared(&mut sk)) {
        Has::This(data) => Ok(data),
        Has::Nothing | Has::Other => Err(ENOPROTOOPT),
    }
}

fn set_option<U: Ulp>(sk: Socket<'_>, option: c_int, value: &OptionValue) -> Result {
    let own = data::<U>(sk)?;
    let Some(new) = U::set_option(sk, &own, option, value)? else {
        return Ok(());
    };
    sk.with_lock(|mut sk| match find::<U>(&mut sk) {
        Has::This(mut locked) => {
            locked.replace(new);
            changed(&locked);
            Ok(())
        }
        Has::Nothing | Has::Other => Err(ENOPROTOOPT),
    })
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
    // SAFETY: The socket is alive.
    let sk = unsafe { socket(sk) };
    let _module = match ModuleUse::new::<U>() {
        Ok(module) => module,
        Err(restart) => return restart,
    };
    if level == U::LEVEL {
        return from_result(|| {
            let mut value = [0; 64];
            let size = U::get_option(sk, &data::<U>(sk)?, option, &mut value)?.min(value.len());
            // SAFETY: The copy checks the user's pointers; `value` has `size` bytes.
            to_result(unsafe {
                bindings::acceltcp_put_user(to, len, value.as_ptr().cast(), size as c_int)
            })?;
            Ok(0)
        });
    }
    // The TCP stack reads the name between two accesses to the user's memory, and would not see the ULP go.
    if (level, option) == TCP_ULP && data::<U>(sk).is_ok() {
        let mut name = [0u8; bindings::TCP_ULP_NAME_MAX as usize];
        for (to, from) in name.iter_mut().zip(U::NAME.to_bytes()) {
            *to = *from;
        }
        // SAFETY: The copy checks the user's pointers; the name is as long as names may be.
        return unsafe { bindings::acceltcp_put_ulp_name(to, len, name.as_ptr().cast()) };
    }
    // SAFETY: The base has this operation.
    unsafe {
        (*base(sk.family()))
            .getsockopt
            .map_or(ENOPROTOOPT.to_errno(), |get| {
                get(sk.as_raw(), level, option, to, len)
            })
    }
}
