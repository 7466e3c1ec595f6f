// SPDX-License-Identifier: GPL-2.0

//! The data of a ULP: counted, and freed a grace period after the last reference is gone.
//!
//! A listening socket and its children share it. Softirqs read it by the pointer in the listener, which may be replaced
//! at any time: in an RCU read section it stays in memory, and a reference can be taken unless it has none any more.

use crate::bindings;
use core::{
    ffi::c_void,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    container_of,
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

/// A value, its references, and what frees it.
struct Inner<T> {
    refs: Opaque<bindings::refcount_t>,
    rcu: Opaque<bindings::callback_head>,
    value: T,
}

/// A reference to a `T` that is dropped in softirq context, a grace period after the last reference.
///
/// [`Barrier`] has to outlive all of them.
///
/// # Invariants
///
/// The pointer is to an [`Inner`] with a count of at least one, which is this reference's.
pub(crate) struct Shared<T: Send + Sync + 'static>(NonNull<Inner<T>>, PhantomData<Inner<T>>);

// SAFETY: As `Arc`: the count is atomic, and the value may be used and dropped by any thread.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: `&Shared` gives out `&T` and further references only.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Send + Sync> Shared<T> {
    /// Allocates memory for `value` (process context).
    pub(crate) fn new(value: T) -> Result<Self> {
        let inner = Inner {
            refs: Opaque::uninit(),
            rcu: Opaque::new(bindings::callback_head::default()),
            value,
        };
        let inner = KBox::into_raw(KBox::new(inner, GFP_KERNEL)?);
        // SAFETY: The memory was just allocated, and nobody else knows it.
        unsafe { bindings::refcount_set((*inner).refs.get(), 1) };
        // SAFETY: Pointers of a `KBox` are not null.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        // INVARIANT: The count is one.
        Ok(Self(inner, PhantomData))
    }

    /// The reference as a pointer, to be given to [`Shared::from_raw`] once.
    pub(super) fn into_raw(self) -> NonNull<c_void> {
        core::mem::ManuallyDrop::new(self).0.cast()
    }

    /// # Safety
    ///
    /// `ptr` must be what [`Shared::into_raw`] has returned, and the reference nobody else's any more.
    pub(super) unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // INVARIANT: The count of the reference that was made a pointer.
        Self(ptr.cast(), PhantomData)
    }

    /// The value behind a pointer that [`Shared::into_raw`] has returned.
    ///
    /// # Safety
    ///
    /// For all of `'a`, the reference must exist, or an RCU read section must last that began while it existed.
    pub(super) unsafe fn borrow<'a>(ptr: NonNull<c_void>) -> &'a T {
        // SAFETY: The memory is freed, and the value dropped, a grace period after the last reference is gone.
        unsafe { &(*ptr.cast::<Inner<T>>().as_ptr()).value }
    }

    /// Takes another reference by a pointer that [`Shared::into_raw`] has returned.
    ///
    /// # Safety
    ///
    /// The reference must exist.
    pub(super) unsafe fn get(ptr: NonNull<c_void>) -> Self {
        // SAFETY: The reference exists; it is not given up here.
        core::mem::ManuallyDrop::new(unsafe { Self::from_raw(ptr) })
            .deref()
            .clone()
    }

    /// Takes another reference by a pointer that [`Shared::into_raw`] has returned; `None` when there are none any more.
    ///
    /// # Safety
    ///
    /// The reference must exist, or the caller be in an RCU read section that began while it existed.
    pub(super) unsafe fn try_get(ptr: NonNull<c_void>) -> Option<Self> {
        let inner = ptr.cast::<Inner<T>>();
        // SAFETY: The memory is there, see `borrow()`.
        let taken = unsafe { bindings::refcount_inc_not_zero((*inner.as_ptr()).refs.get()) };
        if !taken {
            // Nothing that would give up a reference may be made.
            return None;
        }
        // INVARIANT: The count was raised for this reference.
        Some(Self(inner, PhantomData))
    }
}

impl<T: Send + Sync> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: By the invariant the memory is there, and the count not zero.
        unsafe { bindings::refcount_inc(self.0.as_ref().refs.get()) };
        // INVARIANT: The count was raised for this reference.
        Self(self.0, PhantomData)
    }
}

impl<T: Send + Sync> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the invariant.
        unsafe { &self.0.as_ref().value }
    }
}

impl<T: Send + Sync> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant the memory is there; the count of this reference is given up.
        let last = unsafe { bindings::refcount_dec_and_test(self.0.as_ref().refs.get()) };
        if last {
            // SAFETY: No reference is left, so that nobody else queues it. `Barrier` waits for the function.
            unsafe { bindings::call_rcu(self.0.as_ref().rcu.get(), Some(free::<T>)) };
        }
    }
}

/// # Safety
///
/// To be called by RCU, with the head of an [`Inner<T>`] without references, once.
unsafe extern "C" fn free<T>(head: *mut bindings::callback_head) {
    let head: *mut Opaque<bindings::callback_head> = head.cast();
    // SAFETY: The head is in an `Inner` that `Shared::new()` has allocated, and that no reader has any more.
    drop(unsafe { KBox::from_raw(container_of!(head, Inner<T>, rcu)) });
}

/// Waits, when it is dropped, until all that had no references before has been freed.
pub(crate) struct Barrier(());

impl Barrier {
    /// To be dropped behind all [`Shared`].
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        rcu::rcu_barrier();
    }
}
