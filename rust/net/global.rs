// SPDX-License-Identifier: GPL-2.0

//! Data of the whole module behind a lock.
//!
//! The kernel crate's `global_lock!` has to be initialised by hand before its first use, which is why it is
//! `unsafe`. These locks initialise themselves.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};
use kernel::{
    interrupt::local_interrupt_disable,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        lock::{
            mutex::MutexBackend,
            spinlock::SpinLockBackend,
            Backend,
            Guard,
            Lock, //
        },
        LockClassKey, //
    }, //
};

/// What [`Global::state`] says: nothing is there yet, somebody is at it, the lock is there.
const EMPTY: u32 = 0;
/// See [`EMPTY`].
const BUSY: u32 = 1;
/// See [`EMPTY`].
const READY: u32 = 2;

/// A lock in a `static`, see [`global!`].
///
/// # Invariants
///
/// `lock` is initialised, and pinned for ever, once `state` is [`READY`]. Only who has brought `state` from
/// [`EMPTY`] to [`BUSY`] writes it.
pub(crate) struct Global<T, B: Backend> {
    state: Atomic<u32>,
    lock: UnsafeCell<MaybeUninit<Lock<T, B>>>,
    initial: fn() -> T,
    name: &'static CStr,
    class: fn() -> Pin<&'static LockClassKey>,
}

/// A [`Global`] that spins. To be taken in process context only, unless all of its users disable softirqs.
pub(crate) type Spin<T> = Global<T, SpinLockBackend>;
/// A [`Global`] that sleeps.
pub(crate) type Sleeping<T> = Global<T, MutexBackend>;

// SAFETY: A lock makes what is `Send` shareable; it is written once, before anyone reads.
unsafe impl<T: Send, B: Backend> Sync for Global<T, B> {}

impl<T, B: Backend> Global<T, B> {
    /// For [`global!`].
    pub(crate) const fn new(
        initial: fn() -> T,
        name: &'static CStr,
        class: fn() -> Pin<&'static LockClassKey>,
    ) -> Self {
        // INVARIANT: Nothing is there yet.
        Self {
            state: Atomic::new(EMPTY),
            lock: UnsafeCell::new(MaybeUninit::uninit()),
            initial,
            name,
            class,
        }
    }

    /// Takes the lock.
    pub(crate) fn lock(&'static self) -> Guard<'static, T, B> {
        while self.state.load(Acquire) != READY {
            self.init();
        }
        // SAFETY: Initialised by the invariant, and not written any more.
        unsafe { (*self.lock.get()).assume_init_ref() }.lock()
    }

    fn init(&'static self) {
        let value = (self.initial)();
        // Nobody on this CPU may wait for us.
        let _irqs = local_interrupt_disable();
        if self.state.cmpxchg(EMPTY, BUSY, Full).is_err() {
            core::hint::spin_loop();
            return;
        }
        let init = Lock::<T, B>::new(value, self.name, (self.class)());
        // SAFETY: We have the place to ourselves, and it is a static's, which never moves.
        unsafe { pin_init::raw_init(self.lock.get().cast(), init) };
        // INVARIANT: Just initialised.
        self.state.store(READY, Release);
    }
}

/// A `static` behind a lock, of kind `Spin` or `Sleeping`. It is not dropped when the module goes: what it owns
/// is to be taken out before.
macro_rules! global {
    ($(#[$meta:meta])* $vis:vis static $name:ident: $kind:ident<$type:ty> = $initial:expr;) => {
        $(#[$meta])*
        $vis static $name: $crate::net::global::$kind<$type> = $crate::net::global::Global::new(
            || $initial,
            $crate::net::global::c_name!($name),
            || ::kernel::static_lock_class!(),
        );
    };
}
pub(crate) use global;

macro_rules! c_name {
    ($name:ident) => {
        ::kernel::c_str!(::core::stringify!($name))
    };
}
pub(crate) use c_name;
