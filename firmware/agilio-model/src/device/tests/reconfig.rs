// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Registers, reconfiguration, mailbox and resets.

use super::guest::{frame_to_card, Guest, CTRL, MAC, OPEN, RINGS, RING_LOG2};
use crate::counters::Counter;
use crate::device::registers::CAPABILITIES;
use acceltcp_abi::pci::{VECTOR_LSC, VECTOR_RING0};
use acceltcp_abi::regs::{self, ctrl, ctrl1, update, Version};
use acceltcp_abi::{mbox, nfd3};
use vfio_user::ServerBackend;

#[test]
fn a_probing_driver_sees_the_card() {
    let mut guest = Guest::new();
    assert!(Version(guest.read32(regs::VERSION)).is_known());
    assert_eq!(guest.read32(regs::CAP), CAPABILITIES);
    assert_eq!(guest.read32(regs::MAX_TXRINGS), RINGS as u32);
    assert_eq!(guest.read32(regs::STS) as u16, 1 | 4 << 1);
    let hi = guest.read32(regs::MACADDR_HI);
    let lo = u16::from_le_bytes(guest.read(regs::MACADDR_LO));
    assert_eq!(regs::mac_from_regs(hi, lo), MAC);
    guest.write32(regs::CTRL, 0);
    assert_eq!(guest.reconfig(update::GEN | update::RING), 0);
}

#[test]
fn rings_are_enabled_and_disabled() {
    let mut guest = Guest::open();
    assert!(guest.card.tx[RINGS - 1].lock().is_on());
    assert!(guest.card.rx[RINGS - 1].lock().config().is_some());
    guest.write32(regs::CTRL, CTRL & !ctrl::ENABLE);
    guest.write64(regs::TXRS_ENABLE, 0);
    guest.write64(regs::RXRS_ENABLE, 0);
    assert_eq!(guest.reconfig(OPEN), 0);
    for ring in 0..RINGS {
        assert!(!guest.card.tx[ring].lock().is_on());
        assert!(guest.card.rx[ring].lock().config().is_none());
    }
    assert_eq!(guest.counted(Counter::Reconfigs), 2);
}

/// The upstream driver never clears the cause of a ring's vector when it opens.
#[test]
fn a_ring_that_is_turned_on_is_unmasked() {
    let mut guest = Guest::open();
    let icr = regs::icr(usize::from(VECTOR_RING0));
    for slot in 0..2 {
        guest.put_frame(0, slot, &frame_to_card(60));
        guest.transmit(0, 1);
    }
    assert_eq!(guest.interrupts(VECTOR_RING0), 1);
    // It fired, another event waits, and the driver closes without a look.
    guest.write32(regs::CTRL, CTRL & !ctrl::ENABLE);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.write32(regs::CTRL, CTRL);
    assert_eq!(guest.reconfig(OPEN), 0);
    assert_eq!(guest.read(icr), [regs::ICR_UNMASKED]);
    assert_eq!(guest.interrupts(VECTOR_RING0), 0);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(guest.interrupts(VECTOR_RING0), 1);
}

#[test]
fn a_general_update_leaves_rings_alone() {
    let mut guest = Guest::open();
    guest.write32(regs::CTRL, CTRL | ctrl::PROMISC);
    guest.write64(regs::txr_addr(0), 0);
    assert_eq!(guest.reconfig(update::GEN), 0);
    assert!(guest.card.tx[0].lock().is_on());
    guest.write32(regs::CTRL, CTRL & !ctrl::ENABLE);
    assert_eq!(guest.reconfig(update::GEN), 0);
    assert!(!guest.card.tx[0].lock().is_on());
}

