// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::napi::Polling;
use crate::bindings;
use core::ptr::NonNull;

/// `skb->ip_summed`: the hardware is to fill in a checksum.
const CHECKSUM_PARTIAL: u8 = 3;
/// `skb->ip_summed`: the hardware has verified the checksum.
const CHECKSUM_UNNECESSARY: u8 = 1;
/// `skb->ip_summed`: `skb->csum` is a sum over the frame.
const CHECKSUM_COMPLETE: u8 = 2;

/// Segmentation that the hardware is to do.
#[derive(Clone, Copy)]
pub(crate) struct Gso {
    /// Payload bytes a segment.
    pub(crate) size: u16,
    /// Number of segments.
    pub(crate) segs: u16,
    /// Bytes of all headers.
    pub(crate) header_len: usize,
}

/// A socket buffer that we own.
///
/// # Invariants
///
/// The pointer is to a valid `struct sk_buff`, whose reference is ours.
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: A socket buffer is not tied to a thread.
unsafe impl Send for SkBuff {}

impl SkBuff {
    /// # Safety
    ///
    /// `ptr` must be a valid socket buffer, whose reference goes over to the result.
    pub(crate) unsafe fn from_raw(ptr: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: The safety requirement.
        Self(ptr)
    }

    /// A frame without content, for a message to the card in front of it: `headroom` bytes and as many as an Ethernet
    /// header has, all zero.
    pub(crate) fn empty_frame(headroom: usize) -> kernel::error::Result<Self> {
        // SAFETY: No preconditions; may sleep.
        let skb = unsafe { bindings::acceltcp_empty_frame(headroom as u32) };
        let skb = NonNull::new(skb).ok_or(kernel::error::code::ENOMEM)?;
        // INVARIANT: A fresh buffer.
        Ok(Self(skb))
    }

    /// Gives the reference away.
    pub(crate) fn into_raw(self) -> NonNull<bindings::sk_buff> {
        let ptr = self.0;
        core::mem::forget(self);
        ptr
    }

    /// Wraps `buffer` without copying. Its last part becomes the `struct skb_shared_info`. `None` when there
    /// is no memory.
    ///
    /// # Safety
    ///
    /// `buffer` must be `size` bytes of a page, of which nobody else makes use; in success the page belongs
    /// to the result. To be called in softirq context.
    pub(crate) unsafe fn build(buffer: NonNull<u8>, size: usize) -> Option<Self> {
        // SAFETY: The safety requirement.
        let skb = unsafe { bindings::napi_build_skb(buffer.as_ptr().cast(), size as u32) };
        // INVARIANT: A fresh buffer.
        NonNull::new(skb).map(Self)
    }

