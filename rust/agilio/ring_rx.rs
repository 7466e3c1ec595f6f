// SPDX-License-Identifier: GPL-2.0

//! RX rings (NFD3): freelist and received frames in the same slots.
//!
//! Everything that the card writes is checked before it is used; a slot that makes no sense costs its frame
//! and is counted, the buffer goes back to the card.

use super::{
    caps::Caps,
    regs::Regs,
    stats::RxStats, //
};
use crate::net::{
    napi::{
        Napi,
        Poll,
        Polling, //
    },
    page_pool::{
        PagePool,
        PoolPage, //
    },
    skb::SkBuff,
    work::Worker, //
};
use crate::offload::{
    accept,
    credits::Credits,
    splice::pairs::{
        self,
        Pairs, //
    },
    watermark, //
};
use acceltcp_abi::{
    meta::{
        OptIn,
        RxMeta, //
    },
    nfd3::{
        self,
        FreelistDesc,
        RxDesc, //
    },
    setup::Handshake, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    prelude::*,
    sync::{
        barrier::{
            dma_mb,
            Read, //
        },
        Arc, //
    }, //
};

/// Smallest ring, in descriptors; a power of two.
pub(crate) const MIN_SIZE: u32 = 64;
/// Largest ring, in descriptors; a power of two.
pub(crate) const MAX_SIZE: u32 = 4096;
/// Room in front of a frame that the stack may use (`NET_SKB_PAD`).
pub(crate) const HEADROOM: usize = 64;
/// Bytes of an Ethernet header.
const ETH_HLEN: usize = 14;
/// "Checked" bits of the descriptor's flags; each "OK" bit is one to the right of its own.
const CSUM_CHECKED: u16 = nfd3::RX_IP4_CSUM | nfd3::RX_TCP_CSUM | nfd3::RX_UDP_CSUM;
/// "OK" bits of the descriptor's flags.
const CSUM_OK: u16 = nfd3::RX_IP4_CSUM_OK | nfd3::RX_TCP_CSUM_OK | nfd3::RX_UDP_CSUM_OK;

/// An RX ring. It belongs to the poll function.
pub(crate) struct RxRing<'a> {
    regs: Arc<Regs<'a>>,
    doorbell: usize,
    index: u16,
    rx_offset: Option<usize>,
    /// What the card was asked to tell.
    asked: OptIn,
    credits: Arc<Credits>,
    pairs: Arc<Worker<Pairs>>,
    desc: Coherent<[u64]>,
    pages: KVec<Option<PoolPage>>,
    pool: PagePool,
    mask: u32,
    /// Next slot to look at, running freely.
    tail: u32,
    /// Next slot to give to the card, running freely.
    head: u32,
    /// Slots that the card was not told of.
    unrung: u32,
}

/// Where a frame lies in its buffer.
struct Frame {
    offset: usize,
    len: usize,
    meta: RxMeta,
    flags: u16,
}

