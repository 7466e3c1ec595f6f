// SPDX-License-Identifier: GPL-2.0

//! A network device as seen by those who may outlive it: its service, and where its frames come out.
//!
//! Locks: that of the pointer is innermost (process context only). Who sends a frame holds none of these, but an RCU
//! read section, so that CPUs do not wait for each other.

use super::{
    device::{
        Device,
        Driver, //
    },
    skb::SkBuff,
    sock::NetId, //
};
use crate::bindings;
use acceltcp_abi::setup::NO_VLAN;
use core::{
    any::Any,
    ptr::NonNull, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        SpinLock, //
    },
    time::msecs_to_jiffies,
    types::Opaque, //
};

const _: () = assert!(bindings::ACCELTCP_NO_VLAN == NO_VLAN as u32);

/// A place where frames of a device come out: the device itself, or a VLAN device on top of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    /// The namespace in which they come out.
    pub(crate) net: NetId,
    /// Number of the device there.
    pub(crate) ifindex: i32,
    /// Number of the VRF that it belongs to, or 0.
    pub(crate) master: i32,
    /// MTU in bytes.
    pub(crate) mtu: u32,
    /// VLAN ids, the outer one first, or [`NO_VLAN`].
    pub(crate) vlans: [u16; 2],
    /// Sockets that are not bound to a device get the frames, too.
    pub(crate) takes_unbound: bool,
    /// The host forwards IPv4 and IPv6 packets that come by it.
    pub(crate) forwards: (bool, bool),
}

impl Port {
    /// Whether a socket of this namespace, bound to a device or not (0), gets the frames.
    pub(crate) fn reaches(&self, net: NetId, bound_dev_if: i32) -> bool {
        self.net == net
            && match bound_dev_if {
                0 => self.takes_unbound,
                device => device == self.ifindex || device == self.master,
            }
    }
}

impl From<bindings::acceltcp_port> for Port {
    fn from(raw: bindings::acceltcp_port) -> Self {
        Self {
            net: NetId::from_raw(raw.net),
            ifindex: raw.ifindex,
            master: raw.master,
            mtu: raw.mtu,
            vlans: [raw.vlan_outer, raw.vlan_inner],
            takes_unbound: raw.takes_unbound,
            forwards: (raw.forwards_v4, raw.forwards_v6),
        }
    }
}

/// Where a network device is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    /// Its namespace.
    pub(crate) net: NetId,
    /// Its number there.
    pub(crate) ifindex: u32,
}

/// A device that may be gone.
///
/// # Invariants
///
/// A device in `dev` is alive. One in `ready` has its private data, too, and keeps both until an RCU grace period after
/// it was taken out. The service runs only while the private data is there.
#[pin_data]
pub(crate) struct WeakDevice {
    send: SendFn,
    inquire: InquireFn,
    #[pin]
    dev: SpinLock<Option<Pointer>>,
    ready: Atomic<*mut bindings::net_device>,
    #[pin]
    work: Opaque<bindings::delayed_work>,
}

#[derive(Clone, Copy)]
struct Pointer(NonNull<bindings::net_device>);

/// [`Driver::send_directly`], for a device with private data.
type SendFn =
    unsafe fn(*mut bindings::net_device, SkBuff, &[u8], &mut dyn FnMut() -> Result) -> Result;

/// [`Driver::inquire`], for a registered device.
type InquireFn = unsafe fn(*mut bindings::net_device, &mut dyn Any) -> Result;

// SAFETY: It is used under the lock that it is in.
unsafe impl Send for Pointer {}

// SAFETY: Work items may be queued by any thread.
unsafe impl Send for WeakDevice {}
// SAFETY: As above, and the pointer is behind a lock.
unsafe impl Sync for WeakDevice {}

