// SPDX-License-Identifier: GPL-2.0

//! The operations of a ULP: `struct tcp_ulp_ops`, and copies of `tcp_prot` and `tcpv6_prot` for the states in which
//! its sockets are. And how the module gets rid of them.
//!
//! Each socket with the ULP holds the module: its reference comes from the TCP stack ([`super::callbacks::init`]), from the
//! listener's child ([`super::callbacks::clone`]) or from [`super::attach`], and goes with the socket, or when the ULP is
//! taken off. The module can go when there is no such socket. There may be a thread, however, that has read `sk_prot`
//! of a socket before it lost the ULP, and is about to call:
//!
//! * It does not sleep before it has asked for a reference to the module ([`ModuleUse`]), or has been counted
//!   ([`Closing`]), nor behind the point at which it gives that up. A grace period of Tasks RCU
//!   (`synchronize_rcu_tasks()`), which waits for each task to sleep or to be in user space, waits for both.
//! * A reference cannot be had any more when the module is going: the system call begins anew, with what `sk_prot` is by then.
//! * `close()` cannot begin anew. Nobody else takes the ULP off a connection that is being closed, as nobody else has its
//!   file: its reference lasts until the TCP stack has destroyed the socket, and `tcp_close()` does not sleep after that.
//!   A rule of the policy may take the ULP off a listening socket meanwhile: so these are counted, and waited for
//!   between two grace periods. They last as long as the TCP stack takes to close, for which no user can make it wait.

use super::{
    callbacks,
    calls,
    spliced,
    Ulp, //
};
use crate::{
    bindings,
    net::sock::Family, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        rcu, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// States of a socket with the ULP, each with a copy of the protocol's operations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// None of the others.
    Plain,
    /// A young connection, whose first answer may wait. The first write that does not makes it plain.
    Holding,
    /// A device relays it.
    Quiesced,
    /// A device has relayed it; its end is to be told.
    Joined,
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Holding, Kind::Quiesced, Kind::Joined];
const COPIES: usize = 2 * KINDS.len();

/// The operations of the ULP `U`, in a `static`, see [`Ulp::ops`].
///
/// # Invariants
///
/// `ulp` and `protos` are initialised once `state` is [`READY`], and do not change any more. Only who has brought `state` from
/// [`EMPTY`] to [`BUSY`] writes them. A socket whose `icsk_ulp_ops` are `ulp` has a [`Shared<U>`](super::Shared) in
/// `icsk_ulp_data`, or null while it is made or dies.
pub(crate) struct Ops<U> {
    state: Atomic<u32>,
    /// Whether sockets may get the ULP.
    open: Atomic<bool>,
    /// Listening sockets that are being closed.
    closing: Atomic<u32>,
    module: UnsafeCell<*mut bindings::module>,
    ulp: UnsafeCell<MaybeUninit<bindings::tcp_ulp_ops>>,
    /// By kinds, those of IPv4 first.
    protos: UnsafeCell<MaybeUninit<[bindings::proto; COPIES]>>,
    _ulp: PhantomData<fn(U)>,
}

/// What [`Ops::state`] says: nothing is there yet, somebody is at it, all is there.
const EMPTY: u32 = 0;
/// See [`EMPTY`].
const BUSY: u32 = 1;
/// See [`EMPTY`].
const READY: u32 = 2;

// SAFETY: What is not atomic is written by one thread, before `state` says that others may read it.
unsafe impl<U> Sync for Ops<U> {}

pub(super) fn base(family: Family) -> *mut bindings::proto {
    match family {
        Family::V4 => &raw mut bindings::tcp_prot,
        Family::V6 => &raw mut bindings::tcpv6_prot,
    }
}

impl<U> Ops<U> {
    /// Nothing is there yet.
    pub(crate) const fn new() -> Self {
        // INVARIANT: No socket has operations that nobody has initialised.
        Self {
            state: Atomic::new(EMPTY),
            open: Atomic::new(false),
            closing: Atomic::new(0),
            module: UnsafeCell::new(ptr::null_mut()),
            ulp: UnsafeCell::new(MaybeUninit::uninit()),
            protos: UnsafeCell::new(MaybeUninit::uninit()),
            _ulp: PhantomData,
        }
    }

    /// The address that says which ULP a socket has.
    pub(super) fn ulp(&self) -> *mut bindings::tcp_ulp_ops {
        self.ulp.get().cast()
    }

    fn protos(&self) -> *mut bindings::proto {
        self.protos.get().cast()
    }

    /// The operations of sockets of this kind.
    pub(super) fn proto(&self, kind: Kind, family: Family) -> *mut bindings::proto {
        // The sum is less than `COPIES`.
        self.protos()
            .wrapping_add(2 * kind as usize + family as usize)
    }

    /// Which kind of socket has these operations; `None` when they are not of the ULP.
    pub(super) fn kind(&self, proto: *const bindings::proto) -> Option<Kind> {
        let offset = (proto as usize).wrapping_sub(self.protos() as usize);
        KINDS
            .get(offset / size_of::<bindings::proto>() / 2)
            .copied()
    }

