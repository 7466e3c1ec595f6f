// SPDX-License-Identifier: GPL-2.0

//! What the operator sets.
//!
//! Sysctls under `net.acceltcp`, in the initial network namespace, as cards serve all of them:
//!
//! * `key_interval`: seconds between two rotations of the cookies' keys; 1 to 86400, 300 at first.
//! * `key_rotate`: 1 has all cards rotate them now. It cannot be read.
//! * `offloads`: which offloads are used at all, a sum of 1 (setup), 2 (teardown) and 4 (splice); 7 at first. What is
//!   with a card already goes on.
//! * `teardown_hold_us`: microseconds that a small first answer may wait for the end of its connection; 0 to 10000,
//!   250 at first.
//! * `teardown_max_bytes`: bytes of data that a connection may have left when it is handed over; 0 to 65535, 65535 at
//!   first.
//! * `teardown_time_wait`: seconds of TIME-WAIT on the card; 1 to 600, 60 at first.

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
        forecast,
        keys,
        socket,
        teardown, //
    },
};
use kernel::prelude::*;

static SYSCTLS: [Entry; 6] = [
    (c"key_interval", Kind::Value(&keys::INTERVAL)),
    (c"key_rotate", Kind::Trigger(keys::demand)),
    (c"offloads", Kind::Value(&socket::ENABLED)),
    (c"teardown_hold_us", Kind::Value(&forecast::HOLD_US)),
    (c"teardown_max_bytes", Kind::Value(&teardown::MAX_BYTES)),
    (c"teardown_time_wait", Kind::Value(&teardown::TIME_WAIT_S)),
];

/// Everything that the operator can reach.
pub(crate) struct Control {
    _events: netlink::Events,
    _netlink: genl::Registration,
    _sysctls: Registration<6>,
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
