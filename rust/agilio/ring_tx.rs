// SPDX-License-Identifier: GPL-2.0

//! TX rings (NFD3).
//!
//! A ring has two ends: the producer belongs to the holder of the TX queue's lock, the consumer to the poll
//! function. They meet in [`Shared`]: the slots from `consumed` on up to `produced` are the consumer's, the
//! others the producer's.

use super::{
    regs::Regs,
    stats::{
        TxDoneStats,
        TxStats, //
    },
};
use crate::net::{
    device::Xmit,
    dma,
    napi::Polling,
    queue::{
        TxLocked,
        TxQueue, //
    },
    skb::SkBuff, //
};
use acceltcp_abi::{
    nfd3::{
        self,
        TxDesc, //
    },
    qc, //
};
use core::cell::UnsafeCell;
use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        barrier::{
            dma_mb,
            smp_mb,
            Full,
            Read, //
        },
        Arc, //
    }, //
};
use zerocopy::little_endian::U16;

/// Smallest and largest ring, in descriptors; powers of two.
pub(crate) const MIN_SIZE: u32 = 64;
/// See [`MIN_SIZE`].
pub(crate) const MAX_SIZE: u32 = 4096;
/// The queue stops when fewer descriptors are free: a frame has a linear part and up to 17 fragments.
const STOP_BELOW: u32 = 18;
/// It starts again when so many are free.
const WAKE_FROM: u32 = 2 * STOP_BELOW;
/// `csum_offset` of TCP.
const TCP_CSUM_OFFSET: u16 = 16;
/// `csum_offset` of UDP.
const UDP_CSUM_OFFSET: u16 = 6;

/// What goes with a descriptor.
#[derive(Default)]
struct Slot {
    mapping: dma::Mapping,
    /// In the last slot of a frame: the frame, and its bytes on the wire as BQL was told.
    frame: Option<(SkBuff, u32)>,
}

/// What both ends use.
struct Shared<'a> {
    dev: &'a Device<Bound>,
    desc: Coherent<[u64]>,
    write_back: Coherent<[u64]>,
    slots: KVec<UnsafeCell<Slot>>,
    mask: u32,
    /// Slots that the producer has filled, running freely.
    produced: Atomic<u32>,
    /// Slots that the consumer has emptied, running freely.
    consumed: Atomic<u32>,
}

// SAFETY: Each slot belongs to one end at a time, and goes over with release and acquire.
unsafe impl Sync for Shared<'_> {}

/// The end that frames go in.
pub(crate) struct Producer<'a> {
    shared: Arc<Shared<'a>>,
    regs: Arc<Regs<'a>>,
    doorbell: usize,
    head: u32,
    /// Descriptors that the card was not told of.
    unrung: u32,
}

/// The end that sent frames come out.
pub(crate) struct Consumer<'a> {
    shared: Arc<Shared<'a>>,
    regs: Arc<Regs<'a>>,
    /// Where the card's read pointer is read, when the card does not write it back.
    status: Option<usize>,
    tail: u32,
    /// The card's read pointer as last seen.
    card: u32,
}

/// Where the card finds a ring.
pub(crate) struct Addresses {
    /// DMA address of the descriptors.
    pub(crate) ring: u64,
    /// DMA address of the read pointer's copy.
    pub(crate) write_back: u64,
    /// log2 of the number of descriptors.
    pub(crate) size_log2: u8,
}

