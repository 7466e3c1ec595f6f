// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    dma,
    ethtool,
    flower::Flower,
    multicast::MulticastList,
    ops,
    queue::{
        TxLocked,
        TxQueue, //
    },
    skb::SkBuff,
    sock::NetId,
    weak::WeakDevice, //
};
use crate::bindings;
use core::{
    any::Any,
    cell::Cell,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    device::Bound,
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// Feature bits of a network device (`NETIF_F_*`).
pub(crate) mod features {
    use crate::bindings;

    /// Scatter-gather.
    pub(crate) const SG: u64 = bindings::ACCELTCP_F_SG;
    /// TCP and UDP checksums over IPv4 on transmit.
    pub(crate) const IP_CSUM: u64 = bindings::ACCELTCP_F_IP_CSUM;
    /// TCP and UDP checksums over IPv6 on transmit.
    pub(crate) const IPV6_CSUM: u64 = bindings::ACCELTCP_F_IPV6_CSUM;
    /// Checksums on receive.
    pub(crate) const RXCSUM: u64 = bindings::ACCELTCP_F_RXCSUM;
    /// TCP segmentation over IPv4.
    pub(crate) const TSO: u64 = bindings::ACCELTCP_F_TSO;
    /// TCP segmentation over IPv6.
    pub(crate) const TSO6: u64 = bindings::ACCELTCP_F_TSO6;
    /// All segmentation features.
    pub(crate) const GSO_MASK: u64 = bindings::ACCELTCP_F_GSO_MASK;
    /// DMA from high memory.
    pub(crate) const HIGHDMA: u64 = bindings::ACCELTCP_F_HIGHDMA;
    /// Receive hash.
    pub(crate) const RXHASH: u64 = bindings::ACCELTCP_F_RXHASH;
    /// Filters of tc on receive.
    pub(crate) const HW_TC: u64 = bindings::ACCELTCP_F_HW_TC;
}

/// What became of a frame given to [`Driver::start_xmit`].
pub(crate) enum Xmit {
    /// The driver has taken it.
    Ok,
    /// No room; the queue was stopped and the stack keeps the frame.
    Busy(SkBuff),
}

/// A network device, as a name to compare. It does not keep the device alive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceId(*const bindings::net_device);

// SAFETY: The pointer is compared only.
unsafe impl Send for DeviceId {}
// SAFETY: As above.
unsafe impl Sync for DeviceId {}

impl DeviceId {
    pub(super) fn from_raw(dev: *const bindings::net_device) -> Self {
        Self(dev)
    }

    /// A number that no other device has at the same time; not 0.
    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }
}

/// Counters of a device (`struct rtnl_link_stats64`).
#[derive(Default)]
pub(crate) struct LinkStats {
    /// Frames received.
    pub(crate) rx_packets: u64,
    /// Bytes received.
    pub(crate) rx_bytes: u64,
    /// Received frames dropped for want of memory.
    pub(crate) rx_dropped: u64,
    /// Received frames that were no good.
    pub(crate) rx_errors: u64,
    /// Frames sent.
    pub(crate) tx_packets: u64,
    /// Bytes sent.
    pub(crate) tx_bytes: u64,
    /// Frames not sent.
    pub(crate) tx_dropped: u64,
}

/// What to receive beside the own address.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RxMode {
    /// Every frame.
    pub(crate) promiscuous: bool,
    /// Every multicast frame.
    pub(crate) all_multicast: bool,
}

/// A driver of network devices; the type is the device's private data.
///
/// Operations that the kernel calls with the RTNL held are never called twice at a time for a device, and
/// may sleep. [`Driver::start_xmit`] and [`Driver::stats`] may be called at any time while the device is
/// registered, also on several CPUs.
pub(crate) trait Driver: Send + Sync + Sized {
    /// Brings the datapath up (`ndo_open`; RTNL).
    fn open(dev: &Device<Self>) -> Result;

    /// Takes the datapath down (`ndo_stop`; RTNL).
    fn stop(dev: &Device<Self>);