#[test]
fn what_cannot_be_done_is_refused_and_stops_the_datapath() {
    let vectors = VECTOR_RING0 as u8 + RINGS as u8;
    let too_far = nfd3::DMA_LIMIT - 16;
    type Change = fn(&mut Guest, u8, u64);
    let changes: [(&str, Change); 15] = [
        ("TX ring too small", |g, _, _| {
            g.write(regs::txr_sz(0), &[3])
        }),
        ("TX ring too large", |g, _, _| {
            g.write(regs::txr_sz(0), &[17])
        }),
        ("RX ring too large", |g, _, _| {
            g.write(regs::rxr_sz(1), &[255]);
        }),
        ("TX vector", |g, v, _| g.write(regs::txr_vec(2), &[v])),
        ("RX vector", |g, v, _| g.write(regs::rxr_vec(2), &[v])),
        ("LSC vector", |g, v, _| g.write(regs::LSC, &[v])),
        ("TX address", |g, _, far| g.write64(regs::txr_addr(0), far)),
        ("RX address", |g, _, far| g.write64(regs::rxr_addr(0), far)),
        ("wrapping address", |g, _, _| {
            g.write64(regs::rxr_addr(0), u64::MAX - 7);
        }),
        ("misaligned ring", |g, _, _| {
            g.write64(regs::txr_addr(0), super::guest::tx_ring(0) + 8);
        }),
        ("misaligned write-back", |g, _, _| {
            g.write64(regs::txr_wb_addr(0), 4);
        }),
        ("no such ring", |g, _, _| {
            g.write64(regs::TXRS_ENABLE, 1 << RINGS);
        }),
        ("MTU", |g, _, _| g.write32(regs::MTU, 9217)),
        ("buffer smaller than MTU", |g, _, _| {
            g.write32(regs::FLBUFSZ, 1513);
        }),
        ("not offered", |g, _, _| {
            g.write32(regs::CTRL, CTRL | ctrl::RXVLAN);
        }),
    ];
    for (number, (what, change)) in changes.iter().enumerate() {
        let mut guest = Guest::open();
        change(&mut guest, vectors, too_far);
        assert_eq!(guest.reconfig(OPEN), OPEN | update::ERR, "{number}: {what}");
        assert_eq!(guest.counted(Counter::ReconfigErrors), 1);
        assert!((0..RINGS).all(|ring| !guest.card.tx[ring].lock().is_on()));
        assert!(!guest.card.datapath.read().settings.enabled());
        guest.configure();
        assert_eq!(guest.reconfig(OPEN), 0, "recovers from {what}");
    }
}

#[test]
fn unknown_updates_are_refused() {
    let mut guest = Guest::new();
    let unknown = 1 << 30;
    assert_eq!(guest.reconfig(unknown), unknown | update::ERR);
}

#[test]
fn exn_does_not_disturb_the_buffer_size() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write(regs::EXN, &[regs::NO_VECTOR]);
    assert_eq!(guest.reconfig(OPEN), 0);
    assert_eq!(guest.card.datapath.read().settings.buffer_size, 2048);
}

#[test]
fn a_refused_ring_of_those_off_does_not_matter() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write64(regs::TXRS_ENABLE, 1);
    guest.write64(regs::RXRS_ENABLE, 1);
    guest.write(regs::txr_sz(1), &[0]);
    guest.write(regs::rxr_vec(3), &[99]);
    assert_eq!(guest.reconfig(OPEN), 0);
    assert!(guest.card.tx[0].lock().is_on() && !guest.card.tx[1].lock().is_on());
}

/// Runs a mailbox command and returns its result.
fn mailbox(guest: &mut Guest, command: u32, mac: [u8; 6]) -> u32 {
    let (hi, lo) = regs::mac_to_regs(mac);
    guest.write32(regs::MBOX + mbox::VAL, hi);
    guest.write(regs::MBOX + mbox::MCAST_LO, &lo.to_le_bytes());
    guest.write64(regs::MBOX + mbox::CMD, u64::from(command));
    assert_eq!(guest.reconfig(update::MBOX), 0);
    guest.read32(regs::MBOX + mbox::RET)
}