/// Makes a ring of `size` descriptors, a power of two within the limits, for TX ring `index` of a card that
/// writes its read pointer back or not.
pub(crate) fn new<'a>(
    dev: &'a Device<Bound>,
    regs: &Arc<Regs<'a>>,
    index: usize,
    size: u32,
    writes_back: bool,
) -> Result<(Producer<'a>, Consumer<'a>, Addresses)> {
    if !size.is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Err(EINVAL);
    }
    let words = size as usize * (TxDesc::SIZE / 8);
    let mut slots = KVec::with_capacity(size as usize, GFP_KERNEL)?;
    for _ in 0..size {
        slots.push(UnsafeCell::new(Slot::default()), GFP_KERNEL)?;
    }
    let shared = Arc::new(
        Shared {
            dev,
            desc: Coherent::zeroed_slice(dev, words, GFP_KERNEL)?,
            write_back: Coherent::zeroed_slice(dev, 1, GFP_KERNEL)?,
            slots,
            mask: size - 1,
            produced: Atomic::new(0),
            consumed: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let addresses = Addresses {
        ring: shared.desc.dma_address(),
        write_back: shared.write_back.dma_address(),
        size_log2: size.trailing_zeros() as u8,
    };
    let producer = Producer {
        shared: shared.clone(),
        regs: regs.clone(),
        doorbell: regs.tx_doorbell(index),
        head: 0,
        unrung: 0,
    };
    let consumer = Consumer {
        shared,
        regs: regs.clone(),
        status: (!writes_back).then(|| regs.tx_status(index)),
        tail: 0,
        card: 0,
    };
    Ok((producer, consumer, addresses))
}

impl Shared<'_> {
    /// The slot with running number `number`.
    fn slot(&self, number: u32) -> *mut Slot {
        let index = (number & self.mask) as usize;
        // There are `mask + 1` slots.
        self.slots
            .get(index)
            .map_or(core::ptr::null_mut(), UnsafeCell::get)
    }

    fn write(&self, number: u32, desc: &TxDesc) {
        let index = (number & self.mask) as usize * 2;
        let bytes = desc.as_bytes();
        for (word, chunk) in bytes.chunks_exact(8).enumerate() {
            let mut raw = [0; 8];
            raw.copy_from_slice(chunk);
            // SAFETY: There are two words for each of the `mask + 1` descriptors.
            unsafe {
                self.desc
                    .as_mut_ptr()
                    .cast::<u64>()
                    .add(index + word)
                    .write_volatile(u64::from_ne_bytes(raw))
            };
        }
    }

    /// Frees the mapping of a slot and returns the frame that ends there, with its bytes on the wire.
    ///
    /// # Safety
    ///
    /// The slot must be the caller's, and the card must be done with it.
    unsafe fn release(&self, number: u32) -> Option<(SkBuff, u32)> {
        let slot = self.slot(number);
        // SAFETY: The safety requirement; the pointer is valid as the number is masked.
        let slot = unsafe { &mut *slot };
        let mapping = core::mem::take(&mut slot.mapping);
        if mapping.len != 0 {
            // SAFETY: The slot's mapping is taken out once.
            unsafe { dma::unmap(self.dev, mapping) };
        }
        slot.frame.take()
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        for number in 0..=self.mask {
            // SAFETY: Both ends are gone, and the datapath is off, or the card kept from DMA.
            drop(unsafe { self.release(number) });
        }
    }
}

