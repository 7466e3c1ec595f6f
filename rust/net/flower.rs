// SPDX-License-Identifier: GPL-2.0

//! Flower filters of tc, as rules of an access list.
//!
//! What a card cannot do is refused before the driver hears of it (`rust/bindings/flower.c`).
//!
//! C header: [`include/net/flow_offload.h`](srctree/include/net/flow_offload.h)

use super::device::{
    Device,
    Driver, //
};
use crate::bindings;
use acceltcp_abi::{
    acl::{
        action,
        flag,
        AclRule, //
    },
    setup::NO_VLAN, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

const _: () = assert!(bindings::ACCELTCP_NO_VLAN == NO_VLAN as u32);

/// What tc wants. A filter is named by a number that no other one of the device has.
pub(crate) enum Flower<'a> {
    /// A rule of this priority for a new filter, without priority and handle.
    Add {
        /// The filter.
        cookie: usize,
        /// What it says.
        rule: AclRule,
        /// Its priority.
        priority: u16,
    },
    /// The filter has gone.
    Remove {
        /// The filter.
        cookie: usize,
    },
    /// What the filter has decided about since this was asked last.
    Stats {
        /// The filter.
        cookie: usize,
        /// Frames.
        frames: &'a mut u64,
        /// Their bytes.
        bytes: &'a mut u64,
    },
}

impl<'a> Flower<'a> {
    /// `None` for what nobody asks.
    fn new(raw: &'a mut bindings::acceltcp_flower) -> Option<Self> {
        let cookie = raw.cookie;
        match raw.command {
            bindings::acceltcp_flower_command_ACCELTCP_FLOWER_ADD => Some(Self::Add {
                cookie,
                rule: rule(raw),
                priority: raw.priority,
            }),
            bindings::acceltcp_flower_command_ACCELTCP_FLOWER_REMOVE => {
                Some(Self::Remove { cookie })
            }
            bindings::acceltcp_flower_command_ACCELTCP_FLOWER_STATS => Some(Self::Stats {
                cookie,
                frames: &mut raw.frames,
                bytes: &mut raw.bytes,
            }),
            _ => None,
        }
    }
}

fn rule(raw: &bindings::acceltcp_flower) -> AclRule {
    let on = |set, bit| if set { bit } else { 0 };
    AclRule {
        source: raw.source,
        destination: raw.destination,
        action: if raw.deny {
            action::DENY
        } else {
            action::ALLOW
        },
        family: raw.family,
        protocol: raw.protocol,
        flags: on(raw.has_protocol, flag::PROTOCOL)
            | on(raw.has_source_ports, flag::SOURCE_PORTS)
            | on(raw.has_destination_ports, flag::DESTINATION_PORTS),
        source_len: raw.source_len,
        destination_len: raw.destination_len,
        vlan: raw.vlan.into(),
        source_ports: raw.source_ports.map(Into::into),
        destination_ports: raw.destination_ports.map(Into::into),
        ..AclRule::default()
    }
}

/// `ndo_setup_tc` for devices of driver `T`.
///
/// # Safety
///
/// To be called by the networking core only, with a device that `Registration::<T>::new()` has made.
pub(super) unsafe extern "C" fn setup_tc<T: Driver>(
    dev: *mut bindings::net_device,
    kind: bindings::tc_setup_type,
    data: *mut c_void,
) -> c_int {
    // SAFETY: The data is of this kind.
    unsafe { bindings::acceltcp_flower_setup(dev, kind, data, Some(block::<T>)) }
}

/// # Safety
///
/// To be called by tc only, for a block of a device of driver `T`, with the RTNL held.
unsafe extern "C" fn block<T: Driver>(
    kind: bindings::tc_setup_type,
    data: *mut c_void,
    dev: *mut c_void,
) -> c_int {
    // SAFETY: The data is of this kind; the device is that of `setup_tc()`, whose blocks go before it does.
    unsafe { bindings::acceltcp_flower_run(dev.cast(), kind, data, Some(run::<T>)) }
}

/// # Safety
///
/// See [`block`]; `flower` is the callee's for the call.
unsafe extern "C" fn run<T: Driver>(
    dev: *mut bindings::net_device,
    flower: *mut bindings::acceltcp_flower,
) -> c_int {
    // SAFETY: See above.
    let (dev, raw) = unsafe { (Device::<T>::from_raw(dev), &mut *flower) };
    from_result(|| {
        let flower = Flower::new(raw).ok_or(EOPNOTSUPP)?;
        T::flower(dev, flower).map(|()| 0)
    })
}
