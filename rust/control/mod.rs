// SPDX-License-Identifier: GPL-2.0

//! What the operator sets.
//!
//! Sysctls under `net.acceltcp` in the initial network namespace, as they are for cards, which serve all of them:
//!
//! * `key_interval`: seconds between two rotations of the cookies' keys; 1 to 86400, 300 at first.
//! * `key_rotate`: 1 has all cards rotate them now. It cannot be read.
//! * `sram_high` and `sram_low`: per cent of a card's table of connections, and of pairs, from which on new ones stay with the
//!   host, and below which it gets them again; 1 to 100, 100 and 90 at first. With 100 it gets them until it is full.
//!
//! Those that each namespace has are in [`netns`](crate::offload::netns).

mod netlink;

use crate::{
    net::{
        genl,
        sysctl::{
            Entry,
            Kind,
            Registration, //
        }, //
    },
    offload::{
        keys,
        watermark, //
    },
};
use kernel::prelude::*;

static SYSCTLS: [Entry; 4] = [
    (c"key_interval", Kind::Value(&keys::INTERVAL)),
    (c"key_rotate", Kind::Trigger(keys::demand)),
    (c"sram_high", Kind::Value(&watermark::HIGH)),
    (c"sram_low", Kind::Value(&watermark::LOW)),
];

/// Everything that the operator can reach.
pub(crate) struct Control {
    _events: netlink::Events,
    _netlink: genl::Registration,
    _sysctls: Registration<4>,
}

impl Control {
    /// Registers everything.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            _netlink: genl::Registration::new(&netlink::Operations)?,
            _events: netlink::Events::new()?,
            _sysctls: Registration::new(c"net/acceltcp", &SYSCTLS)?,
        })
    }
}
