// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults of the card, and its threads.

use super::guest::{frame_to_card, rx_buffer, Guest, BUFFER, CTRL, OPEN, RING, RINGS};
use crate::counters::{Counter, DropReason, FaultKind};
use crate::device::hostile::Hostile;
use crate::device::worker::Workers;
use acceltcp_abi::pci::VECTOR_LSC;
use acceltcp_abi::regs::{self, update};
use std::time::Duration;

/// Longer than anything here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_stalled_card_catches_up() {
    let mut guest = Guest::open();
    guest.card.stall();
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    guest.card.receive(&frame_to_card(60));
    assert!(guest.sent().is_empty());
    assert_eq!(guest.dropped(DropReason::CardDead), 1);
    assert_eq!(guest.reconfig(update::GEN), 0, "answered");
    guest.card.resume();
    guest.work(0);
    assert_eq!(guest.sent().len(), 1);
}

#[test]
fn dead_firmware_answers_nothing_until_revived() {
    let mut guest = Guest::open();
    guest.card.die();
    assert_eq!(guest.reconfig(OPEN), OPEN);
    guest.card.resume();
    assert_eq!(guest.read32(regs::UPDATE), OPEN, "a resume is not enough");
    guest.card.function_reset();
    guest.bus_master(true);
    guest.configure();
    assert_eq!(guest.reconfig(OPEN), OPEN, "nor is an FLR");
    guest.card.revive();
    assert_eq!(guest.read32(regs::CTRL), 0);
    guest.configure();
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(guest.sent().len(), 1);
}

#[test]
fn a_reset_of_the_card_is_told() {
    let mut guest = Guest::open();
    guest.card.reset_by_itself();
    assert_eq!(guest.interrupts(VECTOR_LSC), 1);
    assert_eq!(guest.read32(regs::CTRL), 0);
    assert!((0..RINGS).all(|ring| !guest.card.tx[ring].lock().is_on()));
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert!(guest.sent().is_empty());
    guest.configure();
    assert_eq!(guest.reconfig(OPEN), 0, "bus master is still on");
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(guest.sent().len(), 1);
}

#[test]
fn revive_and_resume_of_a_healthy_card_do_nothing() {
    let mut guest = Guest::open();
    guest.card.revive();
    guest.card.resume();
    assert_eq!(guest.read32(regs::CTRL), CTRL);
    assert_eq!(guest.counters.faults(FaultKind::Reset), 0);
}

#[test]
fn torment_stays_inside_the_buffers() {
    let mut guest = Guest::open();
    // Every second buffer is not handed over: a card may not touch it.
    for ring in 0..RINGS {
        for slot in (1..RING).step_by(2) {
            guest.poke(rx_buffer(ring, slot), &[0x5a; BUFFER as usize]);
        }
    }
    guest.write32(regs::CTRL, CTRL);
    assert_eq!(guest.reconfig(OPEN), 0);
    for ring in 0..RINGS {
        for slot in 0..RING / 2 {
            let desc = acceltcp_abi::nfd3::FreelistDesc::new(rx_buffer(ring, 2 * slot));
            let at = super::guest::rx_ring(ring) + u64::from(slot) * 8;
            guest.poke(at, zerocopy::IntoBytes::as_bytes(&desc));
        }
        guest.doorbell(4 * ring + 2, RING / 2);
    }
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..4000 {
        guest.card.torment(&mut rng);
    }
    assert_eq!(guest.counters.faults(FaultKind::Garbage), 4000);
    for ring in 0..RINGS {
        for slot in (1..RING).step_by(2) {
            let bytes = guest.peek(rx_buffer(ring, slot), BUFFER as usize);
            assert!(bytes.iter().all(|byte| *byte == 0x5a), "{ring} {slot}");
        }
    }
}

#[test]
fn after_the_torment_registers_are_true() {
    let mut guest = Guest::open();
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    let hostile = Hostile::start(guest.card.clone(), 1).unwrap();
    hostile.stop();
    assert_eq!(guest.read32(regs::STS) as u16, 1 | 4 << 1);
    assert_eq!(guest.read_pointer(0), 1);
    let bytes = guest.peek(super::guest::write_back(0), 8);
    assert_eq!(bytes, 1_u64.to_le_bytes());
}

#[test]
fn threads_move_frames_and_end() {
    let mut guest = Guest::open();
    let workers = Workers::start(&guest.card).unwrap();
    for ring in 0..RINGS {
        guest.put_frame(ring, 0, &frame_to_card(60 + ring));
        guest.doorbell(4 * ring, 1);
        let sent = guest.sent.recv_timeout(LONG).unwrap();
        assert_eq!(sent.len(), 60 + ring);
    }
    for _ in 0..3 {
        guest.wire.feed.send(Some(frame_to_card(60))).unwrap();
    }
    // The thread takes the end of the wire behind these frames.
    workers.stop();
    assert_eq!(guest.counted(Counter::HostRxPackets), 3);
}

#[test]
fn a_resume_wakes_the_workers() {
    let mut guest = Guest::open();
    let workers = Workers::start(&guest.card).unwrap();
    guest.card.stall();
    guest.put_frame(1, 0, &frame_to_card(60));
    guest.doorbell(4, 1);
    guest.card.resume();
    assert!(guest.sent.recv_timeout(LONG).is_ok());
    guest.bus_master(false);
    guest.put_frame(1, 1, &frame_to_card(60));
    guest.doorbell(4, 1);
    guest.bus_master(true);
    assert!(guest.sent.recv_timeout(LONG).is_ok());
    workers.stop();
}
