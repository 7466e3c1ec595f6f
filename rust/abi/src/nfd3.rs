// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Descriptors of the NFD3 datapath (`nfd3/nfd3.h`, `nfp_net.h` of Linux 7.3).

use zerocopy::little_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The largest DMA address that a descriptor holds, plus one.
pub const DMA_LIMIT: u64 = 1 << 40;

/// TX descriptor. A frame takes one, or, with GATHER, one for each of its fragments.
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
pub struct TxDesc {
    /// Bits 39:32 of the DMA address.
    pub dma_addr_hi: u8,
    /// Bytes of this fragment.
    pub dma_len: U16,
    /// Bytes of metadata in front of the frame in bits 6:0, [`TX_EOP`] in bit 7.
    pub offset_eop: u8,
    /// Bits 31:0 of the DMA address.
    pub dma_addr_lo: U32,
    /// Maximum segment size for LSO, in bits 13:0.
    pub mss: U16,
    /// Bytes of headers for LSO.
    pub lso_hdrlen: u8,
    /// Bits `TX_*`.
    pub flags: u8,
    /// Offset of the network header for LSO, or the low byte of the VLAN tag.
    pub l3_offset: u8,
    /// Offset of the transport header for LSO, or the high byte of the VLAN tag.
    pub l4_offset: u8,
    /// Bytes of the whole frame with its metadata.
    pub data_len: U16,
}

/// In [`TxDesc::offset_eop`]: last descriptor of the frame.
pub const TX_EOP: u8 = 0x80;
/// In [`TxDesc::offset_eop`]: bytes of metadata.
pub const TX_OFFSET_MASK: u8 = 0x7f;
/// In [`TxDesc::mss`]: bits of the maximum segment size.
pub const TX_MSS_MASK: u16 = 0x3fff;

/// Fill in checksums.
pub const TX_CSUM: u8 = 1 << 7;
/// Fill in the IPv4 header checksum; the frame is IPv4.
pub const TX_IP4_CSUM: u8 = 1 << 6;
/// Fill in the TCP checksum.
pub const TX_TCP_CSUM: u8 = 1 << 5;
/// Fill in the UDP checksum.
pub const TX_UDP_CSUM: u8 = 1 << 4;
/// Insert a VLAN tag.
pub const TX_VLAN: u8 = 1 << 3;
/// Cut the frame into segments.
pub const TX_LSO: u8 = 1 << 2;
/// The frame is encapsulated.
pub const TX_ENCAP: u8 = 1 << 1;
/// Fill in the outer IPv4 header checksum.
pub const TX_O_IP4_CSUM: u8 = 1 << 0;

impl TxDesc {
    /// Bytes of a descriptor.
    pub const SIZE: usize = 16;

    /// DMA address of the fragment.
    pub fn dma_addr(&self) -> u64 {
        u64::from(self.dma_addr_hi) << 32 | u64::from(self.dma_addr_lo.get())
    }

    /// Sets the DMA address; only bits 39:0 are kept.
    pub fn set_dma_addr(&mut self, addr: u64) {
        self.dma_addr_hi = (addr >> 32) as u8;
        self.dma_addr_lo = U32::new(addr as u32);
    }

    /// Whether this is the last descriptor of its frame.
    pub fn is_eop(&self) -> bool {
        self.offset_eop & TX_EOP != 0
    }

    /// Bytes of metadata in front of the frame.
    pub fn meta_len(&self) -> usize {
        usize::from(self.offset_eop & TX_OFFSET_MASK)
    }
}

/// Freelist descriptor: an empty buffer for the device. [`RxDesc`] overwrites it.
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
pub struct FreelistDesc {
    /// Bits 47:32 of the DMA address.
    pub dma_addr_hi: U16,
    /// Reserved, zero.
    pub reserved: u8,
    /// Zero; [`RxDesc::meta_len_dd`] comes here.
    pub meta_len_dd: u8,
    /// Bits 31:0 of the DMA address.
    pub dma_addr_lo: U32,
}

impl FreelistDesc {
    /// Bytes of a descriptor.
    pub const SIZE: usize = 8;

    /// A descriptor for a buffer at `addr`; only bits 47:0 are kept.
    pub fn new(addr: u64) -> Self {
        Self {
            dma_addr_hi: U16::new((addr >> 32) as u16),
            reserved: 0,
            meta_len_dd: 0,
            dma_addr_lo: U32::new(addr as u32),
        }
    }

    /// DMA address of the buffer.
    pub fn dma_addr(&self) -> u64 {
        u64::from(self.dma_addr_hi.get()) << 32 | u64::from(self.dma_addr_lo.get())
    }
}

