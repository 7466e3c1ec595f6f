// SPDX-License-Identifier: GPL-2.0

//! TX queues of a network device: lock, flow control and byte queue limits (BQL).

use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr::NonNull, //
};

/// A TX queue. It lives as long as its device, whose driver's data must not outlive it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TxQueue(NonNull<bindings::netdev_queue>);

// SAFETY: The functions below are those that the networking core allows from any thread.
unsafe impl Send for TxQueue {}
// SAFETY: As above.
unsafe impl Sync for TxQueue {}

impl TxQueue {
    /// # Safety
    ///
    /// `ptr` must be a queue of a device that outlives the result.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::netdev_queue) -> Self {
        // SAFETY: A queue's pointer is not null.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// Runs `f` under the queue's lock (process context).
    pub(crate) fn with_lock<R>(&self, f: impl FnOnce(&mut TxLocked<'_>) -> R) -> R {
        // SAFETY: The queue is valid.
        unsafe { bindings::__netif_tx_lock_bh(self.0.as_ptr()) };
        // SAFETY: Locked above, unlocked below.
        let result = f(&mut unsafe { TxLocked::new(self) });
        // SAFETY: Locked above.
        unsafe { bindings::__netif_tx_unlock_bh(self.0.as_ptr()) };
        result
    }

    /// Whether frames may be given to the driver (under the queue's lock).
    pub(crate) fn accepts(&self) -> bool {
        // SAFETY: The queue is valid.
        !unsafe { bindings::netif_xmit_frozen_or_drv_stopped(self.0.as_ptr()) }
    }

    /// Whether the driver has stopped the queue.
    pub(crate) fn is_stopped(&self) -> bool {
        // SAFETY: The queue is valid.
        unsafe { bindings::netif_tx_queue_stopped(self.0.as_ptr()) }
    }

    /// Lets the stack send again and starts it.
    pub(crate) fn wake(&self) {
        // SAFETY: The queue is valid.
        unsafe { bindings::netif_tx_wake_queue(self.0.as_ptr()) }
    }

    /// Tells BQL what the device has sent. One caller at a time, in step with what was queued.
    pub(crate) fn completed(&self, packets: u32, bytes: u32) {
        // SAFETY: The queue is valid.
        unsafe { bindings::netdev_tx_completed_queue(self.0.as_ptr(), packets, bytes) }
    }

    /// Has BQL let at least `bytes` be queued, unless the operator says otherwise (before the device is registered).
    pub(crate) fn set_least(&self, bytes: u32) {
        // SAFETY: The queue is valid, and nobody else has it yet.
        unsafe { bindings::acceltcp_tx_queue_set_least(self.0.as_ptr(), bytes) }
    }

    /// Tells BQL that nothing is queued (the datapath is down).
    pub(crate) fn reset_bql(&self) {
        // SAFETY: The queue is valid.
        unsafe { bindings::acceltcp_tx_queue_reset(self.0.as_ptr()) }
    }
}

/// The lock of a TX queue is held.
pub(crate) struct TxLocked<'a> {
    queue: TxQueue,
    _lock: PhantomData<(&'a TxQueue, *mut ())>,
}

impl<'a> TxLocked<'a> {
    /// # Safety
    ///
    /// The lock of `queue` must be held for as long as the result lives, and there must be no other
    /// `TxLocked` for it.
    pub(super) unsafe fn new(queue: &'a TxQueue) -> Self {
        Self {
            queue: *queue,
            _lock: PhantomData,
        }
    }

    /// Stops the queue.
    pub(crate) fn stop(&self) {
        // SAFETY: The queue is valid.
        unsafe { bindings::netif_tx_stop_queue(self.queue.0.as_ptr()) }
    }

    /// Lets the stack send again; it is just doing so.
    pub(crate) fn start(&self) {
        // SAFETY: The queue is valid.
        unsafe { bindings::netif_tx_start_queue(self.queue.0.as_ptr()) }
    }

    /// Tells BQL that `bytes` are queued. Returns whether the doorbell must be rung now.
    pub(crate) fn sent(&self, bytes: u32, more: bool) -> bool {
        // SAFETY: The queue is valid.
        unsafe { bindings::__netdev_tx_sent_queue(self.queue.0.as_ptr(), bytes, more) }
    }
}

/// Data that belongs to whoever holds the lock of one TX queue.
pub(crate) struct TxCell<T> {
    queue: TxQueue,
    data: UnsafeCell<T>,
}

// SAFETY: Access needs the lock of the queue, which makes it exclusive.
unsafe impl<T: Send> Sync for TxCell<T> {}

impl<T> TxCell<T> {
    /// Data for the holder of the lock of `queue`.
    pub(crate) fn new(queue: TxQueue, data: T) -> Self {
        Self {
            queue,
            data: UnsafeCell::new(data),
        }
    }

    /// The queue.
    pub(crate) fn queue(&self) -> TxQueue {
        self.queue
    }

    /// The data, or `None` when `locked` is the lock of another queue.
    pub(crate) fn get<'a>(&'a self, locked: &'a mut TxLocked<'_>) -> Option<&'a mut T> {
        if locked.queue != self.queue {
            return None;
        }
        // SAFETY: The only `TxLocked` of this queue is borrowed mutably for the lifetime of the result.
        Some(unsafe { &mut *self.data.get() })
    }

    /// As [`TxCell::get`], and the lock itself for flow control.
    pub(crate) fn split<'a, 'b>(
        &'a self,
        locked: &'a mut TxLocked<'b>,
    ) -> Option<(&'a mut T, &'a TxLocked<'b>)> {
        if locked.queue != self.queue {
            return None;
        }
        // SAFETY: As in `get()`: `locked` cannot give out the data again while it is borrowed.
        Some((unsafe { &mut *self.data.get() }, locked))
    }
}
