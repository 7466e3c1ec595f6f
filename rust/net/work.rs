// SPDX-License-Identifier: GPL-2.0

//! Work that is left to process context.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// What has work to do now and then.
pub(crate) trait Job: Send + Sync + 'static {
    /// Does what there is to do (process context); by one CPU at a time.
    fn run(&self);
}

/// A [`Job`] and its work item. The last reference is to be given up in process context, and not by the job.
#[pin_data(PinnedDrop)]
pub(crate) struct Worker<T: Job> {
    #[pin]
    work: Opaque<bindings::work_struct>,
    #[pin]
    job: T,
}

// SAFETY: Work items may be queued by any thread.
unsafe impl<T: Job> Send for Worker<T> {}
// SAFETY: As above.
unsafe impl<T: Job> Sync for Worker<T> {}

impl<T: Job> Worker<T> {
    /// A worker for `job`.
    pub(crate) fn new(job: impl PinInit<T>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                    // SAFETY: The slot is valid and pinned.
                    unsafe { bindings::acceltcp_init_work(slot, Some(callback::<T>)) }
                }),
                job <- job,
            }),
            GFP_KERNEL,
        )
    }

    /// Has the job run soon. Any context.
    pub(crate) fn queue(&self) {
        // SAFETY: The work item is initialised and the queue is the system's. It is waited for in `halt()`.
        unsafe { bindings::queue_work(bindings::system_dfl_wq, self.work.get()) };
    }

    /// Waits until the job has run that was queued before (process context).
    pub(crate) fn wait(&self) {
        // SAFETY: The work item is initialised.
        unsafe { bindings::flush_work(self.work.get()) };
    }

    /// Waits for the job, which does not run any more then (process context).
    pub(crate) fn halt(&self) {
        // SAFETY: The work item is initialised.
        unsafe { bindings::disable_work_sync(self.work.get()) };
    }
}

impl<T: Job> Deref for Worker<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.job
    }
}

#[pinned_drop]
impl<T: Job> PinnedDrop for Worker<T> {
    fn drop(self: Pin<&mut Self>) {
        self.halt();
    }
}

/// # Safety
///
/// To be called by the workqueue only, for the work item of a [`Worker`] of `T`.
unsafe extern "C" fn callback<T: Job>(work: *mut bindings::work_struct) {
    // SAFETY: The work item is within a pinned `Worker`, which waits for us before it goes.
    let this = unsafe { &*kernel::container_of!(Opaque::cast_from(work), Worker<T>, work) };
    this.job.run();
}
