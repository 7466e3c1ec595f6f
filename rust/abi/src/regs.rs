// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Registers of the control BAR (little endian; any access size).
//!
//! Source: `nfp_net_ctrl.h` of Linux 7.3.

/// Control word 0 (u32), bits [`ctrl`].
pub const CTRL: usize = 0x00;
/// What a reconfiguration updates (u32), bits [`update`]; the device clears it when done.
pub const UPDATE: usize = 0x04;
/// Mask of enabled TX rings (u64).
pub const TXRS_ENABLE: usize = 0x08;
/// Mask of enabled RX rings (u64).
pub const RXRS_ENABLE: usize = 0x10;
/// MTU in bytes, without the Ethernet header (u32).
pub const MTU: usize = 0x18;
/// Size of a freelist buffer in bytes (u32, but its top byte is [`EXN`]).
pub const FLBUFSZ: usize = 0x1c;
/// MSI-X entry for exceptions (u8), [`NO_VECTOR`] for none.
pub const EXN: usize = 0x1f;
/// MSI-X entry for link state changes (u8), [`NO_VECTOR`] for none.
pub const LSC: usize = 0x20;
/// No MSI-X entry.
pub const NO_VECTOR: u8 = 0xff;
/// First four bytes of the MAC address, big endian in a u32.
pub const MACADDR_HI: usize = 0x24;
/// Last two bytes of the MAC address, big endian in a u16.
pub const MACADDR_LO: usize = 0x2a;
/// Firmware ABI version (u32), see [`Version`].
pub const VERSION: usize = 0x30;
/// Link status (u16): bit 0 up, bits 4:1 rate.
pub const STS: usize = 0x34;
/// Capabilities (u32), bits [`ctrl`].
pub const CAP: usize = 0x38;
/// Most TX rings that the device has (u32).
pub const MAX_TXRINGS: usize = 0x3c;
/// Most RX rings that the device has (u32).
pub const MAX_RXRINGS: usize = 0x40;
/// Largest MTU (u32).
pub const MAX_MTU: usize = 0x44;
/// Hardware queue of TX ring 0 (u32).
pub const START_TXQ: usize = 0x48;
/// Hardware queue of freelist 0 (u32).
pub const START_RXQ: usize = 0x4c;
/// Where a received frame starts in its buffer (u32), 0 = right behind its metadata.
pub const RX_OFFSET: usize = 0x50;
/// Hash functions that RSS offers (u32), in bits 31:24.
pub const RSS_CAP: usize = 0x54;
/// Start of the TLVs. An area of the BAR, not a pointer to it.
pub const TLV_BASE: usize = 0x58;
/// Control word 1 (u32), bits [`ctrl1`].
pub const CTRL_WORD1: usize = 0x98;
/// Capabilities word 1 (u32), bits [`ctrl1`].
pub const CAP_WORD1: usize = 0xa4;

/// RSS control (u32), bits [`rss`].
pub const RSS_CTRL: usize = 0x100;
/// Toeplitz key.
pub const RSS_KEY: usize = 0x104;
/// Bytes of the Toeplitz key.
pub const RSS_KEY_SIZE: usize = 40;
/// Indirection table, one byte an entry.
pub const RSS_ITBL: usize = 0x12c;
/// Entries of the indirection table.
pub const RSS_ITBL_SIZE: usize = 128;

/// Most rings of a kind that the register map has room for.
pub const MAX_RINGS: usize = 64;

/// DMA address of TX ring `ring` (u64).
pub const fn txr_addr(ring: usize) -> usize {
    0x200 + ring * 8
}
/// DMA address to which the read pointer of TX ring `ring` is written back (u64).
pub const fn txr_wb_addr(ring: usize) -> usize {
    0x400 + ring * 8
}
/// log2 of the descriptors of TX ring `ring` (u8).
pub const fn txr_sz(ring: usize) -> usize {
    0x600 + ring
}
/// MSI-X entry of TX ring `ring` (u8).
pub const fn txr_vec(ring: usize) -> usize {
    0x640 + ring
}
/// Interrupt moderation of TX ring `ring` (u32).
pub const fn txr_irq_mod(ring: usize) -> usize {
    0x700 + ring * 4
}
/// DMA address of RX ring `ring` (u64).
pub const fn rxr_addr(ring: usize) -> usize {
    0x800 + ring * 8
}
/// log2 of the descriptors of RX ring `ring` (u8).
pub const fn rxr_sz(ring: usize) -> usize {
    0xa00 + ring
}
/// MSI-X entry of RX ring `ring` (u8).
pub const fn rxr_vec(ring: usize) -> usize {
    0xa40 + ring
}
/// Interrupt moderation of RX ring `ring` (u32).
pub const fn rxr_irq_mod(ring: usize) -> usize {
    0xb00 + ring * 4
}
/// Interrupt cause of MSI-X entry `entry` (u8). The host writes 0 to unmask.
pub const fn icr(entry: usize) -> usize {
    0xc00 + entry
}
/// Cause: nothing, and the device may fire.
pub const ICR_UNMASKED: u8 = 0;
/// Cause: work on a ring.
pub const ICR_RXTX: u8 = 1;
/// Cause: link state.
pub const ICR_LSC: u8 = 2;

