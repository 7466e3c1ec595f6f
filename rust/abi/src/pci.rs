// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PCI identity of the vNIC, its BARs and its interrupt vectors.

/// PCI vendor ID of Netronome.
pub const VENDOR_NETRONOME: u16 = 0x19ee;
/// PCI vendor ID of Corigine, which took the product over.
pub const VENDOR_CORIGINE: u16 = 0x1da8;
/// PCI device ID of a VF of an NFP-4000, -5000 or -6000.
pub const DEVICE_NFP6000_VF: u16 = 0x6003;
/// PCI device ID of a VF of an NFP-3800.
pub const DEVICE_NFP3800_VF: u16 = 0x3803;
/// PCI subsystem device ID that the model shows, as read off real cards.
pub const SUBSYSTEM_DEVICE: u16 = 0x4001;

/// BAR number of the control BAR ("`NFP_NET_CTRL_BAR`").
pub const CTRL_BAR: u32 = 0;
/// BAR number of the queue controller ("`NFP_NET_Q0_BAR`").
pub const QC_BAR: u32 = 2;
/// Bytes of the control BAR that a driver maps.
pub const CTRL_BAR_SIZE: usize = 0x8000;

/// Bits of an address that an NFP-6000 can reach by DMA with NFD3.
pub const DMA_BITS: u32 = 40;

/// MSI-X entry for a change of the link state.
pub const VECTOR_LSC: u16 = 0;
/// MSI-X entry for exceptions; no firmware known uses it.
pub const VECTOR_EXN: u16 = 1;
/// First MSI-X entry for ring pairs; ring pair *i* has entry `VECTOR_RING0 + i`.
pub const VECTOR_RING0: u16 = 2;
/// A driver needs at least this many vectors (LSC, EXN, one ring pair).
pub const MIN_VECTORS: u16 = 3;
