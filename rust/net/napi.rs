// SPDX-License-Identifier: GPL-2.0

//! NAPI instances and the data that belongs to them.
//!
//! An instance owns data that its poll function alone touches. While the instance is disabled the data
//! belongs to the one who disabled it, see [`Napi::with_disabled`].

use super::device::NewDevice;
use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    },
    types::Opaque, //
};

/// The instance is disabled and nobody looks at its data.
const DISABLED: u32 = 0;
/// The instance is disabled and somebody works with its data.
const BORROWED: u32 = 1;
/// The instance is enabled; the data is the poll function's.
const ENABLED: u32 = 2;

/// The work of a NAPI instance.
pub(crate) trait Poll: Send {
    /// Does up to `polling.budget()` frames' worth of work and returns how much it was. With less than the
    /// budget it must have called [`Polling::complete`], or all work may be forgotten.
    fn poll(&mut self, polling: &Polling<'_>) -> usize;
}

/// A NAPI instance with the data of its poll function.
///
/// # Invariants
///
/// `napi` is added to a device that outlives the instance. `data` is accessed by the poll function while
/// `state` is `ENABLED`, and by the one that set `state` to `BORROWED`.
#[pin_data(PinnedDrop)]
pub(crate) struct Napi<T: Poll> {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    state: Atomic<u32>,
    data: UnsafeCell<T>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The instance may be handled by any thread.
unsafe impl<T: Poll> Send for Napi<T> {}
// SAFETY: Access to `data` is exclusive by the type invariant.
unsafe impl<T: Poll> Sync for Napi<T> {}

impl<T: Poll> Napi<T> {
    /// A disabled instance of `dev`, which must outlive it: the instance has to be part of the private data.
    pub(crate) fn new<'a>(dev: &'a NewDevice<'_>, data: T) -> impl PinInit<Self> + 'a
    where
        T: 'a,
    {
        pin_init!(Self {
            napi <- Opaque::ffi_init(move |slot: *mut bindings::napi_struct| {
                // SAFETY: The slot is valid and stays where it is. The instance is taken out of the device
                // in `drop()`.
                unsafe {
                    slot.write_bytes(0, 1);
                    bindings::netif_napi_add(dev.as_raw(), slot, Some(Self::poll_callback));
                }
            }),
            state: Atomic::new(DISABLED),
            data: UnsafeCell::new(data),
            _pin: PhantomPinned,
        })
    }

    /// Lets the instance be scheduled (process context). Nothing happens when it can be already.
    pub(crate) fn enable(&self) {
        if self.state.cmpxchg(DISABLED, ENABLED, Full).is_ok() {
            // SAFETY: The instance is added and disabled.
            unsafe { bindings::napi_enable(self.napi.get()) }
        }
    }

    /// Waits for the poll function and keeps the instance from being scheduled (process context). Nothing
    /// happens when it is disabled already.
    pub(crate) fn disable(&self) {
        if self.state.load(Acquire) == ENABLED {
            // SAFETY: The instance is added and enabled; afterwards the poll function does not run.
            unsafe { bindings::napi_disable(self.napi.get()) }
            self.state.store(DISABLED, Release);
        }
    }

    /// Runs `f` with the data of a disabled instance. `None` when it is enabled or the data is in use.
    pub(crate) fn with_disabled<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.state.cmpxchg(DISABLED, BORROWED, Full).ok()?;
        // SAFETY: By the type invariant the data is ours now.
        let result = f(unsafe { &mut *self.data.get() });
        self.state.store(DISABLED, Release);
        Some(result)
    }

    /// Schedules the instance from a hard interrupt handler.
    pub(crate) fn schedule_irqoff(&self) {
        // SAFETY: The instance is added. A disabled one is not scheduled.
        unsafe { bindings::napi_schedule_irqoff(self.napi.get()) }
    }

    /// Schedules the instance in process context.
    pub(crate) fn schedule(&self) {
        // SAFETY: As above. With BHs off the softirq runs at the latest when they go on again.
        unsafe {
            bindings::local_bh_disable();
            bindings::napi_schedule(self.napi.get());
            bindings::local_bh_enable();
        }
    }

    /// The C instance, to be the consumer of a page pool.
    pub(super) fn as_raw(&self) -> *mut bindings::napi_struct {
        self.napi.get()
    }

    /// # Safety
    ///
    /// To be called by the NAPI core only, with an instance made by [`Napi::new`].
    unsafe extern "C" fn poll_callback(napi: *mut bindings::napi_struct, budget: c_int) -> c_int {
        // SAFETY: `napi` is within a pinned `Napi<T>` by the safety requirement.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(napi), Self, napi) };
        let polling = Polling {
            napi,
            budget,
            _napi: PhantomData,
        };
        // SAFETY: The core polls enabled instances only, and each on one CPU at a time.
        let done = unsafe { &mut *this.data.get() }.poll(&polling);
        (done as c_int).min(budget)
    }
}

#[pinned_drop]
impl<T: Poll> PinnedDrop for Napi<T> {
    fn drop(self: Pin<&mut Self>) {
        self.disable();
        // SAFETY: Added in `new()`; the device is still there by the contract of `new()`.
        unsafe { bindings::netif_napi_del(self.napi.get()) }
    }
}

/// We are in the poll function of a NAPI instance.
pub(crate) struct Polling<'a> {
    napi: *mut bindings::napi_struct,
    budget: c_int,
    _napi: PhantomData<&'a ()>,
}

impl Polling<'_> {
    /// How many frames may be received in this round. 0 in netpoll: then only finish sent frames.
    pub(crate) fn budget(&self) -> c_int {
        self.budget
    }

    /// Ends polling after `done` frames, fewer than the budget. Returns whether the interrupt is to be
    /// unmasked.
    pub(crate) fn complete(&self, done: usize) -> bool {
        // SAFETY: The instance is being polled.
        unsafe { bindings::napi_complete_done(self.napi, done as c_int) }
    }

    pub(super) fn napi(&self) -> *mut bindings::napi_struct {
        self.napi
    }

    pub(super) fn device(&self) -> *mut bindings::net_device {
        // SAFETY: The instance is added to a device.
        unsafe { (*self.napi).dev }
    }
}
