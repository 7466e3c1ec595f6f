// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Mailbox commands.

use super::registers::Registers;
use acceltcp_abi::{mbox, regs};

/// Multicast addresses that the card can hold; the driver's own limit.
const MAX_MULTICAST: usize = 1024;

/// Carries out the command in the mailbox and leaves the result there.
pub fn run(regs: &mut Registers, multicast: &mut Vec<[u8; 6]>) {
    let result = match regs.get32(regs::MBOX + mbox::CMD) {
        mbox::CMD_MULTICAST_ADD => add(multicast, address(regs)),
        mbox::CMD_MULTICAST_DEL => remove(multicast, address(regs)),
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

fn add(multicast: &mut Vec<[u8; 6]>, address: [u8; 6]) -> Result<(), u32> {
    if address[0] & 1 == 0 {
        return Err(mbox::EINVAL);
    }
    if multicast.contains(&address) {
        return Ok(());
    }
    if multicast.len() == MAX_MULTICAST {
        return Err(mbox::ENOSPC);
    }
    multicast.push(address);
    Ok(())
}

fn remove(multicast: &mut Vec<[u8; 6]>, address: [u8; 6]) -> Result<(), u32> {
    let place = multicast.iter().position(|known| *known == address);
    multicast.swap_remove(place.ok_or(mbox::ENOENT)?);
    Ok(())
}