#[test]
fn mailbox_commands() {
    let mut guest = Guest::open();
    let group = [0x01, 0, 0x5e, 1, 2, 3];
    assert_eq!(mailbox(&mut guest, mbox::CMD_MULTICAST_ADD, group), 0);
    guest.write32(regs::CTRL, CTRL | ctrl::L2MC);
    guest.write32(regs::CTRL_WORD1, ctrl1::MCAST_FILTER);
    assert_eq!(guest.reconfig(update::GEN), 0);
    let mut frame = super::guest::frame_to_card(60);
    frame[..6].copy_from_slice(&group);
    guest.card.receive(&frame);
    assert_eq!(guest.counted(Counter::HostRxPackets), 1);

    assert_eq!(mailbox(&mut guest, mbox::CMD_MULTICAST_DEL, group), 0);
    guest.card.receive(&frame);
    assert_eq!(guest.counted(Counter::HostRxPackets), 1, "filtered now");
    assert_eq!(
        mailbox(&mut guest, mbox::CMD_MULTICAST_DEL, group),
        mbox::ENOENT
    );
    assert_eq!(
        mailbox(&mut guest, mbox::CMD_MULTICAST_ADD, MAC),
        mbox::EINVAL
    );
    for command in [0, mbox::CMD_CTAG_FILTER_ADD, 5, mbox::CMD_ACCELTCP_BASE + 1] {
        assert_eq!(mailbox(&mut guest, command, group), mbox::EOPNOTSUPP);
    }
}

#[test]
fn flr_forgets_everything_but_memory() {
    let mut guest = Guest::open();
    guest.write32(regs::RSS_CTRL, 0x1234);
    guest.doorbell(0, 3);
    guest.function_level_reset();
    assert_eq!(guest.read32(regs::CTRL), 0);
    assert_eq!(guest.read32(regs::RSS_CTRL), 0);
    assert!((0..RINGS).all(|ring| !guest.card.tx[ring].lock().is_on()));
    assert_eq!(guest.card.queues.tx(0).write(), 0);
    assert!(!guest.card.datapath.read().may_dma, "bus master is off");
    guest.bus_master(true);
    guest.configure();
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.put_frame(0, 0, &super::guest::frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(guest.sent().len(), 1);
}

#[test]
fn device_reset_of_the_vmm() {
    let mut guest = Guest::open();
    guest.backend.reset().unwrap();
    assert_eq!(guest.read32(regs::CTRL), 0);
    assert_eq!(guest.read32(regs::CAP), CAPABILITIES);
}

#[test]
fn live_address_change() {
    let mut guest = Guest::open();
    let mac = [0x02, 9, 9, 9, 9, 9];
    let (hi, lo) = regs::mac_to_regs(mac);
    guest.write32(regs::MACADDR_HI, hi);
    guest.write(regs::MACADDR_LO, &lo.to_le_bytes());
    assert_eq!(guest.reconfig(update::MACADDR), 0);
    guest.card.receive(&super::guest::frame_to_card(60));
    assert_eq!(guest.counted(Counter::HostRxPackets), 0);
    let mut frame = super::guest::frame_to_card(60);
    frame[..6].copy_from_slice(&mac);
    guest.card.receive(&frame);
    assert_eq!(guest.counted(Counter::HostRxPackets), 1);
}

#[test]
fn link_changes_are_told_once() {
    let mut guest = Guest::open();
    guest.card.set_cable(false);
    guest.card.set_peer(false);
    assert_eq!(guest.interrupts(VECTOR_LSC), 1);
    assert_eq!(
        guest.read(regs::icr(usize::from(VECTOR_LSC))),
        [regs::ICR_LSC]
    );
    assert_eq!(guest.read32(regs::STS) as u16, 0);
    guest.card.set_cable(true);
    assert_eq!(guest.read32(regs::STS) as u16, 0, "nobody at the other end");
    guest.card.set_peer(true);
    assert_eq!(guest.interrupts(VECTOR_LSC), 0, "masked by its cause");
    guest.write(regs::icr(usize::from(VECTOR_LSC)), &[0]);
    assert_eq!(guest.interrupts(VECTOR_LSC), 1, "fires again");
    assert_eq!(guest.read32(regs::STS) as u16, 1 | 4 << 1);
}

#[test]
fn ring_sizes_up_to_the_limit() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write(regs::txr_sz(0), &[15]);
    guest.write(regs::rxr_sz(0), &[4]);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.write(regs::txr_sz(0), &[RING_LOG2]);
    assert_eq!(guest.reconfig(OPEN), 0);
}
