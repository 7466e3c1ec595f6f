// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a reconfiguration asks for, read from the registers and checked before anything is changed.

use super::descriptors::Format;
use super::dma::reachable;
use super::registers::{Registers, MAX_MTU};
use crate::offload::rss::Rss;
use acceltcp_abi::nfd3::FreelistDesc;
use acceltcp_abi::regs::{self, ctrl};

/// Bytes of an Ethernet header.
pub const ETH_HLEN: usize = 14;
/// Bytes of a VLAN tag.
const VLAN_HLEN: usize = 4;
/// Smallest MTU that IPv4 allows (RFC 791).
const MIN_MTU: u32 = 68;
/// log2 of the fewest and the most descriptors of a ring.
const RING_SIZE_LOG2: std::ops::RangeInclusive<u8> = 4..=16;
/// Bits of [`regs::FLBUFSZ`]; the byte above is [`regs::EXN`].
const FLBUFSZ_MASK: u32 = 0xff_ffff;

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// The update has bits that the card does not know.
    UnknownUpdate,
    /// A control bit that is not offered.
    NotOffered,
    /// A ring that the card does not have.
    NoSuchRing,
    /// A ring with too few or too many descriptors.
    RingSize,
    /// A ring or write-back address that is not aligned or not reachable.
    Address,
    /// An MSI-X entry that is not there.
    Vector,
    /// An MTU that is too small or too large.
    Mtu,
    /// Freelist buffers that a frame of the MTU does not fit into.
    BufferSize,
}

/// Settings other than rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bits [`ctrl`].
    pub ctrl: u32,
    /// Bits [`regs::ctrl1`].
    pub ctrl1: u32,
    /// Most bytes of a frame behind its Ethernet header.
    pub mtu: usize,
    /// Bytes of a freelist buffer.
    pub buffer_size: usize,
    /// MAC address.
    pub mac: [u8; 6],
    /// Vector for link changes, or [`regs::NO_VECTOR`].
    pub lsc_vector: u8,
    /// Spreading over RX rings.
    pub rss: Rss,
}

/// A TX ring as the host set it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxConfig {
    /// DMA address.
    pub addr: u64,
    /// Descriptors, a power of two.
    pub count: u32,
    /// MSI-X entry.
    pub vector: u8,
    /// Where the read pointer is written back to.
    pub write_back: Option<u64>,
    /// Format of its descriptors.
    pub format: Format,
    /// Whether a frame may take several descriptors.
    pub gather: bool,
}

/// An RX ring as the host set it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RxConfig {
    /// DMA address.
    pub addr: u64,
    /// Descriptors, a power of two.
    pub count: u32,
    /// MSI-X entry.
    pub vector: u8,
    /// Bytes of a buffer.
    pub buffer_size: usize,
}

/// Limits of the card.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Ring pairs.
    pub rings: usize,
    /// MSI-X entries.
    pub vectors: usize,
    /// Format of TX descriptors.
    pub format: Format,
}

impl Settings {
    /// The settings in the registers with the datapath off.
    pub fn off(regs: &Registers) -> Self {
        Self {
            ctrl: 0,
            ..Self::unchecked(regs)
        }
    }

    fn unchecked(regs: &Registers) -> Self {
        Self {
            ctrl: regs.get32(regs::CTRL),
            ctrl1: regs.get32(regs::CTRL_WORD1),
            mtu: regs.get32(regs::MTU) as usize,
            buffer_size: (regs.get32(regs::FLBUFSZ) & FLBUFSZ_MASK) as usize,
            mac: regs::mac_from_regs(regs.get32(regs::MACADDR_HI), regs.get16(regs::MACADDR_LO)),
            lsc_vector: regs.get8(regs::LSC),
            rss: Rss {
                ctrl: regs.get32(regs::RSS_CTRL),
                key: regs.get_bytes(regs::RSS_KEY),
                table: regs.get_bytes(regs::RSS_ITBL),
            },
        }
    }

