// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames from the host.

use super::guest::{
    frame_to_card, not_last, tx_buffer, tx_desc, tx_ring, udp_to_card, write_back, Guest, BASE,
    CTRL, MEMORY, OPEN, RING,
};
use crate::counters::{Counter, DropReason};
use crate::device::descriptors::Format;
use crate::offload::checksum;
use acceltcp_abi::meta::TxMeta;
use acceltcp_abi::nfd3::{self, TxDesc};
use acceltcp_abi::nfdk;
use acceltcp_abi::pci::VECTOR_RING0;
use acceltcp_abi::regs::{self, ctrl, stats};
use zerocopy::little_endian::U16;

/// Sends `frame` with `meta` in front by the descriptors of ring 0 from `place` on, cut by an MSS if there is one, and returns
/// how many that takes.
pub(super) fn send(
    guest: &mut Guest,
    format: Format,
    place: u32,
    meta: &TxMeta,
    frame: &[u8],
    mss: u16,
) -> u32 {
    let mut fields = [0; TxMeta::MAX];
    let (types, len) = meta.emit(&mut fields);
    let meta_len = 4 + len;
    let word = match format {
        Format::Nfd3 => types,
        Format::Nfdk => types << 8 | meta_len as u32,
    };
    let bytes = [&word.to_be_bytes()[..], &fields[..len], frame].concat();
    guest.poke(tx_buffer(0), &bytes);
    match format {
        Format::Nfd3 => {
            let mut desc = tx_desc(tx_buffer(0), bytes.len(), bytes.len());
            desc.offset_eop = nfd3::TX_EOP | meta_len as u8;
            if mss != 0 {
                desc.flags |= nfd3::TX_LSO;
                desc.mss = mss.into();
                desc.lso_hdrlen = 54;
                desc.l3_offset = 14;
                desc.l4_offset = 34;
            }
            guest.put_tx(0, place, &desc);
            guest.transmit(0, 1);
            1
        }
        Format::Nfdk => {
            assert_eq!(mss, 0);
            let simple = nfdk::TYPE_SIMPLE | nfdk::EOP;
            put_nfdk(
                guest,
                place.into(),
                &[
                    nfdk_data(tx_buffer(0), simple | (bytes.len() - 1) as u16),
                    [nfdk::META_CHAIN, 0, 0, 0, 0, 0, 0, 0],
                ],
            );
            guest.transmit(0, 2);
            2
        }
    }
}

