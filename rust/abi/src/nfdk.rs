// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TX descriptors of the NFDK datapath (`nfdk/nfdk.h` of Linux 7.3). Freelists and RX are those of [`crate::nfd3`].
//!
//! A frame is a head descriptor, more data descriptors as needed, and behind the one with [`EOP`] a [`MetaDesc`];
//! with type [`TYPE_TSO`] a [`TsoDesc`] follows. A frame never crosses a block of [`BLOCK`] descriptors; the host
//! fills the rest of a block with descriptors of zeros, which the device skips.

use zerocopy::little_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Descriptors of a block.
pub const BLOCK: u32 = 32;

/// Data descriptor.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct DataDesc {
    /// Bits 47:32 of the DMA address.
    pub dma_addr_hi: U16,
    /// Bytes less one, [`EOP`], and in the head the type.
    pub dma_len_type: U16,
    /// Bits 31:0 of the DMA address.
    pub dma_addr_lo: U32,
}

/// In [`DataDesc::dma_len_type`] of a head: bytes less one.
pub const HEAD_LEN_MASK: u16 = 0xfff;
/// In [`DataDesc::dma_len_type`] of the other ones: bytes less one.
pub const LEN_MASK: u16 = 0x3fff;
/// In [`DataDesc::dma_len_type`]: last data descriptor of the frame.
pub const EOP: u16 = 1 << 14;
/// In [`DataDesc::dma_len_type`] of a head: bits of the type. [`EOP`] lies between them.
pub const TYPE_MASK: u16 = 0xb000;
/// Type: not a frame.
pub const TYPE_NOP: u16 = 0;
/// Type: a frame of several data descriptors.
pub const TYPE_GATHER: u16 = 1 << 12;
/// Type: a frame to be cut into segments.
pub const TYPE_TSO: u16 = 2 << 12;
/// Type: a frame of one data descriptor.
pub const TYPE_SIMPLE: u16 = 8 << 12;

impl DataDesc {
    /// Bytes of a descriptor.
    pub const SIZE: usize = 8;

    /// DMA address of the data.
    pub fn dma_addr(&self) -> u64 {
        u64::from(self.dma_addr_hi.get()) << 32 | u64::from(self.dma_addr_lo.get())
    }

    /// Whether this is the last data descriptor of its frame.
    pub fn is_eop(&self) -> bool {
        self.dma_len_type.get() & EOP != 0
    }

    /// Type, when this is a head.
    pub fn head_type(&self) -> u16 {
        self.dma_len_type.get() & TYPE_MASK
    }

    /// Bytes of data, when this is a head.
    pub fn head_len(&self) -> usize {
        usize::from(self.dma_len_type.get() & HEAD_LEN_MASK) + 1
    }

    /// Bytes of data, when this is not a head.
    pub fn data_len(&self) -> usize {
        usize::from(self.dma_len_type.get() & LEN_MASK) + 1
    }
}

/// Behind the data descriptors: what to do with the frame.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct MetaDesc {
    /// Bits `META_*`.
    pub flags: u8,
    /// Reserved.
    pub reserved: [u8; 7],
}

/// In [`MetaDesc::flags`]: fill in the IPv4 header checksum.
pub const META_L3_CSUM: u8 = 1 << 0;
/// In [`MetaDesc::flags`]: fill in the transport checksum.
pub const META_L4_CSUM: u8 = 1 << 1;
/// In [`MetaDesc::flags`]: the frame is encapsulated.
pub const META_ENCAP: u8 = 1 << 2;
/// In [`MetaDesc::flags`]: metadata stands in front of the frame, see [`CHAIN_LEN_MASK`].
pub const META_CHAIN: u8 = 1 << 3;
/// In the first word (be32) of metadata: its bytes, this word included. Field types follow from bit 8 on.
pub const CHAIN_LEN_MASK: u32 = 0xff;

/// Behind the [`MetaDesc`] of a frame with [`TYPE_TSO`].
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct TsoDesc {
    /// Maximum segment size in bits 13:0.
    pub mss: U16,
    /// Bytes of headers.
    pub hdrlen: u8,
    /// Number of segments.
    pub segments: u8,
    /// Offset of the network header.
    pub l3_offset: u8,
    /// Offset of the transport header.
    pub l4_offset: u8,
    /// Reserved.
    pub reserved: U16,
}

const _: () = {
    assert!(core::mem::size_of::<DataDesc>() == DataDesc::SIZE);
    assert!(core::mem::size_of::<MetaDesc>() == DataDesc::SIZE);
    assert!(core::mem::size_of::<TsoDesc>() == DataDesc::SIZE);
    assert!(TYPE_MASK & EOP == 0 && HEAD_LEN_MASK & (TYPE_MASK | EOP) == 0);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn golden_bytes() {
        let head = DataDesc {
            dma_addr_hi: U16::new(0x0012),
            dma_len_type: U16::new(TYPE_TSO | EOP | 99),
            dma_addr_lo: U32::new(0x3456_789a),
        };
        assert_eq!(
            head.as_bytes(),
            [0x12, 0, 0x63, 0x60, 0x9a, 0x78, 0x56, 0x34]
        );
        assert_eq!(head.dma_addr(), 0x12_3456_789a);
        assert_eq!(head.head_type(), TYPE_TSO);
        assert_eq!(head.head_len(), 100);
        assert!(head.is_eop());
    }

    #[test]
    fn lengths_are_less_one() {
        let desc = DataDesc {
            dma_len_type: U16::new(LEN_MASK),
            ..DataDesc::default()
        };
        assert_eq!(desc.data_len(), 1 << 14);
        assert_eq!(desc.head_len(), 1 << 12);
        assert!(!desc.is_eop());
    }
}