/// Per-ring counters of TX ring `ring`: packets (u64), bytes (u64).
pub const fn txr_stats(ring: usize) -> usize {
    0x1000 + ring * 0x10
}
/// Per-ring counters of RX ring `ring`: packets (u64), bytes (u64).
pub const fn rxr_stats(ring: usize) -> usize {
    0x1400 + ring * 0x10
}

/// Mailbox where no TLV moves it.
pub const MBOX: usize = 0x1800;
/// Bytes of the mailbox' value where no TLV says otherwise.
pub const MBOX_VAL_SIZE: usize = 0x1f8;

/// Bits of [`CTRL`] and [`CAP`].
pub mod ctrl {
    /// Datapath on.
    pub const ENABLE: u32 = 1 << 0;
    /// Receive every frame.
    pub const PROMISC: u32 = 1 << 1;
    /// Receive broadcast.
    pub const L2BC: u32 = 1 << 2;
    /// Receive multicast.
    pub const L2MC: u32 = 1 << 3;
    /// Check received checksums.
    pub const RXCSUM: u32 = 1 << 4;
    /// Fill in sent checksums.
    pub const TXCSUM: u32 = 1 << 5;
    /// Strip VLAN tags, version 1.
    pub const RXVLAN: u32 = 1 << 6;
    /// Insert VLAN tags, version 1.
    pub const TXVLAN: u32 = 1 << 7;
    /// Scatter on receive.
    pub const SCATTER: u32 = 1 << 8;
    /// Gather on send: a frame may take several descriptors.
    pub const GATHER: u32 = 1 << 9;
    /// Large send, version 1.
    pub const LSO: u32 = 1 << 10;
    /// Filter by C-tag.
    pub const CTAG_FILTER: u32 = 1 << 11;
    /// Ring configuration.
    pub const RINGCFG: u32 = 1 << 16;
    /// RSS, version 1.
    pub const RSS: u32 = 1 << 17;
    /// Interrupt moderation.
    pub const IRQMOD: u32 = 1 << 18;
    /// Interrupts unmask themselves.
    pub const MSIXAUTO: u32 = 1 << 20;
    /// The TX read pointer is written back to host memory.
    pub const TXRWB: u32 = 1 << 21;
    /// Large send, version 2 (header length and offsets from the descriptor).
    pub const LSO2: u32 = 1 << 28;
    /// RSS, version 2 (hash in chained metadata).
    pub const RSS2: u32 = 1 << 29;
    /// Received checksum as a sum over the frame.
    pub const CSUM_COMPLETE: u32 = 1 << 30;
    /// The MAC address may change while the datapath is on.
    pub const LIVE_ADDR: u32 = 1 << 31;
}

/// Bits of [`CTRL_WORD1`] and [`CAP_WORD1`].
pub mod ctrl1 {
    /// Multicast filter by mailbox.
    pub const MCAST_FILTER: u32 = 1 << 2;
}

/// Bits of [`UPDATE`].
pub mod update {
    /// General: control word.
    pub const GEN: u32 = 1 << 0;
    /// Rings.
    pub const RING: u32 = 1 << 1;
    /// RSS.
    pub const RSS: u32 = 1 << 2;
    /// MSI-X entries.
    pub const MSIX: u32 = 1 << 5;
    /// Reset of the datapath.
    pub const RESET: u32 = 1 << 7;
    /// Interrupt moderation.
    pub const IRQMOD: u32 = 1 << 8;
    /// MAC address.
    pub const MACADDR: u32 = 1 << 11;
    /// Mailbox.
    pub const MBOX: u32 = 1 << 12;
    /// The device could not do it.
    pub const ERR: u32 = 1 << 31;
}

/// Bits of [`RSS_CTRL`]; the low seven bits are the mask over the indirection table.
pub mod rss {
    /// Mask over the indirection table.
    pub const MASK: u32 = 0x7f;
    /// Hash IPv4 addresses.
    pub const IPV4: u32 = 1 << 8;
    /// Hash IPv6 addresses.
    pub const IPV6: u32 = 1 << 9;
    /// Hash TCP over IPv4.
    pub const IPV4_TCP: u32 = 1 << 10;
    /// Hash UDP over IPv4.
    pub const IPV4_UDP: u32 = 1 << 11;
    /// Hash TCP over IPv6.
    pub const IPV6_TCP: u32 = 1 << 12;
    /// Hash UDP over IPv6.
    pub const IPV6_UDP: u32 = 1 << 13;
    /// Toeplitz, in [`super::RSS_CTRL`] and (as bit 24) in [`super::RSS_CAP`].
    pub const TOEPLITZ: u32 = 1 << 24;
}

