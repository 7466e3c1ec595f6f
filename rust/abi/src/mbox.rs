// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Mailbox commands, carried out by a reconfiguration with [`crate::regs::update::MBOX`].

/// Command (u32). A write of 8 bytes clears [`RET`] too.
pub const CMD: usize = 0x0;
/// Result (u32): 0 or a positive errno.
pub const RET: usize = 0x4;
/// Value of the command.
pub const VAL: usize = 0x8;

/// Adds a VLAN to the C-tag filter: vid (u16), protocol (u16).
pub const CMD_CTAG_FILTER_ADD: u32 = 1;
/// Removes a VLAN from the C-tag filter.
pub const CMD_CTAG_FILTER_KILL: u32 = 2;
/// Adds a multicast address: [`crate::regs::mac_to_regs`] as u32 at [`VAL`], u16 at [`MCAST_LO`].
pub const CMD_MULTICAST_ADD: u32 = 8;
/// Removes a multicast address.
pub const CMD_MULTICAST_DEL: u32 = 9;
/// Place of the last two bytes of a multicast address.
pub const MCAST_LO: usize = 0xe;

/// First command that belongs to AccelTCP; upstream never sends one. It carries a message of [`super::cmd`]
/// at [`VAL`], and the reply comes back in the same place.
pub const CMD_ACCELTCP_BASE: u32 = 0x8000;

/// Errno in [`RET`] for a command that the device does not know (`EOPNOTSUPP`).
pub const EOPNOTSUPP: u32 = 95;
/// Errno in [`RET`] for a bad value (`EINVAL`).
pub const EINVAL: u32 = 22;
/// Errno in [`RET`] for a full table (`ENOSPC`).
pub const ENOSPC: u32 = 28;
/// Errno in [`RET`] for an entry that is not there (`ENOENT`).
pub const ENOENT: u32 = 2;
