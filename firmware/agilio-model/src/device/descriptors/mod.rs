// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From TX descriptors to packets, for the two datapaths that cards have.

mod nfd3;
mod nfdk;

use crate::offload::checksum::Wanted;
use crate::offload::lso::LsoParams;
use clap::ValueEnum;

/// Most data descriptors of a packet.
pub const MAX_FRAGMENTS: usize = 64;

/// Format of TX descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// 16 bytes, each self-contained.
    #[default]
    Nfd3,
    /// 8 bytes, in blocks.
    Nfdk,
}

/// What stands next in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A packet of this many descriptors.
    Packet(usize),
    /// This many descriptors that say nothing.
    Skip(usize),
    /// A packet whose end is not there.
    Incomplete,
    /// What no driver writes.
    Bad,
}

/// Where a part of a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fragment {
    /// DMA address.
    pub addr: u64,
    /// Bytes.
    pub len: usize,
}

/// Metadata in front of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// This many bytes, maybe none.
    Length(usize),
    /// As many bytes as the first word of the packet says.
    Chain,
}

/// What to do with a frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Checksums to fill in.
    pub checksums: Wanted,
    /// How to cut it into segments.
    pub lso: Option<LsoParams>,
}

/// A packet as its descriptors tell it.
#[derive(Debug, Clone)]
pub struct Packet {
    fragments: [Fragment; MAX_FRAGMENTS],
    count: usize,
    /// Metadata in front.
    pub meta: Meta,
    /// Bytes in all, when the descriptors say so.
    pub length: Option<usize>,
    /// What to do with it.
    pub offload: Offload,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            fragments: [Fragment::default(); MAX_FRAGMENTS],
            count: 0,
            meta: Meta::Length(0),
            length: None,
            offload: Offload::default(),
        }
    }
}

impl Packet {
    /// Its parts, in order.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments[..self.count]
    }

    fn clear(&mut self) {
        self.count = 0;
        self.meta = Meta::Length(0);
        self.length = None;
        self.offload = Offload::default();
    }

    /// Adds a part; `None` when there are too many.
    fn push(&mut self, addr: u64, len: usize) -> Option<()> {
        *self.fragments.get_mut(self.count)? = Fragment { addr, len };
        self.count += 1;
        Some(())
    }
}

impl Format {
    /// Bytes of a descriptor.
    pub const fn desc_size(self) -> usize {
        match self {
            Self::Nfd3 => acceltcp_abi::nfd3::TxDesc::SIZE,
            Self::Nfdk => acceltcp_abi::nfdk::DataDesc::SIZE,
        }
    }

    /// Reads what the descriptors `window`, from `position` in their ring on, begin with; a packet goes to `packet`.
    pub fn next(self, window: &[u8], position: u32, packet: &mut Packet) -> Next {
        packet.clear();
        match self {
            Self::Nfd3 => nfd3::next(window, packet),
            Self::Nfdk => nfdk::next(window, position, packet),
        }
    }
}
