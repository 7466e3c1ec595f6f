// SPDX-License-Identifier: GPL-2.0

//! Sockets that are locked and have the ULP: the only way to what belongs to it.

use super::{
    calls,
    ops::{
        base,
        Kind, //
    },
    Shared,
    Ulp, //
};
use crate::{
    bindings,
    net::sock::{
        Locked,
        Socket, //
    }, //
};
use core::{
    ffi::c_void,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};

/// A socket that is locked, and has the ULP `U` with operations of its own, for the lifetime of the reference.
///
/// As it borrows the lock, there is one for each socket at a time, and none while the lock is given up. What it lends is no longer
/// there than the lock is.
///
/// # Invariants
///
/// `icsk_ulp_ops` are those of `U`, `sk_prot` is one of its copies, and `icsk_ulp_data` is `data`: a [`Shared<U>`] that belongs
/// to the socket.
pub(crate) struct UlpLocked<'a, U: Ulp> {
    sk: Locked<'a>,
    data: NonNull<c_void>,
    kind: Kind,
    _ulp: PhantomData<Shared<U>>,
}

impl<'a, U: Ulp> UlpLocked<'a, U> {
    /// Looks whether `sk` has the ULP.
    pub(crate) fn new(sk: &'a mut Locked<'_>) -> Option<Self> {
        // SAFETY: The socket is alive, and locked.
        let (ops, data, proto) = unsafe {
            let raw = sk.as_raw();
            (
                bindings::acceltcp_ulp_ops(raw),
                bindings::acceltcp_ulp_data(raw),
                bindings::acceltcp_prot(raw),
            )
        };
        if ops != U::ops().ulp().cast_const() {
            return None;
        }
        // INVARIANT: All of them change under the lock only. By the invariant of `Ops` the data is a `Shared<U>`.
        Some(Self {
            data: NonNull::new(data)?,
            kind: U::ops().kind(proto)?,
            sk: sk.borrow(),
            _ulp: PhantomData,
        })
    }

    /// The data.
    pub(crate) fn data(&self) -> &U {
        // SAFETY: By the invariant the socket has the reference; it can be taken away by `&mut self` or `self` only.
        unsafe { Shared::borrow(self.data) }
    }

    /// A reference to the data.
    pub(crate) fn share(&self) -> Shared<U> {
        // SAFETY: By the invariant the socket has a reference.
        unsafe { Shared::get(self.data) }
    }

    /// Puts `new` in the place of the data.
    pub(crate) fn replace(&mut self, new: Shared<U>) {
        let new = new.into_raw();
        // SAFETY: The socket is alive and locked, and has the ULP. Its reference to the old data is given up, which readers
        // may have for a grace period more.
        unsafe {
            bindings::acceltcp_ulp_set_data(self.sk.as_raw(), new.as_ptr());
            drop(Shared::<U>::from_raw(self.data));
        }
        // INVARIANT: Just set.
        self.data = new;
    }

    /// Whether a device relays it.
    pub(super) fn is_quiesced(&self) -> bool {
        self.kind == Kind::Quiesced
    }

    /// Makes it a socket of another kind.
    fn change(&mut self, kind: Kind) {
        let family = self.sk.family();
        let [from, to] = [self.kind, kind].map(|kind| U::ops().proto(kind, family));
        // SAFETY: The socket is alive and locked; both are copies of the base of its family.
        unsafe { bindings::acceltcp_prot_change(self.sk.as_raw(), from, to) };
        // INVARIANT: The operations were `from`, and only who has the lock changes them.
        self.kind = kind;
    }

    /// No write of the connection waits any more.
    pub(super) fn stop_holding(&mut self) {
        if self.kind == Kind::Holding {
            self.change(Kind::Plain);
        }
    }

