// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PCI configuration space of the VF.
//!
//! BARs and MSI-X are emulated by the VMM; what matters here is that it finds the right types and capabilities,
//! that a guest can size and read back what it writes, and the writes that act: the command register and FLR.

use acceltcp_abi::{pci, regs};

/// Bytes of the configuration space of a PCI Express function.
pub const SIZE: usize = 0x1000;

/// Bytes of BAR 0: the control BAR with MSI-X table and pending bits behind it.
pub const BAR0_SIZE: usize = 0x1_0000;
/// Bytes of BAR 2, the queue controller: 256 queues.
pub const BAR2_SIZE: usize = 0x8_0000;
/// Place of the MSI-X table in BAR 0.
pub const MSIX_TABLE: usize = pci::CTRL_BAR_SIZE;
/// Place of the MSI-X pending bits in BAR 0.
pub const MSIX_PBA: usize = 0x9000;

const COMMAND: usize = 0x04;
const COMMAND_MASTER: u8 = 1 << 2;
const STATUS: usize = 0x06;
const STATUS_CAP_LIST: u16 = 1 << 4;
const BAR: usize = 0x10;
const BAR_64BIT_PREFETCH: u32 = 0xc;
const CAP_POINTER: usize = 0x34;

// Capabilities stand where real cards have them.
const PM: usize = 0x80;
const PM_CSR: usize = PM + 4;
const PM_CSR_STATE: u8 = 3;
const MSIX: usize = 0xb0;
const EXPRESS: usize = 0xc0;
const EXPRESS_DEVCTL: usize = EXPRESS + 8;
const EXPRESS_DEVCTL_FLR: u16 = 1 << 15;

/// What a write did beyond changing bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// A function level reset was asked for.
    pub flr: bool,
}

/// The configuration space.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: Box<[u8; SIZE]>,
    writable: Box<[u8; SIZE]>,
}

impl ConfigSpace {
    /// The space of a VF with `vectors` MSI-X entries (1 to 2048).
    pub fn new(vectors: u16) -> Self {
        let mut space = Self {
            bytes: Box::new([0; SIZE]),
            writable: Box::new([0; SIZE]),
        };
        space.header();
        space.power_management();
        space.msix(vectors);
        space.express();
        space
    }

    fn header(&mut self) {
        self.set16(0x00, pci::VENDOR_NETRONOME, 0);
        self.set16(0x02, pci::DEVICE_NFP6000_VF, 0);
        // I/O space is not there; memory, master, parity, SERR and INTx disable are.
        self.set16(COMMAND, 0, 0x0546);
        self.set16(STATUS, STATUS_CAP_LIST, 0);
        // Class 02 00 00: Ethernet controller.
        self.set32(0x08, 0x0200_0000, 0);
        self.set16(0x0c, 0, 0x00ff);
        self.bar(0, BAR0_SIZE);
        self.bar(2, BAR2_SIZE);
        self.set16(0x2c, pci::VENDOR_NETRONOME, 0);
        self.set16(0x2e, pci::SUBSYSTEM_DEVICE, 0);
        self.set16(CAP_POINTER, PM as u16, 0);
        self.set16(0x3c, 0, 0x00ff);
    }

    fn bar(&mut self, number: usize, size: usize) {
        let mask = !(size as u32 - 1);
        self.set32(BAR + 4 * number, BAR_64BIT_PREFETCH, mask);
        self.set32(BAR + 4 * number + 4, 0, u32::MAX);
    }

    fn power_management(&mut self) {
        self.set16(PM, 0x01 | (MSIX as u16) << 8, 0);
        // Version 3, D3hot, no PME.
        self.set16(PM + 2, 0x0003, 0);
        // No soft reset on the way from D3hot to D0.
        self.set16(PM_CSR, 1 << 3, u16::from(PM_CSR_STATE));
    }

    fn msix(&mut self, vectors: u16) {
        self.set16(MSIX, 0x11 | (EXPRESS as u16) << 8, 0);
        self.set16(MSIX + 2, (vectors - 1) & 0x7ff, 0xc000);
        self.set32(MSIX + 4, MSIX_TABLE as u32 | pci::CTRL_BAR, 0);
        self.set32(MSIX + 8, MSIX_PBA as u32 | pci::CTRL_BAR, 0);
    }

    fn express(&mut self) {
        self.set16(EXPRESS, 0x10, 0);
        // Version 2, endpoint.
        self.set16(EXPRESS + 2, 0x0002, 0);
        // 256-byte payload, role-based error reporting, FLR.
        self.set32(EXPRESS + 4, 1 | 1 << 15 | 1 << 28, 0);
        self.set16(EXPRESS_DEVCTL, 0x2810, !EXPRESS_DEVCTL_FLR);
        // Link: 8 GT/s, 8 lanes.
        self.set32(EXPRESS + 0x0c, 3 | 8 << 4, 0);
        self.set16(EXPRESS + 0x10, 0, 0x0fff);
        self.set16(EXPRESS + 0x12, 3 | 8 << 4, 0);
    }