impl Producer<'_> {
    fn free(&self) -> u32 {
        let consumed = self.shared.consumed.load(Acquire);
        free_slots(self.shared.mask, self.head, consumed)
    }

    /// Slots that were filled and emptied so far, running freely.
    pub(crate) fn progress(&self) -> (u32, u32) {
        (
            self.shared.produced.load(Acquire),
            self.shared.consumed.load(Acquire),
        )
    }

    /// Queues a frame in front of which are `metadata` bytes of metadata. Stops the queue when there may be no room for
    /// the next one.
    pub(crate) fn queue(
        &mut self,
        skb: SkBuff,
        metadata: u8,
        locked: &TxLocked<'_>,
        more: bool,
        stats: &TxStats,
    ) -> Xmit {
        let frags = skb.nr_frags();
        let needed = frags as u32 + 1;
        if self.free() < needed {
            stats.busy.add(1);
            locked.stop();
            self.ring();
            smp_mb(Full);
            if self.free() < WAKE_FROM {
                return Xmit::Busy(skb);
            }
            locked.start();
        }
        let Some((template, bytes)) = describe(&skb, metadata, stats) else {
            stats.bad_frame.add(1);
            self.ring_unless(more);
            return Xmit::Ok;
        };
        if self.map(&skb, frags).is_err() {
            stats.map_error.add(1);
            self.ring_unless(more);
            return Xmit::Ok;
        }

        self.fill(skb, frags, template, bytes, stats);

        if self.free() < STOP_BELOW {
            locked.stop();
            // Either the consumer sees the queue stopped, or we see what it has freed.
            smp_mb(Full);
            if self.free() >= WAKE_FROM {
                locked.start();
            }
        }
        if locked.sent(bytes, more) {
            self.ring();
        }
        Xmit::Ok
    }

    /// Fills the descriptors of a frame that is mapped, and gives its slots to the consumer.
    fn fill(
        &mut self,
        mut skb: SkBuff,
        frags: usize,
        template: TxDesc,
        bytes: u32,
        stats: &TxStats,
    ) {
        let needed = frags as u32 + 1;
        let first = self.head;
        for part in 0..needed {
            // SAFETY: The slots from `head` on are the producer's, and there are `needed` free ones.
            let mapping = unsafe { (*self.shared.slot(first.wrapping_add(part))).mapping };
            let mut desc = template;
            desc.set_dma_addr(mapping.addr);
            desc.dma_len = U16::new(mapping.len as u16);
            if part + 1 == needed {
                desc.offset_eop |= nfd3::TX_EOP;
            }
            self.shared.write(first.wrapping_add(part), &desc);
        }
        if frags != 0 {
            stats.gather.add(1);
        }
        stats.packets.add(1);
        stats.bytes.add(bytes.into());
        skb.tx_timestamp();
        // SAFETY: As above.
        unsafe { (*self.shared.slot(first.wrapping_add(frags as u32))).frame = Some((skb, bytes)) };
        self.head = first.wrapping_add(needed);
        self.unrung += needed;
        // From here on the slots are the consumer's.
        self.shared.produced.store(self.head, Release);
    }

    /// Queues a frame in front of which are `metadata` bytes of metadata, or fails without a trace. Once there is
    /// a place for it `commit` has the last word.
    pub(crate) fn queue_now(
        &mut self,
        skb: SkBuff,
        metadata: usize,
        locked: &TxLocked<'_>,
        stats: &TxStats,
        commit: &mut dyn FnMut() -> Result,
    ) -> Result {
        let frags = skb.nr_frags();
        // Others need not be stopped for it.
        if self.free() < frags as u32 + 1 + STOP_BELOW {
            return Err(EBUSY);
        }
        let offset = u8::try_from(metadata)?;
        let (template, bytes) = describe(&skb, offset, stats).ok_or(EMSGSIZE)?;
        self.map(&skb, frags)?;
        if let Err(err) = commit() {
            self.unmap(frags);
            return Err(err);
        }
        self.fill(skb, frags, template, bytes, stats);
        if locked.sent(bytes, false) {
            self.ring();
        }
        Ok(())
    }

    /// Maps the parts of `skb` into the slots from `head` on.
    fn map(&self, skb: &SkBuff, frags: usize) -> Result {
        for part in 0..=frags {
            let mapping = match part.checked_sub(1) {
                None => dma::map_head(self.shared.dev, skb),
                Some(index) => dma::map_frag(self.shared.dev, skb, index),
            };
            // A descriptor has 16 bits for the length of a part.
            let mapping = mapping.and_then(|mapping| {
                // SAFETY: The slot at `head + part` is the producer's.
                unsafe {
                    (*self.shared.slot(self.head.wrapping_add(part as u32))).mapping = mapping
                };
                if mapping.len > u32::from(u16::MAX)
                    || mapping.addr + u64::from(mapping.len) > nfd3::DMA_LIMIT
                {
                    Err(EMSGSIZE)
                } else {
                    Ok(())
                }
            });
            if let Err(err) = mapping {
                self.unmap(part);
                return Err(err);
            }
        }
        Ok(())
    }

    /// Undoes [`Producer::map`] for parts 0 to `last`, of which nobody knows.
    fn unmap(&self, last: usize) {
        for done in 0..=last {
            // SAFETY: The slots from `head` on are the producer's, and the card does not know of them.
            drop(unsafe { self.shared.release(self.head.wrapping_add(done as u32)) });
        }
    }

    fn ring_unless(&mut self, more: bool) {
        if !more {
            self.ring();
        }
    }

    /// Tells the card of what was queued.
    fn ring(&mut self) {
        if self.unrung != 0 {
            self.regs.ring(self.doorbell, self.unrung);
            self.unrung = 0;
        }
    }
}

/// The descriptor for a frame behind `metadata` bytes of metadata, without addresses, and the bytes that go out on the
/// wire. `None` when the card cannot send it.
fn describe(skb: &SkBuff, metadata: u8, stats: &TxStats) -> Option<(TxDesc, u32)> {
    let len = skb.len();
    let mut desc = TxDesc {
        data_len: U16::new(u16::try_from(len).ok()?),
        offset_eop: metadata & !nfd3::TX_EOP,
        ..TxDesc::default()
    };
    let mut bytes = len as u32;
    if let Some(offset) = skb.checksum_offset() {
        desc.flags |= nfd3::TX_CSUM;
        if skb.is_ipv4() {
            desc.flags |= nfd3::TX_IP4_CSUM;
        }
        desc.flags |= match offset {
            TCP_CSUM_OFFSET => nfd3::TX_TCP_CSUM,
            UDP_CSUM_OFFSET => nfd3::TX_UDP_CSUM,
            _ => return None,
        };
        stats.csum.add(1);
    }
    if let Some(gso) = skb.gso() {
        if gso.size & !nfd3::TX_MSS_MASK != 0 {
            return None;
        }
        desc.flags |= nfd3::TX_LSO;
        desc.mss = U16::new(gso.size);
        // The card counts from the frame on.
        let of_frame = |offset: usize| {
            let offset = offset.checked_sub(metadata.into())?;
            u8::try_from(offset).ok()
        };
        desc.lso_hdrlen = of_frame(gso.header_len)?;
        desc.l3_offset = of_frame(skb.network_offset())?;
        desc.l4_offset = of_frame(skb.transport_offset())?;
        bytes += u32::from(desc.lso_hdrlen) * u32::from(gso.segs.saturating_sub(1));
        stats.lso.add(1);
    }
    Some((desc, bytes))
}

