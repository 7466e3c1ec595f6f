// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` sees and sets.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use super::{
    device::{
        Device,
        Driver, //
    },
    pernet::Net, //
};
use crate::bindings;
use core::{
    fmt::Write,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::from_result,
    prelude::*,
    str::NullTerminatedFormatter, //
};

/// Bytes of a name, with its final NUL.
const NAME_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// Answers to `ethtool -i`.
pub(crate) struct DriverInfo {
    /// Version of the firmware, as text in a NUL-terminated array.
    pub(crate) firmware: [u8; 32],
}

/// Sizes of the rings in descriptors, and their limits.
#[derive(Clone, Copy)]
pub(crate) struct Rings {
    /// RX ring.
    pub(crate) rx: u32,
    /// TX ring.
    pub(crate) tx: u32,
    /// Largest RX ring.
    pub(crate) rx_max: u32,
    /// Largest TX ring.
    pub(crate) tx_max: u32,
}

/// Interrupt moderation of a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coalesce {
    /// Longest delay, in microseconds.
    pub(crate) usecs: u32,
    /// Most frames to wait for.
    pub(crate) frames: u32,
}

/// Receive hash settings.
pub(crate) struct Rxfh<'a> {
    /// Indirection table, when it is asked for or to be set.
    pub(crate) indirection: Option<&'a mut [u32]>,
    /// Key, when it is asked for or to be set.
    pub(crate) key: Option<&'a mut [u8]>,
}

/// Writes names of strings, one after the other.
pub(crate) struct Names {
    next: *mut u8,
    left: usize,
}

impl Names {
    /// Writes a name of up to 31 characters. Names beyond the announced number are left out.
    pub(crate) fn push(&mut self, name: core::fmt::Arguments<'_>) {
        if self.left == 0 {
            return;
        }
        // SAFETY: The core has allocated and zeroed `NAME_LEN` bytes for each announced name.
        let buffer = unsafe { core::slice::from_raw_parts_mut(self.next, NAME_LEN) };
        if let Some(mut to) = NullTerminatedFormatter::new(buffer) {
            // A part of a name that does not fit is left out.
            let _ = to.write_fmt(name);
        }
        // SAFETY: As above; at most one past the end.
        self.next = unsafe { self.next.add(NAME_LEN) };
        self.left -= 1;
    }
}