    /// Copies bytes from `offset` on; bytes outside the space read as 0xff.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..=u64::MAX).zip(data) {
            let at = usize::try_from(at).unwrap_or(SIZE);
            *byte = self.bytes.get(at).copied().unwrap_or(0xff);
        }
    }

    /// Writes `data` from `offset` on, where it is writable.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Effects {
        let mut effects = Effects::default();
        for (at, &byte) in (offset..=u64::MAX).zip(data) {
            let Some(at) = usize::try_from(at).ok().filter(|&at| at < SIZE) else {
                break;
            };
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
            if at == EXPRESS_DEVCTL + 1 && byte & (EXPRESS_DEVCTL_FLR >> 8) as u8 != 0 {
                effects.flr = true;
            }
        }
        effects
    }

    /// Whether the function may read and write host memory: bus master on, and in D0.
    pub fn may_dma(&self) -> bool {
        self.bytes[COMMAND] & COMMAND_MASTER != 0 && self.bytes[PM_CSR] & PM_CSR_STATE == 0
    }

    fn set16(&mut self, at: usize, value: u16, writable: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 2].copy_from_slice(&writable.to_le_bytes());
    }

    fn set32(&mut self, at: usize, value: u32, writable: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 4].copy_from_slice(&writable.to_le_bytes());
    }
}

const _: () = {
    // Table and pending bits must not cover what the driver maps, and every ring needs its queues.
    assert!(MSIX_TABLE >= pci::CTRL_BAR_SIZE && MSIX_PBA < BAR0_SIZE);
    assert!(BAR2_SIZE >= regs::MAX_RINGS * 4 * acceltcp_abi::qc::QUEUE_SIZE);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn read32(space: &ConfigSpace, at: u64) -> u32 {
        let mut word = [0; 4];
        space.read(at, &mut word);
        u32::from_le_bytes(word)
    }

    #[test]
    fn identity() {
        let space = ConfigSpace::new(10);
        assert_eq!(read32(&space, 0), 0x6003_19ee);
        assert_eq!(read32(&space, 0x2c), 0x4001_19ee);
        assert_eq!(read32(&space, 0x08) >> 8, 0x02_0000);
    }

    #[test]
    fn bars_can_be_sized_and_placed() {
        let mut space = ConfigSpace::new(10);
        for (bar, size) in [(0x10, BAR0_SIZE), (0x18, BAR2_SIZE)] {
            space.write(bar, &[0xff; 8]);
            assert_eq!(read32(&space, bar), !(size as u32 - 1) | 0xc);
            assert_eq!(read32(&space, bar + 4), u32::MAX);
            space.write(bar, &0x12_3480_0000_u64.to_le_bytes());
            assert_eq!(read32(&space, bar), 0x3480_000c);
            assert_eq!(read32(&space, bar + 4), 0x12);
        }
        space.write(0x20, &[0xff; 8]);
        assert_eq!(read32(&space, 0x20), 0, "BAR 4 is not there");
    }

    #[test]
    fn capability_list_is_walkable() {
        let space = ConfigSpace::new(10);
        let mut at = u64::from(read32(&space, 0x34) as u8);
        let mut ids = Vec::new();
        while at != 0 {
            let header = read32(&space, at);
            ids.push(header as u8);
            at = u64::from((header >> 8) as u8);
        }
        assert_eq!(ids, [0x01, 0x11, 0x10]);
        assert_eq!(
            read32(&space, MSIX as u64) >> 16,
            9,
            "table size is less one"
        );
    }

    #[test]
    fn identity_is_read_only() {
        let mut space = ConfigSpace::new(10);
        space.write(0, &[0; 4]);
        space.write(0x2c, &[0; 4]);
        assert_eq!(read32(&space, 0), 0x6003_19ee);
        assert_eq!(read32(&space, 0x2c), 0x4001_19ee);
    }

    #[test]
    fn bus_master_and_power_state_gate_dma() {
        let mut space = ConfigSpace::new(10);
        assert!(!space.may_dma());
        space.write(COMMAND as u64, &[0x06, 0]);
        assert!(space.may_dma());
        space.write(PM_CSR as u64, &[3]);
        assert!(!space.may_dma());
        space.write(PM_CSR as u64, &[0]);
        assert!(space.may_dma());
    }

    #[test]
    fn flr_acts_and_reads_as_zero() {
        let mut space = ConfigSpace::new(10);
        let effects = space.write(EXPRESS_DEVCTL as u64, &0xa810_u16.to_le_bytes());
        assert!(effects.flr);
        assert_eq!(read32(&space, EXPRESS_DEVCTL as u64) as u16, 0x2810);
        assert!(!space.write(EXPRESS_DEVCTL as u64, &[0x10, 0x28]).flr);
    }

    #[test]
    fn outside_is_harmless() {
        let mut space = ConfigSpace::new(10);
        let mut data = [0; 8];
        space.read(SIZE as u64 - 4, &mut data);
        assert_eq!(data, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        space.write(u64::MAX - 1, &[1]);
        space.read(u64::MAX - 1, &mut data[..1]);
        assert_eq!(data[0], 0xff);
    }
}
