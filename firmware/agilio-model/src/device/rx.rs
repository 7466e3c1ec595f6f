// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RX rings: frames into the host's buffers.

use super::dma::Dma;
use super::interrupts::Interrupts;
use super::moderation::Direction;
use super::queues::Pointers;
use super::settings::RxConfig;
use crate::counters::{Counter, Counters, DropReason};
use acceltcp_abi::nfd3::{FreelistDesc, RxDesc, FREELIST_BATCH, RX_DD};
use zerocopy::little_endian::U16;
use zerocopy::{transmute, IntoBytes};

/// An RX ring.
#[derive(Default)]
pub struct RxRing {
    /// `None` while off, or stopped because of its content.
    config: Option<RxConfig>,
    /// Buffers used since the ring was enabled.
    read: u32,
    /// Freelist descriptors fetched ahead, the next one last.
    ahead: Vec<FreelistDesc>,
}

/// What goes into one buffer.
pub struct RxFrame<'a> {
    /// Metadata in front of the frame.
    pub meta: &'a [u8],
    /// The frame.
    pub bytes: &'a [u8],
    /// Flags of the descriptor.
    pub flags: u16,
}

impl RxRing {
    /// Turns the ring on or off. The pointers start again at 0.
    pub fn configure(&mut self, config: Option<RxConfig>, pointers: &Pointers) {
        self.config = config;
        self.read = 0;
        self.ahead.clear();
        pointers.reset();
    }

    /// How the host set the ring up, while it is on.
    pub fn config(&self) -> Option<RxConfig> {
        self.config
    }

    /// Puts `frame` into the next buffer. `Err` with why it was dropped.
    pub fn deliver(
        &mut self,
        frame: &RxFrame<'_>,
        dma: Dma<'_>,
        pointers: &Pointers,
        irqs: &Interrupts,
        counters: &Counters,
    ) -> Result<(), DropReason> {
        let len = frame.meta.len() + frame.bytes.len();
        let config = self.config.ok_or(DropReason::Disabled)?;
        if len > config.buffer_size || len > usize::from(u16::MAX) {
            return Err(DropReason::TooLong);
        }
        let desc = RxDesc {
            data_len: U16::new(len as u16),
            reserved: 0,
            meta_len_dd: RX_DD | frame.meta.len() as u8,
            flags: U16::new(frame.flags),
            vlan: U16::ZERO,
        };
        self.put(&config, &[frame.meta, frame.bytes], desc, dma, pointers)
            .inspect_err(|reason| {
                if *reason != DropReason::NoBuffer {
                    counters.add(Counter::RingsStopped, 1);
                    self.config = None;
                }
            })?;
        irqs.ring_event(config.vector, Direction::Rx, 1);
        Ok(())
    }

    /// Writes `parts` to the next buffer and `desc` over its freelist descriptor.
    pub(super) fn put(
        &mut self,
        config: &RxConfig,
        parts: &[&[u8]],
        desc: RxDesc,
        dma: Dma<'_>,
        pointers: &Pointers,
    ) -> Result<(), DropReason> {
        let buffer = self.next_buffer(config, dma, pointers)?;
        dma.write(buffer, parts)
            .map_err(|_| DropReason::BadAddress)?;
        let slot = u64::from(self.read & (config.count - 1));
        let word: [u8; RxDesc::SIZE] = transmute!(desc);
        dma.store_u64(
            config.addr + slot * RxDesc::SIZE as u64,
            u64::from_le_bytes(word),
        )
        .map_err(|_| DropReason::BadAddress)?;
        self.read = self.read.wrapping_add(1);
        pointers.set_read(self.read);
        Ok(())
    }

    /// Takes the next buffer; fetches descriptors in batches, as the card does.
    fn next_buffer(
        &mut self,
        config: &RxConfig,
        dma: Dma<'_>,
        pointers: &Pointers,
    ) -> Result<u64, DropReason> {
        if self.ahead.is_empty() {
            let available = pointers.write().wrapping_sub(self.read);
            if available == 0 {
                return Err(DropReason::NoBuffer);
            }
            if available > config.count {
                return Err(DropReason::BadDescriptor);
            }
            let first = self.read & (config.count - 1);
            let batch = available.min(FREELIST_BATCH).min(config.count - first) as usize;
            self.ahead.resize(batch, FreelistDesc::default());
            let at = config.addr + u64::from(first) * FreelistDesc::SIZE as u64;
            if dma.read(at, self.ahead.as_mut_bytes()).is_err() {
                self.ahead.clear();
                return Err(DropReason::BadAddress);
            }
            self.ahead.reverse();
        }
        let desc = self.ahead.pop().ok_or(DropReason::NoBuffer)?;
        Ok(desc.dma_addr())
    }
}