    fn raw(&self) -> &bindings::sk_buff {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref() }
    }

    fn headers(&self) -> &bindings::sk_buff__bindgen_ty_4__bindgen_ty_1 {
        // SAFETY: Both views of the union have the same members.
        unsafe { self.raw().__bindgen_anon_4.__bindgen_anon_1.as_ref() }
    }

    fn headers_mut(&mut self) -> &mut bindings::sk_buff__bindgen_ty_4__bindgen_ty_1 {
        // SAFETY: As above, and we own the buffer.
        unsafe { self.0.as_mut().__bindgen_anon_4.__bindgen_anon_1.as_mut() }
    }

    fn shared_info(&self) -> &bindings::skb_shared_info {
        let skb = self.raw();
        const {
            // `NET_SKBUFF_DATA_USES_OFFSET`
            assert!(core::mem::size_of::<bindings::sk_buff_data_t>() == 4);
        }
        // SAFETY: `end` is the offset of the shared info from `head`, which is always there.
        unsafe { &*skb.head.add(skb.end as usize).cast() }
    }

    /// Bytes of the frame.
    pub(crate) fn len(&self) -> usize {
        self.raw().len as usize
    }

    /// Bytes of the linear part.
    pub(crate) fn head_len(&self) -> usize {
        (self.raw().len - self.raw().data_len) as usize
    }

    /// Start of the linear part.
    pub(crate) fn data(&self) -> *mut u8 {
        self.raw().data
    }

    /// The linear part.
    fn linear(&self) -> &[u8] {
        // SAFETY: `data` points to `head_len()` bytes.
        unsafe { core::slice::from_raw_parts(self.raw().data, self.head_len()) }
    }

    pub(super) fn as_raw(&mut self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    fn shared_info_mut(&mut self) -> &mut bindings::skb_shared_info {
        let end = self.raw().end as usize;
        // SAFETY: As in `shared_info()`, and the buffer is ours.
        unsafe { &mut *self.raw().head.add(end).cast() }
    }

    /// Puts `bytes` in front of the frame, for those who see it later on. Nothing happens when there is no
    /// room. The data must start with the Ethernet header.
    pub(crate) fn set_metadata<const N: usize>(&mut self, bytes: &[u8; N]) {
        let headroom = (self.raw().data as usize).wrapping_sub(self.raw().head as usize);
        if headroom < N || N > u8::MAX as usize {
            return;
        }
        // SAFETY: There are `N` bytes of headroom, which nobody else uses in a fresh buffer.
        unsafe {
            self.raw()
                .data
                .sub(N)
                .cast::<[u8; N]>()
                .write_unaligned(*bytes)
        };
        self.shared_info_mut().meta_len = N as u8;
    }

    /// The metadata in front of the Ethernet header, if there is any and it has `N` bytes.
    pub(crate) fn metadata<const N: usize>(&self) -> Option<[u8; N]> {
        if usize::from(self.shared_info().meta_len) != N {
            return None;
        }
        let mac = usize::from(self.headers().mac_header);
        let start = mac.checked_sub(N)?;
        // SAFETY: The MAC header lies within the buffer, and at least `N` bytes behind its start.
        Some(unsafe {
            self.raw()
                .head
                .add(start)
                .cast::<[u8; N]>()
                .read_unaligned()
        })
    }

    /// Takes the metadata off.
    pub(crate) fn clear_metadata(&mut self) {
        self.shared_info_mut().meta_len = 0;
    }

    /// Puts `bytes` in front of the frame. Nothing happens, and `ENOBUFS` is returned, when there is no room.
    pub(crate) fn prepend(&mut self, bytes: &[u8]) -> kernel::error::Result {
        let headroom = (self.raw().data as usize).wrapping_sub(self.raw().head as usize);
        if headroom < bytes.len() {
            return Err(kernel::error::code::ENOBUFS);
        }
        // SAFETY: There is headroom, which is ours as the buffer is; this is `skb_push()`.
        unsafe {
            let skb = self.0.as_mut();
            skb.data = skb.data.sub(bytes.len());
            skb.len += bytes.len() as u32;
            skb.data
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    }

    /// TX queue that the frame is mapped to.
    pub(crate) fn queue_mapping(&self) -> u16 {
        self.raw().queue_mapping
    }

    /// Number of page fragments.
    pub(crate) fn nr_frags(&self) -> usize {
        usize::from(self.shared_info().nr_frags)
    }

    /// Page fragments.
    pub(super) fn frags(&self) -> &[bindings::skb_frag_t] {
        let shared = self.shared_info();
        shared
            .frags
            .get(..usize::from(shared.nr_frags))
            .unwrap_or(&[])
    }

    /// Offset of the network header from the start of the frame.
    pub(crate) fn network_offset(&self) -> usize {
        self.offset_of(self.headers().network_header)
    }

    /// Offset of the transport header from the start of the frame.
    pub(crate) fn transport_offset(&self) -> usize {
        self.offset_of(self.headers().transport_header)
    }

    fn offset_of(&self, header: u16) -> usize {
        let headroom = (self.raw().data as usize).wrapping_sub(self.raw().head as usize);
        usize::from(header).wrapping_sub(headroom)
    }

    /// For a frame whose checksum is to be filled in: offset of the field in the transport header.
    pub(crate) fn checksum_offset(&self) -> Option<u16> {
        if self.headers().ip_summed() != CHECKSUM_PARTIAL {
            return None;
        }
        // SAFETY: `csum_offset` is the valid view with `CHECKSUM_PARTIAL`.
        Some(unsafe { self.headers().__bindgen_anon_1.__bindgen_anon_1.csum_offset })
    }

    /// Whether the network header is one of IPv4.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.linear()
            .get(self.network_offset())
            .is_some_and(|byte| byte >> 4 == 4)
    }

    /// Segmentation that is wanted.
    pub(crate) fn gso(&self) -> Option<Gso> {
        let shared = self.shared_info();
        if shared.gso_size == 0 {
            return None;
        }
        let transport = self.transport_offset();
        let data_offset = self.linear().get(transport.checked_add(12)?)? >> 4;
        Some(Gso {
            size: shared.gso_size,
            segs: shared.gso_segs,
            header_len: transport + 4 * usize::from(data_offset),
        })
    }

    /// Reserves headroom in an empty buffer that has room for it.
    ///
    /// # Safety
    ///
    /// `headroom + len` bytes must be there, of which the last `len` are initialised.
    pub(crate) unsafe fn set_data(&mut self, headroom: usize, len: usize) {
        // SAFETY: The safety requirement; this is `skb_reserve()` and `skb_put()` on an empty buffer.
        unsafe {
            let skb = self.0.as_mut();
            skb.data = skb.data.add(headroom);
            skb.tail += (headroom + len) as u32;
            skb.len += len as u32;
        }
    }

    /// Lets the pages go back to their page pool.
    pub(crate) fn mark_for_recycle(&mut self) {
        // SAFETY: The buffer is ours.
        unsafe { self.0.as_mut() }.set_pp_recycle(1);
    }

    /// The hardware has verified the checksum of `level + 1` headers.
    pub(crate) fn set_checksum_unnecessary(&mut self, level: u8) {
        let headers = self.headers_mut();
        headers.set_ip_summed(CHECKSUM_UNNECESSARY);
        headers.set_csum_level(level);
    }

    /// The hardware has summed up the frame behind the Ethernet header.
    pub(crate) fn set_checksum_complete(&mut self, sum: u32) {
        let headers = self.headers_mut();
        headers.__bindgen_anon_1.csum = sum;
        headers.set_ip_summed(CHECKSUM_COMPLETE);
    }

    /// Sets the receive hash.
    pub(crate) fn set_hash(&mut self, hash: u32, l4: bool) {
        let headers = self.headers_mut();
        headers.hash = hash;
        headers.set_l4_hash(l4.into());
    }

    /// Sets `skb->mark`.
    pub(crate) fn set_mark(&mut self, mark: u32) {
        self.headers_mut().__bindgen_anon_4.mark = mark;
    }

    /// Says on which RX queue the frame came.
    pub(crate) fn record_rx_queue(&mut self, queue: u16) {
        // SAFETY: The buffer is ours. 0 stands for "not recorded".
        unsafe { self.0.as_mut() }.queue_mapping = queue + 1;
    }

    /// Takes the software timestamp that was asked for, if any; just before the doorbell.
    pub(crate) fn tx_timestamp(&mut self) {
        // SAFETY: The buffer is valid and ours.
        unsafe { bindings::skb_tx_timestamp(self.0.as_ptr()) }
    }

    /// Frees a buffer that was sent.
    pub(crate) fn consume(self, polling: &Polling<'_>) {
        // SAFETY: The reference is ours; the budget tells the context.
        unsafe { bindings::napi_consume_skb(self.into_raw().as_ptr(), polling.budget()) }
    }

    /// Hands a received frame, Ethernet header first, to the stack.
    pub(crate) fn receive(self, polling: &Polling<'_>) {
        let skb = self.set_protocol(polling);
        // SAFETY: The reference is ours, and we are in the poll function of a live NAPI instance.
        unsafe { bindings::napi_gro_receive(polling.napi(), skb.into_raw().as_ptr()) };
    }

    /// Hands a received frame, Ethernet header first, to the stack without GRO: the stack is done
    /// with it, or has it in the backlog of the CPU that RPS chose, before this returns. Frames
    /// that GRO holds arrive later.
    pub(crate) fn receive_now(self, polling: &Polling<'_>) {
        let skb = self.set_protocol(polling).into_raw().as_ptr();
        // SAFETY: The buffer is valid and ours, the NAPI instance is live, and the function takes
        // the reference. Poll functions run with softirqs disabled and interrupts enabled, as
        // `netif_receive_skb()` requires.
        unsafe {
            bindings::skb_mark_napi_id(skb, polling.napi());
            bindings::netif_receive_skb(skb);
        }
    }

    /// Sets the protocol from the Ethernet header, and skips the header.
    fn set_protocol(mut self, polling: &Polling<'_>) -> Self {
        // SAFETY: The buffer is valid and ours, and holds at least an Ethernet header.
        let protocol = unsafe { bindings::eth_type_trans(self.0.as_ptr(), polling.device()) };
        self.headers_mut().protocol = protocol;
        self
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::dev_kfree_skb_any(self.0.as_ptr()) }
    }
}
