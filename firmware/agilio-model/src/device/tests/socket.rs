// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The device over a real vfio-user socket.

use super::guest::{frame_to_card, Guest, BASE, RINGS};
use crate::device::config_space::{BAR0_SIZE, BAR2_SIZE};
use crate::device::server;
use acceltcp_abi::pci::{CTRL_BAR, QC_BAR, VECTOR_RING0};
use acceltcp_abi::regs;
use std::os::fd::AsRawFd;
use std::thread;
use vfio_bindings::bindings::vfio::{VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX};
use vfio_user::Client;

#[test]
fn a_client_finds_the_card() {
    let guest = Guest::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vu.sock");
    let server = server::listen(&path, &guest.card).unwrap();
    assert!(server::listen(&path, &guest.card).is_err(), "in use");
    let card = guest.card.clone();
    let serving = thread::spawn(move || server::serve(&server, card));

    let mut client = Client::new(&path).unwrap();
    assert_eq!(client.region(CTRL_BAR).unwrap().size, BAR0_SIZE as u64);
    assert_eq!(client.region(QC_BAR).unwrap().size, BAR2_SIZE as u64);
    let irqs = client.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).unwrap();
    assert_eq!(irqs.count, u32::from(VECTOR_RING0) + RINGS as u32);

    let mut id = [0; 4];
    client
        .region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut id)
        .unwrap();
    assert_eq!(id, [0xee, 0x19, 0x03, 0x60]);
    client
        .region_write(CTRL_BAR, regs::MTU as u64, &[0xdc, 5, 0, 0])
        .unwrap();
    let mut mtu = [0; 8];
    client
        .region_read(CTRL_BAR, regs::MTU as u64, &mut mtu)
        .unwrap();
    assert_eq!(mtu[..4], [0xdc, 5, 0, 0]);
    // Outside of everything.
    client
        .region_read(CTRL_BAR, u64::MAX - 3, &mut mtu)
        .unwrap();
    client.region_write(QC_BAR, u64::MAX - 3, &[1; 4]).unwrap();

    let memory = tempfile::tempfile().unwrap();
    memory.set_len(0x1000).unwrap();
    client
        .dma_map(0, 4 * BASE, 0x1000, memory.as_raw_fd())
        .unwrap();
    // Overlaps; the device takes note and lives on.
    client
        .dma_map(0, 4 * BASE, 0x1000, memory.as_raw_fd())
        .unwrap();
    client.dma_unmap(4 * BASE, 0x1000).unwrap();
    client.reset().unwrap();
    client
        .region_read(CTRL_BAR, regs::MTU as u64, &mut mtu)
        .unwrap();
    assert_eq!(mtu[..4], [0; 4]);

    client.shutdown().unwrap();
    serving.join().unwrap().unwrap();
    guest.card.receive(&frame_to_card(60));
}