/// Driver operations for `ethtool`. All are called with the RTNL held and may sleep.
pub(crate) trait Operations: Driver {
    /// Names of the self-tests.
    const TESTS: &'static [&'static str];

    /// Driver information.
    fn driver_info(dev: &Device<Self>) -> DriverInfo;

    /// Number of statistics; must stay the same between a call of this, of `stat_names` and of `stat_values`.
    fn stat_count(dev: &Device<Self>) -> usize;

    /// Names of the statistics.
    fn stat_names(dev: &Device<Self>, names: &mut Names);

    /// Values of the statistics, in the order of their names. `net` is the device's namespace.
    fn stat_values(dev: &Device<Self>, net: Net<'_>, values: &mut [u64]);

    /// Runs the self-tests; leaves 0 in `results` where one passes.
    fn self_test(dev: &Device<Self>, results: &mut [u64]);

    /// Sizes of the rings.
    fn rings(dev: &Device<Self>) -> Rings;

    /// Sets the sizes of the rings.
    fn set_rings(dev: &Device<Self>, rx: u32, tx: u32) -> Result;

    /// Interrupt moderation of reception and transmission.
    fn coalesce(dev: &Device<Self>) -> (Coalesce, Coalesce);

    /// Sets interrupt moderation of reception and transmission.
    fn set_coalesce(dev: &Device<Self>, rx: Coalesce, tx: Coalesce) -> Result;

    /// Ring pairs in use, and how many there may be.
    fn channels(dev: &Device<Self>) -> (u32, u32);

    /// Sets the number of ring pairs in use; the core has checked the limit.
    fn set_channels(dev: &Device<Self>, count: u32) -> Result;

    /// Entries of the indirection table and bytes of the key of the receive hash.
    fn rxfh_size(dev: &Device<Self>) -> (u32, u32);

    /// Reads the settings of the receive hash.
    fn rxfh(dev: &Device<Self>, rxfh: &mut Rxfh<'_>);

    /// Changes the settings of the receive hash that are there.
    fn set_rxfh(dev: &Device<Self>, rxfh: &Rxfh<'_>) -> Result;

    /// Speed of the link in Mbit/s, when known.
    fn link_speed(dev: &Device<Self>) -> Option<u32>;
}

/// Operations for devices of driver `T`.
pub(super) struct Table<T>(PhantomData<T>);

impl<T: Operations> Table<T> {
    pub(super) const OPS: bindings::ethtool_ops = bindings::ethtool_ops {
        supported_coalesce_params: bindings::ACCELTCP_COALESCE,
        get_drvinfo: Some(get_drvinfo::<T>),
        get_link: Some(bindings::ethtool_op_get_link),
        get_coalesce: Some(get_coalesce::<T>),
        set_coalesce: Some(set_coalesce::<T>),
        get_ringparam: Some(get_ringparam::<T>),
        set_ringparam: Some(set_ringparam::<T>),
        self_test: Some(self_test::<T>),
        get_strings: Some(get_strings::<T>),
        get_ethtool_stats: Some(get_ethtool_stats::<T>),
        get_sset_count: Some(get_sset_count::<T>),
        get_rxfh_key_size: Some(get_rxfh_key_size::<T>),
        get_rxfh_indir_size: Some(get_rxfh_indir_size::<T>),
        get_rxfh: Some(get_rxfh::<T>),
        set_rxfh: Some(set_rxfh::<T>),
        get_rx_ring_count: Some(get_rx_ring_count::<T>),
        get_channels: Some(get_channels::<T>),
        set_channels: Some(set_channels::<T>),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_link_ksettings: Some(get_link_ksettings::<T>),
        // SAFETY: All members are pointers or integers, for which zero means "not there".
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };
}

/// Turns the core's pointer into a device.
///
/// # Safety
///
/// `dev` must be a live device of driver `T`. All callbacks of this file are called by the networking core
/// only, with such a device and the RTNL held, and pass it on.
unsafe fn device<'a, T: Driver>(dev: *mut bindings::net_device) -> &'a Device<T> {
    // SAFETY: The safety requirement.
    unsafe { Device::from_raw(dev) }
}

/// # Safety
///
/// See [`device`]; `info` is writable.
unsafe extern "C" fn get_drvinfo<T: Operations>(
    dev: *mut bindings::net_device,
    info: *mut bindings::ethtool_drvinfo,
) {
    // SAFETY: See `device()`.
    let answer = T::driver_info(unsafe { device::<T>(dev) });
    // SAFETY: Writable; the core has filled in driver and bus, and adds the final NUL.
    let info = unsafe { &mut *info };
    for (to, from) in info.fw_version.iter_mut().zip(answer.firmware) {
        *to = from;
    }
}

/// # Safety
///
/// See [`device`]; `coalesce` is writable.
unsafe extern "C" fn get_coalesce<T: Operations>(
    dev: *mut bindings::net_device,
    coalesce: *mut bindings::ethtool_coalesce,
    _kernel_coalesce: *mut bindings::kernel_ethtool_coalesce,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: See above.
    let (dev, coalesce) = unsafe { (device::<T>(dev), &mut *coalesce) };
    let (rx, tx) = T::coalesce(dev);
    coalesce.rx_coalesce_usecs = rx.usecs;
    coalesce.rx_max_coalesced_frames = rx.frames;
    coalesce.tx_coalesce_usecs = tx.usecs;
    coalesce.tx_max_coalesced_frames = tx.frames;
    0
}

/// # Safety
///
/// See [`device`]; `coalesce` is readable.
unsafe extern "C" fn set_coalesce<T: Operations>(
    dev: *mut bindings::net_device,
    coalesce: *mut bindings::ethtool_coalesce,
    _kernel_coalesce: *mut bindings::kernel_ethtool_coalesce,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: See above.
    let (dev, coalesce) = unsafe { (device::<T>(dev), &*coalesce) };
    let rx = Coalesce {
        usecs: coalesce.rx_coalesce_usecs,
        frames: coalesce.rx_max_coalesced_frames,
    };
    let tx = Coalesce {
        usecs: coalesce.tx_coalesce_usecs,
        frames: coalesce.tx_max_coalesced_frames,
    };
    from_result(|| T::set_coalesce(dev, rx, tx).map(|()| 0))
}

/// # Safety
///
/// See [`device`]; `ring` is writable.
unsafe extern "C" fn get_ringparam<T: Operations>(
    dev: *mut bindings::net_device,
    ring: *mut bindings::ethtool_ringparam,
    _kernel_ring: *mut bindings::kernel_ethtool_ringparam,
    _extack: *mut bindings::netlink_ext_ack,
) {
    // SAFETY: See `device()`.
    let rings = T::rings(unsafe { device::<T>(dev) });
    // SAFETY: Writable.
    let ring = unsafe { &mut *ring };
    ring.rx_max_pending = rings.rx_max;
    ring.tx_max_pending = rings.tx_max;
    ring.rx_pending = rings.rx;
    ring.tx_pending = rings.tx;
}

/// # Safety
///
/// See [`device`]; `ring` is readable.
unsafe extern "C" fn set_ringparam<T: Operations>(
    dev: *mut bindings::net_device,
    ring: *mut bindings::ethtool_ringparam,
    _kernel_ring: *mut bindings::kernel_ethtool_ringparam,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: See `device()`; `ring` is readable.
    let (dev, ring) = unsafe { (device::<T>(dev), &*ring) };
    if ring.rx_mini_pending != 0 || ring.rx_jumbo_pending != 0 {
        return EINVAL.to_errno();
    }
    from_result(|| T::set_rings(dev, ring.rx_pending, ring.tx_pending).map(|()| 0))
}

/// # Safety
///
/// See [`device`]; `data` has room for the announced number of values.
unsafe extern "C" fn get_ethtool_stats<T: Operations>(
    dev: *mut bindings::net_device,
    stats: *mut bindings::ethtool_stats,
    data: *mut u64,
) {
    // SAFETY: See `device()`.
    let dev = unsafe { device::<T>(dev) };
    // SAFETY: The core has allocated and zeroed as many values as `get_sset_count()` said, and notes the
    // number in `n_stats`.
    let values = unsafe { core::slice::from_raw_parts_mut(data, (*stats).n_stats as usize) };
    // SAFETY: The device is registered and the RTNL held, see `device()`, so that it stays in its
    // namespace for the call. Devices leave a namespace before the `exit` operations of subsystems.
    let net = unsafe {
        let net = bindings::acceltcp_dev_net(dev.as_raw());
        Net::from_raw(NonNull::new_unchecked(net.cast_mut()))
    };
    T::stat_values(dev, net, values);
}

/// # Safety
///
/// See [`device`].
unsafe extern "C" fn get_sset_count<T: Operations>(
    dev: *mut bindings::net_device,
    set: c_int,
) -> c_int {
    // SAFETY: See `device()`.
    let dev = unsafe { device::<T>(dev) };
    match set as c_uint {
        bindings::ethtool_stringset_ETH_SS_STATS => T::stat_count(dev) as c_int,
        bindings::ethtool_stringset_ETH_SS_TEST => T::TESTS.len() as c_int,
        _ => EOPNOTSUPP.to_errno(),
    }
}

/// # Safety
///
/// See [`device`]; `data` has room for the announced number of names.
unsafe extern "C" fn get_strings<T: Operations>(
    dev: *mut bindings::net_device,
    set: u32,
    data: *mut u8,
) {
    // SAFETY: See `device()`.
    let dev = unsafe { device::<T>(dev) };
    match set {
        bindings::ethtool_stringset_ETH_SS_STATS => T::stat_names(
            dev,
            &mut Names {
                next: data,
                left: T::stat_count(dev),
            },
        ),
        bindings::ethtool_stringset_ETH_SS_TEST => {
            let mut names = Names {
                next: data,
                left: T::TESTS.len(),
            };
            for name in T::TESTS {
                names.push(format_args!("{name}"));
            }
        }
        _ => {}
    }
}

/// # Safety
///
/// See [`device`]; `test` is writable, and `data` has room for the announced number of tests.
unsafe extern "C" fn self_test<T: Operations>(
    dev: *mut bindings::net_device,
    test: *mut bindings::ethtool_test,
    data: *mut u64,
) {
    // SAFETY: See above.
    let (dev, test, results) = unsafe {
        (
            device::<T>(dev),
            &mut *test,
            core::slice::from_raw_parts_mut(data, T::TESTS.len()),
        )
    };
    T::self_test(dev, results);
    if results.iter().any(|r| *r != 0) {
        test.flags |= bindings::ethtool_test_flags_ETH_TEST_FL_FAILED;
    }
}

/// # Safety
///
/// See [`device`].
unsafe extern "C" fn get_rxfh_key_size<T: Operations>(dev: *mut bindings::net_device) -> u32 {
    // SAFETY: See `device()`.
    T::rxfh_size(unsafe { device::<T>(dev) }).1
}

/// # Safety
///
/// See [`device`].
unsafe extern "C" fn get_rxfh_indir_size<T: Operations>(dev: *mut bindings::net_device) -> u32 {
    // SAFETY: See `device()`.
    T::rxfh_size(unsafe { device::<T>(dev) }).0
}

/// The table and the key that `param` points to.
///
/// # Safety
///
/// Where the pointers of `param` are not null they must be valid for the announced sizes, for `'a`.
unsafe fn rxfh_parts<'a, T: Operations>(
    dev: &Device<T>,
    param: &bindings::ethtool_rxfh_param,
) -> Rxfh<'a> {
    let (entries, bytes) = T::rxfh_size(dev);
    // SAFETY: The safety requirement.
    unsafe {
        Rxfh {
            indirection: (!param.indir.is_null())
                .then(|| core::slice::from_raw_parts_mut(param.indir, entries as usize)),
            key: (!param.key.is_null())
                .then(|| core::slice::from_raw_parts_mut(param.key, bytes as usize)),
        }
    }
}

