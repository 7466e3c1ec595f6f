// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The stored registers of the control BAR: defaults, capability TLVs and what the host may write.
//!
//! Registers that live elsewhere (link status, interrupt causes, statistics) are laid over this by
//! [`super::card::Card`].

use super::descriptors::Format;
use acceltcp_abi::pci::{CTRL_BAR_SIZE, SUBSYSTEM_DEVICE, VECTOR_RING0};
use acceltcp_abi::regs::{self, ctrl, ctrl1, Version};
use acceltcp_abi::tlv::{self, AccelTcp, Header};
use std::ops::Range;
use zerocopy::IntoBytes;

/// ABI version shown, but for the bit of the datapath: generic class, 5.3.
const VERSION: u32 = 0x0000_0503;
/// Largest MTU.
pub const MAX_MTU: u32 = 9216;
/// Hardware queue of TX ring 0.
pub const START_TXQ: usize = 0;
/// Hardware queue of freelist 0.
pub const START_RXQ: usize = 2;
/// Clock of the flow processing cores in MHz.
pub const ME_FREQ_MHZ: u32 = 1200;

/// What the card offers in [`regs::CAP`].
pub const CAPABILITIES: u32 = ctrl::ENABLE
    | ctrl::PROMISC
    | ctrl::L2BC
    | ctrl::L2MC
    | ctrl::RXCSUM
    | ctrl::TXCSUM
    | ctrl::GATHER
    | ctrl::IRQMOD
    | ctrl::TXRWB
    | ctrl::LSO2
    | ctrl::RSS2
    | ctrl::LIVE_ADDR;
/// What the card offers in [`regs::CAP_WORD1`].
pub const CAPABILITIES_WORD1: u32 = ctrl1::MCAST_FILTER;

/// End of the fixed registers, start of the TLVs that are more than a wrapper.
const TLV_AREA: usize = 0x2000;

/// What the host may write; everything else is the card's.
const WRITABLE: [Range<usize>; 6] = [
    regs::CTRL..regs::VERSION,
    // VXLAN ports and BPF settings: not offered, but a driver may clear them.
    0x60..regs::CTRL_WORD1 + 4,
    regs::RSS_CTRL..regs::RSS_ITBL + regs::RSS_ITBL_SIZE,
    regs::txr_addr(0)..regs::txr_irq_mod(regs::MAX_RINGS),
    regs::rxr_addr(0)..regs::rxr_irq_mod(regs::MAX_RINGS),
    regs::MBOX..regs::MBOX + 8 + regs::MBOX_VAL_SIZE,
];

/// What makes one card differ from another.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Factory MAC address.
    pub mac: [u8; 6],
    /// Ring pairs, 1 to [`regs::MAX_RINGS`].
    pub rings: usize,
    /// Datapath.
    pub format: Format,
    /// Offloads to announce, or `None` for a plain Agilio.
    pub features: Option<u32>,
}

impl Identity {
    /// MSI-X entries of the card.
    pub fn vectors(&self) -> u16 {
        VECTOR_RING0 + self.rings as u16
    }
}

/// The stored registers.
pub struct Registers {
    bytes: Box<[u8; CTRL_BAR_SIZE]>,
}

impl Registers {
    /// The registers after a reset.
    pub fn new(identity: &Identity) -> Self {
        let mut regs = Self {
            bytes: Box::new([0; CTRL_BAR_SIZE]),
        };
        let (mac_hi, mac_lo) = regs::mac_to_regs(identity.mac);
        regs.set32(regs::MACADDR_HI, mac_hi);
        regs.set16(regs::MACADDR_LO, mac_lo);
        regs.set8(regs::LSC, regs::NO_VECTOR);
        regs.set8(regs::EXN, regs::NO_VECTOR);
        let datapath = match identity.format {
            Format::Nfd3 => 0,
            Format::Nfdk => Version::NFDK,
        };
        regs.set32(regs::VERSION, VERSION | datapath);
        regs.set32(regs::CAP, CAPABILITIES);
        regs.set32(regs::CAP_WORD1, CAPABILITIES_WORD1);
        regs.set32(regs::MAX_TXRINGS, identity.rings as u32);
        regs.set32(regs::MAX_RXRINGS, identity.rings as u32);
        regs.set32(regs::MAX_MTU, MAX_MTU);
        regs.set32(regs::START_TXQ, START_TXQ as u32);
        regs.set32(regs::START_RXQ, START_RXQ as u32);
        regs.set32(regs::RSS_CAP, regs::rss::TOEPLITZ);
        regs.tlvs(identity);
        regs
    }

