// SPDX-License-Identifier: GPL-2.0

//! AccelTCP: TCP connection setup, teardown and splicing on the NIC.

mod agilio;
mod bindings;
mod net;

use kernel::{
    driver,
    pci,
    prelude::*,
    InPlaceModule, //
};

#[pin_data]
struct AccelTcp {
    #[pin]
    driver: driver::Registration<pci::Adapter<agilio::AgilioDriver>>,
}

impl InPlaceModule for AccelTcp {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            driver <- driver::Registration::new(c"acceltcp", module),
        })
    }
}

module! {
    type: AccelTcp,
    name: "acceltcp",
    authors: ["The AccelTCP for Linux authors"],
    description: "TCP connection setup, teardown and splicing on the NIC",
    license: "GPL",
}
