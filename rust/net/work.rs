// SPDX-License-Identifier: GPL-2.0

//! A delayed work item of a network device, which can be cancelled for good.

use super::device::{
    Device,
    Driver,
    NewDevice, //
};
use crate::bindings;
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// Runs [`Driver::service`] of a device, on the system's workqueue, until it is dropped.
///
/// It must be part of the device's private data, so that the device outlives it.
#[pin_data(PinnedDrop)]
pub(crate) struct DelayedWork<T: Driver> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    dev: NonNull<bindings::net_device>,
    _driver: PhantomData<fn(&T)>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Work items may be queued by any thread.
unsafe impl<T: Driver> Send for DelayedWork<T> {}
// SAFETY: As above.
unsafe impl<T: Driver> Sync for DelayedWork<T> {}

impl<T: Driver> DelayedWork<T> {
    /// A work item of `dev` that is not queued.
    pub(crate) fn new<'a>(dev: &'a NewDevice<'_>) -> impl PinInit<Self> + 'a
    where
        T: 'a,
    {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: The slot is valid and stays where it is until the work is cancelled in `drop()`.
                unsafe { bindings::acceltcp_init_delayed_work(slot, Some(Self::callback)) }
            }),
            // SAFETY: A device's pointer is not null.
            dev: unsafe { NonNull::new_unchecked(dev.as_raw()) },
            _driver: PhantomData,
            _pin: PhantomPinned,
        })
    }

    /// Has the service run in `millis` milliseconds, sooner or later than was asked before. Any context.
    pub(crate) fn run_in(&self, millis: u32) {
        // SAFETY: The work item is initialised and the queue is the system's.
        unsafe {
            bindings::mod_delayed_work(
                bindings::system_dfl_wq,
                self.work.get(),
                msecs_to_jiffies(millis),
            )
        };
    }

    /// # Safety
    ///
    /// To be called by the workqueue only.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        let work = work
            .cast::<u8>()
            .wrapping_sub(core::mem::offset_of!(bindings::delayed_work, work))
            .cast::<bindings::delayed_work>();
        // SAFETY: The work item is within a pinned `Self`, which waits for us in `drop()`.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(work), Self, work) };
        // SAFETY: The work item is part of the private data of `dev`, and is queued only once that is there.
        T::service(unsafe { Device::<T>::from_raw(this.dev.as_ptr()) });
    }
}

#[pinned_drop]
impl<T: Driver> PinnedDrop for DelayedWork<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The work item is initialised. A service that queues itself again is cancelled, too.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}
