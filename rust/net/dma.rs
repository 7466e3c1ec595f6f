// SPDX-License-Identifier: GPL-2.0

//! Streaming DMA mappings of socket buffers, and memory that a device writes to.

use super::skb::SkBuff;
use crate::bindings;
use kernel::{
    device,
    dma::Coherent,
    prelude::*, //
};

/// A part of a frame, mapped for the device to read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mapping {
    /// DMA address.
    pub(crate) addr: u64,
    /// Bytes.
    pub(crate) len: u32,
}

fn checked(dev: &device::Device<device::Bound>, addr: u64, len: u32) -> Result<Mapping> {
    // SAFETY: The device is valid; the address came from a mapping function.
    if unsafe { bindings::dma_mapping_error(raw(dev), addr) } != 0 {
        return Err(ENOMEM);
    }
    Ok(Mapping { addr, len })
}

/// Maps the linear part of `skb`.
pub(crate) fn map_head(dev: &device::Device<device::Bound>, skb: &SkBuff) -> Result<Mapping> {
    let len = skb.head_len();
    // SAFETY: The device is valid, and `data` points to `len` bytes of directly mapped memory.
    let addr = unsafe {
        bindings::dma_map_single_attrs(
            raw(dev),
            skb.data().cast(),
            len,
            bindings::dma_data_direction_DMA_TO_DEVICE,
            0,
        )
    };
    checked(dev, addr, len as u32)
}

/// Maps page fragment `index` of `skb`.
pub(crate) fn map_frag(
    dev: &device::Device<device::Bound>,
    skb: &SkBuff,
    index: usize,
) -> Result<Mapping> {
    let frag = skb.frags().get(index).ok_or(EINVAL)?;
    let len = frag.len;
    // SAFETY: The device and the fragment are valid.
    let addr = unsafe {
        bindings::__skb_frag_dma_map(
            raw(dev),
            frag,
            0,
            len as usize,
            bindings::dma_data_direction_DMA_TO_DEVICE,
        )
    };
    checked(dev, addr, len)
}

/// Ends a mapping.
///
/// # Safety
///
/// `mapping` must come from [`map_head`] or [`map_frag`] with the same device, be unmapped once, and the
/// device must be done with it.
pub(crate) unsafe fn unmap(dev: &device::Device<device::Bound>, mapping: Mapping) {
    // SAFETY: The safety requirement. `dma_unmap_single()` and `dma_unmap_page()` are the same.
    unsafe {
        bindings::dma_unmap_page_attrs(
            raw(dev),
            mapping.addr,
            mapping.len as usize,
            bindings::dma_data_direction_DMA_TO_DEVICE,
            0,
        )
    }
}

/// Memory that a device writes to whenever it likes.
pub(crate) struct Inbox(Coherent<[u64]>);

impl Inbox {
    /// Memory of so many words, zeros at first.
    pub(crate) fn new(dev: &device::Device<device::Bound>, words: usize) -> Result<Self> {
        Ok(Self(Coherent::zeroed_slice(dev, words, GFP_KERNEL)?))
    }

    /// Its address for the device.
    pub(crate) fn dma_address(&self) -> u64 {
        self.0.dma_address()
    }

    /// The bytes of a word as they are now. `None` behind the end.
    pub(crate) fn word(&self, index: usize) -> Option<[u8; 8]> {
        if index >= self.0.len() {
            return None;
        }
        // SAFETY: It is a word of the memory, which is ours; what the device writes meanwhile makes it any other number.
        let word = unsafe { self.0.as_ptr().cast::<u64>().add(index).read_volatile() };
        Some(word.to_ne_bytes())
    }
}

/// The C device, with the type of our own bindings.
pub(super) fn raw<C: device::DeviceContext>(dev: &device::Device<C>) -> *mut bindings::device {
    // `Device` is transparent to `struct device`.
    core::ptr::from_ref(dev).cast_mut().cast()
}