impl<'a> RxRing<'a> {
    /// Makes RX ring `index` of `size` descriptors, a power of two within the limits, for the poll function
    /// of `napi`.
    pub(crate) fn new<T: Poll>(
        dev: &Device<Bound>,
        regs: &Arc<Regs<'a>>,
        napi: &Napi<T>,
        index: u16,
        size: u32,
        caps: &Caps,
        (credits, pairs): (&Arc<Credits>, &Arc<Worker<Pairs>>),
    ) -> Result<Self> {
        if !size.is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return Err(EINVAL);
        }
        let mut pages = KVec::with_capacity(size as usize, GFP_KERNEL)?;
        for _ in 0..size {
            pages.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            regs: regs.clone(),
            doorbell: regs.freelist_doorbell(index.into()),
            index,
            rx_offset: caps.rx_offset,
            asked: OptIn {
                handshake: caps.sets_up(),
                // They come to the first ring.
                credits: caps.tears_down() && index == 0,
                splice: caps.splices() && index == 0,
                owners: caps.tells_owners() && index == 0,
            },
            credits: credits.clone(),
            pairs: pairs.clone(),
            desc: Coherent::zeroed_slice(dev, size as usize, GFP_KERNEL)?,
            pages,
            pool: PagePool::new(dev, napi, size as usize, HEADROOM)?,
            mask: size - 1,
            tail: 0,
            head: 0,
            unrung: 0,
        })
    }

    /// DMA address of the descriptors.
    pub(crate) fn dma_address(&self) -> u64 {
        self.desc.dma_address()
    }

    /// log2 of the number of descriptors.
    pub(crate) fn size_log2(&self) -> u8 {
        (self.mask + 1).trailing_zeros() as u8
    }

    /// Bytes that the card may write into a buffer.
    pub(crate) fn buffer_len(&self) -> usize {
        self.pool.buffer_len()
    }

    /// Gives the card all buffers that there is room for, or `ENOMEM` when there is no memory for a batch.
    pub(crate) fn fill(&mut self) -> Result {
        while self.head.wrapping_sub(self.tail) < self.mask {
            let Some(page) = self.pool.alloc() else {
                break;
            };
            self.give(page);
        }
        if self.head == 0 || self.head < nfd3::FREELIST_BATCH {
            return Err(ENOMEM);
        }
        Ok(())
    }

    /// Puts `page` into the next slot, and tells the card when a batch is full.
    fn give(&mut self, page: PoolPage) {
        let index = (self.head & self.mask) as usize;
        let desc = FreelistDesc::new(self.pool.dma_addr(&page));
        let mut raw = [0; FreelistDesc::SIZE];
        raw.copy_from_slice(desc.as_bytes());
        let Some(slot) = self.pages.get_mut(index) else {
            return;
        };
        *slot = Some(page);
        // SAFETY: There are `mask + 1` descriptors.
        unsafe {
            self.desc
                .as_mut_ptr()
                .cast::<u64>()
                .add(index)
                .write_volatile(u64::from_ne_bytes(raw))
        };
        self.head = self.head.wrapping_add(1);
        self.unrung += 1;
        if self.unrung >= nfd3::FREELIST_BATCH {
            self.regs.ring(self.doorbell, self.unrung);
            self.unrung = 0;
        }
    }

    /// Gives up to `polling.budget()` frames to the stack; `checksums` says whether the card's verdict on
    /// them counts. Returns how many slots were used.
    pub(crate) fn receive(
        &mut self,
        polling: &Polling<'_>,
        checksums: bool,
        stats: &RxStats,
    ) -> usize {
        let (mut done, mut packets, mut bytes) = (0, 0, 0);
        while done < polling.budget() as usize {
            let index = (self.tail & self.mask) as usize;
            // SAFETY: There are `mask + 1` descriptors, which the card writes as a whole.
            let raw = unsafe { self.desc.as_ptr().cast::<u64>().add(index).read_volatile() };
            let raw = raw.to_ne_bytes();
            let Ok(desc) = RxDesc::read_from_bytes(&raw) else {
                break;
            };
            if !desc.is_done() || self.tail == self.head {
                break;
            }
            // The descriptor is written behind the frame.
            dma_mb(Read);
            let Some(page) = self.pages.get_mut(index).and_then(Option::take) else {
                break;
            };
            self.tail = self.tail.wrapping_add(1);
            done += 1;
            if let Some((skb, completes_handshake)) = self.take(page, desc, checksums, stats) {
                packets += 1;
                bytes += skb.len() as u64;
                // GRO passes frames on in lists, of which each netfilter hook sees all frames
                // before the next hook sees the first. conntrack would see the next segment before
                // it has confirmed the connection.
                if completes_handshake {
                    skb.receive_now(polling);
                } else {
                    skb.receive(polling);
                }
            }
        }
        if packets != 0 {
            stats.packets.add(packets);
            stats.bytes.add(bytes);
        }
        done
    }

    /// Makes a socket buffer of a received frame and gives the card a fresh buffer; the same one
    /// when the frame is dropped. The flag is set for a frame that completes a handshake on the
    /// card.
    fn take(
        &mut self,
        page: PoolPage,
        desc: RxDesc,
        checksums: bool,
        stats: &RxStats,
    ) -> Option<(SkBuff, bool)> {
        let Some(frame) = self.inspect(&page, desc, stats) else {
            self.give(page);
            return None;
        };
        let Some(fresh) = self.pool.alloc() else {
            stats.no_memory.add(1);
            self.give(page);
            return None;
        };
        self.give(fresh);
        let Ok(mut skb) = self.pool.build_skb(page, frame.offset, frame.len) else {
            stats.no_memory.add(1);
            return None;
        };
        if checksums {
            set_checksum(&mut skb, &frame, stats);
        }
        if let Some((kind, hash)) = frame.meta.hash {
            skb.set_hash(hash, kind.is_l4());
        }
        if let Some(mark) = frame.meta.mark {
            skb.set_mark(mark);
        }
        skb.record_rx_queue(self.index);
        let handshake = frame.meta.handshake.as_ref();
        if let Some(handshake) = handshake {
            accept::mark(&mut skb, handshake);
        }
        let completes_handshake = handshake.is_some_and(Handshake::brings_connection);
        Some((skb, completes_handshake))
    }

    /// Checks what the card says of a frame.
    fn inspect(&self, page: &PoolPage, desc: RxDesc, stats: &RxStats) -> Option<Frame> {
        let meta_len = desc.meta_len();
        let offset = self.rx_offset.unwrap_or(meta_len);
        let len = usize::from(desc.data_len.get()).checked_sub(meta_len);
        let frame_end = len.and_then(|len| offset.checked_add(len));
        let (Some(len), Some(end), Some(meta_offset)) =
            (len, frame_end, offset.checked_sub(meta_len))
        else {
            stats.bad_descriptor.add(1);
            return None;
        };
        if meta_len > nfd3::RX_META_MAX || len < ETH_HLEN || end > self.pool.buffer_len() {
            stats.bad_descriptor.add(1);
            return None;
        }
        self.pool.sync(page, end);
        let mut bytes = [0; nfd3::RX_META_MAX];
        let bytes = &mut bytes[..meta_len];
        self.pool.read(page, meta_offset, bytes);
        let Ok(meta) = RxMeta::parse_with(bytes, self.asked) else {
            stats.bad_metadata.add(1);
            return None;
        };
        if let Some(told) = &meta.credits {
            // There is no frame behind it.
            let possible = self.credits.returned(told.flows.get(), told.buffers.get());
            watermark::tell_later(&self.pairs);
            let counter = if possible {
                &stats.credits
            } else {
                &stats.bad_credits
            };
            counter.add(1);
            return None;
        }
        if let Some(told) = &meta.owner {
            let owners = self.credits.owners();
            let counter = match owners.returned(told.owner.get(), told.flows.get()) {
                true => &stats.credits,
                false => &stats.bad_credits,
            };
            counter.add(1);
            return None;
        }
        if let Some(event) = &meta.splice {
            let counter = if pairs::told(&self.pairs, event) {
                &stats.splice_events
            } else {
                &stats.bad_splice_events
            };
            counter.add(1);
            return None;
        }
        Some(Frame {
            offset,
            len,
            meta,
            flags: desc.flags.get(),
        })
    }
}