/// # Safety
///
/// See [`device`]; `param` is valid.
unsafe extern "C" fn get_rxfh<T: Operations>(
    dev: *mut bindings::net_device,
    param: *mut bindings::ethtool_rxfh_param,
) -> c_int {
    // SAFETY: See above; the core has allocated what the pointers point to.
    unsafe {
        let (dev, param) = (device::<T>(dev), &mut *param);
        param.hfunc = bindings::ACCELTCP_RSS_HASH_TOP as u8;
        let mut parts = rxfh_parts(dev, param);
        T::rxfh(dev, &mut parts);
    }
    0
}

/// # Safety
///
/// See [`device`]; `param` is valid.
unsafe extern "C" fn set_rxfh<T: Operations>(
    dev: *mut bindings::net_device,
    param: *mut bindings::ethtool_rxfh_param,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: See above; the core has allocated and checked what the pointers point to.
    let (dev, param) = unsafe { (device::<T>(dev), &*param) };
    if u32::from(param.hfunc) != bindings::ACCELTCP_RSS_HASH_TOP
        && u32::from(param.hfunc) != bindings::ETH_RSS_HASH_NO_CHANGE
    {
        return EOPNOTSUPP.to_errno();
    }
    // SAFETY: As above.
    let parts = unsafe { rxfh_parts(dev, param) };
    from_result(|| T::set_rxfh(dev, &parts).map(|()| 0))
}

