// SPDX-License-Identifier: GPL-2.0

//! PCI driver for the SR-IOV VF of an NFP-6000 family Agilio.
//!
//! * [`regs`]: the BARs; [`caps`]: what the card can do; [`reconfig`]: its configuration channel.
//! * [`ring_rx`], [`ring_tx`]: rings; [`vector`]: a ring pair with interrupt and poll function.
//! * [`vnic`]: the network device; [`datapath`]: its rings coming and going; [`service`]: its health.
//! * [`commands`]: what the offloads order.
//! * [`ethtool`], [`stats`]: what the operator sees.

mod caps;
mod commands;
mod datapath;
mod ethtool;
mod reconfig;
mod regs;
mod ring_rx;
mod ring_tx;
mod service;
mod stats;
mod vector;
mod vnic;

use crate::{
    net::{
        device::Registration,
        irq, //
    },
    offload::device,
};
use acceltcp_abi::{
    pci as ids,
    regs as abi,
    tlv::features, //
};
use caps::Caps;
use kernel::{
    device::Core,
    dma::{
        Device as _,
        DmaMask, //
    },
    pci,
    prelude::*,
    sync::Arc, //
};
use regs::Regs;
use vnic::Vnic;

/// The PCI driver.
pub(crate) struct AgilioDriver;

/// What a bound function owns.
pub(crate) struct Bound<'a> {
    // The offloads forget the card before it goes.
    _offload: Option<device::Registration>,
    _netdev: Registration<Vnic<'a>>,
}

kernel::pci_device_table!(
    PCI_TABLE,
    <AgilioDriver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::NETRONOME, ids::DEVICE_NFP6000_VF as u32),
        ()
    )]
);

impl pci::Driver for AgilioDriver {
    type IdInfo = ();
    type Data<'bound> = Bound<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        bind(pdev)
    }
}

fn bind<'a>(pdev: &'a pci::Device<Core<'_>>) -> Result<Bound<'a>> {
    pdev.enable_device_mem()?;
    pdev.set_master();
    // SAFETY: Nothing was mapped for DMA yet.
    unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<{ ids::DMA_BITS }>())? };

    let regs = Arc::new(Regs::new(pdev)?, GFP_KERNEL)?;
    let caps = Caps::read(pdev.as_ref(), &regs)?;
    let (min, max) = vnic::vector_range(caps.rings);
    let irqs = irq::Vectors::new(pdev, min, max)?;
    let rings = caps.rings.min(irqs.count() - u32::from(ids::VECTOR_RING0));
    quiesce(&regs)?;
    announce(pdev, &caps, rings);

    // SAFETY: The registration goes into the driver's data, which is dropped when the function is unbound.
    let netdev = unsafe {
        Registration::new(pdev.as_ref(), rings, |dev| {
            Vnic::new(&dev, pdev, regs, caps, irqs, rings)
        })
    }?;
    let offload = match netdev.device().private().offload() {
        Some(card) => Some(device::Registration::new(card.clone())?),
        None => None,
    };
    Ok(Bound {
        _offload: offload,
        _netdev: netdev,
    })
}

/// Stops whatever the card may be doing since a former driver.
fn quiesce(regs: &Arc<Regs<'_>>) -> Result {
    let reconfig = KBox::pin_init(reconfig::Reconfig::new(regs.clone()), GFP_KERNEL)?;
    reconfig.with(|session| {
        let regs = session.regs();
        regs.write32(abi::CTRL, 0);
        regs.write32(abi::CTRL_WORD1, 0);
        regs.write64(abi::TXRS_ENABLE, 0);
        regs.write64(abi::RXRS_ENABLE, 0);
        session.update(abi::update::GEN | abi::update::RING)
    })
}

fn announce(pdev: &pci::Device, caps: &Caps, rings: u32) {
    let (major, minor) = (caps.version.major(), caps.version.minor());
    let Some(found) = &caps.acceltcp else {
        dev_info!(pdev, "Agilio VF, firmware ABI {major}.{minor}, {rings} ring pairs, no AccelTCP: a plain NIC\n");
        return;
    };
    let offload = |bit, name| {
        if found.features.get() & bit != 0 {
            name
        } else {
            ""
        }
    };
    let (setup, teardown, splice) = (
        offload(features::SETUP, " setup"),
        offload(features::TEARDOWN, " teardown"),
        offload(features::SPLICE, " splice"),
    );
    let (ours, minor_of_ours) = (found.version.get() >> 16, found.version.get() & 0xffff);
    dev_info!(
        pdev,
        "Agilio VF, firmware ABI {major}.{minor}, {rings} ring pairs, AccelTCP {ours}.{minor_of_ours}{setup}{teardown}{splice}\n"
    );
}