impl WeakDevice {
    /// For `dev`, whose service does not run before [`WeakDevice::enable`].
    ///
    /// # Safety
    ///
    /// `dev` must be alive until [`WeakDevice::revoke`] has returned, and of driver `T`.
    pub(super) unsafe fn new<T: Driver>(dev: NonNull<bindings::net_device>) -> Result<Arc<Self>> {
        let this = Arc::pin_init(
            pin_init!(Self {
                send: send::<T>,
                inquire: inquire::<T>,
                // INVARIANT: The safety requirement.
                dev <- new_spinlock!(Some(Pointer(dev))),
                ready: Atomic::new(core::ptr::null_mut()),
                work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                    // SAFETY: The slot is valid and pinned.
                    unsafe { bindings::acceltcp_init_delayed_work(slot, Some(callback::<T>)) }
                }),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Just initialised.
        unsafe { bindings::disable_delayed_work(this.work.get()) };
        Ok(this)
    }

    /// Lets the service run.
    ///
    /// # Safety
    ///
    /// The device's private data must be there, and stay until [`WeakDevice::revoke`] has returned. To be called
    /// once.
    pub(super) unsafe fn enable(&self) {
        if let Some(Pointer(dev)) = *self.dev.lock() {
            // INVARIANT: The safety requirement, and `revoke()` waits for a grace period.
            self.ready.store(dev.as_ptr(), Release);
        }
        // SAFETY: The work item is initialised.
        unsafe { bindings::enable_delayed_work(self.work.get()) };
    }

    /// Forgets the device, and waits for its service (process context).
    pub(super) fn revoke(&self) {
        *self.dev.lock() = None;
        self.ready.store(core::ptr::null_mut(), Relaxed);
        // SAFETY: Process context.
        unsafe { bindings::synchronize_rcu() };
        // SAFETY: The work item is initialised. It cannot be queued from here on.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }

    /// Has [`Driver::service`] run in `millis` milliseconds, sooner or later than was asked before. Nothing
    /// happens when the device is gone. Any context.
    pub(crate) fn run_service_in(&self, millis: u32) {
        // SAFETY: The work item is initialised and the queue is the system's. A queued item is waited for
        // before `self` may go, see `revoke()`.
        unsafe {
            bindings::mod_delayed_work(
                bindings::system_dfl_wq,
                self.work.get(),
                msecs_to_jiffies(millis),
            )
        };
    }

    /// Calls [`Driver::send_directly`], or returns `ENODEV` when the device is gone.
    pub(crate) fn send(
        &self,
        skb: SkBuff,
        metadata: &[u8],
        commit: &mut dyn FnMut() -> Result,
    ) -> Result {
        // Keeps the device for as long.
        let _rcu = rcu::read_lock();
        let dev = self.ready.load(Acquire);
        if dev.is_null() {
            return Err(ENODEV);
        }
        // SAFETY: By the type invariant, in an RCU read section.
        unsafe { (self.send)(dev, skb, metadata, commit) }
    }

    /// Has the driver fill `what` in (process context, RTNL not held). `ENODEV` when the device is gone, or about to.
    pub(crate) fn inquire(&self, what: &mut dyn Any) -> Result {
        // SAFETY: Process context by the contract of this function.
        unsafe { bindings::rtnl_lock() };
        let registered = {
            let dev = self.dev.lock();
            // SAFETY: The device is alive by the invariant.
            dev.filter(|Pointer(dev)| unsafe { bindings::acceltcp_dev_is_registered(dev.as_ptr()) })
        };
        let result = match registered {
            // SAFETY: A device that is registered stays so under the RTNL, and its private data is there.
            Some(Pointer(dev)) => unsafe { (self.inquire)(dev.as_ptr(), what) },
            None => Err(ENODEV),
        };
        // SAFETY: Taken above.
        unsafe { bindings::rtnl_unlock() };
        result
    }

    /// Returns where the device is, or `None` when it is gone or about to go (process context). Needs no
    /// RTNL; the device may move as soon as this returns.
    pub(crate) fn location(&self) -> Option<Location> {
        let (mut net, mut ifindex) = (core::ptr::null(), 0);
        let dev = self.dev.lock();
        let Pointer(dev) = (*dev)?;
        // SAFETY: The device is alive by the invariant, as long as the lock is held.
        let found =
            unsafe { bindings::acceltcp_dev_location(dev.as_ptr(), &mut net, &mut ifindex) };
        found.then(|| Location {
            net: NetId::from_raw(net),
            ifindex,
        })
    }

    /// Where its frames come out, as long as it is up (process context).
    pub(crate) fn ports(&self) -> Result<KVec<Port>> {
        let mut raw: KVec<bindings::acceltcp_port> = KVec::new();
        loop {
            let found = {
                let dev = self.dev.lock();
                let Some(Pointer(dev)) = *dev else {
                    return Ok(KVec::new());
                };
                let room = u32::try_from(raw.len())?;
                // SAFETY: The device is alive by the invariant, `room` ports may be written.
                unsafe { bindings::acceltcp_ports(dev.as_ptr(), raw.as_mut_ptr(), room) }
            };
            let found = found as usize;
            if found <= raw.len() {
                raw.truncate(found);
                break;
            }
            raw.resize(found, bindings::acceltcp_port::default(), GFP_KERNEL)?;
        }
        let mut ports = KVec::with_capacity(raw.len(), GFP_KERNEL)?;
        for port in raw {
            ports.push(port.into(), GFP_KERNEL)?;
        }
        Ok(ports)
    }
}

/// # Safety
///
/// `dev` must be a device of driver `T` whose private data is there.
unsafe fn send<T: Driver>(
    dev: *mut bindings::net_device,
    skb: SkBuff,
    metadata: &[u8],
    commit: &mut dyn FnMut() -> Result,
) -> Result {
    // SAFETY: The safety requirement.
    T::send_directly(unsafe { Device::<T>::from_raw(dev) }, skb, metadata, commit)
}

/// # Safety
///
/// `dev` must be a registered device of driver `T`, and the RTNL be held.
unsafe fn inquire<T: Driver>(dev: *mut bindings::net_device, what: &mut dyn Any) -> Result {
    // SAFETY: The safety requirement.
    T::inquire(unsafe { Device::<T>::from_raw(dev) }, what)
}

/// # Safety
///
/// To be called by the workqueue only, for the work item of a [`WeakDevice`] of driver `T`.
unsafe extern "C" fn callback<T: Driver>(work: *mut bindings::work_struct) {
    let work = work
        .cast::<u8>()
        .wrapping_sub(core::mem::offset_of!(bindings::delayed_work, work))
        .cast::<bindings::delayed_work>();
    // SAFETY: The work item is within a pinned `WeakDevice`, which waits for us in `revoke()`.
    let this = unsafe { &*kernel::container_of!(Opaque::cast_from(work), WeakDevice, work) };
    let Some(Pointer(dev)) = *this.dev.lock() else {
        return;
    };
    // SAFETY: The private data is there until `revoke()` has returned, which waits for us.
    T::service(unsafe { Device::<T>::from_raw(dev.as_ptr()) });
}