/// Tells the stack what the card found of the checksums.
fn set_checksum(skb: &mut SkBuff, frame: &Frame, stats: &RxStats) {
    if let Some(sum) = frame.meta.csum {
        skb.set_checksum_complete(sum);
        stats.csum_ok.add(1);
        return;
    }
    let checked = frame.flags & CSUM_CHECKED;
    let ok = frame.flags & CSUM_OK;
    if checked != ok << 1 {
        stats.csum_error.add(1);
    } else if ok & (nfd3::RX_TCP_CSUM_OK | nfd3::RX_UDP_CSUM_OK) != 0 {
        skb.set_checksum_unnecessary(0);
        stats.csum_ok.add(1);
    }
}

impl Drop for RxRing<'_> {
    fn drop(&mut self) {
        // The datapath is off, or the card kept from DMA.
        for index in 0..self.pages.len() {
            if let Some(page) = self.pages.get_mut(index).and_then(Option::take) {
                self.pool.recycle(page);
            }
        }
    }
}

/// The ABI's own tests run on the build machine; these run what the kernel's compiler has made of it.
#[cfg(ACCELTCP_KUNIT)]
#[kunit_tests(acceltcp_metadata)]
mod tests {
    use super::*;
    use acceltcp_abi::{
        meta::MetaError,
        setup::{
            handshake,
            Handshake, //
        }, //
    };

    fn found() -> Handshake {
        Handshake {
            version: Handshake::VERSION,
            flags: handshake::WSCALE | handshake::TIMESTAMPS,
            snd_wscale: 14,
            rcv_wscale: 7,
            mss: 1460.into(),
            tsval: 0xffff_ffff.into(),
            ..Handshake::default()
        }
    }

    fn with(handshake: Handshake) -> ([u8; RxMeta::MAX], usize) {
        let meta = RxMeta {
            mark: Some(7),
            handshake: Some(handshake),
            ..RxMeta::default()
        };
        let mut bytes = [0; RxMeta::MAX];
        let len = meta.emit(&mut bytes);
        (bytes, len)
    }

    #[test]
    fn handshake_is_read_as_it_was_written() {
        let (bytes, len) = with(found());
        let read = RxMeta::parse_with_handshake(&bytes[..len]);
        assert!(read.is_ok_and(|meta| meta.handshake == Some(found()) && meta.mark == Some(7)));
    }

    #[test]
    fn every_cut_is_refused() {
        let (bytes, len) = with(found());
        for cut in 1..len {
            assert_eq!(
                RxMeta::parse_with_handshake(&bytes[..cut]).err(),
                Some(MetaError::Short)
            );
        }
        // Nothing at all is no metadata.
        assert!(RxMeta::parse_with_handshake(&[]).is_ok_and(|meta| meta == RxMeta::default()));
    }

    #[test]
    fn handshake_that_was_not_asked_for_is_refused() {
        let (bytes, len) = with(found());
        assert_eq!(
            RxMeta::parse(&bytes[..len]).err(),
            Some(MetaError::UnknownField)
        );
    }

    #[test]
    fn scale_that_tcp_does_not_know_is_refused() {
        for bad in [
            Handshake {
                snd_wscale: 15,
                ..found()
            },
            Handshake {
                rcv_wscale: 255,
                ..found()
            },
            Handshake {
                flags: 0x80,
                ..found()
            },
            Handshake {
                version: 0,
                ..found()
            },
        ] {
            let (bytes, len) = with(bad);
            assert_eq!(
                RxMeta::parse_with_handshake(&bytes[..len]).err(),
                Some(MetaError::BadHandshake)
            );
        }
    }
}
