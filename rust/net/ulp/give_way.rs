// SPDX-License-Identifier: GPL-2.0

//! `setsockopt(TCP_ULP)` on sockets that have the ULP.
//!
//! A socket has one ULP, and the TCP stack refuses another one (`EEXIST`). It does not know of ULPs that are taken off sockets
//! in use: its `getsockopt(TCP_ULP)` looks twice at the pointer to the operations, without a lock. So this is done where it is
//! of use only, for kTLS on a connection, when it is known to be there, and may only fail for want of memory. Who looks twice in
//! that moment, as it began before the socket got the ULP, copies from an address close to 0, and gets `EFAULT`.

use super::{
    changed,
    find,
    locked::TakenOff,
    ops::base,
    Has,
    Ulp,
    UlpLocked, //
};
use crate::{
    bindings,
    net::sock::Socket, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// The ULP for which connections give up this one.
const TLS: &CStr = c"tls";

/// Name of a ULP, copied from the user once.
struct Name([u8; bindings::TCP_ULP_NAME_MAX as usize]);

impl Name {
    fn read(value: bindings::sockptr_t, len: c_uint) -> Result<Self> {
        let mut name = [0; bindings::TCP_ULP_NAME_MAX as usize];
        // SAFETY: The name is as long as names may be.
        to_result(unsafe { bindings::acceltcp_ulp_name(name.as_mut_ptr().cast(), value, len) })?;
        Ok(Self(name))
    }

    fn is(&self, name: &CStr) -> bool {
        self.0.starts_with(name.to_bytes_with_nul())
    }

    /// Asks the TCP stack for the ULP (process context, not locked).
    fn set(&mut self, sk: Socket<'_>) -> Result {
        // SAFETY: The socket is alive, this is its base, and the name ends with NUL.
        to_result(unsafe {
            bindings::acceltcp_set_ulp(base(sk.family()), sk.as_raw(), self.0.as_mut_ptr().cast())
        })
    }
}

/// `setsockopt(TCP_ULP)` (process context, not locked).
pub(super) fn set_ulp<U: Ulp>(sk: Socket<'_>, value: bindings::sockptr_t, len: c_uint) -> c_int {
    from_result(|| {
        let mut name = Name::read(value, len)?;
        if name.is(U::NAME) {
            if let Some(claimed) = claim::<U>(sk) {
                return claimed.map(|()| 0);
            }
        }
        // What is not there is not found; what is there says that there is one already.
        match name.set(sk) {
            Err(err) if err == EEXIST && name.is(TLS) => {}
            other => return other.map(|()| 0),
        }
        give_way::<U>(sk, &mut name).map(|()| 0)
    })
}

/// An application asks for the ULP of a listening socket that was given it: from then on it is the application's. `None` when
/// it has asked before.
fn claim<U: Ulp>(sk: Socket<'_>) -> Option<Result> {
    sk.with_lock(|mut sk| {
        let Has::This(mut locked) = find::<U>(&mut sk) else {
            return None;
        };
        if !locked.is_listening() {
            return None;
        }
        let new = U::claim(locked.data())?;
        Some(new.map(|new| {
            locked.replace(new);
            changed(&locked);
        }))
    })
}

/// Lets another ULP have a connection, which keeps this one if that fails.
fn give_way<U: Ulp>(sk: Socket<'_>, name: &mut Name) -> Result {
    let mut taken = sk.with_lock(|mut sk| -> Result<TakenOff<U>> {
        let locked = UlpLocked::<U>::new(&mut sk).ok_or(EEXIST)?;
        if locked.is_quiesced() {
            return Err(EBUSY);
        }
        // As the other one would say.
        if !locked.is_established() {
            return Err(ENOTCONN);
        }
        Ok(locked.take_off(false))
    })?;
    // Another socket may have its address before the pair is over.
    taken.leave();
    let result = name.set(sk);
    match result {
        Ok(()) => U::gave_way(sk),
        Err(_) => sk.with_lock(|mut sk| taken.put_back(&mut sk)),
    }
    result
}