    /// Sends a frame (`ndo_start_xmit`; atomic, under the lock of `queue`). `more` says that another frame
    /// for this queue follows at once.
    fn start_xmit(dev: &Device<Self>, skb: SkBuff, queue: &mut TxLocked<'_>, more: bool) -> Xmit;

    /// Sends a frame with metadata of the driver's own at once, around the queueing discipline (process context). It is
    /// known afterwards whether the hardware has it; what goes with it is done if so: `commit` is called when nothing
    /// can fail any more but what it does itself.
    fn send_directly(
        dev: &Device<Self>,
        skb: SkBuff,
        metadata: &[u8],
        commit: &mut dyn FnMut() -> Result,
    ) -> Result;

    /// Whether the hardware can do `features` for this frame; returns those that it can.
    fn features_check(_dev: &Device<Self>, _skb: &SkBuff, features: u64) -> u64 {
        features
    }

    /// Sets what to receive (`ndo_set_rx_mode_async`; RTNL). `multicast` visits the wanted groups.
    fn set_rx_mode(dev: &Device<Self>, mode: RxMode, multicast: &MulticastList<'_>) -> Result;

    /// Takes a new MAC address (`ndo_set_mac_address`; RTNL). The address is valid, and becomes the
    /// device's when this succeeds.
    fn set_mac_address(dev: &Device<Self>, address: [u8; 6]) -> Result;

    /// Takes a new MTU (`ndo_change_mtu`; RTNL). The core has checked it against the limits.
    fn change_mtu(dev: &Device<Self>, mtu: u32) -> Result;

    /// Turns features on and off (`ndo_set_features`; RTNL).
    fn set_features(dev: &Device<Self>, features: u64) -> Result;

    /// Takes a filter of tc at ingress, or gives it up (RTNL). For devices with [`features::HW_TC`].
    fn flower(dev: &Device<Self>, flower: Flower<'_>) -> Result;

    /// A queue has been stopped for too long (`ndo_tx_timeout`; atomic).
    fn tx_timeout(dev: &Device<Self>, queue: u32);

    /// Counters of the device since it was made.
    fn stats(dev: &Device<Self>) -> LinkStats;

    /// Fills in what is asked, of a type that the driver knows (process context, RTNL). `EINVAL` for others.
    fn inquire(dev: &Device<Self>, what: &mut dyn Any) -> Result;

    /// Runs when it was asked for, see [`WeakDevice::run_service_in`] (process context, no locks held).
    fn service(dev: &Device<Self>);
}

/// A network device of driver `T`.
///
/// # Invariants
///
/// The private data behind the `struct net_device` is an initialised `T`.
#[repr(transparent)]
pub(crate) struct Device<T>(Opaque<bindings::net_device>, PhantomData<T>);

// SAFETY: The operations below are those that the networking core allows from any thread.
unsafe impl<T: Sync> Sync for Device<T> {}

impl<T: Driver> Device<T> {
    /// # Safety
    ///
    /// `ptr` must be a device made by [`Registration::new`] for the same `T`, whose private data is
    /// initialised, and must stay so for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: `Device` is transparent to `struct net_device`; the rest is the safety requirement.
        unsafe { &*ptr.cast() }
    }

    /// The C device.
    pub(crate) fn as_raw(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// The driver's private data.
    pub(crate) fn private(&self) -> &T {
        // SAFETY: By the type invariant.
        unsafe { &*private_ptr::<T>(self.as_raw()) }
    }

    /// MTU in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: A read of an integer that changes under the RTNL only.
        unsafe { core::ptr::addr_of!((*self.as_raw()).mtu).read_volatile() }
    }

    /// Stores a new MTU (in `ndo_change_mtu`).
    pub(crate) fn set_mtu(&self, mtu: u32) {
        // SAFETY: Readers use `READ_ONCE()`, writers hold the RTNL.
        unsafe {
            core::ptr::addr_of_mut!((*self.as_raw()).mtu).write_volatile(mtu);
        }
    }

    /// MAC address.
    pub(crate) fn mac_address(&self) -> [u8; 6] {
        // SAFETY: `dev_addr` points to at least 6 bytes for an Ethernet device.
        unsafe { (*self.as_raw()).dev_addr.cast::<[u8; 6]>().read() }
    }

    /// Number of the device in its namespace.
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: A read of an integer that changes under the RTNL only.
        unsafe { core::ptr::addr_of!((*self.as_raw()).ifindex).read_volatile() as u32 }
    }

    /// Its name, with zeros behind it (RTNL).
    pub(crate) fn name(&self) -> [u8; 16] {
        // SAFETY: The device is valid; names change under the RTNL.
        unsafe { (*self.as_raw()).name.as_ptr().cast::<[u8; 16]>().read() }
    }

    /// Its network namespace (RTNL).
    pub(crate) fn net(&self) -> NetId {
        // SAFETY: The device is valid.
        NetId::from_raw(unsafe { bindings::acceltcp_dev_net(self.as_raw()) })
    }

    /// Whether the device is administratively up.
    pub(crate) fn is_running(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_running(self.as_raw()) }
    }

