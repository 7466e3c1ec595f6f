// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TX rings: descriptors to frames.

use super::descriptors::{Format, Meta, Next, Offload, Packet, MAX_FRAGMENTS};
use super::dma::Dma;
use super::interrupts::Interrupts;
use super::memory::BadAddress;
use super::moderation::Direction;
use super::queues::Pointers;
use super::settings::{TxConfig, ETH_HLEN};
use crate::counters::{Counter, Counters, DropReason};
use acceltcp_abi::meta::{MetaError, TxMeta, TYPES_SIZE};
use acceltcp_abi::{nfdk, qc};

/// Descriptors that are fetched and worked on at a time. Bounds the work between two chances for a
/// reconfiguration, and the fragments of a frame.
const WINDOW: usize = MAX_FRAGMENTS;
/// Most bytes of a frame with its metadata.
const MAX_FRAME: usize = 0xffff;

/// What is left to do on a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing until the next doorbell.
    Idle,
    /// More descriptors wait.
    More,
}

/// A TX ring.
pub struct TxRing {
    /// `None` while off, or stopped because of its content.
    config: Option<TxConfig>,
    /// Descriptors done since the ring was enabled.
    read: u32,
    buffers: Box<Buffers>,
}

/// Room to work in.
struct Buffers {
    window: [u8; WINDOW * Format::Nfd3.desc_size()],
    packet: Packet,
    frame: [u8; MAX_FRAME],
    scratch: [u8; MAX_FRAME],
}

/// A frame as the host gave it.
pub struct TxFrame<'a> {
    /// What to do with it.
    pub offload: &'a Offload,
    /// Its metadata, as far as AccelTCP knows it.
    pub meta: Result<TxMeta, MetaError>,
    /// The frame, metadata taken off.
    pub bytes: &'a mut [u8],
    /// Room for a frame made of it.
    pub scratch: &'a mut [u8],
}

impl Default for TxRing {
    fn default() -> Self {
        Self {
            config: None,
            read: 0,
            buffers: Box::new(Buffers {
                window: [0; WINDOW * Format::Nfd3.desc_size()],
                packet: Packet::default(),
                frame: [0; MAX_FRAME],
                scratch: [0; MAX_FRAME],
            }),
        }
    }
}

impl TxRing {
    /// Turns the ring on or off. The pointers start again at 0.
    pub fn configure(&mut self, config: Option<TxConfig>, pointers: &Pointers) {
        self.config = config;
        self.read = 0;
        pointers.reset();
    }

    /// Whether the ring is on.
    pub fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// Vector of the ring, while it is on.
    pub fn vector(&self) -> Option<u8> {
        Some(self.config?.vector)
    }

    /// Where the read pointer is written back to, while the ring is on.
    pub fn write_back(&self) -> Option<u64> {
        self.config?.write_back
    }

    /// Descriptors done since the ring was enabled.
    pub fn read_pointer(&self) -> u32 {
        self.read
    }

