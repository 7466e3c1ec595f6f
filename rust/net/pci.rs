// SPDX-License-Identifier: GPL-2.0

//! PCI functions that are network cards.
//!
//! What a bound function owns is kept here, in the order in which it has to go. Drivers only borrow it: their
//! callbacks would outlive what they borrow if it could be leaked.

use super::{
    device::{
        Config,
        Device,
        NewDevice,
        Registration,
        Unregistered, //
    },
    ethtool,
    irq::{
        raw_pci,
        Vectors, //
    },
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ops::RangeInclusive, //
};
use kernel::{
    device::{
        Bound,
        Core, //
    },
    dma::{
        Device as _,
        DmaMask, //
    },
    pci,
    prelude::*, //
};

/// A driver of network cards.
pub(crate) trait Nic: Sized + 'static {
    /// The functions that it drives.
    const ID_TABLE: pci::IdTable<()>;
    /// What a card can reach by DMA.
    const DMA: DmaMask;
    /// What is found out about a card before anything is made for it.
    type Found<'a>;
    /// Private data of the network device.
    type Private<'a>: ethtool::Operations;
    /// What is kept while the network device is registered. It is dropped first.
    type Kept: Send;

    /// Looks at a card, which may do DMA from now on.
    fn probe<'a>(pdev: &'a pci::Device<Core<'_>>) -> Result<Self::Found<'a>>;

    /// How many interrupt vectors it wants.
    fn vectors(found: &Self::Found<'_>) -> RangeInclusive<u32>;

    /// How many queues its network device has when there are `vectors`.
    fn queues(found: &Self::Found<'_>, vectors: u32) -> u32;

    /// Prepares private data and settings of its network device.
    fn build<'a>(
        found: Self::Found<'a>,
        pdev: &'a pci::Device<Bound>,
        vectors: &'a Vectors<'a>,
        dev: &NewDevice<'_>,
    ) -> Result<(impl PinInit<Self::Private<'a>, Error>, Config)>;

    /// The network device is registered.
    fn registered(dev: &Device<Self::Private<'_>>) -> Result<Self::Kept>;
}

/// Makes a [`Nic`] a driver of the kernel crate.
pub(crate) struct Adapter<T: Nic>(PhantomData<T>);

/// What a bound function owns.
pub(crate) struct Owned<'a, T: Nic> {
    // In this order: the network device borrows the vectors.
    _kept: T::Kept,
    _netdev: Registration<T::Private<'a>>,
    _vectors: Pin<KBox<Vectors<'a>>>,
}

impl<T: Nic> pci::Driver for Adapter<T> {
    type IdInfo = ();
    type Data<'bound> = Owned<'bound, T>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = T::ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        Owned::new(pdev)
    }
}

impl<'a, T: Nic> Owned<'a, T> {
    fn new(pdev: &'a pci::Device<Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        pdev.set_master();
        // SAFETY: The driver has not seen the function yet, nothing is mapped for DMA.
        unsafe { pdev.dma_set_mask_and_coherent(T::DMA)? };
        let found = T::probe(pdev)?;
        let (min, max) = T::vectors(&found).into_inner();
        let vectors = Vectors::new(pdev, min, max)?;
        let queues = T::queues(&found, vectors.count());
        // SAFETY: The vectors stay where they are until `_vectors` is dropped, after the network device and with it
        // all that `build()` and `registered()` could give the reference to.
        let borrowed: &'a Vectors<'a> = unsafe { &*core::ptr::from_ref(&*vectors) };
        let unregistered = Unregistered::new(pdev.as_ref(), queues)?;
        let new = unregistered.new_device();
        let (private, config) = T::build(found, pdev, borrowed, &new)?;
        // SAFETY: The registration goes into the function's data, which is dropped when it is unbound.
        let netdev = unsafe { unregistered.register(private, config) }?;
        let kept = T::registered(netdev.device())?;
        Ok(Self {
            _kept: kept,
            _netdev: netdev,
            _vectors: vectors,
        })
    }
}

/// Lets a function reach memory, or not.
pub(crate) fn set_bus_master(pdev: &pci::Device<Bound>, on: bool) {
    // SAFETY: The device is valid and bound.
    unsafe {
        if on {
            bindings::pci_set_master(raw_pci(pdev));
        } else {
            bindings::pci_clear_master(raw_pci(pdev));
        }
    }
}
