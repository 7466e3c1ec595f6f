// SPDX-License-Identifier: GPL-2.0

//! Pages for reception, mapped for DMA once and recycled.
//!
//! C header: [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)

use super::{
    dma,
    napi::{
        Napi,
        Poll, //
    },
    skb::SkBuff, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    device,
    error::from_err_ptr,
    page::PAGE_SIZE,
    prelude::*, //
};

/// The pool maps its pages for DMA.
const PP_FLAG_DMA_MAP: u32 = 1 << 0;
/// The pool gives pages back to the device before it hands them out.
const PP_FLAG_DMA_SYNC_DEV: u32 = 1 << 1;

/// Bytes of a page that a frame cannot use: `struct skb_shared_info` comes there.
pub(crate) const TAIL: usize = bindings::ACCELTCP_SHINFO_SIZE as usize;

/// A pool of pages, for one NAPI instance.
pub(crate) struct PagePool {
    pool: NonNull<bindings::page_pool>,
    headroom: usize,
}

// SAFETY: A pool may be destroyed by any thread; the rest needs exclusive access.
unsafe impl Send for PagePool {}

/// A page out of a pool. To be given back by [`PagePool::recycle`] or to go into a socket buffer; else it is
/// lost to the pool.
pub(crate) struct PoolPage {
    page: NonNull<bindings::page>,
    /// Where the page is mapped in the kernel.
    start: NonNull<u8>,
}

// SAFETY: A page is not tied to a thread.
unsafe impl Send for PoolPage {}

impl PagePool {
    /// A pool for `size` pages, of which the device writes from `headroom` on up to [`TAIL`] bytes before the
    /// end.
    pub(crate) fn new<T: Poll>(
        dev: &device::Device<device::Bound>,
        napi: &Napi<T>,
        size: usize,
        headroom: usize,
    ) -> Result<Self> {
        let mut params = bindings::page_pool_params::default();
        let max_len = PAGE_SIZE.checked_sub(headroom + TAIL).ok_or(EINVAL)?;
        // SAFETY: Both views of the union have the same members.
        unsafe {
            let fast = &mut params.__bindgen_anon_1.fast;
            fast.order = 0;
            fast.pool_size = u32::try_from(size)?;
            fast.nid = -1;
            fast.dev = dma::raw(dev);
            fast.napi = napi.as_raw();
            fast.dma_dir = bindings::dma_data_direction_DMA_FROM_DEVICE;
            fast.offset = headroom as u32;
            fast.max_len = max_len as u32;
            params.__bindgen_anon_2.slow.flags = PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV;
        }
        // SAFETY: The parameters are valid; the device is bound, and the pool is destroyed before it is
        // unbound.
        let pool = from_err_ptr(unsafe { bindings::page_pool_create(&params) })?;
        Ok(Self {
            pool: NonNull::new(pool).ok_or(ENOMEM)?,
            headroom,
        })
    }

    /// Bytes that the device may write into a page.
    pub(crate) fn buffer_len(&self) -> usize {
        PAGE_SIZE - self.headroom - TAIL
    }

    /// Takes a page; `None` when there is no memory.
    pub(crate) fn alloc(&mut self) -> Option<PoolPage> {
        // SAFETY: The pool is valid, and we are its only consumer.
        let page = unsafe { bindings::page_pool_dev_alloc_pages(self.pool.as_ptr()) };
        let page = NonNull::new(page)?;
        // SAFETY: The page is valid; the pool's pages are mapped in the kernel.
        let start = unsafe { bindings::acceltcp_page_address(page.as_ptr()) };
        Some(PoolPage {
            page,
            start: NonNull::new(start.cast())?,
        })
    }

    /// DMA address at which the device may write [`PagePool::buffer_len`] bytes.
    pub(crate) fn dma_addr(&self, page: &PoolPage) -> u64 {
        // SAFETY: The page is one of the pool's.
        unsafe { bindings::page_pool_get_dma_addr(page.page.as_ptr()) + self.headroom as u64 }
    }

    /// Gives the first `len` bytes of what the device has written to the CPU.
    pub(crate) fn sync(&self, page: &PoolPage, len: usize) {
        let len = len.min(self.buffer_len()) as u32;
        // SAFETY: The page is one of the pool's, and `len` bytes are within what the device may write.
        unsafe {
            bindings::page_pool_dma_sync_for_cpu(self.pool.as_ptr(), page.page.as_ptr(), 0, len)
        }
    }

    /// Copies bytes that the device has written, from `offset` on, as the device may still change them.
    /// Nothing is copied from beyond the buffer.
    pub(crate) fn read(&self, page: &PoolPage, offset: usize, to: &mut [u8]) {
        if offset
            .checked_add(to.len())
            .is_none_or(|end| end > self.buffer_len())
        {
            return;
        }
        // SAFETY: The page is one of the pool's, mapped in the kernel, and the range was checked.
        unsafe {
            let from = page.start.as_ptr().add(self.headroom + offset);
            to.as_mut_ptr().copy_from_nonoverlapping(from, to.len());
        }
    }

    /// Gives a page back (in the poll function of the pool's NAPI instance, or while that is disabled).
    pub(crate) fn recycle(&mut self, page: PoolPage) {
        // SAFETY: The page is one of the pool's, and we are its owner.
        unsafe { bindings::page_pool_put_full_page(self.pool.as_ptr(), page.page.as_ptr(), false) }
    }

    /// Makes a socket buffer of `page`, whose frame begins `offset` bytes behind the headroom and has `len`
    /// bytes. Gives the page back when it cannot.
    pub(crate) fn build_skb(
        &mut self,
        page: PoolPage,
        offset: usize,
        len: usize,
    ) -> Result<SkBuff> {
        if offset + len > self.buffer_len() {
            self.recycle(page);
            return Err(EINVAL);
        }
        // SAFETY: The whole page is ours.
        let Some(mut skb) = (unsafe { SkBuff::build(page.start, PAGE_SIZE) }) else {
            self.recycle(page);
            return Err(ENOMEM);
        };
        // SAFETY: Checked above; the device wrote these bytes, or the pool's earlier user did.
        unsafe { skb.set_data(self.headroom + offset, len) };
        skb.mark_for_recycle();
        Ok(skb)
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: Made in `new()`. Pages still in flight keep the pool alive on the C side.
        unsafe { bindings::page_pool_destroy(self.pool.as_ptr()) }
    }
}
