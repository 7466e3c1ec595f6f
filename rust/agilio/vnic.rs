// SPDX-License-Identifier: GPL-2.0

//! The vNIC: private data of the network device and its operations.
//!
//! Lock order: RTNL, then `Vnic::control`, then the lock of [`Reconfig`]. The service takes them in this
//! order, too, and is never waited for under the RTNL.

use super::{
    caps::Caps,
    commands::Card,
    datapath::Control,
    reconfig::Reconfig,
    regs::Regs,
    service::{
        report_stuck,
        Health,
        LinkInterrupt, //
    },
    vector::Vector, //
};
use crate::net::{
    device::{
        default_queues,
        features,
        Config,
        Device,
        Driver,
        LinkStats,
        NewDevice,
        RxMode,
        Xmit, //
    },
    flower::Flower,
    irq,
    multicast::MulticastList,
    page_pool,
    queue::TxLocked,
    skb::SkBuff,
    weak::WeakDevice, //
};
use crate::offload::late;
use acceltcp_abi::{
    meta::{
        RxMeta,
        TxMeta, //
    },
    nfd3,
    pci as ids,
    regs::{
        ctrl,
        update, //
    }, //
};
use core::{
    any::Any,
    ops::RangeInclusive, //
};
use kernel::{
    device::Bound,
    new_mutex,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        Mutex, //
    }, //
};

/// Ethernet header and two VLAN tags.
const HEADERS: usize = 14 + 2 * 4;
/// Smallest MTU (`ETH_MIN_MTU`).
const MIN_MTU: u32 = 68;
/// Largest frame that a TX descriptor can describe, less room for headers that grow.
const TSO_MAX_SIZE: u32 = 65_000;

/// Private data of the network device of a vNIC.
#[pin_data]
pub(crate) struct Vnic<'a> {
    pub(super) pdev: &'a pci::Device<Bound>,
    pub(super) regs: Arc<Regs<'a>>,
    pub(super) caps: Caps,
    #[pin]
    pub(super) reconfig: Reconfig<'a>,
    pub(super) vectors: KVec<Arc<Vector<'a>>>,
    /// Whether the stack wants the card's verdict on checksums.
    pub(super) checksums: Arc<Atomic<bool>>,
    /// The device itself, whose service looks after the card.
    pub(super) service: Arc<WeakDevice>,
    pub(super) link: Arc<LinkInterrupt>,
    pub(super) card: Arc<Card>,
    pub(super) health: Health,
    #[pin]
    pub(super) control: Mutex<Control>,
    pub(super) irqs: &'a irq::Vectors<'a>,
}

impl<'a> Vnic<'a> {
    /// Prepares the private data and the settings of `dev`.
    pub(crate) fn new(
        dev: &NewDevice<'_>,
        pdev: &'a pci::Device<Bound>,
        regs: Arc<Regs<'a>>,
        caps: Caps,
        irqs: &'a irq::Vectors<'a>,
        rings: u32,
    ) -> Result<(impl PinInit<Self, Error> + 'a, Config)> {
        let checksums = Arc::new(Atomic::new(caps.has(ctrl::RXCSUM)), GFP_KERNEL)?;
        let mut vectors = KVec::with_capacity(rings as usize, GFP_KERNEL)?;
        for index in 0..u16::try_from(rings)? {
            vectors.push(Vector::new(dev, &regs, &checksums, index)?, GFP_KERNEL)?;
        }
        let service = dev.weak().clone();
        let link = Arc::new(LinkInterrupt::new(service.clone()), GFP_KERNEL)?;

        let card = Card::new(dev)?;
        let active = rings.min(default_queues());
        let config = Config {
            features: hardware_features(&caps) | features::HIGHDMA,
            hw_features: hardware_features(&caps),
            vlan_features: hardware_features(&caps)
                & !(features::RXCSUM | features::RXHASH | features::HW_TC),
            min_mtu: MIN_MTU,
            max_mtu: caps.max_mtu.min(largest_mtu(&caps)),
            tso_max_size: TSO_MAX_SIZE,
            mac: Some(regs.mac()),
            queues: active,
        };
        let control = Control::new(&caps, active);
        let init = try_pin_init!(Self {
            pdev,
            reconfig <- Reconfig::new(regs.clone()),
            regs,
            caps,
            vectors,
            checksums,
            service,
            link,
            card,
            health: Health::new(),
            control <- new_mutex!(control),
            irqs,
        }? Error);
        Ok((init, config))
    }

