// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames to the host.

use super::guest::{
    frame_to_card, rx_ring, udp_to_card, Guest, BASE, BUFFER, CTRL, MEMORY, OPEN, RING, RINGS,
};
use crate::counters::{Counter, DropReason};
use crate::offload::checksum::{self, Wanted};
use acceltcp_abi::meta::{HashType, RxMeta};
use acceltcp_abi::nfd3::{self, FreelistDesc, FREELIST_BATCH};
use acceltcp_abi::pci::VECTOR_RING0;
use acceltcp_abi::regs::{self, ctrl, stats, update};
use zerocopy::IntoBytes;

#[test]
fn a_frame_that_is_not_hashed_comes_to_ring_0() {
    let mut guest = Guest::open();
    let frame = frame_to_card(60);
    guest.card.receive(&frame);
    let (desc, buffer) = guest.received(0, 0).unwrap();
    assert_eq!(desc.meta_len(), 0);
    assert_eq!(desc.flags.get(), nfd3::RX_EOP);
    assert_eq!(desc.vlan.get(), 0);
    assert_eq!(buffer, frame);
    assert!(guest.received(0, 1).is_none());
    assert_eq!(guest.interrupts(VECTOR_RING0), 1);
    assert_eq!(guest.counted(Counter::HostRxBytes), 60);
    assert_eq!(guest.read64(stats::RX_UC_OCTETS), 60);
    assert_eq!(guest.read64(regs::rxr_stats(0)), 1);
    // Freelist descriptors come in batches; then payload and descriptor are written.
    assert_eq!(guest.counted(Counter::DmaReadTransactions), 1);
    assert_eq!(
        guest.counted(Counter::DmaReadBytes),
        u64::from(FREELIST_BATCH) * FreelistDesc::SIZE as u64
    );
    assert_eq!(guest.counted(Counter::DmaWriteTransactions), 2);
    assert_eq!(guest.counted(Counter::DmaWriteBytes), 68);
}

#[test]
fn flows_spread_and_keep_their_ring() {
    let mut guest = Guest::open();
    for port in 1000..1064 {
        let frame = udp_to_card(port, b"x");
        guest.card.receive(&frame);
        guest.card.receive(&frame);
    }
    assert_eq!(guest.received_total(), 128);
    for ring in 0..RINGS {
        assert!(guest.read64(regs::rxr_stats(ring)) > 0, "ring {ring}");
        let mut slot = 0;
        while let Some((desc, buffer)) = guest.received(ring, slot) {
            let (meta, frame) = buffer.split_at(desc.meta_len());
            let (kind, hash) = RxMeta::parse(meta).unwrap().hash.unwrap();
            assert_eq!(kind, HashType::Ipv4Udp);
            assert_eq!(hash as usize % RINGS, ring, "by the indirection table");
            let (_, twin) = guest.received(ring, slot ^ 1).unwrap();
            assert_eq!(&twin[desc.meta_len()..], frame, "in order");
            slot += 1;
        }
    }
}

#[test]
fn checksums_are_judged() {
    let mut guest = Guest::open();
    guest.write32(regs::CTRL, CTRL & !ctrl::RSS2);
    guest.reconfig(update::GEN);
    let mut frame = udp_to_card(1000, b"payload");
    checksum::fill(
        &mut frame,
        Wanted {
            ipv4: true,
            tcp: false,
            udp: true,
        },
    )
    .unwrap();
    guest.card.receive(&frame);
    let (desc, buffer) = guest.received(0, 0).unwrap();
    let ip_ok = nfd3::RX_IP4_CSUM | nfd3::RX_IP4_CSUM_OK;
    let udp_ok = nfd3::RX_UDP_CSUM | nfd3::RX_UDP_CSUM_OK;
    assert_eq!(desc.flags.get(), nfd3::RX_EOP | ip_ok | udp_ok);
    assert_eq!(buffer, frame, "no metadata without RSS");

    frame[45] ^= 1;
    guest.card.receive(&frame);
    let (desc, _) = guest.received(0, 1).unwrap();
    assert_eq!(desc.flags.get(), nfd3::RX_EOP | ip_ok | nfd3::RX_UDP_CSUM);
}

#[test]
fn filters() {
    let mut guest = Guest::open();
    let to = |mac: [u8; 6]| {
        let mut frame = frame_to_card(60);
        frame[..6].copy_from_slice(&mac);
        frame
    };
    guest.card.receive(&to([0xff; 6]));
    guest.card.receive(&to([2, 3, 4, 5, 6, 7]));
    guest.card.receive(&to([1, 0, 0x5e, 0, 0, 1]));
    assert_eq!(guest.counted(Counter::HostRxPackets), 1);
    assert_eq!(guest.dropped(DropReason::Filtered), 2);
    guest.write32(regs::CTRL, CTRL | ctrl::PROMISC);
    guest.reconfig(update::GEN);
    guest.card.receive(&to([2, 3, 4, 5, 6, 7]));
    guest.card.receive(&to([1, 0, 0x5e, 0, 0, 1]));
    assert_eq!(guest.counted(Counter::HostRxPackets), 3);
}