/// The read pointer that the card wrote back for ring 0.
fn written_back(guest: &Guest) -> u64 {
    let bytes = guest.peek(write_back(0), 8);
    u64::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn a_frame_goes_out_and_is_completed() {
    let mut guest = Guest::open();
    let frame = frame_to_card(100);
    guest.put_frame(0, 0, &frame);
    guest.transmit(0, 1);
    assert_eq!(guest.sent(), [frame]);
    assert_eq!(guest.read_pointer(0), 1);
    assert_eq!(written_back(&guest), 1);
    assert_eq!(guest.interrupts(VECTOR_RING0), 1);
    assert_eq!(guest.counted(Counter::HostTxPackets), 1);
    assert_eq!(guest.counted(Counter::HostTxBytes), 100);
    assert_eq!(guest.read64(stats::RX_FRAMES + stats::TX), 1);
    assert_eq!(guest.read64(regs::txr_stats(0) + 8), 100);
    assert_eq!(
        (
            guest.counted(Counter::DmaReadTransactions),
            guest.counted(Counter::DmaReadBytes),
            guest.counted(Counter::DmaWriteTransactions),
            guest.counted(Counter::DmaWriteBytes),
        ),
        (2, 116, 1, 8)
    );
}

#[test]
fn order_is_kept_around_the_ring() {
    let mut guest = Guest::open();
    let mut slot = 0;
    for round in 0..10_u32 {
        for number in 0..RING - 7 {
            let mut frame = frame_to_card(64);
            frame[20] = round as u8;
            frame[21] = number as u8;
            guest.put_frame(0, slot + number, &frame);
        }
        guest.transmit(0, RING - 7);
        slot += RING - 7;
        let sent = guest.sent();
        assert_eq!(sent.len(), (RING - 7) as usize);
        for (number, frame) in sent.iter().enumerate() {
            assert_eq!((frame[20], frame[21]), (round as u8, number as u8));
        }
        assert_eq!(guest.read_pointer(0), slot);
    }
}

#[test]
fn fragments_are_gathered() {
    let mut guest = Guest::open();
    let frame = frame_to_card(300);
    guest.poke(tx_buffer(0), &frame[..14]);
    guest.poke(tx_buffer(1), &frame[14..200]);
    guest.poke(tx_buffer(2), &frame[200..]);
    let parts = [(0, 14), (1, 186), (2, 100)];
    for (slot, len) in parts {
        let mut desc = tx_desc(tx_buffer(slot), len, 300);
        if slot != 2 {
            desc = not_last(desc);
        }
        guest.put_tx(0, slot, &desc);
    }
    guest.transmit(0, 2);
    assert!(guest.sent().is_empty(), "waits for the end of the frame");
    assert_eq!(guest.read_pointer(0), 0);
    guest.transmit(0, 1);
    assert_eq!(guest.sent(), [frame]);
    assert_eq!(guest.read_pointer(0), 3);
}

#[test]
fn metadata_is_taken_off() {
    let mut guest = Guest::open();
    let frame = frame_to_card(60);
    let mut with_meta = vec![0xee; 8];
    with_meta.extend(&frame);
    let mut desc = guest.put_frame(0, 0, &with_meta);
    desc.offset_eop |= 8;
    guest.put_tx(0, 0, &desc);
    guest.transmit(0, 1);
    assert_eq!(guest.sent(), [frame]);
}

#[test]
fn checksums_are_filled_in() {
    let mut guest = Guest::open();
    let frame = udp_to_card(1000, b"some payload");
    let mut desc = guest.put_frame(0, 0, &frame);
    desc.flags = nfd3::TX_CSUM | nfd3::TX_IP4_CSUM | nfd3::TX_UDP_CSUM;
    guest.put_tx(0, 0, &desc);
    guest.transmit(0, 1);
    let sent = guest.sent();
    let flags = checksum::verify(&sent[0]).rx_flags();
    assert_ne!(flags & nfd3::RX_IP4_CSUM_OK, 0);
    assert_ne!(flags & nfd3::RX_UDP_CSUM_OK, 0);
    assert_eq!(sent[0][42..], frame[42..]);
}

/// A TCP frame with `payload` bytes behind 54 bytes of headers.
fn tcp_frame(payload: usize) -> Vec<u8> {
    let mut frame = udp_to_card(1000, &[]);
    frame[23] = 6;
    frame.truncate(34);
    frame.extend([
        0x10, 0, 0, 80, 0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|i| i as u8));
    frame
}

fn lso_desc(mut desc: TxDesc) -> TxDesc {
    desc.mss = U16::new(1000);
    desc.lso_hdrlen = 54;
    desc.l3_offset = 14;
    desc.l4_offset = 34;
    desc.flags = nfd3::TX_LSO | nfd3::TX_CSUM | nfd3::TX_IP4_CSUM | nfd3::TX_TCP_CSUM;
    desc
}

#[test]
fn large_frames_are_cut() {
    let mut guest = Guest::open();
    let frame = tcp_frame(3500);
    let desc = lso_desc(guest.put_frame(0, 0, &frame));
    guest.put_tx(0, 0, &desc);
    guest.transmit(0, 1);
    let sent = guest.sent();
    let lengths: Vec<_> = sent.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1054, 1054, 1054, 554]);
    let payload: Vec<u8> = sent.iter().flat_map(|s| s[54..].to_vec()).collect();
    assert_eq!(payload, frame[54..]);
    for segment in &sent {
        let flags = checksum::verify(segment).rx_flags();
        assert_ne!(flags & nfd3::RX_TCP_CSUM_OK, 0);
        assert_ne!(flags & nfd3::RX_IP4_CSUM_OK, 0);
    }
    assert_eq!(guest.counted(Counter::HostTxLso), 1);
}

#[test]
fn a_frame_that_cannot_be_cut_is_dropped_alone() {
    let mut guest = Guest::open();
    let mut bad = lso_desc(guest.put_frame(0, 0, &tcp_frame(3500)));
    bad.l4_offset = 200;
    guest.put_tx(0, 0, &bad);
    guest.put_frame(0, 1, &frame_to_card(60));
    guest.transmit(0, 2);
    assert_eq!(guest.sent().len(), 1);
    assert_eq!(guest.dropped(DropReason::BadLso), 1);
    assert_eq!(guest.read_pointer(0), 2);
}

#[test]
fn longer_than_the_mtu_is_dropped_alone() {
    let mut guest = Guest::open();
    guest.put_frame(0, 0, &frame_to_card(1519));
    guest.put_frame(0, 1, &frame_to_card(1518));
    guest.transmit(0, 2);
    assert_eq!(guest.sent().len(), 1);
    assert_eq!(guest.dropped(DropReason::TooLong), 1);
}

