// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capability TLVs in the control BAR, from [`crate::regs::TLV_BASE`] on.
//!
//! A TLV is a u32 header (see [`Header`]) and a value of `length` bytes, a multiple of 4. A driver skips a
//! type that it does not know, unless [`REQUIRED`] is set: then it must not drive the device.

use zerocopy::little_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The driver must know this TLV.
pub const REQUIRED: u32 = 1 << 31;

/// Fixed registers in the way of the TLVs; to be skipped.
pub const TLV_RESERVED: u16 = 1;
/// End of the list, length 0; mandatory.
pub const TLV_END: u16 = 2;
/// Clock of the flow processing cores in MHz (u32).
pub const TLV_ME_FREQ: u16 = 3;
/// The value is the mailbox; length 0 means that there is none.
pub const TLV_MBOX: u16 = 4;
/// [`AccelTcp`]: the card runs the AccelTCP firmware. A type that no other firmware uses and upstream skips.
pub const TLV_ACCELTCP: u16 = 0x7f00;

/// Header of a TLV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Type, without [`REQUIRED`].
    pub kind: u16,
    /// Bytes of the value.
    pub length: u16,
    /// Whether a driver must know the type.
    pub required: bool,
}

impl Header {
    /// Bytes of a header.
    pub const SIZE: usize = 4;

    /// Reads a header. `Err` with the raw word when its length is not a multiple of 4.
    pub const fn parse(word: u32) -> Result<Self, u32> {
        let length = (word & 0xffff) as u16;
        if length % 4 != 0 {
            return Err(word);
        }
        Ok(Self {
            kind: ((word >> 16) & 0x7fff) as u16,
            length,
            required: word & REQUIRED != 0,
        })
    }

    /// The word that goes into the BAR.
    pub const fn emit(self) -> u32 {
        (if self.required { REQUIRED } else { 0 })
            | ((self.kind as u32 & 0x7fff) << 16)
            | self.length as u32
    }
}

/// Value of [`TLV_ACCELTCP`].
///
/// A later version may append fields; a driver reads the bytes that it knows and takes missing ones for 0.
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
pub struct AccelTcp {
    /// [`AccelTcp::MAGIC`].
    pub magic: U32,
    /// Version of the AccelTCP extension: major in the high half, minor in the low half. A driver works
    /// with every minor of its own major.
    pub version: U32,
    /// Offloads of this firmware, bits [`features`].
    pub features: U32,
    /// Reserved, zero.
    pub reserved: U32,
}

impl AccelTcp {
    /// "ATCP".
    pub const MAGIC: u32 = 0x4154_4350;
    /// Version that these files describe.
    pub const VERSION: u32 = 0x0001_0000;
    /// Bytes of the value.
    pub const SIZE: usize = 16;

    /// The value of a firmware with the offloads `features`.
    pub fn new(features: u32) -> Self {
        Self {
            magic: U32::new(Self::MAGIC),
            version: U32::new(Self::VERSION),
            features: U32::new(features),
            reserved: U32::new(0),
        }
    }

    /// Whether a driver built from these files can use the extension.
    pub fn is_compatible(&self) -> bool {
        self.magic.get() == Self::MAGIC && self.version.get() >> 16 == Self::VERSION >> 16
    }
}

/// Bits of [`AccelTcp::features`].
pub mod features {
    /// Connection setup.
    pub const SETUP: u32 = 1 << 0;
    /// Connection teardown.
    pub const TEARDOWN: u32 = 1 << 1;
    /// Connection splicing.
    pub const SPLICE: u32 = 1 << 2;
    /// It has an access list ([`super::super::acl`]).
    pub const ACL: u32 = 1 << 3;
    /// It lists the connections that it ends ([`super::super::flows`]).
    pub const FLOWS: u32 = 1 << 4;
    /// It tells whose connections have ended ([`super::super::teardown::OwnerCredits`]).
    pub const OWNERS: u32 = 1 << 5;
}

const _: () = assert!(core::mem::size_of::<AccelTcp>() == AccelTcp::SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    proptest! {
        #[test]
        fn header_round_trip(kind in 0u16..0x8000, quads in 0u16..0x4000, required: bool) {
            let header = Header { kind, length: quads * 4, required };
            prop_assert_eq!(Header::parse(header.emit()), Ok(header));
        }

        #[test]
        fn every_word_parses_or_is_refused(word: u32) {
            match Header::parse(word) {
                Ok(header) => prop_assert_eq!(header.emit(), word),
                Err(raw) => prop_assert!(raw == word && word % 4 != 0),
            }
        }
    }

    #[test]
    fn acceltcp_golden_bytes() {
        let value = AccelTcp::new(features::SETUP | features::SPLICE);
        assert_eq!(
            value.as_bytes(),
            [0x50, 0x43, 0x54, 0x41, 0, 0, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0]
        );
        assert!(value.is_compatible());
        let next_major = AccelTcp {
            version: U32::new(0x0002_0000),
            ..value
        };
        assert!(!next_major.is_compatible());
    }
}