    /// Whether the link is up.
    pub(crate) fn has_carrier(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_carrier_ok(self.as_raw()) }
    }

    /// Reports the state of the link.
    pub(crate) fn set_carrier(&self, on: bool) {
        // SAFETY: The device is valid; both may be called in any context.
        unsafe {
            if on {
                bindings::netif_carrier_on(self.as_raw());
            } else {
                bindings::netif_carrier_off(self.as_raw());
            }
        }
    }

    /// TX queue `index`, or `None` when there is none.
    pub(crate) fn tx_queue(&self, index: usize) -> Option<TxQueue> {
        // SAFETY: The number is fixed when the device is made.
        let count = unsafe { (*self.as_raw()).num_tx_queues };
        let index = u32::try_from(index).ok().filter(|i| *i < count)?;
        // SAFETY: The index was checked; queues live as long as the device.
        Some(unsafe { TxQueue::from_raw((*self.as_raw())._tx.add(index as usize)) })
    }

    /// Sets how many queues are in use (RTNL, or not yet registered).
    pub(crate) fn set_real_queues(&self, rx: u32, tx: u32) -> Result {
        // SAFETY: The device is valid; the functions check the numbers.
        unsafe {
            to_result(bindings::netif_set_real_num_tx_queues(self.as_raw(), tx))?;
            to_result(bindings::netif_set_real_num_rx_queues(self.as_raw(), rx))
        }
    }

    /// Lets the stack send on all queues.
    pub(crate) fn start_queues(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_tx_start_all_queues(self.as_raw()) }
    }

    /// Stops all queues and waits until no [`Driver::start_xmit`] runs (process context).
    pub(crate) fn disable_tx(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_tx_disable(self.as_raw()) }
    }

    /// Whether the user has set an indirection table.
    pub(crate) fn is_rxfh_configured(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_is_rxfh_configured(self.as_raw()) }
    }

    /// Runs `f` with the RTNL held (process context, RTNL not held).
    pub(crate) fn with_rtnl<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: Process context by the contract of this function.
        unsafe { bindings::rtnl_lock() };
        let result = f();
        // SAFETY: Taken above.
        unsafe { bindings::rtnl_unlock() };
        result
    }
}

/// The private data of `dev`.
///
/// # Safety
///
/// `dev` must be allocated with room for a `T`.
unsafe fn private_ptr<T>(dev: *mut bindings::net_device) -> *mut T {
    // SAFETY: `priv` is the last, flexible member; its address is within the allocation.
    unsafe { core::ptr::addr_of_mut!((*dev).priv_).cast() }
}

/// Queues that a device uses of each kind, unless the user says otherwise.
pub(crate) fn default_queues() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::netif_get_num_default_rss_queues() }.max(1) as u32
}

/// Key of the receive hash, the same for all devices of the machine.
pub(crate) fn rss_key<const N: usize>() -> [u8; N] {
    let mut key = [0; N];
    // SAFETY: The key has as many bytes as are said.
    unsafe { bindings::netdev_rss_key_fill(key.as_mut_ptr().cast(), key.len()) };
    key
}

