// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TX rings: descriptors to frames.

use super::dma::Dma;
use super::interrupts::Interrupts;
use super::queues::Pointers;
use super::settings::{TxConfig, ETH_HLEN};
use crate::counters::{Counter, Counters, DropReason};
use acceltcp_abi::nfd3::TxDesc;
use acceltcp_abi::{qc, regs};
use zerocopy::IntoBytes;

/// Descriptors that are fetched and worked on at a time. Bounds the work between two chances for a
/// reconfiguration, and the fragments of a frame.
const WINDOW: usize = 64;
/// Most bytes of a frame with its metadata: what the length field of a descriptor holds.
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
    window: Box<[TxDesc; WINDOW]>,
    frame: Box<[u8; MAX_FRAME]>,
    scratch: Box<[u8; MAX_FRAME]>,
}

/// A frame as the host gave it.
pub struct TxFrame<'a> {
    /// First descriptor: flags and segmentation.
    pub desc: &'a TxDesc,
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
            window: Box::new([TxDesc::default(); WINDOW]),
            frame: Box::new([0; MAX_FRAME]),
            scratch: Box::new([0; MAX_FRAME]),
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
        let mut failure = None;
        let mut used = 0;
        match self.fetch(&config, dma, available) {
            Err(reason) => failure = Some(reason),
            Ok(fetched) => {
                while let Some(len) = self.window[used..fetched].iter().position(TxDesc::is_eop) {
                    let chain = &self.window[used..=used + len];
                    match gather(chain, &config, dma, &mut self.frame[..]) {
                        Ok(bytes) => take(TxFrame {
                            desc: &chain[0],
                            bytes,
                            scratch: &mut self.scratch[..],
                        }),
                        Err(reason) => {
                            failure = Some(reason);
                            break;
                        }
                    }
                    used += chain.len();
                }
                if used == 0 && (fetched == WINDOW || available == config.count) {
                    // A frame without an end.
                    failure = failure.or(Some(DropReason::BadDescriptor));
                }
            }
        }
        if used != 0 && self.complete(&config, used, dma, pointers, irqs).is_err() {
            failure = Some(DropReason::BadAddress);
        }
        if let Some(reason) = failure {
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
        let total = (available as usize).min(WINDOW);
        let first = self.read & (config.count - 1);
        let to_end = total.min((config.count - first) as usize);
        let (head, tail) = self.window[..total].split_at_mut(to_end);
        let at = config.addr + u64::from(first) * TxDesc::SIZE as u64;
        dma.read(at, head.as_mut_bytes())
            .map_err(|_| DropReason::BadAddress)?;
        if !tail.is_empty() {
            dma.read(config.addr, tail.as_mut_bytes())
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
        irqs: &Interrupts,
    ) -> Result<(), super::memory::BadAddress> {
        self.read = self.read.wrapping_add(used as u32);
        pointers.set_read(self.read);
        if let Some(addr) = config.write_back {
            dma.store_u64(addr, u64::from(self.read & qc::PTR_MASK))?;
        }
        irqs.raise(config.vector, regs::ICR_RXTX);
        Ok(())
    }
}

/// Copies the frame that `chain` describes to `buffer`, and returns it without its metadata.
fn gather<'f>(
    chain: &[TxDesc],
    config: &TxConfig,
    dma: Dma<'_>,
    buffer: &'f mut [u8],
) -> Result<&'f mut [u8], DropReason> {
    if chain.len() > 1 && !config.gather {
        return Err(DropReason::BadDescriptor);
    }
    let mut end = 0;
    for desc in chain {
        let start = end;
        end += usize::from(desc.dma_len.get());
        let part = buffer
            .get_mut(start..end)
            .ok_or(DropReason::BadDescriptor)?;
        dma.read(desc.dma_addr(), part)
            .map_err(|_| DropReason::BadAddress)?;
    }
    let head = &chain[0];
    if end != usize::from(head.data_len.get()) || end < head.meta_len() + ETH_HLEN {
        return Err(DropReason::BadDescriptor);
    }
    Ok(&mut buffer[head.meta_len()..end])
}
