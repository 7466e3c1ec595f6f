// SPDX-License-Identifier: GPL-2.0

//! What the card can do: version, capabilities and TLVs.

use super::regs::Regs;
use acceltcp_abi::{
    mbox,
    pci as ids,
    regs::{
        self,
        ctrl,
        ctrl1,
        Version, //
    },
    tlv, //
};
use kernel::{
    device,
    prelude::*, //
};

/// Bits of the control word that this driver uses.
const CTRL_SUPPORTED: u32 = ctrl::PROMISC
    | ctrl::L2BC
    | ctrl::L2MC
    | ctrl::RXCSUM
    | ctrl::TXCSUM
    | ctrl::GATHER
    | ctrl::TXRWB
    | ctrl::LSO2
    | ctrl::RSS2
    | ctrl::IRQMOD
    | ctrl::CSUM_COMPLETE
    | ctrl::LIVE_ADDR;

/// Clock of the card where no TLV says otherwise, in MHz (as `nfp_net_tlv_caps_parse()` takes it).
const DEFAULT_ME_MHZ: u32 = 1200;
/// The card counts time in ticks of this many cycles.
const CYCLES_PER_TICK: u32 = 16;
/// Most ring pairs that this driver uses.
pub(crate) const MAX_RINGS: u32 = 32;

/// What a card can do, as far as the driver knows.
pub(crate) struct Caps {
    /// Firmware ABI version.
    pub(crate) version: Version,
    /// Bits of the control word that card and driver know.
    pub(crate) ctrl: u32,
    /// Bits of control word 1 that card and driver know.
    pub(crate) ctrl1: u32,
    /// Ring pairs that the card has, limited to [`MAX_RINGS`].
    pub(crate) rings: u32,
    /// Largest MTU in bytes.
    pub(crate) max_mtu: u32,
    /// Where a frame starts in its buffer; `None` = right behind its metadata.
    pub(crate) rx_offset: Option<usize>,
    /// Ticks of the interrupt moderation a microsecond.
    pub(crate) ticks_per_us: u32,
    /// Place of the mailbox, when there is one.
    pub(crate) mbox: Option<usize>,
    /// Bytes for a message there.
    pub(crate) mbox_room: usize,
    /// The AccelTCP extension, when the firmware has it.
    pub(crate) acceltcp: Option<tlv::AccelTcp>,
}

impl Caps {
    /// Reads and checks what the card says. `ENODEV` when this driver cannot drive it.
    pub(crate) fn read(dev: &device::Device, regs: &Regs<'_>) -> Result<Self> {
        let version = Version(regs.read32(regs::VERSION));
        if version.0 == !0 {
            dev_err!(dev, "card does not answer\n");
            return Err(ENODEV);
        }
        if !version.is_known() {
            dev_err!(dev, "unknown firmware ABI {:#x}\n", version.0);
            return Err(ENODEV);
        }
        if version.is_nfdk() {
            dev_err!(
                dev,
                "firmware uses the NFDK datapath, this driver knows NFD3 only\n"
            );
            return Err(ENODEV);
        }

        let rings = regs
            .read32(regs::MAX_TXRINGS)
            .min(regs.read32(regs::MAX_RXRINGS))
            .min(MAX_RINGS);
        if rings == 0 || !regs.has_queues(rings as usize) {
            dev_err!(dev, "queues of {} rings are outside of the BAR\n", rings);
            return Err(ENODEV);
        }

        let rx_offset = match regs.read32(regs::RX_OFFSET) as usize {
            0 => None,
            offset if version.major() >= 2 && offset <= acceltcp_abi::nfd3::RX_META_MAX => {
                Some(offset)
            }
            offset => {
                dev_err!(dev, "RX offset {} is out of range\n", offset);
                return Err(ENODEV);
            }
        };

        let mut caps = Self {
            version,
            ctrl: regs.read32(regs::CAP) & CTRL_SUPPORTED,
            ctrl1: regs.read32(regs::CAP_WORD1) & ctrl1::MCAST_FILTER,
            rings,
            max_mtu: regs.read32(regs::MAX_MTU),
            rx_offset,
            ticks_per_us: DEFAULT_ME_MHZ / CYCLES_PER_TICK,
            mbox: Some(regs::MBOX),
            mbox_room: regs::MBOX_VAL_SIZE,
            acceltcp: None,
        };
        caps.read_tlvs(dev, regs)?;
        Ok(caps)
    }