    /// Reads and checks the settings.
    ///
    /// # Errors
    ///
    /// When they ask for what the card does not have.
    pub fn read(regs: &Registers, limits: Limits) -> Result<Self, ConfigError> {
        let settings = Self::unchecked(regs);
        let offered = regs.get32(regs::CAP);
        let offered1 = regs.get32(regs::CAP_WORD1);
        if settings.ctrl & !offered != 0 || settings.ctrl1 & !offered1 != 0 {
            return Err(ConfigError::NotOffered);
        }
        if !settings.enabled() {
            return Ok(settings);
        }
        let lsc = settings.lsc_vector;
        if lsc != regs::NO_VECTOR && usize::from(lsc) >= limits.vectors {
            return Err(ConfigError::Vector);
        }
        if !(MIN_MTU as usize..=MAX_MTU as usize).contains(&settings.mtu) {
            return Err(ConfigError::Mtu);
        }
        if settings.buffer_size < settings.mtu + ETH_HLEN {
            return Err(ConfigError::BufferSize);
        }
        Ok(settings)
    }

    /// Bytes of the longest frame, a VLAN tag included.
    pub fn max_frame(&self) -> usize {
        self.mtu + ETH_HLEN + VLAN_HLEN
    }

    /// Whether the datapath is on.
    pub fn enabled(&self) -> bool {
        self.has(ctrl::ENABLE)
    }

    /// Whether a bit of [`ctrl`] is set.
    pub fn has(&self, bit: u32) -> bool {
        self.ctrl & bit != 0
    }
}

/// Reads and checks the TX rings; `None` for one that is off.
///
/// # Errors
///
/// When a ring is not usable.
pub fn tx_rings(
    regs: &Registers,
    settings: &Settings,
    limits: Limits,
) -> Result<Vec<Option<TxConfig>>, ConfigError> {
    let format = limits.format;
    // With NFDK even one buffer may take several descriptors.
    let gather = settings.has(ctrl::GATHER) || format == Format::Nfdk;
    each_ring(regs.get64(regs::TXRS_ENABLE), settings, limits, |ring| {
        let mut write_back = None;
        if settings.has(ctrl::TXRWB) {
            let addr = regs.get64(regs::txr_wb_addr(ring));
            area(addr, 1, 8)?;
            write_back = Some(addr);
        }
        let count = ring_size(regs.get8(regs::txr_sz(ring)))?;
        let addr = regs.get64(regs::txr_addr(ring));
        area(addr, count, format.desc_size())?;
        Ok(TxConfig {
            addr,
            count,
            vector: vector(regs.get8(regs::txr_vec(ring)), limits)?,
            write_back,
            format,
            gather,
        })
    })
}

/// Reads and checks the RX rings; `None` for one that is off.
///
/// # Errors
///
/// When a ring is not usable.
pub fn rx_rings(
    regs: &Registers,
    settings: &Settings,
    limits: Limits,
) -> Result<Vec<Option<RxConfig>>, ConfigError> {
    each_ring(regs.get64(regs::RXRS_ENABLE), settings, limits, |ring| {
        let count = ring_size(regs.get8(regs::rxr_sz(ring)))?;
        let addr = regs.get64(regs::rxr_addr(ring));
        area(addr, count, FreelistDesc::SIZE)?;
        Ok(RxConfig {
            addr,
            count,
            vector: vector(regs.get8(regs::rxr_vec(ring)), limits)?,
            buffer_size: settings.buffer_size,
        })
    })
}

fn each_ring<T>(
    mask: u64,
    settings: &Settings,
    limits: Limits,
    mut read: impl FnMut(usize) -> Result<T, ConfigError>,
) -> Result<Vec<Option<T>>, ConfigError> {
    let mask = if settings.enabled() { mask } else { 0 };
    if mask.checked_shr(limits.rings as u32).unwrap_or(0) != 0 {
        return Err(ConfigError::NoSuchRing);
    }
    (0..limits.rings)
        .map(|ring| match mask >> ring & 1 {
            0 => Ok(None),
            _ => read(ring).map(Some),
        })
        .collect()
}

fn ring_size(log2: u8) -> Result<u32, ConfigError> {
    if RING_SIZE_LOG2.contains(&log2) {
        Ok(1 << log2)
    } else {
        Err(ConfigError::RingSize)
    }
}

fn area(addr: u64, count: u32, size: usize) -> Result<(), ConfigError> {
    if addr % size as u64 != 0 || reachable(addr, count as usize * size).is_err() {
        return Err(ConfigError::Address);
    }
    Ok(())
}

fn vector(entry: u8, limits: Limits) -> Result<u8, ConfigError> {
    if usize::from(entry) < limits.vectors {
        Ok(entry)
    } else {
        Err(ConfigError::Vector)
    }
}
