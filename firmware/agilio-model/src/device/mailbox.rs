// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Mailbox commands.

use super::imem::Stack;
use super::registers::Registers;
use crate::offload::filter::{Filter, FilterError};
use acceltcp_abi::{mbox, regs};

/// Carries out the command in the mailbox and leaves the result there. `offload` carries out a message to
/// the AccelTCP firmware: it is given the message with what lies behind it and the place for the reply.
pub fn run(
    regs: &mut Registers,
    filter: &mut Filter,
    offload: Option<impl FnOnce(&[u8], &mut [u8]) -> usize>,
) {
    let result = match regs.get32(regs::MBOX + mbox::CMD) {
        mbox::CMD_ACCELTCP_BASE => match offload {
            Some(run) => message(regs, run),
            None => Err(mbox::EOPNOTSUPP),
        },
        mbox::CMD_MULTICAST_ADD => filter.add_multicast(address(regs)).map_err(errno),
        mbox::CMD_MULTICAST_DEL => filter.remove_multicast(address(regs)).map_err(errno),
        _ => Err(mbox::EOPNOTSUPP),
    };
    regs.set32(regs::MBOX + mbox::RET, result.err().unwrap_or(0));
}

/// The reply takes the place of the message, keys included. It says itself what became of the command.
fn message(regs: &mut Registers, run: impl FnOnce(&[u8], &mut [u8]) -> usize) -> Result<(), u32> {
    let message: [u8; regs::MBOX_VAL_SIZE] = regs.get_bytes(regs::MBOX + mbox::VAL);
    let mut reply = [0; regs::MBOX_VAL_SIZE];
    let len = run(&message, &mut reply);
    regs.set_bytes(regs::MBOX + mbox::VAL, &reply);
    if len == 0 {
        return Err(mbox::EINVAL);
    }
    Ok(())
}

// Every reply has room.
const _: () = assert!(Stack::REPLY_MAX <= regs::MBOX_VAL_SIZE);

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