/// Bits of [`STS`].
pub mod sts {
    /// Link is up.
    pub const LINK: u16 = 1;
    /// First bit of the rate.
    pub const RATE_SHIFT: u32 = 1;
    /// Bits of the rate.
    pub const RATE_MASK: u16 = 0xf;
    /// Mbit/s by rate code; `None` where the device does not say.
    pub const fn mbits(code: u16) -> Option<u32> {
        match code {
            2 => Some(1_000),
            3 => Some(10_000),
            4 => Some(25_000),
            5 => Some(40_000),
            6 => Some(50_000),
            7 => Some(100_000),
            _ => None,
        }
    }
}

/// Global counters (u64 each), counted from the card's point of view of the host: RX is to the host.
pub mod stats {
    /// Received frames dropped.
    pub const RX_DISCARDS: usize = 0xd00;
    /// Received frames in error.
    pub const RX_ERRORS: usize = 0xd08;
    /// Received octets.
    pub const RX_OCTETS: usize = 0xd10;
    /// Received unicast octets.
    pub const RX_UC_OCTETS: usize = 0xd18;
    /// Received multicast octets.
    pub const RX_MC_OCTETS: usize = 0xd20;
    /// Received broadcast octets.
    pub const RX_BC_OCTETS: usize = 0xd28;
    /// Received frames.
    pub const RX_FRAMES: usize = 0xd30;
    /// Received multicast frames.
    pub const RX_MC_FRAMES: usize = 0xd38;
    /// Received broadcast frames.
    pub const RX_BC_FRAMES: usize = 0xd40;
    /// Distance from a counter of RX to the same one of TX.
    pub const TX: usize = 0x48;
    /// Counters of a direction.
    pub const COUNT: usize = 9;
}

/// Firmware ABI version: `extend`, `class`, `major`, `minor` from the top byte down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

impl Version {
    /// Datapath bit in the extend byte: NFDK when set, NFD3 when clear.
    pub const NFDK: u32 = 1 << 24;

    /// Major number.
    pub const fn major(self) -> u8 {
        (self.0 >> 8) as u8
    }
    /// Minor number.
    pub const fn minor(self) -> u8 {
        self.0 as u8
    }
    /// Class; 0 is the generic one, the only one in use.
    pub const fn class(self) -> u8 {
        (self.0 >> 16) as u8
    }
    /// Whether the datapath is NFDK.
    pub const fn is_nfdk(self) -> bool {
        self.0 & Self::NFDK != 0
    }
    /// Whether a driver that knows ABI majors 1 to 5 may drive this device.
    pub const fn is_known(self) -> bool {
        (self.0 >> 25) == 0 && self.class() == 0 && self.major() >= 1 && self.major() <= 5
    }
}

/// Splits a MAC address into the values of [`MACADDR_HI`] and [`MACADDR_LO`].
pub const fn mac_to_regs(mac: [u8; 6]) -> (u32, u16) {
    (
        u32::from_be_bytes([mac[0], mac[1], mac[2], mac[3]]),
        u16::from_be_bytes([mac[4], mac[5]]),
    )
}

/// Joins the values of [`MACADDR_HI`] and [`MACADDR_LO`] to a MAC address.
pub const fn mac_from_regs(hi: u32, lo: u16) -> [u8; 6] {
    let h = hi.to_be_bytes();
    let l = lo.to_be_bytes();
    [h[0], h[1], h[2], h[3], l[0], l[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_areas_do_not_overlap() {
        assert_eq!(txr_addr(MAX_RINGS), txr_wb_addr(0));
        assert_eq!(txr_wb_addr(MAX_RINGS), txr_sz(0));
        assert_eq!(txr_sz(MAX_RINGS), txr_vec(0));
        assert_eq!(rxr_addr(MAX_RINGS), rxr_sz(0));
        assert_eq!(rxr_irq_mod(MAX_RINGS), icr(0));
        assert_eq!(txr_stats(MAX_RINGS), rxr_stats(0));
        assert_eq!(rxr_stats(MAX_RINGS), MBOX);
        assert_eq!(stats::RX_DISCARDS + stats::TX, 0xd48);
    }

    #[test]
    fn mac_round_trip() {
        let mac = [2, 0x15, 0x4d, 1, 2, 3];
        let (hi, lo) = mac_to_regs(mac);
        assert_eq!((hi, lo), (0x0215_4d01, 0x0203));
        assert_eq!(mac_from_regs(hi, lo), mac);
    }

    #[test]
    fn versions() {
        assert!(Version(0x0000_0503).is_known());
        assert!(Version(0x0100_0503).is_known() && Version(0x0100_0503).is_nfdk());
        assert!(!Version(0x0200_0503).is_known());
        assert!(!Version(0x0001_0503).is_known());
        assert!(!Version(0x0000_0603).is_known());
        assert!(!Version(0).is_known());
    }
}
