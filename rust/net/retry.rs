// SPDX-License-Identifier: GPL-2.0

//! What cannot be done while a user has a socket locked, and is tried again until it can.
//!
//! Who waits for the lock of a socket waits for its user, who can keep it for ever. So whatever serves more than that
//! user does not wait: it tries, and leaves what failed to a [`Retry`].
//!
//! Locks: that of the list is innermost.

use crate::bindings;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// Milliseconds until something is tried for the second time.
const FIRST_MS: u32 = 1;
/// Milliseconds between two attempts at most.
const MOST_MS: u32 = 512;

/// Something that may have to be tried several times.
pub(crate) trait Attempt: Send + 'static {
    /// Tries it (process context); false when it is to be tried again. Must not wait for a lock that a user can hold.
    fn attempt(&self) -> bool;

    /// Whether `other` is the same thing, which need not be tried twice.
    fn is_same(&self, other: &Self) -> bool;
}

struct Parked<T> {
    /// What is to be tried at the next attempt.
    next: KVVec<T>,
    /// What was tried in vain at the attempt that runs.
    tried: KVVec<T>,
    /// Milliseconds until the next attempt.
    delay: u32,
}

/// What is to be tried again. What is in it when it goes is dropped. The last reference is to be given up in process
/// context, and not by an attempt.
#[pin_data(PinnedDrop)]
pub(crate) struct Retry<T: Attempt> {
    #[pin]
    parked: Mutex<Parked<T>>,
    #[pin]
    work: Opaque<bindings::delayed_work>,
}

// SAFETY: Work items may be queued by any thread, and what is parked may be sent to the one that tries it.
unsafe impl<T: Attempt> Send for Retry<T> {}
// SAFETY: The work item synchronises itself, and the lists are behind a lock.
unsafe impl<T: Attempt> Sync for Retry<T> {}

impl<T: Attempt> Retry<T> {
    /// With nothing in it.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                parked <- new_mutex!(Parked {
                    next: KVVec::new(),
                    tried: KVVec::new(),
                    delay: FIRST_MS,
                }),
                work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                    // SAFETY: The slot is valid and pinned.
                    unsafe { bindings::acceltcp_init_delayed_work(slot, Some(callback::<T>)) }
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Has `what` tried soon, and then ever more seldom (process context). Each thing is kept once, whatever a user does to
    /// have it put here again and again.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `what` is dropped.
    pub(crate) fn put(&self, what: T) -> Result {
        let mut parked = self.parked.lock();
        let soon = parked.next.is_empty() || parked.delay != FIRST_MS;
        let lists = [&parked.next, &parked.tried];
        if !lists.into_iter().flatten().any(|one| one.is_same(&what)) {
            parked.next.push(what, GFP_KERNEL)?;
        }
        parked.delay = FIRST_MS;
        // Not whenever something is put: an attempt that is due would be put off for ever.
        if soon {
            self.run_in(FIRST_MS);
        }
        Ok(())
    }

    /// Waits for the attempt that runs; there is none any more then (process context).
    pub(crate) fn halt(&self) {
        // SAFETY: The work item is initialised.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }

    fn run_in(&self, millis: u32) {
        // SAFETY: The work item is initialised and the queue is the system's. It is waited for in `halt()`, before `self`
        // goes.
        unsafe {
            bindings::mod_delayed_work(
                bindings::system_dfl_wq,
                self.work.get(),
                msecs_to_jiffies(millis),
            )
        };
    }

    fn run(&self) {
        while let Some(what) = self.next() {
            if what.attempt() {
                continue;
            }
            // There is room, see `next()`: nobody else puts something there.
            let kept = self.parked.lock().tried.push(what, GFP_KERNEL);
            if kept.is_err() {
                pr_warn!("no memory to try again\n");
            }
        }
        let mut parked = self.parked.lock();
        let parked = &mut *parked;
        // If there was no memory to try all, the others are the next.
        if parked.next.is_empty() {
            core::mem::swap(&mut parked.next, &mut parked.tried);
        }
        if !(parked.next.is_empty() && parked.tried.is_empty()) {
            self.run_in(parked.delay);
            parked.delay = (2 * parked.delay).min(MOST_MS);
        }
    }

    /// Takes what is to be tried next, once there is room for it among what was tried in vain.
    fn next(&self) -> Option<T> {
        let mut parked = self.parked.lock();
        if parked.next.is_empty() {
            return None;
        }
        parked.tried.reserve(1, GFP_KERNEL).ok()?;
        parked.next.pop()
    }
}

#[pinned_drop]
impl<T: Attempt> PinnedDrop for Retry<T> {
    fn drop(self: Pin<&mut Self>) {
        self.halt();
    }
}

/// # Safety
///
/// To be called by the workqueue only, for the work item of a [`Retry`] of `T`.
unsafe extern "C" fn callback<T: Attempt>(work: *mut bindings::work_struct) {
    let work = work
        .wrapping_byte_sub(core::mem::offset_of!(bindings::delayed_work, work))
        .cast::<bindings::delayed_work>();
    // SAFETY: The work item is within a pinned `Retry`, which waits for us before it goes.
    let this = unsafe { &*kernel::container_of!(Opaque::cast_from(work), Retry<T>, work) };
    this.run();
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_retry)]
mod tests {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// Fails so often.
    struct Fails(Arc<Atomic<u32>>);

    impl Attempt for Fails {
        fn attempt(&self) -> bool {
            let left = self.0.load(Relaxed);
            self.0.store(left.saturating_sub(1), Relaxed);
            left == 0
        }

        fn is_same(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    #[test]
    fn it_is_tried_until_it_is_done() -> Result {
        let retry = Retry::new()?;
        let mut counts = KVec::new();
        for fails in [0u32, 3, 6] {
            let count = Arc::new(Atomic::new(fails), GFP_KERNEL)?;
            retry.put(Fails(count.clone()))?;
            counts.push(count, GFP_KERNEL)?;
        }
        while counts.iter().any(|count| count.load(Relaxed) != 0) {
            // SAFETY: Process context.
            unsafe { bindings::synchronize_rcu() };
        }
        retry.halt();
        assert_eq!(retry.parked.lock().delay, 1 << 6);
        Ok(())
    }

    #[test]
    fn each_thing_is_kept_once() -> Result {
        let retry = Retry::new()?;
        let count = Arc::new(Atomic::new(u32::MAX), GFP_KERNEL)?;
        for _ in 0..100 {
            retry.put(Fails(count.clone()))?;
        }
        retry.halt();
        let parked = retry.parked.lock();
        // Another one may have come while the first was being tried.
        assert!((1..=2).contains(&(parked.next.len() + parked.tried.len())));
        Ok(())
    }

    #[test]
    fn what_is_left_is_dropped() -> Result {
        let retry = Retry::new()?;
        let count = Arc::new(Atomic::new(u32::MAX), GFP_KERNEL)?;
        retry.put(Fails(count.clone()))?;
        drop(retry);
        assert!(Arc::into_unique_or_drop(count).is_some());
        Ok(())
    }
}