#[test]
fn a_full_ring_drops_until_it_gets_buffers() {
    let mut guest = Guest::open();
    for _ in 0..RING + 4 {
        guest.card.receive(&frame_to_card(60));
    }
    assert_eq!(guest.dropped(DropReason::NoBuffer), 5);
    assert_eq!(guest.read64(stats::RX_DISCARDS), 5);
    assert_eq!(guest.received_total(), RING as usize - 1);
    // The one slot that was never handed over, and the first ones again.
    guest.post_buffers(0, FREELIST_BATCH);
    for number in 0..u64::from(FREELIST_BATCH) {
        guest.card.receive(&frame_to_card(60));
        assert_eq!(
            guest.counted(Counter::HostRxPackets),
            u64::from(RING) + number
        );
    }
    guest.card.receive(&frame_to_card(60));
    assert_eq!(guest.dropped(DropReason::NoBuffer), 6);
}

#[test]
fn lengths() {
    let mut guest = Guest::open();
    guest.card.receive(&frame_to_card(1518));
    guest.card.receive(&frame_to_card(1519));
    guest.card.receive(&frame_to_card(14)[..13]);
    guest.card.receive(&[]);
    assert_eq!(guest.counted(Counter::HostRxPackets), 1);
    assert_eq!(guest.dropped(DropReason::TooLong), 1);
    assert_eq!(guest.dropped(DropReason::TooShort), 2);
    assert_eq!(guest.read64(stats::RX_ERRORS), 1);
}

#[test]
fn a_frame_never_exceeds_its_buffer() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write32(regs::FLBUFSZ, 1514);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.post_buffers(0, 16);
    guest.card.receive(&frame_to_card(1515));
    assert_eq!(guest.dropped(DropReason::TooLong), 1);
    guest.card.receive(&frame_to_card(1514));
    assert_eq!(guest.counted(Counter::HostRxPackets), 1);
}

#[test]
fn bad_buffers_stop_their_ring_only() {
    for addr in [0, BASE - 1, BASE + MEMORY - 59, u64::MAX, nfd3::DMA_LIMIT] {
        let mut guest = Guest::open();
        guest.poke(rx_ring(0), FreelistDesc::new(addr).as_bytes());
        guest.card.receive(&frame_to_card(60));
        guest.card.receive(&frame_to_card(60));
        assert_eq!(guest.dropped(DropReason::BadAddress), 1, "{addr:#x}");
        assert_eq!(guest.dropped(DropReason::Disabled), 1);
        assert_eq!(guest.counted(Counter::RingsStopped), 1);
        assert!(guest.card.rx[1].lock().config().is_some());
        assert_eq!(guest.reconfig(OPEN), 0);
        guest.post_buffers(0, 16);
        guest.card.receive(&frame_to_card(60));
        assert_eq!(guest.counted(Counter::HostRxPackets), 1);
    }
}

#[test]
fn too_many_buffers_stop_the_ring() {
    let mut guest = Guest::open();
    guest.doorbell(2, 2);
    guest.card.receive(&frame_to_card(60));
    assert_eq!(guest.dropped(DropReason::BadDescriptor), 1);
    assert!(guest.card.rx[0].lock().config().is_none());
}

#[test]
fn a_table_entry_without_a_ring_drops() {
    let mut guest = Guest::open();
    guest.write(regs::RSS_ITBL, &[200; regs::RSS_ITBL_SIZE]);
    assert_eq!(guest.reconfig(update::RSS), 0);
    guest.card.receive(&udp_to_card(1, b""));
    assert_eq!(guest.dropped(DropReason::Disabled), 1);
}

#[test]
fn interrupts_are_not_lost() {
    let mut guest = Guest::open();
    let icr = regs::icr(usize::from(VECTOR_RING0));
    for _ in 0..3 {
        guest.card.receive(&frame_to_card(60));
    }
    assert_eq!(guest.interrupts(VECTOR_RING0), 1);
    assert_eq!(guest.read(icr), [regs::ICR_RXTX]);
    guest.write(icr, &[0]);
    assert_eq!(guest.interrupts(VECTOR_RING0), 1, "for the frames since");
    guest.write(icr, &[0]);
    assert_eq!(guest.interrupts(VECTOR_RING0), 0);
    assert_eq!(guest.read(icr), [0]);
    guest.card.receive(&frame_to_card(60));
    assert_eq!(guest.interrupts(VECTOR_RING0), 1);
}

#[test]
fn unmapped_memory_is_not_touched_again() {
    use vfio_user::{DmaUnmapFlags, ServerBackend};
    let mut guest = Guest::open();
    guest
        .backend
        .dma_unmap(DmaUnmapFlags::empty(), BASE, MEMORY)
        .unwrap();
    guest.card.receive(&frame_to_card(60));
    assert_eq!(guest.dropped(DropReason::BadAddress), 1);
    assert_eq!(guest.counted(Counter::DmaErrors), 1);
    assert_eq!(
        guest.peek(super::guest::rx_buffer(0, 0), BUFFER as usize),
        vec![0; BUFFER as usize]
    );
}
