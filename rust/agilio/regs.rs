// SPDX-License-Identifier: GPL-2.0

//! The BARs of the vNIC.
//!
//! Offsets are those of `acceltcp_abi::regs`, all of them below the size of the control BAR, which is
//! checked when it is mapped; an offset that is not reads as all ones, as from a card that is gone.

use acceltcp_abi::{
    pci as ids,
    qc,
    regs, //
};
use kernel::{
    device::Bound,
    io::Io,
    pci,
    prelude::*, //
};

/// Control BAR and queue controller of one vNIC.
pub(crate) struct Regs<'a> {
    ctrl: pci::Bar<'a>,
    queues: pci::Bar<'a>,
    tx_start: usize,
    rx_start: usize,
}

impl<'a> Regs<'a> {
    /// Maps the BARs. `ENODEV` when they are too small or the queues lie outside.
    pub(crate) fn new(pdev: &'a pci::Device<Bound>) -> Result<Self> {
        let ctrl = pdev.iomap_region(ids::CTRL_BAR, c"acceltcp")?;
        let queues = pdev.iomap_region(ids::QC_BAR, c"acceltcp")?;
        if (&ctrl).size() < ids::CTRL_BAR_SIZE {
            dev_err!(pdev, "control BAR has {} bytes only\n", (&ctrl).size());
            return Err(ENODEV);
        }
        let mut this = Self {
            ctrl,
            queues,
            tx_start: 0,
            rx_start: 0,
        };
        this.tx_start = this.read32(regs::START_TXQ) as usize;
        this.rx_start = this.read32(regs::START_RXQ) as usize;
        Ok(this)
    }

    /// Whether the queues of `rings` ring pairs are within the BAR.
    pub(crate) fn has_queues(&self, rings: usize) -> bool {
        let size = (&self.queues).size();
        let end = |start: usize| {
            (rings.checked_sub(1))
                .and_then(|last| {
                    last.checked_mul(qc::QUEUE_STRIDE)?
                        .checked_add(start)?
                        .checked_add(2)
                })
                .and_then(|queue| queue.checked_mul(qc::QUEUE_SIZE))
        };
        [self.tx_start, self.rx_start]
            .into_iter()
            .all(|start| end(start).is_some_and(|end| end <= size))
    }

    /// Reads 16 bits.
    pub(crate) fn read16(&self, offset: usize) -> u16 {
        self.ctrl.try_read16(offset).unwrap_or(!0)
    }

    /// Reads 32 bits.
    pub(crate) fn read32(&self, offset: usize) -> u32 {
        self.ctrl.try_read32(offset).unwrap_or(!0)
    }

    /// Reads 64 bits.
    pub(crate) fn read64(&self, offset: usize) -> u64 {
        self.ctrl.try_read64(offset).unwrap_or(!0)
    }

    /// Writes a byte.
    pub(crate) fn write8(&self, offset: usize, value: u8) {
        let _ = self.ctrl.try_write8(value, offset);
    }

    /// Writes 16 bits.
    pub(crate) fn write16(&self, offset: usize, value: u16) {
        let _ = self.ctrl.try_write16(value, offset);
    }

    /// Writes 32 bits.
    pub(crate) fn write32(&self, offset: usize, value: u32) {
        let _ = self.ctrl.try_write32(value, offset);
    }

    /// Writes 64 bits.
    pub(crate) fn write64(&self, offset: usize, value: u64) {
        let _ = self.ctrl.try_write64(value, offset);
    }

    /// The card's MAC address.
    pub(crate) fn mac(&self) -> [u8; 6] {
        regs::mac_from_regs(self.read32(regs::MACADDR_HI), self.read16(regs::MACADDR_LO))
    }

    /// Writes a MAC address; the card takes it with a reconfiguration.
    pub(crate) fn set_mac(&self, mac: [u8; 6]) {
        let (hi, lo) = regs::mac_to_regs(mac);
        self.write32(regs::MACADDR_HI, hi);
        self.write16(regs::MACADDR_LO, lo);
    }

    /// Offset of the doorbell of TX ring `ring`.
    pub(crate) fn tx_doorbell(&self, ring: usize) -> usize {
        qc::register(qc::ring_queue(self.tx_start, ring), qc::ADD_WPTR)
    }

    /// Offset of the read pointer of TX ring `ring`.
    pub(crate) fn tx_status(&self, ring: usize) -> usize {
        qc::register(qc::ring_queue(self.tx_start, ring), qc::STS_LO)
    }

    /// Offset of the doorbell of freelist `ring`.
    pub(crate) fn freelist_doorbell(&self, ring: usize) -> usize {
        qc::register(qc::ring_queue(self.rx_start, ring), qc::ADD_WPTR)
    }

    /// Offset of the doorbell of the configuration queue.
    pub(crate) fn config_doorbell(&self) -> usize {
        qc::register(self.tx_start + qc::CONFIG_QUEUE, qc::ADD_WPTR)
    }

    /// Reads a status register of the queue controller.
    pub(crate) fn queue_status(&self, register: usize) -> u32 {
        self.queues.try_read32(register).unwrap_or(0)
    }

    /// Adds `count` to a write pointer. Orders what was written to memory before it.
    pub(crate) fn ring(&self, doorbell: usize, count: u32) {
        let _ = self.queues.try_write32(count, doorbell);
    }
}