/// What a driver sets before the device can be seen.
pub(crate) struct Config {
    /// Features that are there and on.
    pub(crate) features: u64,
    /// Features that the user may switch.
    pub(crate) hw_features: u64,
    /// Features for VLAN devices on top.
    pub(crate) vlan_features: u64,
    /// Smallest MTU.
    pub(crate) min_mtu: u32,
    /// Largest MTU.
    pub(crate) max_mtu: u32,
    /// Largest frame for TSO, in bytes.
    pub(crate) tso_max_size: u32,
    /// MAC address; `None` for a random one.
    pub(crate) mac: Option<[u8; 6]>,
    /// Queues in use at first, of each kind.
    pub(crate) queues: u32,
}

/// A registered network device.
///
/// # Invariants
///
/// `dev` is registered, and its private data is initialised.
pub(crate) struct Registration<T: Driver> {
    dev: NonNull<bindings::net_device>,
    weak: Arc<WeakDevice>,
    _owns: PhantomData<T>,
}

// SAFETY: The registration may be dropped by any thread that may sleep.
unsafe impl<T: Driver> Send for Registration<T> {}
// SAFETY: It gives out `&Device<T>` only.
unsafe impl<T: Driver> Sync for Registration<T> {}

/// A network device that is not registered yet. It is freed unless it gets so.
pub(super) struct Unregistered<T: Driver> {
    dev: NonNull<bindings::net_device>,
    weak: Arc<WeakDevice>,
    registered: Cell<bool>,
    _private: PhantomData<T>,
}

impl<T: ethtool::Operations> Unregistered<T> {
    /// An Ethernet device with `max_queues` queues of each kind.
    pub(super) fn new(parent: &kernel::device::Device<Bound>, max_queues: u32) -> Result<Self> {
        const {
            // `alloc_netdev_mqs()` aligns the private data to a cache line.
            assert!(core::mem::align_of::<T>() <= 32);
        }
        let size = i32::try_from(core::mem::size_of::<T>())?;
        // SAFETY: Any sizes may be asked for.
        let dev = unsafe { bindings::alloc_etherdev_mqs(size, max_queues, max_queues) };
        let dev = NonNull::new(dev).ok_or(ENOMEM)?;
        // SAFETY: The device is ours alone until it is registered; `parent` is a `struct device` and is
        // alive while the device is registered.
        unsafe {
            let ptr = dev.as_ptr();
            (*ptr).dev.parent = dma::raw(parent);
            (*ptr).netdev_ops = &ops::Table::<T>::NETDEV;
            (*ptr).ethtool_ops = &ethtool::Table::<T>::OPS;
        }
        // SAFETY: The device is freed after `revoke()`, in `drop()` here or of the registration.
        let weak = unsafe { WeakDevice::new::<T>(dev) }.inspect_err(|_| {
            // SAFETY: Allocated above.
            unsafe { bindings::free_netdev(dev.as_ptr()) }
        })?;
        Ok(Self {
            dev,
            weak,
            registered: Cell::new(false),
            _private: PhantomData,
        })
    }

    /// The device, to take pointers from; its private data is not there yet.
    pub(super) fn new_device(&self) -> NewDevice<'_> {
        NewDevice {
            dev: self.dev,
            weak: &self.weak,
        }
    }

    /// Registers the device. To be called once.
    ///
    /// # Safety
    ///
    /// The caller must not `mem::forget()` the registration or keep its `Drop` from running: the device
    /// calls into `T`, whose borrows may end.
    pub(super) unsafe fn register<E>(
        &self,
        private: impl PinInit<T, E>,
        config: Config,
    ) -> Result<Registration<T>>
    where
        Error: From<E>,
    {
        if self.registered.get() {
            return Err(EBUSY);
        }
        let ptr = self.dev.as_ptr();
        config.apply(ptr)?;
        // SAFETY: The private data has room for a `T`, is pinned, and was not initialised before, as that would have
        // made the device registered, or was undone below.
        unsafe { pin_init::raw_try_init(private_ptr::<T>(ptr), private) }?;
        // SAFETY: The private data is dropped after `revoke()` only.
        unsafe { self.weak.enable() };

        // SAFETY: Everything that the operations need is in place.
        let registered = to_result(unsafe { bindings::register_netdev(ptr) });
        if let Err(err) = registered {
            self.weak.revoke();
            // SAFETY: Initialised above, and out of reach of everyone else.
            unsafe { core::ptr::drop_in_place(private_ptr::<T>(ptr)) };
            return Err(err);
        }
        self.registered.set(true);
        // INVARIANT: Just registered, with private data.
        Ok(Registration {
            dev: self.dev,
            weak: self.weak.clone(),
            _owns: PhantomData,
        })
    }
}

