// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Moderated interrupts of a card.

use super::guest::{frame_to_card, Guest, CTRL, OPEN};
use crate::counters::Counter;
use acceltcp_abi::pci::{VECTOR_LSC, VECTOR_RING0};
use acceltcp_abi::regs::{self, ctrl, update};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use std::fs::File;
use std::thread;
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;
use vfio_user::ServerBackend;

/// The longest delay that a register holds.
const TICKS: u32 = 0xffff;

/// A guest whose ring 0 is moderated by its registers.
fn open(rx: u32, tx: u32) -> Guest {
    let mut guest = Guest::open();
    guest.write32(regs::rxr_irq_mod(0), rx);
    guest.write32(regs::txr_irq_mod(0), tx);
    guest.write32(regs::CTRL, CTRL | ctrl::IRQMOD);
    assert_eq!(guest.reconfig(update::GEN | update::IRQMOD), 0);
    guest
}

fn receive(guest: &Guest) {
    guest.card.receive(&frame_to_card(60));
}

fn unmask(guest: &mut Guest) {
    guest.write(regs::icr(usize::from(VECTOR_RING0)), &[0]);
}

/// Interrupts since the last call. Only a test that starts it has the thread for deadlines; else what is held stays.
fn interrupts(guest: &Guest) -> u64 {
    guest.interrupts(VECTOR_RING0)
}

#[test]
fn frames_reach_the_limit() {
    let mut guest = open(3 << 16, 2 << 16 | TICKS);
    receive(&guest);
    receive(&guest);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(interrupts(&guest), 0);
    receive(&guest);
    assert_eq!(interrupts(&guest), 1);
    assert_eq!(guest.counted(Counter::InterruptsModerated), 3);
    unmask(&mut guest);
    for slot in 1..3 {
        guest.put_frame(0, slot, &frame_to_card(60));
    }
    guest.transmit(0, 2);
    assert_eq!(interrupts(&guest), 1, "frames count, not batches");
}

#[test]
fn a_deadline_is_kept() {
    let mut guest = open(64 << 16 | TICKS, 64 << 16 | TICKS);
    let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let theirs = File::from(fd.try_clone().unwrap());
    guest
        .card
        .irqs
        .set_eventfd(usize::from(VECTOR_RING0), Some(theirs));
    let card = guest.card.clone();
    let thread = thread::spawn(move || card.irqs.serve_deadlines());
    for slot in 0..2 {
        if slot == 0 {
            receive(&guest);
        } else {
            guest.put_frame(0, 0, &frame_to_card(60));
            guest.transmit(0, 1);
        }
        let patience = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "event {slot}");
        let mut count = [0; 8];
        rustix::io::read(&fd, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
        unmask(&mut guest);
    }
    guest.card.irqs.stop();
    thread.join().unwrap();
}

#[test]
fn registers_wait_for_their_update() {
    let mut guest = open(64 << 16 | TICKS, 0);
    guest.write32(regs::rxr_irq_mod(0), 0);
    assert_eq!(guest.reconfig(update::GEN), 0);
    receive(&guest);
    assert_eq!(interrupts(&guest), 0);
    assert_eq!(guest.reconfig(update::IRQMOD), 0);
    assert_eq!(interrupts(&guest), 1, "what is held is due now");
    unmask(&mut guest);
    receive(&guest);
    assert_eq!(interrupts(&guest), 1);
    // Rings that are turned on take them, too.
    guest.write32(regs::rxr_irq_mod(0), 2 << 16);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.post_buffers(0, 8);
    receive(&guest);
    assert_eq!(interrupts(&guest), 0);
    receive(&guest);
    assert_eq!(interrupts(&guest), 1);
}

#[test]
fn without_the_control_bit_nothing_waits() {
    let mut guest = open(64 << 16 | TICKS, 64 << 16 | TICKS);
    receive(&guest);
    assert_eq!(interrupts(&guest), 0);
    guest.write32(regs::CTRL, CTRL);
    assert_eq!(guest.reconfig(update::GEN), 0);
    assert_eq!(interrupts(&guest), 1);
    unmask(&mut guest);
    receive(&guest);
    assert_eq!(interrupts(&guest), 1);
    assert_eq!(guest.counted(Counter::InterruptsModerated), 0);
}

#[test]
fn link_changes_do_not_wait() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write32(regs::rxr_irq_mod(0), 64 << 16 | TICKS);
    guest.write32(regs::CTRL, CTRL | ctrl::IRQMOD);
    assert_eq!(guest.reconfig(OPEN | update::IRQMOD), 0);
    guest.card.set_cable(false);
    assert_eq!(guest.interrupts(VECTOR_LSC), 1);
}

#[test]
fn what_is_held_ends_with_its_ring() {
    let off: [fn(&mut Guest); 4] = [
        |guest| {
            guest.write32(regs::CTRL, ctrl::IRQMOD);
            assert_eq!(guest.reconfig(update::GEN), 0);
        },
        |guest| {
            guest.write64(regs::RXRS_ENABLE, 0);
            assert_eq!(guest.reconfig(update::GEN | update::RING), 0);
        },
        // Device control register of the PCI Express capability at 0xc0: FLR.
        |guest| {
            let region = VFIO_PCI_CONFIG_REGION_INDEX;
            let control = [0x10, 0xa8];
            guest.backend.region_write(region, 0xc8, &control).unwrap();
        },
        |guest| guest.card.reset_by_itself(),
    ];
    for off in off {
        let mut guest = open(64 << 16 | TICKS, 0);
        receive(&guest);
        off(&mut guest);
        // Whatever is still held would be due without limits.
        guest.configure();
        guest.bus_master(true);
        assert_eq!(guest.reconfig(update::GEN | update::IRQMOD), 0);
        assert_eq!(interrupts(&guest), 0);
    }
}