    fn tlvs(&mut self, identity: &Identity) {
        let wrapped = TLV_AREA - regs::TLV_BASE - Header::SIZE;
        self.header(regs::TLV_BASE, tlv::TLV_RESERVED, wrapped);
        let mut at = TLV_AREA;
        let mut append = |kind, value: &[u8]| {
            self.header(at, kind, value.len());
            at += Header::SIZE;
            self.bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        append(tlv::TLV_ME_FREQ, &ME_FREQ_MHZ.to_le_bytes());
        if let Some(features) = identity.features {
            append(tlv::TLV_ACCELTCP, AccelTcp::new(features).as_bytes());
        }
        append(tlv::TLV_END, &[]);
    }

    fn header(&mut self, at: usize, kind: u16, length: usize) {
        let header = Header {
            kind,
            length: length as u16,
            required: false,
        };
        self.set32(at, header.emit());
    }

    /// Copies bytes from `at` on; bytes outside read as 0.
    pub fn read(&self, at: usize, data: &mut [u8]) {
        for (at, byte) in (at..=usize::MAX).zip(data) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Takes a write of the host; what is not writable stays.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        for (at, &byte) in (at..=usize::MAX).zip(data) {
            if WRITABLE.iter().any(|range| range.contains(&at)) {
                self.bytes[at] = byte;
            }
        }
    }

    /// Byte at `at`.
    pub fn get8(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    /// Little-endian u16 at `at`.
    pub fn get16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// Little-endian u32 at `at`.
    pub fn get32(&self, at: usize) -> u32 {
        u32::from(self.get16(at)) | u32::from(self.get16(at + 2)) << 16
    }

    /// Little-endian u64 at `at`.
    pub fn get64(&self, at: usize) -> u64 {
        u64::from(self.get32(at)) | u64::from(self.get32(at + 4)) << 32
    }

    /// `N` bytes at `at`.
    pub fn get_bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.bytes[at + i])
    }

    fn set8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    fn set16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets bytes from `at` on, from the card's side.
    pub fn set_bytes(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Sets a register, from the card's side.
    pub fn set32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

const _: () = {
    assert!(SUBSYSTEM_DEVICE == 0x4001);
    assert!((TLV_AREA - regs::TLV_BASE - Header::SIZE) % 4 == 0);
    assert!(regs::MBOX + 8 + regs::MBOX_VAL_SIZE <= TLV_AREA);
};

#[cfg(test)]
mod tests {
    use super::*;
    use acceltcp_abi::tlv::features;
    use zerocopy::FromBytes;

    fn identity(features: Option<u32>) -> Identity {
        Identity {
            mac: [0x02, 0x15, 0x4d, 1, 2, 3],
            rings: 8,
            format: Format::Nfd3,
            features,
        }
    }

    /// Walks the TLVs as a driver does.
    fn tlvs(regs: &Registers) -> Vec<(u16, Vec<u8>)> {
        let mut found = Vec::new();
        let mut at = regs::TLV_BASE;
        loop {
            let header = Header::parse(regs.get32(at)).unwrap();
            assert!(!header.required);
            at += Header::SIZE;
            let mut value = vec![0; usize::from(header.length)];
            regs.read(at, &mut value);
            at += value.len();
            found.push((header.kind, value));
            if header.kind == tlv::TLV_END {
                return found;
            }
        }
    }

    #[test]
    fn tlvs_announce_the_card() {
        let regs = Registers::new(&identity(Some(features::SETUP)));
        let found = tlvs(&regs);
        let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [
                tlv::TLV_RESERVED,
                tlv::TLV_ME_FREQ,
                tlv::TLV_ACCELTCP,
                tlv::TLV_END
            ]
        );
        assert_eq!(found[1].1, 1200_u32.to_le_bytes());
        let value = AccelTcp::read_from_bytes(&found[2].1).unwrap();
        assert!(value.is_compatible());
        assert_eq!(value.features.get(), features::SETUP);
    }

    #[test]
    fn a_plain_card_has_no_private_tlv() {
        let regs = Registers::new(&identity(None));
        assert!(tlvs(&regs)
            .iter()
            .all(|(kind, _)| *kind != tlv::TLV_ACCELTCP));
    }

    #[test]
    fn capabilities_and_tlvs_are_read_only() {
        let mut regs = Registers::new(&identity(Some(0)));
        let mut before = vec![0; CTRL_BAR_SIZE];
        regs.read(0, &mut before);
        regs.write(0, &vec![0xa5; CTRL_BAR_SIZE]);
        for at in [
            regs::VERSION,
            regs::STS,
            regs::CAP,
            regs::MAX_TXRINGS,
            regs::MAX_RXRINGS,
            regs::MAX_MTU,
            regs::START_TXQ,
            regs::START_RXQ,
            regs::RX_OFFSET,
            regs::RSS_CAP,
            regs::TLV_BASE,
            regs::CAP_WORD1,
            regs::stats::RX_DISCARDS,
            TLV_AREA,
            TLV_AREA + 4,
            CTRL_BAR_SIZE - 1,
        ] {
            assert_eq!(regs.get8(at), before[at], "{at:#x}");
        }
        for at in [
            regs::CTRL,
            regs::UPDATE,
            regs::MTU,
            regs::EXN,
            regs::CTRL_WORD1,
            regs::RSS_ITBL,
            regs::rxr_vec(7),
        ] {
            assert_eq!(regs.get8(at), 0xa5, "{at:#x}");
        }
    }

    #[test]
    fn accesses_of_any_size_agree() {
        let mut regs = Registers::new(&identity(None));
        regs.write(
            regs::txr_addr(3),
            &0x1122_3344_5566_7788_u64.to_le_bytes()[..4],
        );
        regs.write(regs::txr_addr(3) + 4, &[0x44, 0x33]);
        regs.write(regs::txr_addr(3) + 6, &[0x22]);
        regs.write(regs::txr_addr(3) + 7, &[0x11]);
        assert_eq!(regs.get64(regs::txr_addr(3)), 0x1122_3344_5566_7788);
    }

    #[test]
    fn the_outside_is_harmless() {
        let mut regs = Registers::new(&identity(None));
        let mut data = [0xff; 8];
        regs.read(CTRL_BAR_SIZE - 4, &mut data);
        assert_eq!(data[4..], [0; 4]);
        regs.write(CTRL_BAR_SIZE - 4, &[1; 8]);
    }
}
