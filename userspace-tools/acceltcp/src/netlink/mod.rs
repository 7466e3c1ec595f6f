// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The generic netlink family `acceltcp`, as `Documentation/netlink/specs/acceltcp.yaml` defines it.
//!
//! [`Connection`] asks, one module for each object reads what comes back. What the kernel sends is checked:
//! a size that is not right, a missing attribute or a cut message is an [`Error`]; attributes that are not
//! known are skipped, as they belong to a later version.

pub mod acl;
pub mod attribute;
mod connection;
pub mod counter;
pub mod device;
mod error;
pub mod event;
pub mod family;
pub mod flow;
pub mod limits;
pub mod listener;
pub mod names;
pub mod packet;
pub mod pair;
pub mod policy;
#[cfg(test)]
pub(crate) mod testing;
pub mod uapi;
mod wire;

pub use attribute::Attributes;
pub use connection::{Connection, Object, Snapshot, Step};
pub use error::Error;
pub use names::{
    AclAction, AclOrigin, DeviceState, FlowState, Memory, Offloads, Pending, Reason, SpliceReason,
};
pub use packet::Packet;
pub use wire::{Kernel, Wire};
