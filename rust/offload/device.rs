// SPDX-License-Identifier: GPL-2.0

//! Cards, as the offloads see them.

use crate::net::sock::NetId;
use acceltcp_abi::setup::ListenRule;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        global_lock, //
    },
};

/// A card with the AccelTCP firmware.
pub(crate) trait OffloadDevice: Sync {
    /// The namespace that its network device is in.
    fn net(&self) -> NetId;

    /// Number of its network device in the namespace.
    fn ifindex(&self) -> i32;

    /// Maximum segment size that its MTU allows, for IPv4 and IPv6.
    fn mss(&self) -> (u16, u16);

    /// Has it compare its rules with what is wanted, soon. Any context.
    fn wake(&self);
}

/// Commands to a card, which may sleep.
pub(crate) trait Commands {
    /// Adds a rule and returns its handle. `ENOSPC` when the card has no room.
    fn add(&mut self, rule: &ListenRule) -> Result<u32>;

    /// Removes a rule.
    fn remove(&mut self, handle: u32) -> Result;
}

/// Pointer to a registered device.
#[derive(Clone, Copy, PartialEq)]
struct Entry(NonNull<dyn OffloadDevice>);

// SAFETY: Devices are `Sync`; the list is what gives access to them.
unsafe impl Send for Entry {}

global_lock! {
    // SAFETY: Initialised in the module's init, before the first use.
    unsafe(uninit) static DEVICES: SpinLock<KVec<Entry>> = KVec::new();
}

/// Number of devices, to be read without the lock.
static COUNT: Atomic<u32> = Atomic::new(0);

/// Prepares the list.
///
/// # Safety
///
/// To be called once, before anything else here.
pub(crate) unsafe fn init() {
    // SAFETY: The safety requirement.
    unsafe { DEVICES.init() };
}

/// A device that is known to the offloads until this is dropped.
pub(crate) struct Registration<'a> {
    entry: Entry,
    _device: PhantomData<&'a ()>,
}

// SAFETY: May be dropped by any thread.
unsafe impl Send for Registration<'_> {}
// SAFETY: It has no methods.
unsafe impl Sync for Registration<'_> {}

impl<'a> Registration<'a> {
    /// Makes `device` known.
    ///
    /// # Safety
    ///
    /// The result must be dropped before the device goes, and not be leaked.
    pub(crate) unsafe fn new(device: &'a (dyn OffloadDevice + 'a)) -> Result<Self> {
        let ptr: *const (dyn OffloadDevice + 'a) = device;
        // SAFETY: The lifetime is that of the registration, by the safety requirement.
        let ptr = unsafe {
            core::mem::transmute::<
                *const (dyn OffloadDevice + 'a),
                *const (dyn OffloadDevice + 'static),
            >(ptr)
        };
        let entry = Entry(NonNull::new(ptr.cast_mut()).ok_or(EINVAL)?);
        DEVICES.lock().push(entry, GFP_ATOMIC)?;
        COUNT.add(1, Relaxed);
        Ok(Self {
            entry,
            _device: PhantomData,
        })
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut devices = DEVICES.lock();
        let position = devices
            .iter()
            .position(|entry| core::ptr::addr_eq(entry.0.as_ptr(), self.entry.0.as_ptr()));
        if let Some(position) = position {
            let _ = devices.remove(position);
        }
        COUNT.fetch_sub(1, Relaxed);
    }
}

/// Calls `f` for each device in the namespace `net` (atomic).
fn for_each(net: NetId, mut f: impl FnMut(&dyn OffloadDevice)) {
    for entry in DEVICES.lock().iter() {
        // SAFETY: Devices in the list are alive while its lock is held, see `Registration`.
        let device = unsafe { entry.0.as_ref() };
        if device.net() == net {
            f(device);
        }
    }
}

/// Wakes the devices in the namespace `net`.
pub(crate) fn wake(net: NetId) {
    for_each(net, |device| device.wake());
}

/// Whether a device is in the namespace `net`.
pub(crate) fn is_any_in(net: NetId) -> bool {
    let mut found = false;
    for_each(net, |_| found = true);
    found
}