    /// Works on a bounded number of descriptors; gives each frame to `take`.
    pub fn service(
        &mut self,
        dma: Dma<'_>,
        pointers: &Pointers,
        irqs: &Interrupts,
        counters: &Counters,
        mut take: impl FnMut(TxFrame<'_>),
    ) -> Progress {
        let Some(config) = self.config else {
            return Progress::Idle;
        };
        let available = pointers.write().wrapping_sub(self.read);
        if available == 0 {
            return Progress::Idle;
        }
        let mut used = 0;
        let mut frames = 0;
        let mut result = self.work(&config, dma, available, &mut used, |frame| {
            frames += 1;
            take(frame);
        });
        if used != 0 {
            match self.complete(&config, used, dma, pointers) {
                Ok(()) => irqs.ring_event(config.vector, Direction::Tx, frames),
                Err(BadAddress) => result = Err(DropReason::BadAddress),
            }
        }
        if let Err(reason) = result {
            counters.drop_frame(reason);
            counters.add(Counter::RingsStopped, 1);
            self.config = None;
            return Progress::Idle;
        }
        if used != 0 && used < available as usize {
            Progress::More
        } else {
            Progress::Idle
        }
    }

    /// Fetches descriptors and works on them; `used` counts those done, also when one of them was bad.
    fn work(
        &mut self,
        config: &TxConfig,
        dma: Dma<'_>,
        available: u32,
        used: &mut usize,
        mut take: impl FnMut(TxFrame<'_>),
    ) -> Result<(), DropReason> {
        let fetched = self.fetch(config, dma, available)?;
        let Buffers {
            window,
            packet,
            frame,
            scratch,
        } = &mut *self.buffers;
        let size = config.format.desc_size();
        while *used < fetched {
            let rest = &window[*used * size..fetched * size];
            let position = self.read.wrapping_add(*used as u32);
            match config.format.next(rest, position, packet) {
                Next::Packet(count) => {
                    let (meta, bytes) = gather(packet, config, dma, frame)?;
                    take(TxFrame {
                        offload: &packet.offload,
                        meta,
                        bytes,
                        scratch,
                    });
                    *used += count;
                }
                Next::Skip(count) => *used += count,
                // A packet without an end.
                Next::Incomplete
                    if *used == 0 && (fetched == WINDOW || available == config.count) =>
                {
                    return Err(DropReason::BadDescriptor);
                }
                Next::Incomplete => break,
                Next::Bad => return Err(DropReason::BadDescriptor),
            }
        }
        Ok(())
    }

    /// Copies the next descriptors into the window and returns how many.
    fn fetch(
        &mut self,
        config: &TxConfig,
        dma: Dma<'_>,
        available: u32,
    ) -> Result<usize, DropReason> {
        if available > config.count {
            return Err(DropReason::BadDescriptor);
        }
        let size = config.format.desc_size();
        let total = (available as usize).min(WINDOW);
        let first = self.read & (config.count - 1);
        let to_end = total.min((config.count - first) as usize);
        let (head, tail) = self.buffers.window[..total * size].split_at_mut(to_end * size);
        let at = config.addr + u64::from(first) * size as u64;
        dma.read(at, head).map_err(|_| DropReason::BadAddress)?;
        if !tail.is_empty() {
            dma.read(config.addr, tail)
                .map_err(|_| DropReason::BadAddress)?;
        }
        Ok(total)
    }

    /// Tells the host that `used` more descriptors are done.
    fn complete(
        &mut self,
        config: &TxConfig,
        used: usize,
        dma: Dma<'_>,
        pointers: &Pointers,
    ) -> Result<(), BadAddress> {
        self.read = self.read.wrapping_add(used as u32);
        pointers.set_read(self.read);
        if let Some(addr) = config.write_back {
            dma.store_u64(addr, u64::from(self.read & qc::PTR_MASK))?;
        }
        Ok(())
    }
}

/// Copies `packet` to `buffer`, and returns its metadata and the rest of it.
fn gather<'f>(
    packet: &Packet,
    config: &TxConfig,
    dma: Dma<'_>,
    buffer: &'f mut [u8],
) -> Result<(Result<TxMeta, MetaError>, &'f mut [u8]), DropReason> {
    if packet.fragments().len() > 1 && !config.gather {
        return Err(DropReason::BadDescriptor);
    }
    let mut end = 0;
    for fragment in packet.fragments() {
        let start = end;
        end += fragment.len;
        let part = buffer
            .get_mut(start..end)
            .ok_or(DropReason::BadDescriptor)?;
        dma.read(fragment.addr, part)
            .map_err(|_| DropReason::BadAddress)?;
    }
    let bytes = &mut buffer[..end];
    let meta_len = match (packet.meta, bytes.first_chunk()) {
        (Meta::Length(len), _) => len,
        (Meta::Chain, Some(word)) => (u32::from_be_bytes(*word) & nfdk::CHAIN_LEN_MASK) as usize,
        (Meta::Chain, None) => return Err(DropReason::BadDescriptor),
    };
    if packet.length.is_some_and(|length| length != end) || end < meta_len + ETH_HLEN {
        return Err(DropReason::BadDescriptor);
    }
    let (meta, frame) = bytes.split_at_mut(meta_len);
    Ok((metadata(packet.meta, meta), frame))
}

/// Reads the metadata `bytes`; the two datapaths keep the types at different places of the first word.
fn metadata(meta: Meta, bytes: &[u8]) -> Result<TxMeta, MetaError> {
    let Some((word, fields)) = bytes.split_first_chunk::<TYPES_SIZE>() else {
        return Ok(TxMeta::default());
    };
    let word = u32::from_be_bytes(*word);
    let types = match meta {
        Meta::Length(_) => word,
        Meta::Chain => word >> nfdk::CHAIN_LEN_MASK.count_ones(),
    };
    TxMeta::parse(types, fields)
}