    /// Whether sockets may get the ULP by [`super::attach`].
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Acquire)
    }

    pub(super) fn module(&self) -> *mut bindings::module {
        // SAFETY: Read by who has a socket with the ULP, or has found that it is open: not before `state` is `READY`.
        unsafe { *self.module.get() }
    }
}

impl<U: Ulp> Ops<U> {
    /// Makes the copies.
    fn init(&self, module: &'static ThisModule) -> Result {
        self.state.cmpxchg(EMPTY, BUSY, Full).map_err(|_| EBUSY)?;
        for family in [Family::V4, Family::V6] {
            for kind in KINDS {
                let copy = self.proto(kind, family);
                // SAFETY: Only this thread has brought `state` from `EMPTY` to `BUSY`; no other thread reads or writes the copies
                // before `READY`. The operations of the base do not change.
                let proto = unsafe {
                    copy.copy_from_nonoverlapping(base(family), 1);
                    &mut *copy
                };
                // Sockets hold the module by the ULP; see `acceltcp_ulp_inherit()` for TIME_WAIT.
                proto.owner = ptr::null_mut();
                proto.close = Some(calls::close::<U>);
                proto.setsockopt = Some(calls::setsockopt::<U>);
                proto.getsockopt = Some(calls::getsockopt::<U>);
                proto.hash = Some(callbacks::hash::<U>);
                proto.unhash = Some(callbacks::unhash::<U>);
                match kind {
                    Kind::Plain | Kind::Joined => {}
                    Kind::Holding => proto.sendmsg = Some(calls::sendmsg::<U>),
                    Kind::Quiesced => spliced::replace::<U>(proto),
                }
            }
        }
        let mut ulp = bindings::tcp_ulp_ops {
            init: Some(callbacks::init::<U>),
            release: Some(callbacks::release::<U>),
            clone: Some(callbacks::clone::<U>),
            owner: module.as_ptr().cast(),
            ..bindings::tcp_ulp_ops::default()
        };
        for (to, from) in ulp.name.iter_mut().zip(U::NAME.to_bytes_with_nul()) {
            *to = *from;
        }
        // SAFETY: Only this thread has brought `state` from `EMPTY` to `BUSY`, and others read these fields after `READY` only.
        unsafe {
            *self.module.get() = module.as_ptr().cast();
            self.ulp().write(ulp);
        }
        // INVARIANT: All is there.
        self.state.store(READY, Release);
        Ok(())
    }
}

/// The registered ULP. To be made last of all, as sockets may get the ULP from then on, and to be dropped first.
pub(crate) struct Registration {
    unregister: fn(),
}

impl Registration {
    /// Registers the ULP `U` of `module`. `EEXIST` when there is one of its name, `EBUSY` when it was registered before.
    pub(crate) fn new<U: Ulp>(module: &'static ThisModule) -> Result<Self> {
        let ops = U::ops();
        ops.init(module)?;
        // SAFETY: The operations are initialised, and stay until `unregister()` has returned.
        to_result(unsafe { bindings::tcp_register_ulp(ops.ulp()) })?;
        ops.open.store(true, Release);
        Ok(Self {
            unregister: unregister::<U>,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        (self.unregister)();
    }
}

fn unregister<U: Ulp>() {
    let ops = U::ops();
    ops.open.store(false, Release);
    // SAFETY: Registered in `new()`. It waits for RCU readers: no softirq is copying a listening socket any more that has
    // had the ULP.
    unsafe { bindings::tcp_unregister_ulp(ops.ulp()) };
    // Listeners that died lately have our operations until they are freed.
    rcu::rcu_barrier();
    // SAFETY: The copies are initialised, and no socket has them.
    unsafe { bindings::acceltcp_prot_forget(ops.protos(), COPIES as u32) };
    // SAFETY: Process context.
    unsafe { bindings::synchronize_rcu_tasks() };
    while ops.closing.load(Acquire) != 0 {
        fsleep(Delta::from_millis(10));
    }
    // SAFETY: Process context.
    unsafe { bindings::synchronize_rcu_tasks() };
}

/// A use of the module by a function that may sleep while another thread takes the ULP off the socket.
pub(super) struct ModuleUse(*mut bindings::module);

impl ModuleUse {
    /// Takes a reference to the module (no sleep since `sk_prot` was read). Fails when the module is going, with what the system
    /// call has to return then, at once.
    pub(super) fn new<U: Ulp>() -> Result<Self, c_int> {
        let module = U::ops().module();
        // SAFETY: The memory of the module is there, as `unregister()` waits for this task to sleep.
        if unsafe { bindings::acceltcp_module_try_get(module) } {
            return Ok(Self(module));
        }
        // SAFETY: Process context.
        Err(unsafe { bindings::acceltcp_restart() })
    }
}

impl Drop for ModuleUse {
    fn drop(&mut self) {
        // SAFETY: The reference of `new()`.
        unsafe { bindings::module_put(self.0) };
    }
}

/// A listening socket that is being closed.
pub(super) struct Closing(&'static Atomic<u32>);

impl Closing {
    /// Has the module wait (no sleep since `sk_prot` was read).
    pub(super) fn new<U: Ulp>() -> Self {
        let closing = &U::ops().closing;
        closing.fetch_add(1, Full);
        Self(closing)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Full);
    }
}