/// Free slots of a ring. One stays free, so that a full ring is not an empty one.
fn free_slots(mask: u32, head: u32, consumed: u32) -> u32 {
    mask - head.wrapping_sub(consumed)
}

/// By how many slots the card's read pointer has moved, or `None` if those are more than it was given.
fn newly_done(card: u32, before: u32, pending: u32) -> Option<u32> {
    let done = card.wrapping_sub(before) & qc::PTR_MASK;
    (done <= pending).then_some(done)
}

impl Consumer<'_> {
    /// Finishes the frames that the card has sent.
    pub(crate) fn complete(&mut self, polling: &Polling<'_>, queue: TxQueue, stats: &TxDoneStats) {
        let shared = &*self.shared;
        let card = match self.status {
            None => {
                let word = shared.write_back.as_ptr().cast::<u64>();
                // SAFETY: There is one word, which the card writes.
                let card = u64::from_le(unsafe { word.read_volatile() }) as u32;
                // What the card has read was in `produced` before: without the barrier a weakly ordered CPU may read
                // `produced` first, and take the card for being ahead of it.
                dma_mb(Read);
                card
            }
            Some(_) if shared.produced.load(Acquire) == self.tail => return,
            Some(register) => self.regs.queue_status(register),
        } & qc::PTR_MASK;
        if card == self.card {
            return;
        }
        // The slots are written before the doorbell, which the card answers.
        let pending = shared.produced.load(Acquire).wrapping_sub(self.tail);
        let Some(done) = newly_done(card, self.card, pending) else {
            stats.bad_completion.add(1);
            return;
        };
        self.card = card;

        let (mut packets, mut bytes) = (0, 0);
        for _ in 0..done {
            // SAFETY: The slots from `tail` to `produced` are the consumer's, and the card is done with them.
            let frame = unsafe { shared.release(self.tail) };
            self.tail = self.tail.wrapping_add(1);
            if let Some((skb, len)) = frame {
                packets += 1;
                bytes += len;
                skb.consume(polling);
            }
        }
        stats.completed.add(packets.into());
        shared.consumed.store(self.tail, Release);
        queue.completed(packets, bytes);
        // Either we see the queue stopped, or the producer sees what was freed.
        smp_mb(Full);
        if queue.is_stopped() && shared.mask - pending.wrapping_sub(done) >= WAKE_FROM {
            queue.wake();
        }
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kunit_tests(acceltcp_ring_tx)]
mod tests {
    use super::*;

    #[test]
    fn one_slot_stays_free() {
        assert_eq!(free_slots(63, 0, 0), 63);
        assert_eq!(free_slots(63, 63, 0), 0);
        assert_eq!(free_slots(63, 64, 1), 0);
        assert_eq!(free_slots(63, 64, 64), 63);
    }

    #[test]
    fn running_numbers_may_wrap() {
        assert_eq!(free_slots(63, 1, u32::MAX), 61);
        assert_eq!(free_slots(4095, u32::MAX, u32::MAX - 4095), 0);
    }

    #[test]
    fn pointer_of_the_card_wraps_earlier() {
        assert_eq!(newly_done(5, 0, 5), Some(5));
        assert_eq!(newly_done(3, qc::PTR_MASK - 1, 5), Some(5));
        assert_eq!(newly_done(7, 7, 0), Some(0));
    }

    #[test]
    fn card_cannot_finish_what_it_was_not_given() {
        assert_eq!(newly_done(6, 0, 5), None);
        // Backwards is nearly a whole turn forwards.
        assert_eq!(newly_done(0, 1, 4095), None);
    }
}
