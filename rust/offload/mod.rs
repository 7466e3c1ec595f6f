// SPDX-License-Identifier: GPL-2.0

//! What the module is for: TCP work that a card does for the host.
//!
//! This part knows sockets and commands, never a register. Cards are behind [`device::OffloadDevice`].
//!
//! * [`socket`]: the ULP and its socket options; [`listen`]: listeners; [`template`]: what they
//!   want; [`listen_table`]: listeners of the same ports that do not ask; [`demux`]: which listener
//!   gets a SYN; [`rules`]: what cards have for them; [`keys`]: the keys of cookies; [`accept`]:
//!   connections that a card has set up; [`teardown`]: connections that a card ends; [`late`]: what
//!   is still on its way of those; [`credits`]: how many a card takes; [`owners`]: how many of a
//!   namespace; [`forecast`]: which are about to end; [`ack`]: whose acknowledgements may wait for
//!   answers; [`splice`]: connections that a card relays; [`policy`]: what listeners get that do not ask; [`netns`]: what each
//!   namespace has set; [`acl`]: frames that a card drops; [`counters`]: what is counted.
//!
//! Lock order: the device's own locks, then a pair's ([`splice`]), then a socket's, then the rules
//! of the [`policy`], then the list of listeners. The lock of [`listen_table`] is taken without a
//! socket's, and before that of the list of listeners. The locks of [`device`] and
//! [`rules::Published`] are innermost.

pub(crate) mod accept;
mod ack;
pub(crate) mod acl;
pub(crate) mod counters;
pub(crate) mod credits;
mod demux;
pub(crate) mod device;
pub(crate) mod flows;
pub(crate) mod forecast;
pub(crate) mod keys;
pub(crate) mod late;
pub(crate) mod listen;
mod listen_table;
pub(crate) mod netns;
pub(crate) mod owners;
pub(crate) mod policy;
pub(crate) mod rules;
pub(crate) mod socket;
pub(crate) mod splice;
pub(crate) mod teardown;
mod template;
pub(crate) mod watermark;

use crate::net::{
    netfilter,
    pernet,
    ulp, //
};
use kernel::prelude::*;

/// Everything that the offloads have registered with the kernel.
pub(crate) struct Offload {
    // In this order: nobody is given the ULP, no socket is woken, no hooks, no settings, no copy of
    // the listeners, then nothing that readers may have still.
    _policy: policy::Policy,
    _waker: splice::Waker,
    _hooks: netfilter::Registration<accept::Hook>,
    _settings: pernet::Registration,
    _table: listen_table::Cleanup,
    _freed: ulp::Barrier,
}

impl Offload {
    /// Registers everything but what lets in applications.
    pub(crate) fn new() -> Result<Self> {
        accept::init();
        let freed = ulp::Barrier::new();
        let settings = netns::register()?;
        let hooks = netfilter::Registration::new()?;
        Ok(Self {
            _policy: policy::Policy::new()?,
            _waker: splice::Waker::new()?,
            _hooks: hooks,
            _settings: settings,
            _table: listen_table::Cleanup,
            _freed: freed,
        })
    }
}

/// Lets applications in, until it is dropped. To be made last of all, and to be dropped first: there is no way back from a
/// socket that has the ULP but its end.
pub(crate) struct Open {
    _ulp: ulp::Registration,
}

impl Open {
    /// Registers the ULP.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _ulp: ulp::Registration::new::<socket::Options>(module)?,
        })
    }
}