    /// A device is to relay the connection: from now on nobody can write to it. `None` when a device does already.
    pub(crate) fn quiesce(mut self) -> Option<Quiesced<'a, U>> {
        if self.kind == Kind::Quiesced {
            return None;
        }
        let before = self.kind;
        self.change(Kind::Quiesced);
        // INVARIANT: Just changed.
        Some(Quiesced {
            locked: self,
            before,
        })
    }

    /// Lets `f` change what is kept for the socket as a listener, made by `new` if there is nothing yet (process context). `None` when
    /// it does not listen.
    pub(crate) fn update_listener<R>(
        &self,
        new: impl FnOnce() -> U::Listener,
        f: impl FnOnce(&mut U::Listener) -> R,
    ) -> Result<Option<R>> {
        U::listeners().update(&self.sk, new, GFP_KERNEL, f)
    }

    /// Takes away what is kept for it as a listener. Returns whether there was anything.
    pub(crate) fn remove_listener(&self) -> bool {
        U::listeners().remove(&self.sk)
    }

    /// Takes the ULP off (process context; sleeps for grace periods if the socket has ever listened, `expedite` makes these
    /// short). Its children keep it. What is returned is to be dropped when the socket is not locked any more.
    pub(crate) fn take_off(self, expedite: bool) -> TakenOff<U> {
        if self.remove_listener() {
            U::closed();
        }
        let base = base(self.sk.family());
        // SAFETY: The socket is alive and locked, and has the ULP. Its references to the data and to the module are ours from
        // then on.
        let (data, module) = unsafe {
            bindings::acceltcp_ulp_take_off(self.sk.as_raw(), base, expedite);
            (Shared::from_raw(self.data), ModuleRef(U::ops().module()))
        };
        TakenOff {
            left: (self.kind == Kind::Joined).then(|| Left::new(*self.sk)),
            data,
            holding: self.kind == Kind::Holding,
            module,
        }
    }

    /// Forgets the connection without a word to the peer: a device ends it.
    pub(in crate::net) fn forget(self) {
        let base = base(self.sk.family());
        // SAFETY: The socket is alive and locked, and this its base.
        unsafe {
            bindings::acceltcp_closing_forget(self.sk.as_raw(), base, Some(calls::late::<U>));
        };
    }
}

impl<'a, U: Ulp> Deref for UlpLocked<'a, U> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Self::Target {
        &self.sk
    }
}

/// A connection that is locked, and that a device relays, or is about to.
///
/// # Invariants
///
/// The kind is [`Kind::Quiesced`].
pub(crate) struct Quiesced<'a, U: Ulp> {
    locked: UlpLocked<'a, U>,
    /// What it was before.
    before: Kind,
}

impl<'a, U: Ulp> Quiesced<'a, U> {
    /// Looks whether a device relays `sk`.
    pub(crate) fn new(sk: &'a mut Locked<'_>) -> Option<Self> {
        let locked = UlpLocked::new(sk)?;
        // INVARIANT: Just compared.
        (locked.kind == Kind::Quiesced).then_some(Self {
            locked,
            before: Kind::Joined,
        })
    }

    /// Undoes [`UlpLocked::quiesce`].
    pub(crate) fn resume(mut self) {
        self.locked.change(self.before);
    }

    /// The device has it no more.
    pub(in crate::net) fn end(mut self) -> UlpLocked<'a, U> {
        self.locked.change(Kind::Joined);
        self.locked
    }
}

impl<'a, U: Ulp> Deref for Quiesced<'a, U> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Self::Target {
        &self.locked
    }
}

/// A reference to the module that a socket had.
struct ModuleRef(*mut bindings::module);

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: The reference that came with a socket's ULP. The caller is in a call of that socket's, and has another one, or is
        // a worker, which is waited for before the module goes.
        unsafe { bindings::module_put(self.0) };
    }
}

/// The part of a socket in a pair, of which nobody can ask any more. Dropped when the socket is not locked.
struct Left<U: Ulp>(usize, PhantomData<U>);

impl<U: Ulp> Left<U> {
    fn new(sk: Socket<'_>) -> Self {
        Self(sk.id(), PhantomData)
    }
}

impl<U: Ulp> Drop for Left<U> {
    fn drop(&mut self) {
        U::left(self.0);
    }
}

/// What a socket had as long as it had the ULP. To be dropped when it is not locked.
#[must_use = "to be dropped when the socket is not locked"]
pub(crate) struct TakenOff<U: Ulp> {
    left: Option<Left<U>>,
    data: Shared<U>,
    holding: bool,
    module: ModuleRef,
}

impl<U: Ulp> TakenOff<U> {
    /// Its part in a pair is over (the socket is not locked).
    pub(super) fn leave(&mut self) {
        drop(self.left.take());
    }

    /// Gives all else back to the socket, unless that has got another ULP or protocol meanwhile (process context).
    pub(super) fn put_back(self, sk: &mut Locked<'_>) {
        let kind = match self.holding {
            true => Kind::Holding,
            false => Kind::Plain,
        };
        if put_on(sk, self.data, kind, false).is_ok() {
            core::mem::forget(self.module);
        }
    }
}