    /// Walks the TLVs. Ends at the mandatory end, or with `EINVAL` at anything out of order.
    fn read_tlvs(&mut self, dev: &device::Device, regs: &Regs<'_>) -> Result {
        let mut at = regs::TLV_BASE;
        if regs.read32(at) == 0 {
            return Ok(());
        }
        while at + tlv::Header::SIZE <= ids::CTRL_BAR_SIZE {
            let header = tlv::Header::parse(regs.read32(at)).map_err(|word| {
                dev_err!(dev, "TLV {:#x} at {:#x} has a bad length\n", word, at);
                EINVAL
            })?;
            let value = at + tlv::Header::SIZE;
            let length = usize::from(header.length);
            if value + length > ids::CTRL_BAR_SIZE {
                break;
            }
            match header.kind {
                tlv::TLV_END if length == 0 => return Ok(()),
                tlv::TLV_RESERVED => {}
                tlv::TLV_ME_FREQ if length == 4 => {
                    self.ticks_per_us = (regs.read32(value) / CYCLES_PER_TICK).max(1);
                }
                tlv::TLV_MBOX => {
                    self.mbox = (length > mbox::VAL).then_some(value);
                    self.mbox_room = length.saturating_sub(mbox::VAL);
                }
                tlv::TLV_ACCELTCP => self.acceltcp = read_acceltcp(dev, regs, value, length),
                kind if header.required => {
                    dev_err!(dev, "firmware needs a driver that knows TLV {}\n", kind);
                    return Err(EINVAL);
                }
                _ => {}
            }
            at = value + length;
        }
        dev_err!(dev, "TLVs do not end within the BAR\n");
        Err(EINVAL)
    }

    /// Whether the firmware sets connections up.
    pub(crate) fn sets_up(&self) -> bool {
        self.mbox.is_some()
            && self
                .acceltcp
                .is_some_and(|found| found.features.get() & tlv::features::SETUP != 0)
    }

    /// Whether the firmware ends connections.
    pub(crate) fn tears_down(&self) -> bool {
        self.sets_up()
            && self
                .acceltcp
                .is_some_and(|found| found.features.get() & tlv::features::TEARDOWN != 0)
    }

    /// Whether the firmware relays spliced connections.
    pub(crate) fn splices(&self) -> bool {
        self.tears_down()
            && self
                .acceltcp
                .is_some_and(|found| found.features.get() & tlv::features::SPLICE != 0)
    }

    /// Whether the firmware has an access list.
    pub(crate) fn filters(&self) -> bool {
        self.mbox.is_some()
            && self
                .acceltcp
                .is_some_and(|found| found.features.get() & tlv::features::ACL != 0)
    }

    /// Whether the firmware lists the connections that it ends.
    pub(crate) fn lists_flows(&self) -> bool {
        self.tears_down()
            && self
                .acceltcp
                .is_some_and(|found| found.features.get() & tlv::features::FLOWS != 0)
    }

    /// Whether the firmware says whose connections have ended.
    pub(crate) fn tells_owners(&self) -> bool {
        self.tears_down()
            && self
                .acceltcp
                .is_some_and(|found| found.features.get() & tlv::features::OWNERS != 0)
    }

    /// Whether the card has all of `bits` of the control word.
    pub(crate) fn has(&self, bits: u32) -> bool {
        self.ctrl & bits == bits
    }
}

/// Reads the AccelTCP TLV. `None`, and a message, when the extension is not one that this driver knows.
fn read_acceltcp(
    dev: &device::Device,
    regs: &Regs<'_>,
    value: usize,
    length: usize,
) -> Option<tlv::AccelTcp> {
    let mut bytes = [0; tlv::AccelTcp::SIZE];
    for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
        if index * 4 < length {
            word.copy_from_slice(&regs.read32(value + index * 4).to_le_bytes());
        }
    }
    let found = tlv::AccelTcp::read_from_bytes(&bytes).ok()?;
    if !found.is_compatible() {
        dev_warn!(
            dev,
            "AccelTCP extension {:#x} is not known, used as a plain NIC\n",
            found.version.get()
        );
        return None;
    }
    Some(found)
}
