// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever the host writes, the card neither panics nor hangs.

use super::guest::{frame_to_card, rx_ring, tx_ring, udp_to_card, Guest, BASE, OPEN, RING, RINGS};
use acceltcp_abi::nfd3::{FreelistDesc, TxDesc};
use acceltcp_abi::regs;
use proptest::collection::vec;
use proptest::prelude::*;
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;
use vfio_user::ServerBackend;

/// An access to a register.
#[derive(Debug, Clone)]
struct Write {
    region: u32,
    offset: u64,
    data: Vec<u8>,
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..0x200,
        0_u64..0x2100,
        (0_u64..64).prop_map(|queue| queue * 0x400 + queue % 3 * 4),
        0_u64..0x9_0000,
        any::<u64>(),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let region = prop_oneof![
        Just(0_u32),
        Just(2),
        Just(VFIO_PCI_CONFIG_REGION_INDEX),
        0_u32..12
    ];
    let data = prop_oneof![
        vec(any::<u8>(), 4),
        vec(any::<u8>(), 8),
        vec(0_u8..16, 1..=8),
        vec(any::<u8>(), 0..20)
    ];
    (region, offset(), data).prop_map(|(region, offset, data)| Write {
        region,
        offset,
        data,
    })
}

/// Lets the card do everything that it can have to do.
fn exercise(guest: &mut Guest) {
    for ring in 0..RINGS {
        guest.work(ring);
    }
    guest.card.receive(&udp_to_card(7, b"payload"));
    guest.card.receive(&frame_to_card(60));
}

/// A descriptor that is more often nearly right than not.
fn tx_desc() -> impl Strategy<Value = [u8; TxDesc::SIZE]> {
    let near = (0_u64..0x20_0000, 0_u16..2000, any::<[u8; 8]>(), any::<u8>()).prop_map(
        |(offset, len, tail, eop)| {
            let mut desc = super::guest::tx_desc(BASE + offset, usize::from(len), usize::from(len));
            desc.offset_eop = eop;
            let mut bytes: [u8; TxDesc::SIZE] = zerocopy::transmute!(desc);
            bytes[8..14].copy_from_slice(&tail[..6]);
            bytes
        },
    );
    prop_oneof![3 => near, 1 => any::<[u8; TxDesc::SIZE]>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_register_writes(writes in vec(write(), 1..60), enabled: bool) {
        let mut guest = if enabled { Guest::open() } else { Guest::new() };
        let mut data = [0; 16];
        for Write { region, offset, data: bytes } in &writes {
            guest.backend.region_write(*region, *offset, bytes).unwrap();
            let len = bytes.len().min(16);
            guest.backend.region_read(*region, *offset, &mut data[..len]).unwrap();
        }
        exercise(&mut guest);
        guest.write32(regs::UPDATE, OPEN);
        guest.doorbell(1, 1);
        exercise(&mut guest);
        guest.card.function_reset();
        exercise(&mut guest);
    }

    #[test]
    fn any_tx_ring(
        descs in vec(tx_desc(), RING as usize),
        payload in vec(any::<u8>(), 4096),
        doorbells in vec(prop_oneof![0..=RING, any::<u32>()], 1..6),
    ) {
        let mut guest = Guest::open();
        guest.poke(BASE + 0x10_0000, &payload);
        for (slot, desc) in descs.iter().enumerate() {
            guest.poke(tx_ring(0) + (slot * TxDesc::SIZE) as u64, desc);
        }
        for count in doorbells {
            guest.transmit(0, count);
            for frame in guest.sent() {
                prop_assert!((14..=1518).contains(&frame.len()));
            }
        }
        // The other rings are none the worse.
        guest.put_frame(1, 0, &frame_to_card(60));
        guest.transmit(1, 1);
        prop_assert_eq!(guest.sent().len(), 1);
    }

    #[test]
    fn any_rx_ring(
        descs in vec(prop_oneof![
            (0_u64..0x38_0000).prop_map(|offset| FreelistDesc::new(BASE + 0x2_0000 + offset)),
            any::<u64>().prop_map(FreelistDesc::new),
        ], RING as usize),
        doorbells in vec(prop_oneof![0..=RING, any::<u32>()], 1..6),
    ) {
        let mut guest = Guest::open();
        for (slot, desc) in descs.iter().enumerate() {
            guest.poke(rx_ring(0) + slot as u64 * 8, zerocopy::IntoBytes::as_bytes(desc));
        }
        for count in doorbells {
            guest.doorbell(2, count);
            for _ in 0..20 {
                guest.card.receive(&frame_to_card(600));
            }
        }
        let before = guest.counted(crate::counters::Counter::HostRxPackets);
        prop_assert_eq!(guest.reconfig(OPEN), 0);
        guest.post_buffers(0, 16);
        guest.card.receive(&frame_to_card(60));
        prop_assert_eq!(guest.counted(crate::counters::Counter::HostRxPackets), before + 1);
    }
}