    /// The card as the offloads see it, if it can do any.
    pub(super) fn offload(&self) -> Option<&Arc<Card>> {
        (self.caps.sets_up() || self.caps.filters()).then_some(&self.card)
    }

    /// Puts in front of a frame that it came from the wire, and returns by how many bytes; `None` when the card cannot
    /// take it back.
    fn returned(&self, skb: &mut SkBuff) -> Option<u8> {
        if !self.caps.tears_down() {
            return None;
        }
        let mut metadata = [0; TxMeta::MAX_WITH_TYPES];
        let len = TxMeta::Returned.emit_with_types(&mut metadata);
        skb.prepend(metadata.get(..len)?).ok()?;
        u8::try_from(len).ok()
    }

    /// The PCI function as a device, for messages and DMA.
    pub(super) fn device(&self) -> &'a kernel::device::Device<Bound> {
        self.pdev.as_ref()
    }
}

/// The largest MTU whose frames fit into a page with their metadata.
fn largest_mtu(caps: &Caps) -> u32 {
    let meta = caps.rx_offset.unwrap_or(RxMeta::MAX.min(nfd3::RX_META_MAX));
    let room = PAGE_SIZE - page_pool::TAIL - super::ring_rx::HEADROOM - meta - HEADERS;
    room as u32
}

/// Features of the network device that the card's capabilities give.
fn hardware_features(caps: &Caps) -> u64 {
    let mut all = 0;
    if caps.has(ctrl::RXCSUM) || caps.has(ctrl::CSUM_COMPLETE) {
        all |= features::RXCSUM;
    }
    if caps.has(ctrl::TXCSUM) {
        all |= features::IP_CSUM | features::IPV6_CSUM;
    }
    if caps.has(ctrl::GATHER) {
        all |= features::SG;
        if caps.has(ctrl::LSO2 | ctrl::TXCSUM) {
            all |= features::TSO | features::TSO6;
        }
    }
    if caps.has(ctrl::RSS2) {
        all |= features::RXHASH;
    }
    if caps.filters() {
        all |= features::HW_TC;
    }
    all
}

