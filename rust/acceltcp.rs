// SPDX-License-Identifier: GPL-2.0

//! AccelTCP: TCP connection setup, teardown and splicing on the NIC.

mod agilio;
mod bindings;
mod control;
mod net;
mod offload;

use kernel::{
    driver,
    pci,
    prelude::*,
    InPlaceModule, //
};

#[pin_data]
struct AccelTcp {
    // Applications go before cards, and these before what they are used for.
    _open: offload::Open,
    #[pin]
    driver: driver::Registration<pci::Adapter<net::pci::Adapter<agilio::Agilio>>>,
    _control: control::Control,
    _offload: offload::Offload,
}

impl InPlaceModule for AccelTcp {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _offload: offload::Offload::new()?,
            _control: control::Control::new()?,
            driver <- driver::Registration::new(c"acceltcp", module),
            _open: offload::Open::new(module)?,
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