#[test]
fn bad_descriptors_stop_their_ring_only() {
    let good = || tx_desc(tx_buffer(0), 60, 60);
    let at = |addr| tx_desc(addr, 60, 60);
    let cases = [
        (at(BASE - 1), DropReason::BadAddress),
        (at(BASE + MEMORY - 59), DropReason::BadAddress),
        (at(nfd3::DMA_LIMIT - 1), DropReason::BadAddress),
        (at(0), DropReason::BadAddress),
        (tx_desc(tx_buffer(0), 60, 61), DropReason::BadDescriptor),
        (tx_desc(tx_buffer(0), 13, 13), DropReason::BadDescriptor),
        (tx_desc(tx_buffer(0), 0, 0), DropReason::BadDescriptor),
        (
            TxDesc {
                offset_eop: nfd3::TX_EOP | 50,
                ..good()
            },
            DropReason::BadDescriptor,
        ),
    ];
    for (desc, reason) in cases {
        let mut guest = Guest::open();
        guest.put_frame(0, 0, &frame_to_card(60));
        guest.put_tx(0, 1, &desc);
        guest.put_frame(0, 2, &frame_to_card(60));
        guest.transmit(0, 3);
        assert_eq!(guest.sent().len(), 1, "what came before is sent: {desc:?}");
        assert_eq!(written_back(&guest), 1);
        assert_eq!(guest.dropped(reason), 1, "{desc:?}");
        assert_eq!(guest.counted(Counter::RingsStopped), 1);
        guest.transmit(0, 1);
        assert!(guest.sent().is_empty(), "stopped");

        guest.put_frame(1, 0, &frame_to_card(60));
        guest.transmit(1, 1);
        assert_eq!(guest.sent().len(), 1, "the other rings go on");

        assert_eq!(guest.reconfig(OPEN), 0);
        guest.put_frame(0, 0, &frame_to_card(60));
        guest.transmit(0, 1);
        assert_eq!(guest.sent().len(), 1, "enabled again");
    }
}

#[test]
fn a_frame_without_an_end_stops_the_ring() {
    let mut guest = Guest::open();
    for slot in 0..RING {
        guest.put_tx(0, slot, &not_last(tx_desc(tx_buffer(0), 60, 60)));
    }
    guest.transmit(0, RING);
    assert_eq!(guest.dropped(DropReason::BadDescriptor), 1);
    assert!(!guest.card.tx[0].lock().is_on());
}

#[test]
fn more_than_fits_the_ring_stops_it() {
    let mut guest = Guest::open();
    guest.transmit(0, RING + 1);
    assert!(guest.sent().is_empty());
    assert_eq!(guest.dropped(DropReason::BadDescriptor), 1);
    assert!(!guest.card.tx[0].lock().is_on());
}

#[test]
fn fragments_need_gather() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write32(regs::CTRL, CTRL & !ctrl::GATHER);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.put_tx(0, 0, &not_last(tx_desc(tx_buffer(0), 30, 60)));
    guest.put_tx(0, 1, &tx_desc(tx_buffer(0), 30, 60));
    guest.transmit(0, 2);
    assert_eq!(guest.dropped(DropReason::BadDescriptor), 1);
}

#[test]
fn a_bad_write_back_address_stops_the_ring() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write64(regs::txr_wb_addr(0), BASE + MEMORY);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(guest.dropped(DropReason::BadAddress), 1);
    assert!(!guest.card.tx[0].lock().is_on());
}

#[test]
fn without_write_back_the_queue_controller_tells() {
    let mut guest = Guest::new();
    guest.configure();
    guest.write32(regs::CTRL, CTRL & !ctrl::TXRWB);
    assert_eq!(guest.reconfig(OPEN), 0);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert_eq!(guest.read_pointer(0), 1);
    assert_eq!(written_back(&guest), 0);
}

#[test]
fn bus_master_off_means_no_dma() {
    let mut guest = Guest::open();
    guest.bus_master(false);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    guest.card.receive(&frame_to_card(60));
    assert!(guest.sent().is_empty());
    assert_eq!(guest.counted(Counter::DmaReadTransactions), 0);
    assert_eq!(guest.counted(Counter::DmaWriteTransactions), 0);
    guest.bus_master(true);
    guest.work(0);
    assert_eq!(guest.sent().len(), 1, "goes on where it was");
}