/// The device hands over buffers only in batches of this many (the driver's doorbell).
pub const FREELIST_BATCH: u32 = 16;

/// RX descriptor, written by the device over the freelist descriptor in one 8-byte store.
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
pub struct RxDesc {
    /// Bytes of metadata and frame.
    pub data_len: U16,
    /// Reserved, zero.
    pub reserved: u8,
    /// Bytes of metadata in bits 6:0, [`RX_DD`] in bit 7.
    pub meta_len_dd: u8,
    /// Bits `RX_*`.
    pub flags: U16,
    /// VLAN tag with RXVLAN.
    pub vlan: U16,
}

/// In [`RxDesc::meta_len_dd`]: descriptor done.
pub const RX_DD: u8 = 0x80;
/// In [`RxDesc::meta_len_dd`]: bytes of metadata.
pub const RX_META_LEN_MASK: u8 = 0x7f;
/// Most bytes of metadata that the driver accepts.
pub const RX_META_MAX: usize = 64;

/// A hash is in the metadata (RSS version 1).
pub const RX_RSS: u16 = 1 << 15;
/// Last (and only) buffer of the frame.
pub const RX_EOP: u16 = 1 << 7;
/// IPv4 header checksum was checked.
pub const RX_IP4_CSUM: u16 = 1 << 6;
/// IPv4 header checksum was right.
pub const RX_IP4_CSUM_OK: u16 = 1 << 5;
/// TCP checksum was checked.
pub const RX_TCP_CSUM: u16 = 1 << 4;
/// TCP checksum was right.
pub const RX_TCP_CSUM_OK: u16 = 1 << 3;
/// UDP checksum was checked.
pub const RX_UDP_CSUM: u16 = 1 << 2;
/// UDP checksum was right.
pub const RX_UDP_CSUM_OK: u16 = 1 << 1;
/// A VLAN tag was stripped.
pub const RX_VLAN: u16 = 1 << 0;

impl RxDesc {
    /// Bytes of a descriptor.
    pub const SIZE: usize = 8;

    /// Whether the device has written this descriptor.
    pub fn is_done(&self) -> bool {
        self.meta_len_dd & RX_DD != 0
    }

    /// Bytes of metadata in front of the frame.
    pub fn meta_len(&self) -> usize {
        usize::from(self.meta_len_dd & RX_META_LEN_MASK)
    }
}

const _: () = {
    assert!(core::mem::size_of::<TxDesc>() == TxDesc::SIZE);
    assert!(core::mem::size_of::<FreelistDesc>() == FreelistDesc::SIZE);
    assert!(core::mem::size_of::<RxDesc>() == RxDesc::SIZE);
    assert!(core::mem::offset_of!(TxDesc, mss) == 8);
    assert!(core::mem::offset_of!(TxDesc, data_len) == 14);
    assert!(
        core::mem::offset_of!(FreelistDesc, meta_len_dd)
            == core::mem::offset_of!(RxDesc, meta_len_dd)
    );
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::{FromBytes as _, IntoBytes as _};

    #[test]
    fn tx_golden_bytes() {
        let mut desc = TxDesc {
            dma_len: U16::new(0x0102),
            offset_eop: TX_EOP | 8,
            mss: U16::new(1448),
            lso_hdrlen: 66,
            flags: TX_LSO | TX_CSUM | TX_TCP_CSUM,
            l3_offset: 14,
            l4_offset: 34,
            data_len: U16::new(0x2000),
            ..TxDesc::default()
        };
        desc.set_dma_addr(0x12_3456_789a);
        assert_eq!(
            desc.as_bytes(),
            [
                0x12, 0x02, 0x01, 0x88, 0x9a, 0x78, 0x56, 0x34, 0xa8, 0x05, 66, 0xa4, 14, 34, 0x00,
                0x20
            ]
        );
        assert!(desc.is_eop());
        assert_eq!(desc.meta_len(), 8);
    }

    #[test]
    fn done_bit_is_where_the_freelist_leaves_zero() {
        let empty = FreelistDesc::new(u64::MAX);
        let seen = RxDesc::read_from_bytes(empty.as_bytes()).unwrap();
        assert!(!seen.is_done());
    }

    proptest! {
        #[test]
        fn dma_addresses_round_trip(addr in 0..DMA_LIMIT) {
            let mut tx = TxDesc::default();
            tx.set_dma_addr(addr);
            prop_assert_eq!(tx.dma_addr(), addr);
            prop_assert_eq!(FreelistDesc::new(addr).dma_addr(), addr);
        }
    }
}