impl<T: Driver> Drop for Unregistered<T> {
    fn drop(&mut self) {
        if !self.registered.get() {
            self.weak.revoke();
            // SAFETY: Allocated by `alloc_etherdev_mqs()`, not registered.
            unsafe { bindings::free_netdev(self.dev.as_ptr()) }
        }
    }
}

impl<T: Driver> Registration<T> {
    /// The device.
    pub(crate) fn device(&self) -> &Device<T> {
        // SAFETY: By the type invariant.
        unsafe { Device::from_raw(self.dev.as_ptr()) }
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        let dev = self.dev.as_ptr();
        // SAFETY: By the type invariant; after `unregister_netdev()` nothing calls into the driver, so that
        // its data may go, and then the device.
        unsafe {
            bindings::unregister_netdev(dev);
            self.weak.revoke();
            core::ptr::drop_in_place(private_ptr::<T>(dev));
            bindings::free_netdev(dev);
        }
    }
}

/// A device that is being made.
pub(crate) struct NewDevice<'a> {
    dev: NonNull<bindings::net_device>,
    weak: &'a Arc<WeakDevice>,
}

impl NewDevice<'_> {
    /// The C device. Its private data must not be looked at.
    pub(super) fn as_raw(&self) -> *mut bindings::net_device {
        self.dev.as_ptr()
    }

    /// Its name to compare.
    pub(crate) fn id(&self) -> DeviceId {
        DeviceId::from_raw(self.as_raw())
    }

    /// The device for those who may outlive it. Its service runs once the private data is there.
    pub(crate) fn weak(&self) -> &Arc<WeakDevice> {
        self.weak
    }

    /// TX queue `index`, or `None` when there is none.
    pub(crate) fn tx_queue(&self, index: usize) -> Option<TxQueue> {
        // SAFETY: The number is fixed when the device is made.
        let count = unsafe { (*self.as_raw()).num_tx_queues };
        let index = u32::try_from(index).ok().filter(|i| *i < count)?;
        // SAFETY: The index was checked; queues live as long as the device.
        Some(unsafe { TxQueue::from_raw(bindings::netdev_get_tx_queue(self.as_raw(), index)) })
    }
}

impl Config {
    fn apply(&self, dev: *mut bindings::net_device) -> Result {
        // SAFETY: `dev` is not registered, so that nobody else looks at it.
        unsafe {
            (*dev).features |= self.features;
            (*dev).hw_features |= self.hw_features;
            (*dev).vlan_features |= self.vlan_features;
            (*dev).min_mtu = self.min_mtu;
            (*dev).max_mtu = self.max_mtu;
            bindings::netif_set_tso_max_size(dev, self.tso_max_size);
            match self.mac {
                Some(mac) if bindings::is_valid_ether_addr(mac.as_ptr()) => {
                    bindings::eth_hw_addr_set(dev, mac.as_ptr())
                }
                _ => bindings::eth_hw_addr_random(dev),
            }
            to_result(bindings::netif_set_real_num_tx_queues(dev, self.queues))?;
            to_result(bindings::netif_set_real_num_rx_queues(dev, self.queues))?;
            bindings::netif_carrier_off(dev);
        }
        Ok(())
    }
}
