// SPDX-License-Identifier: GPL-2.0

//! The table of operations of a network device and its callbacks.

use super::{
    device::{
        Device,
        Driver,
        RxMode,
        Xmit, //
    },
    flower,
    multicast::MulticastList,
    queue::TxLocked,
    skb::SkBuff, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

const NETDEV_TX_OK: bindings::netdev_tx_t = 0;
const NETDEV_TX_BUSY: bindings::netdev_tx_t = 0x10;

/// Operations for devices of driver `T`.
pub(super) struct Table<T>(PhantomData<T>);

impl<T: Driver> Table<T> {
    pub(super) const NETDEV: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(open::<T>),
        ndo_stop: Some(stop::<T>),
        ndo_start_xmit: Some(start_xmit::<T>),
        ndo_features_check: Some(features_check::<T>),
        ndo_set_rx_mode_async: Some(set_rx_mode::<T>),
        ndo_set_mac_address: Some(set_mac_address::<T>),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_change_mtu: Some(change_mtu::<T>),
        ndo_set_features: Some(set_features::<T>),
        ndo_setup_tc: Some(flower::setup_tc::<T>),
        ndo_tx_timeout: Some(tx_timeout::<T>),
        ndo_get_stats64: Some(get_stats64::<T>),
        // SAFETY: All members are pointers or integers, for which zero means "not there".
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };
}

/// # Safety
///
/// The callbacks of this file are called by the networking core only, with a device that
/// `Registration::<T>::new()` has made.
unsafe extern "C" fn open<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: See above.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    from_result(|| T::open(dev).map(|()| 0))
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn stop<T: Driver>(dev: *mut bindings::net_device) -> c_int {
    // SAFETY: See `open()`.
    T::stop(unsafe { Device::<T>::from_raw(dev) });
    0
}

/// # Safety
///
/// See [`open`]; `skb` is the callee's unless it returns `NETDEV_TX_BUSY`.
unsafe extern "C" fn start_xmit<T: Driver>(
    skb: *mut bindings::sk_buff,
    dev: *mut bindings::net_device,
) -> bindings::netdev_tx_t {
    // SAFETY: See `open()`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    // SAFETY: `skb` is valid and ours from here on.
    let skb = unsafe { SkBuff::from_raw(NonNull::new_unchecked(skb)) };
    let Some(queue) = dev.tx_queue(usize::from(skb.queue_mapping())) else {
        return NETDEV_TX_OK;
    };
    // SAFETY: The core calls with the lock of the queue held that the frame is mapped to.
    let mut locked = unsafe { TxLocked::new(&queue) };
    // SAFETY: A read of a per-CPU flag; the core runs this with BHs off.
    let more = unsafe { bindings::netdev_xmit_more() };
    match T::start_xmit(dev, skb, &mut locked, more) {
        Xmit::Ok => NETDEV_TX_OK,
        Xmit::Busy(skb) => {
            skb.into_raw();
            NETDEV_TX_BUSY
        }
    }
}

/// # Safety
///
/// See [`open`]; `skb` is lent.
unsafe extern "C" fn features_check<T: Driver>(
    skb: *mut bindings::sk_buff,
    dev: *mut bindings::net_device,
    features: bindings::netdev_features_t,
) -> bindings::netdev_features_t {
    // SAFETY: See `open()`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    // SAFETY: `skb` is valid for the call, and is not dropped.
    let skb =
        unsafe { core::mem::ManuallyDrop::new(SkBuff::from_raw(NonNull::new_unchecked(skb))) };
    T::features_check(dev, &skb, features)
}

/// # Safety
///
/// See [`open`]; the lists are valid for the call.
unsafe extern "C" fn set_rx_mode<T: Driver>(
    dev: *mut bindings::net_device,
    _unicast: *mut bindings::netdev_hw_addr_list,
    multicast: *mut bindings::netdev_hw_addr_list,
) -> c_int {
    // SAFETY: A read of an integer.
    let flags = unsafe { core::ptr::addr_of!((*dev).flags).read_volatile() };
    // SAFETY: See `open()`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    let mode = RxMode {
        promiscuous: flags & bindings::net_device_flags_IFF_PROMISC != 0,
        all_multicast: flags & bindings::net_device_flags_IFF_ALLMULTI != 0,
    };
    // SAFETY: The core passes a valid list that does not change during the call.
    let list = unsafe { MulticastList::from_raw(NonNull::new_unchecked(multicast)) };
    from_result(|| T::set_rx_mode(dev, mode, &list).map(|()| 0))
}

/// # Safety
///
/// See [`open`]; `addr` is a `struct sockaddr`.
unsafe extern "C" fn set_mac_address<T: Driver>(
    dev: *mut bindings::net_device,
    addr: *mut c_void,
) -> c_int {
    // SAFETY: `sa_data` of a `struct sockaddr` has at least 14 bytes.
    let mac = unsafe {
        core::ptr::addr_of!((*addr.cast::<bindings::sockaddr>()).sa_data)
            .cast::<[u8; 6]>()
            .read_unaligned()
    };
    // SAFETY: `mac` has 6 bytes.
    if !unsafe { bindings::is_valid_ether_addr(mac.as_ptr()) } {
        return EADDRNOTAVAIL.to_errno();
    }
    // SAFETY: See `open()`.
    let device = unsafe { Device::<T>::from_raw(dev) };
    from_result(|| {
        T::set_mac_address(device, mac)?;
        // SAFETY: RTNL is held, `mac` has 6 bytes.
        unsafe { bindings::eth_hw_addr_set(dev, mac.as_ptr()) };
        Ok(0)
    })
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn change_mtu<T: Driver>(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
    // SAFETY: See `open()`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    from_result(|| T::change_mtu(dev, u32::try_from(mtu)?).map(|()| 0))
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn set_features<T: Driver>(
    dev: *mut bindings::net_device,
    features: bindings::netdev_features_t,
) -> c_int {
    // SAFETY: See `open()`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    from_result(|| T::set_features(dev, features).map(|()| 0))
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn tx_timeout<T: Driver>(dev: *mut bindings::net_device, queue: c_uint) {
    // SAFETY: See `open()`.
    T::tx_timeout(unsafe { Device::<T>::from_raw(dev) }, queue);
}

/// # Safety
///
/// See [`open`]; `stats` is writable.
unsafe extern "C" fn get_stats64<T: Driver>(
    dev: *mut bindings::net_device,
    stats: *mut bindings::rtnl_link_stats64,
) {
    // SAFETY: See `open()`.
    let from = T::stats(unsafe { Device::<T>::from_raw(dev) });
    // SAFETY: See above.
    let to = unsafe { &mut *stats };
    to.rx_packets = from.rx_packets;
    to.rx_bytes = from.rx_bytes;
    to.rx_dropped = from.rx_dropped;
    to.rx_errors = from.rx_errors;
    to.tx_packets = from.tx_packets;
    to.tx_bytes = from.tx_bytes;
    to.tx_dropped = from.tx_dropped;
}