/// Gives the ULP to a socket that has none. The caller gives it a reference to the module.
fn put_on<U: Ulp>(sk: &mut Locked<'_>, data: Shared<U>, kind: Kind, expedite: bool) -> Result {
    let ops = U::ops();
    let family = sk.family();
    let raw = data.into_raw();
    // SAFETY: The socket is alive and locked, the copies are made from this base, and the data is of this ULP.
    let done = unsafe {
        bindings::acceltcp_ulp_put_on(
            sk.as_raw(),
            base(family),
            ops.proto(kind, family),
            ops.ulp(),
            raw.as_ptr(),
            expedite,
        )
    };
    if done {
        return Ok(());
    }
    // SAFETY: The socket was not changed: the reference is ours again.
    drop(unsafe { Shared::<U>::from_raw(raw) });
    Err(EBUSY)
}

/// Gives the ULP to a socket whose application asks for it: the TCP stack has a reference to the module for it.
pub(super) fn init<U: Ulp>(sk: &mut Locked<'_>, data: Shared<U>) -> Result {
    put_on(sk, data, Kind::Plain, false)
}

/// Gives a listening socket the ULP (process context). `EBUSY` when it has one, or a protocol that is not the stock
/// one; `ENODEV` when the module is not there yet, or about to go.
pub(crate) fn attach<'a, U: Ulp>(
    sk: &'a mut Locked<'_>,
    data: Shared<U>,
) -> Result<UlpLocked<'a, U>> {
    let ops = U::ops();
    if !ops.is_open() {
        return Err(ENODEV);
    }
    // SAFETY: The caller runs in the module, which is there as long as that.
    if !unsafe { bindings::acceltcp_module_try_get(ops.module()) } {
        return Err(ENODEV);
    }
    let module = ModuleRef(ops.module());
    put_on(sk, data, Kind::Plain, true)?;
    core::mem::forget(module);
    UlpLocked::new(sk).ok_or(EBUSY)
}

/// Which ULP a socket has.
pub(crate) enum Has<T> {
    /// None.
    Nothing,
    /// This one.
    This(T),
    /// Another one.
    Other,
}

impl<T> Has<T> {
    /// With what `f` makes of this one.
    pub(crate) fn map<R>(self, f: impl FnOnce(T) -> R) -> Has<R> {
        match self {
            Self::Nothing => Has::Nothing,
            Self::This(this) => Has::This(f(this)),
            Self::Other => Has::Other,
        }
    }
}

/// Which ULP `sk` has.
pub(crate) fn find<'a, U: Ulp>(sk: &'a mut Locked<'_>) -> Has<UlpLocked<'a, U>> {
    // SAFETY: The socket is alive.
    if unsafe { bindings::acceltcp_ulp_ops(sk.as_raw()) }.is_null() {
        return Has::Nothing;
    }
    UlpLocked::new(sk).map_or(Has::Other, Has::This)
}

/// Which ULP `sk` has, with a reference to the data of this one.
pub(crate) fn shared<U: Ulp>(sk: &mut Locked<'_>) -> Has<Shared<U>> {
    find(sk).map(|this: UlpLocked<'_, U>| this.share())
}

/// Lets `f` look at the data of a socket that is not locked, in an RCU read section; `None` if it does not have the ULP. It
/// may have other data, or another ULP, as soon as `f` has it.
pub(crate) fn peek<U: Ulp, R>(sk: Socket<'_>, f: impl FnOnce(&U) -> R) -> Option<R> {
    let _rcu = rcu::read_lock();
    // SAFETY: The socket is alive, in an RCU read section.
    let data = unsafe { bindings::acceltcp_ulp_peek(sk.as_raw(), U::ops().ulp()) };
    // SAFETY: The socket had this ULP, and hence a reference to its data, in this section. See `acceltcp_ulp_peek()` for why it is
    // not the data of another one.
    Some(f(unsafe { Shared::borrow(NonNull::new(data)?) }))
}

/// Which ULP `sk`, which need not be locked, has at this moment, with a reference to the data of this one.
pub(crate) fn peek_shared<U: Ulp>(sk: Socket<'_>) -> Has<Shared<U>> {
    let own = U::ops().ulp().cast_const();
    let _rcu = rcu::read_lock();
    // SAFETY: The socket is alive, in an RCU read section.
    let data = NonNull::new(unsafe { bindings::acceltcp_ulp_peek(sk.as_raw(), own) });
    // SAFETY: The socket had this ULP, and hence a reference to its data, in this section. See
    // `acceltcp_ulp_peek()` for why it is not the data of another one.
    if let Some(data) = data.and_then(|data| unsafe { Shared::try_get(data) }) {
        return Has::This(data);
    }
    // SAFETY: The socket is alive.
    let ops = unsafe { bindings::acceltcp_ulp_ops(sk.as_raw()) };
    // Without its data, it is about to lose this one.
    match ops.is_null() || ops == own {
        true => Has::Nothing,
        false => Has::Other,
    }
}