impl Driver for Vnic<'_> {
    fn open(dev: &Device<Self>) -> Result {
        let vnic = dev.private();
        let mut control = vnic.control.lock();
        vnic.reconfig.retry();
        vnic.up(dev, &mut control)?;
        vnic.service.run_service_in(0);
        Ok(())
    }

    fn stop(dev: &Device<Self>) {
        let vnic = dev.private();
        let mut control = vnic.control.lock();
        vnic.down(dev, &mut control);
    }

    fn start_xmit(
        dev: &Device<Self>,
        mut skb: SkBuff,
        locked: &mut TxLocked<'_>,
        more: bool,
    ) -> Xmit {
        let vnic = dev.private();
        let Some(vector) = vnic.vectors.get(usize::from(skb.queue_mapping())) else {
            return Xmit::Ok;
        };
        let mut metadata = 0;
        if late::goes_back(&mut skb) {
            let Some(len) = vnic.returned(&mut skb) else {
                vector.stats.tx.bad_frame.add(1);
                return Xmit::Ok;
            };
            metadata = len;
        }
        let Some((producer, locked)) = vector.tx.split(locked) else {
            return Xmit::Ok;
        };
        match producer {
            Some(producer) => producer.queue(skb, metadata, locked, more, &vector.stats.tx),
            None => {
                vector.stats.tx.down.add(1);
                Xmit::Ok
            }
        }
    }

    fn send_directly(
        dev: &Device<Self>,
        mut skb: SkBuff,
        metadata: &[u8],
        commit: &mut dyn FnMut() -> Result,
    ) -> Result {
        let vnic = dev.private();
        if !dev.is_running() || !dev.has_carrier() {
            return Err(ENETDOWN);
        }
        skb.prepend(metadata)?;
        let index = usize::from(skb.queue_mapping());
        let vector = vnic.vectors.get(index).or(vnic.vectors.first());
        let vector = vector.ok_or(ENETDOWN)?;
        vector.tx.queue().with_lock(|locked| {
            if !vector.tx.queue().accepts() {
                return Err(EBUSY);
            }
            let (producer, locked) = vector.tx.split(locked).ok_or(ENETDOWN)?;
            let producer = producer.as_mut().ok_or(ENETDOWN)?;
            producer.queue_now(skb, metadata.len(), locked, &vector.stats.tx, commit)
        })
    }

    fn features_check(_dev: &Device<Self>, skb: &SkBuff, mut features: u64) -> u64 {
        // Header length and offsets have 8 bits in a descriptor.
        if skb.gso().is_some_and(|gso| gso.header_len > u8::MAX.into()) {
            features &= !features::GSO_MASK;
        }
        features
    }

    fn set_rx_mode(dev: &Device<Self>, mode: RxMode, multicast: &MulticastList<'_>) -> Result {
        let vnic = dev.private();
        let mut control = vnic.control.lock();
        let mut groups = KVec::new();
        multicast.for_each(|group| Ok(groups.push(group, GFP_KERNEL)?))?;
        control.mode = mode;
        control.groups = groups;
        if control.up {
            vnic.apply_rx_mode(&mut control)?;
        }
        Ok(())
    }

    fn set_mac_address(dev: &Device<Self>, address: [u8; 6]) -> Result {
        let vnic = dev.private();
        let control = vnic.control.lock();
        if !control.up {
            return Ok(());
        }
        if !vnic.caps.has(ctrl::LIVE_ADDR) {
            return Err(EBUSY);
        }
        vnic.reconfig.with(|session| {
            session.regs().set_mac(address);
            session.update(update::MACADDR)
        })
    }

    fn change_mtu(dev: &Device<Self>, mtu: u32) -> Result {
        dev.private().restart_with(dev, || dev.set_mtu(mtu))
    }

    fn set_features(dev: &Device<Self>, wanted: u64) -> Result {
        let vnic = dev.private();
        let mut control = vnic.control.lock();
        if wanted & features::HW_TC == 0 && control.acl.has_tc() {
            return Err(EBUSY);
        }
        vnic.apply_features(&mut control, wanted)
    }

    fn flower(dev: &Device<Self>, flower: Flower<'_>) -> Result {
        dev.private().classify(flower)
    }

    fn tx_timeout(dev: &Device<Self>, queue: u32) {
        let vnic = dev.private();
        report_stuck(vnic, queue);
        vnic.service.run_service_in(0);
    }

    fn stats(dev: &Device<Self>) -> LinkStats {
        let mut sum = LinkStats::default();
        for vector in &dev.private().vectors {
            let (rx, tx) = (&vector.stats.rx, &vector.stats.tx);
            sum.rx_packets += rx.packets.get();
            sum.rx_bytes += rx.bytes.get();
            sum.rx_dropped += rx.no_memory.get();
            sum.rx_errors += rx.bad_descriptor.get() + rx.bad_metadata.get();
            sum.tx_packets += tx.packets.get();
            sum.tx_bytes += tx.bytes.get();
            sum.tx_dropped += tx.map_error.get() + tx.bad_frame.get() + tx.down.get();
        }
        sum
    }

    fn service(dev: &Device<Self>) {
        super::service::run(dev);
    }

    fn inquire(dev: &Device<Self>, what: &mut dyn Any) -> Result {
        super::report::answer(dev, what)
    }
}

/// Least number of MSI-X vectors, and what the driver asks for with `rings` ring pairs.
pub(crate) fn vector_range(rings: u32) -> RangeInclusive<u32> {
    ids::MIN_VECTORS.into()..=u32::from(ids::VECTOR_RING0) + rings
}