/// # Safety
///
/// See [`device`].
unsafe extern "C" fn get_rx_ring_count<T: Operations>(dev: *mut bindings::net_device) -> u32 {
    // SAFETY: See `device()`.
    T::channels(unsafe { device::<T>(dev) }).0
}

/// # Safety
///
/// See [`device`]; `channels` is writable.
unsafe extern "C" fn get_channels<T: Operations>(
    dev: *mut bindings::net_device,
    channels: *mut bindings::ethtool_channels,
) {
    // SAFETY: See above.
    let (dev, channels) = unsafe { (device::<T>(dev), &mut *channels) };
    (channels.combined_count, channels.max_combined) = T::channels(dev);
}

/// # Safety
///
/// See [`device`]; `channels` is readable.
unsafe extern "C" fn set_channels<T: Operations>(
    dev: *mut bindings::net_device,
    channels: *mut bindings::ethtool_channels,
) -> c_int {
    // SAFETY: See above.
    let (dev, channels) = unsafe { (device::<T>(dev), &*channels) };
    from_result(|| T::set_channels(dev, channels.combined_count).map(|()| 0))
}

/// # Safety
///
/// See [`device`]; `settings` is writable.
unsafe extern "C" fn get_link_ksettings<T: Operations>(
    dev: *mut bindings::net_device,
    settings: *mut bindings::ethtool_link_ksettings,
) -> c_int {
    // SAFETY: See above.
    let (dev, settings) = unsafe { (device::<T>(dev), &mut *settings) };
    match T::link_speed(dev) {
        Some(mbits) => {
            settings.base.speed = mbits;
            settings.base.duplex = bindings::DUPLEX_FULL as u8;
        }
        None => {
            settings.base.speed = bindings::SPEED_UNKNOWN as u32;
            // DUPLEX_UNKNOWN.
            settings.base.duplex = 0xff;
        }
    }
    // PORT_OTHER.
    settings.base.port = 0xff;
    0
}
