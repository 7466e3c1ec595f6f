// SPDX-License-Identifier: GPL-2.0

//! PCI driver for the SR-IOV VF of an NFP-6000 family Agilio.
//!
//! * [`regs`]: the BARs; [`caps`]: what the card can do; [`reconfig`]: its configuration channel.
//! * [`ring_rx`], [`ring_tx`]: rings; [`vector`]: a ring pair with interrupt and poll function.
//! * [`vnic`]: the network device; [`datapath`]: its rings coming and going; [`service`]: its health.
//! * [`commands`]: what the offloads order; [`acl`]: the access list; [`report`], [`list`]: what they ask for.
//! * [`ethtool`], [`stats`]: what the operator sees.

mod acl;
mod caps;
mod commands;
mod datapath;
mod ethtool;
mod list;
mod reconfig;
mod regs;
mod report;
mod ring_rx;
mod ring_tx;
mod service;
mod stats;
mod vector;
mod vnic;

use crate::{
    net::{
        device::{
            Config,
            Device,
            NewDevice, //
        },
        irq,
        pci::Nic, //
    },
    offload::device,
};
use acceltcp_abi::{
    pci as ids,
    regs as abi,
    tlv::features, //
};
use caps::Caps;
use core::ops::RangeInclusive;
use kernel::{
    device::{
        Bound,
        Core, //
    },
    dma::DmaMask,
    pci,
    prelude::*,
    sync::Arc, //
};
use regs::Regs;
use vnic::Vnic;

/// The driver.
pub(crate) struct Agilio;

/// What is found out about a card.
pub(crate) struct Found<'a> {
    regs: Arc<Regs<'a>>,
    caps: Caps,
}

kernel::pci_device_table!(
    PCI_TABLE,
    (),
    [(
        pci::DeviceId::from_id(pci::Vendor::NETRONOME, ids::DEVICE_NFP6000_VF as u32),
        ()
    )]
);

impl Nic for Agilio {
    const ID_TABLE: pci::IdTable<()> = &PCI_TABLE;
    const DMA: DmaMask = DmaMask::new::<{ ids::DMA_BITS }>();
    type Found<'a> = Found<'a>;
    type Private<'a> = Vnic<'a>;
    // The offloads forget the card before it goes.
    type Kept = Option<device::Registration>;

    fn probe<'a>(pdev: &'a pci::Device<Core<'_>>) -> Result<Self::Found<'a>> {
        let regs = Arc::new(Regs::new(pdev)?, GFP_KERNEL)?;
        let caps = Caps::read(pdev.as_ref(), &regs)?;
        quiesce(&regs)?;
        Ok(Found { regs, caps })
    }

    fn vectors(found: &Self::Found<'_>) -> RangeInclusive<u32> {
        vnic::vector_range(found.caps.rings)
    }

    fn queues(found: &Self::Found<'_>, vectors: u32) -> u32 {
        let left = vectors - u32::from(ids::VECTOR_RING0);
        found.caps.rings.min(left)
    }

    fn build<'a>(
        found: Self::Found<'a>,
        pdev: &'a pci::Device<Bound>,
        vectors: &'a irq::Vectors<'a>,
        dev: &NewDevice<'_>,
    ) -> Result<(impl PinInit<Self::Private<'a>, Error>, Config)> {
        let rings = Self::queues(&found, vectors.count());
        announce(pdev, &found.caps, rings);
        Vnic::new(dev, pdev, found.regs, found.caps, vectors, rings)
    }

    fn registered(dev: &Device<Self::Private<'_>>) -> Result<Self::Kept> {
        let card = dev.private().offload();
        card.map(|card| device::Registration::new(card.clone()))
            .transpose()
    }
}

/// Stops whatever the card may be doing since a former driver. What it has left of an access list goes when the device
/// is opened.
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

fn announce(pdev: &pci::Device<Bound>, caps: &Caps, rings: u32) {
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
    let (setup, teardown, splice, filter) = (
        offload(features::SETUP, " setup"),
        offload(features::TEARDOWN, " teardown"),
        offload(features::SPLICE, " splice"),
        offload(features::ACL, " acl"),
    );
    let (ours, minor_of_ours) = (found.version.get() >> 16, found.version.get() & 0xffff);
    dev_info!(
        pdev,
        "Agilio VF, firmware ABI {major}.{minor}, {rings} ring pairs, AccelTCP {ours}.{minor_of_ours}{setup}{teardown}{splice}{filter}\n"
    );
}
