// SPDX-License-Identifier: GPL-2.0

//! What the module is for: TCP work that a card does for the host.
//!
//! This part knows sockets and commands, never a register. Cards are behind [`device::OffloadDevice`].
//!
//! * [`socket`]: the ULP and its socket options; [`listen`]: listeners and the rules that they want;
//!   [`accept`]: connections that a card has set up; [`counters`]: what is counted.
//!
//! Lock order: socket lock, then the lock of [`listen`]; the device's own locks, then the lock of
//! [`listen`]. The locks of [`device`] and [`accept`] are innermost and held for a list operation only.

pub(crate) mod accept;
pub(crate) mod counters;
pub(crate) mod device;
pub(crate) mod listen;
pub(crate) mod socket;

use crate::net::{
    pernet,
    ulp, //
};
use kernel::prelude::*;

/// Everything that the offloads have registered with the kernel.
pub(crate) struct Offload {
    // In this order: no new sockets, then no hooks.
    _ulp: ulp::Registration,
    _pernet: pernet::Registration,
}

impl Offload {
    /// Registers everything.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Self> {
        accept::init();
        // SAFETY: The module's init runs once, before anything else of it.
        unsafe {
            device::init();
            listen::init();
        }
        let pernet = pernet::Registration::new::<accept::Hooks>()?;
        Ok(Self {
            _ulp: ulp::Registration::new::<socket::Options>(module)?,
            _pernet: pernet,
        })
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        accept::remove_hooks();
    }
}