#[test]
fn with_the_link_down_frames_are_completed_and_dropped() {
    let mut guest = Guest::open();
    guest.card.set_cable(false);
    guest.put_frame(0, 0, &frame_to_card(60));
    guest.transmit(0, 1);
    assert!(guest.sent().is_empty());
    assert_eq!(guest.read_pointer(0), 1);
    assert_eq!(guest.dropped(DropReason::LinkDown), 1);
}

/// Puts `words` from slot `slot` of NFDK TX ring 0 on.
pub(super) fn put_nfdk(guest: &Guest, slot: u64, words: &[[u8; 8]]) {
    guest.poke(tx_ring(0) + slot * 8, words.as_flattened());
}

pub(super) fn nfdk_data(addr: u64, len_type: u16) -> [u8; 8] {
    (addr << 32 | u64::from(len_type) << 16 | addr >> 32).to_le_bytes()
}

#[test]
fn nfdk_frames_go_out() {
    let mut guest = Guest::with_format(Format::Nfdk);
    guest.configure();
    assert_eq!(guest.reconfig(OPEN), 0);
    let small = udp_to_card(1000, b"payload");
    guest.poke(tx_buffer(0), &small);
    let large = tcp_frame(3500);
    guest.poke(tx_buffer(1), &large[..54]);
    guest.poke(tx_buffer(2), &large[54..]);
    let chained = [&[0, 0, 0, 4][..], &small].concat();
    guest.poke(tx_buffer(3), &chained);
    let checksums = [nfdk::META_L3_CSUM | nfdk::META_L4_CSUM, 0, 0, 0, 0, 0, 0, 0];
    let simple = nfdk::TYPE_SIMPLE | nfdk::EOP;
    put_nfdk(
        &guest,
        0,
        &[
            nfdk_data(tx_buffer(0), simple | (small.len() - 1) as u16),
            checksums,
            nfdk_data(tx_buffer(1), nfdk::TYPE_TSO | 53),
            nfdk_data(tx_buffer(2), nfdk::EOP | 3499),
            checksums,
            [0xe8, 3, 54, 4, 14, 34, 0, 0],
        ],
    );
    // The rest of the block is zero.
    let block = u64::from(nfdk::BLOCK);
    put_nfdk(
        &guest,
        block,
        &[
            nfdk_data(tx_buffer(3), simple | (chained.len() - 1) as u16),
            [nfdk::META_CHAIN, 0, 0, 0, 0, 0, 0, 0],
        ],
    );
    guest.transmit(0, 10);
    assert_eq!(guest.read_pointer(0), 6, "no part of a gap is given back");
    guest.transmit(0, nfdk::BLOCK + 2 - 10);
    let sent = guest.sent();
    let lengths: Vec<_> = sent.iter().map(Vec::len).collect();
    assert_eq!(
        lengths,
        [small.len(), 1054, 1054, 1054, 554, small.len()],
        "gaps are skipped"
    );
    let flags = checksum::verify(&sent[0]).rx_flags();
    assert_ne!(flags & nfd3::RX_UDP_CSUM_OK, 0);
    assert_eq!(sent[5], small, "metadata is taken off");
    assert_eq!(guest.read_pointer(0), nfdk::BLOCK + 2);
    assert_eq!(written_back(&guest), block + 2);
}

#[test]
fn bad_nfdk_descriptors_stop_the_ring() {
    let simple = nfdk::TYPE_SIMPLE | nfdk::EOP;
    let meta = [0; 8];
    let chain = [nfdk::META_CHAIN, 0, 0, 0, 0, 0, 0, 0];
    let cases = [
        (
            [nfdk_data(tx_buffer(0), 3 << 12), meta],
            DropReason::BadDescriptor,
        ),
        (
            [nfdk_data(tx_buffer(0), simple | 9), meta],
            DropReason::BadDescriptor,
        ),
        (
            [nfdk_data(BASE + MEMORY, simple | 59), meta],
            DropReason::BadAddress,
        ),
        (
            [nfdk_data(1 << 40, simple | 59), meta],
            DropReason::BadAddress,
        ),
        (
            [nfdk_data(tx_buffer(0), simple | 59), chain],
            DropReason::BadDescriptor,
        ),
    ];
    for (words, reason) in cases {
        let mut guest = Guest::with_format(Format::Nfdk);
        guest.configure();
        assert_eq!(guest.reconfig(OPEN), 0);
        guest.poke(tx_buffer(0), &[0xff; 60]);
        put_nfdk(&guest, 0, &words);
        guest.transmit(0, 2);
        assert_eq!(guest.dropped(reason), 1, "{words:x?}");
        assert!(!guest.card.tx[0].lock().is_on());
    }
}
