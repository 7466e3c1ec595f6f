// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Mailbox commands.

use super::registers::Registers;
use crate::offload::filter::{Filter, FilterError};
use acceltcp_abi::{mbox, regs};

/// Carries out the command in the mailbox and leaves the result there.
pub fn run(regs: &mut Registers, filter: &mut Filter) {
    let result = match regs.get32(regs::MBOX + mbox::CMD) {
        mbox::CMD_MULTICAST_ADD => filter.add_multicast(address(regs)).map_err(errno),
        mbox::CMD_MULTICAST_DEL => filter.remove_multicast(address(regs)).map_err(errno),
        _ => Err(mbox::EOPNOTSUPP),
    };
    regs.set32(regs::MBOX + mbox::RET, result.err().unwrap_or(0));
}

fn address(regs: &Registers) -> [u8; 6] {
    regs::mac_from_regs(
        regs.get32(regs::MBOX + mbox::VAL),
        regs.get16(regs::MBOX + mbox::MCAST_LO),
    )
}

fn errno(error: FilterError) -> u32 {
    match error {
        FilterError::Full => mbox::ENOSPC,
        FilterError::NotThere => mbox::ENOENT,
        FilterError::NotMulticast => mbox::EINVAL,
    }
}
