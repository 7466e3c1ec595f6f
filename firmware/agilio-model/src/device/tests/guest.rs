// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host for tests: memory, a driver's register accesses, and a wire to look at.

use crate::counters::{Counter, Counters, DropReason};
use crate::device::card::{Card, Parts};
use crate::device::descriptors::Format;
use crate::device::imem::{self, Stack};
use crate::device::registers::{Identity, START_RXQ, START_TXQ};
use crate::device::server::Backend;
use crate::device::tx::Progress;
use crate::wire::{FrameBuf, WirePort};
use acceltcp_abi::nfd3::{FreelistDesc, RxDesc, TxDesc, TX_EOP};
use acceltcp_abi::pci::{CTRL_BAR, QC_BAR, VECTOR_LSC, VECTOR_RING0};
use acceltcp_abi::regs::{self, ctrl, rss, update};
use acceltcp_abi::tlv::features;
use acceltcp_abi::{nfd3, qc};
use nicstack::memory::Capacity;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::{DmaMapFlags, ServerBackend};
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// Ring pairs of the card.
pub(super) const RINGS: usize = 4;
/// Factory address of the card.
pub(super) const MAC: [u8; 6] = [0x02, 0x15, 0x4d, 0, 0, 1];
/// Where guest memory starts.
pub(super) const BASE: u64 = 0x10_0000;
/// Bytes of guest memory.
pub(super) const MEMORY: u64 = 4 << 20;
/// log2 of the descriptors of a ring.
pub(super) const RING_LOG2: u8 = 6;
/// Descriptors of a ring.
pub(super) const RING: u32 = 1 << RING_LOG2;
/// Bytes of an RX buffer.
pub(super) const BUFFER: u32 = 2048;
/// What a driver turns on.
pub(super) const CTRL: u32 = ctrl::ENABLE
    | ctrl::L2BC
    | ctrl::RXCSUM
    | ctrl::TXCSUM
    | ctrl::GATHER
    | ctrl::TXRWB
    | ctrl::LSO2
    | ctrl::RSS2;
/// Updates of a driver that opens its device.
pub(super) const OPEN: u32 = update::GEN | update::RING | update::MSIX | update::RSS;

/// A wire whose frames the test sees and makes.
pub(super) struct TestWire {
    sent: Sender<Vec<u8>>,
    incoming: Mutex<Incoming>,
    pub(super) feed: Sender<Option<Vec<u8>>>,
}

struct Incoming {
    frames: Receiver<Option<Vec<u8>>>,
    /// What [`WirePort::wait`] has seen.
    next: Option<Vec<u8>>,
}

impl WirePort for TestWire {
    fn send(&self, _queue: usize, frame: &[u8], _csum_valid: bool) -> io::Result<()> {
        let _ = self.sent.send(frame.to_vec());
        Ok(())
    }

    fn wait(&self, _queue: usize) -> io::Result<bool> {
        let mut incoming = self.incoming.lock();
        incoming.next = incoming.frames.recv().ok().flatten();
        Ok(incoming.next.is_some())
    }

    fn take(&self, _queue: usize, buffer: &mut FrameBuf) -> io::Result<bool> {
        let next = self.incoming.lock().next.take();
        Ok(next.is_some_and(|frame| buffer.copy(&frame)))
    }

    fn stop(&self) {
        let _ = self.feed.send(None);
    }
}

/// The host with its card.
pub(super) struct Guest {
    pub(super) backend: Backend,
    pub(super) card: Arc<Card>,
    pub(super) wire: Arc<TestWire>,
    pub(super) counters: Arc<Counters>,
    /// Frames that the card sent.
    pub(super) sent: Receiver<Vec<u8>>,
    memory: File,
    eventfds: Vec<File>,
    posted: [u32; RINGS],
}

impl Guest {
    /// A card behind which memory is mapped, with bus master on and eventfds in place; rings are off.
    pub(super) fn new() -> Self {
        Self::with_format(Format::Nfd3)
    }

    /// The same with a card of another datapath.
    pub(super) fn with_format(format: Format) -> Self {
        let stack = imem::stack(Capacity::default()).unwrap();
        Self::with_card(format, Some(features::SETUP), stack)
    }

    /// The same with a card of some stack.
    pub(super) fn with_card(format: Format, features: Option<u32>, nic: Stack) -> Self {
        let (sent, from_card) = channel();
        let (feed, incoming) = channel();
        let wire = Arc::new(TestWire {
            sent,
            incoming: Mutex::new(Incoming {
                frames: incoming,
                next: None,
            }),
            feed,
        });
        let counters = Arc::new(Counters::new());
        let card = Arc::new(Card::new(Parts {
            identity: Identity {
                mac: MAC,
                rings: RINGS,
                format,
                features,
            },
            nic,
            workers: 2,
            wire: wire.clone(),
            host_capture: None,
            counters: counters.clone(),
        }));
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(MEMORY).unwrap();
        let mut guest = Self {
            backend: Backend::new(card.clone()),
            card,
            wire,
            counters,
            sent: from_card,
            memory,
            eventfds: Vec::new(),
            posted: [0; RINGS],
        };
        let file = guest.memory.try_clone().unwrap();
        guest
            .backend
            .dma_map(DmaMapFlags::READ_WRITE, 0, BASE, MEMORY, Some(file))
            .unwrap();
        guest.connect_interrupts();
        guest.bus_master(true);
        guest
    }

    /// A guest whose driver has enabled all rings, with all RX buffers but one handed over.
    pub(super) fn open() -> Self {
        let mut guest = Self::new();
        guest.enable();
        guest
    }

    /// Enables all rings and hands over all RX buffers but one.
    pub(super) fn enable(&mut self) {
        self.configure();
        assert_eq!(self.reconfig(OPEN), 0);
        for ring in 0..RINGS {
            self.post_buffers(ring, RING - 1);
        }
    }

    fn connect_interrupts(&mut self) {
        for vector in 0..u32::from(VECTOR_RING0) + RINGS as u32 {
            let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
            let file = File::from(fd);
            self.eventfds.push(file.try_clone().unwrap());
            self.backend
                .set_irqs(
                    VFIO_PCI_MSIX_IRQ_INDEX,
                    VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                    vector,
                    1,
                    vec![file],
                )
                .unwrap();
        }
    }

    /// Turns bus mastering on or off.
    pub(super) fn bus_master(&mut self, on: bool) {
        let command = [if on { 6 } else { 2 }, 0];
        self.backend
            .region_write(VFIO_PCI_CONFIG_REGION_INDEX, 4, &command)
            .unwrap();
    }

    /// By the device control register of the PCI Express capability at 0xc0.
    pub(super) fn function_level_reset(&mut self) {
        self.backend
            .region_write(VFIO_PCI_CONFIG_REGION_INDEX, 0xc8, &[0x10, 0xa8])
            .unwrap();
    }

    /// Interrupts of `vector` since the last call.
    pub(super) fn interrupts(&self, vector: u16) -> u64 {
        let mut count = [0; 8];
        match (&self.eventfds[usize::from(vector)]).read(&mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, at: usize, data: &[u8]) {
        self.backend
            .region_write(CTRL_BAR, at as u64, data)
            .unwrap();
    }

    pub(super) fn write32(&mut self, at: usize, value: u32) {
        self.write(at, &value.to_le_bytes());
    }

    pub(super) fn write64(&mut self, at: usize, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    pub(super) fn read<const N: usize>(&mut self, at: usize) -> [u8; N] {
        let mut data = [0; N];
        self.backend
            .region_read(CTRL_BAR, at as u64, &mut data)
            .unwrap();
        data
    }

    pub(super) fn read32(&mut self, at: usize) -> u32 {
        u32::from_le_bytes(self.read(at))
    }

    pub(super) fn read64(&mut self, at: usize) -> u64 {
        u64::from_le_bytes(self.read(at))
    }

    /// Adds `amount` to the write pointer of hardware queue `queue`.
    pub(super) fn doorbell(&mut self, queue: usize, amount: u32) {
        let at = qc::register(queue, qc::ADD_WPTR) as u64;
        self.backend
            .region_write(QC_BAR, at, &amount.to_le_bytes())
            .unwrap();
    }

    /// Read pointer of hardware queue `queue`.
    pub(super) fn read_pointer(&mut self, queue: usize) -> u32 {
        let mut data = [0; 4];
        let at = qc::register(queue, qc::STS_LO) as u64;
        self.backend.region_read(QC_BAR, at, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    /// Writes everything that a driver writes before it enables its rings.
    pub(super) fn configure(&mut self) {
        for ring in 0..RINGS {
            self.write64(regs::txr_addr(ring), tx_ring(ring));
            self.write64(regs::txr_wb_addr(ring), write_back(ring));
            self.write(regs::txr_sz(ring), &[RING_LOG2]);
            self.write(regs::txr_vec(ring), &[VECTOR_RING0 as u8 + ring as u8]);
            self.write64(regs::rxr_addr(ring), rx_ring(ring));
            self.write(regs::rxr_sz(ring), &[RING_LOG2]);
            self.write(regs::rxr_vec(ring), &[VECTOR_RING0 as u8 + ring as u8]);
        }
        self.write64(regs::TXRS_ENABLE, (1 << RINGS) - 1);
        self.write64(regs::RXRS_ENABLE, (1 << RINGS) - 1);
        self.write32(regs::MTU, 1500);
        self.write32(regs::FLBUFSZ, BUFFER);
        self.write(regs::LSC, &[VECTOR_LSC as u8]);
        let all = rss::IPV4 | rss::IPV6 | rss::IPV4_TCP | rss::IPV6_TCP | rss::IPV4_UDP;
        self.write32(
            regs::RSS_CTRL,
            all | rss::IPV6_UDP | rss::TOEPLITZ | rss::MASK,
        );
        let key: [u8; regs::RSS_KEY_SIZE] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        self.write(regs::RSS_KEY, &key);
        let table: [u8; regs::RSS_ITBL_SIZE] = std::array::from_fn(|i| (i % RINGS) as u8);
        self.write(regs::RSS_ITBL, &table);
        self.write32(regs::CTRL, CTRL);
    }

    /// Asks for an update and returns what the card leaves in the register.
    pub(super) fn reconfig(&mut self, update: u32) -> u32 {
        self.write32(regs::UPDATE, update);
        self.doorbell(START_TXQ + qc::CONFIG_QUEUE, 1);
        if update & update::RING != 0 {
            self.posted = [0; RINGS];
        }
        self.read32(regs::UPDATE)
    }

    /// Hands `count` buffers to RX ring `ring`.
    pub(super) fn post_buffers(&mut self, ring: usize, count: u32) {
        for _ in 0..count {
            let slot = self.posted[ring] % RING;
            let desc = FreelistDesc::new(rx_buffer(ring, slot));
            self.poke(rx_desc(ring, slot), desc.as_bytes());
            self.posted[ring] += 1;
        }
        self.doorbell(qc::ring_queue(START_RXQ, ring), count);
    }

    /// Writes guest memory.
    pub(super) fn poke(&self, addr: u64, data: &[u8]) {
        self.memory.write_all_at(data, addr - BASE).unwrap();
    }

    /// Reads guest memory.
    pub(super) fn peek(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.read_exact_at(&mut data, addr - BASE).unwrap();
        data
    }

    /// Puts `desc` into slot `slot` of TX ring `ring`.
    pub(super) fn put_tx(&self, ring: usize, slot: u32, desc: &TxDesc) {
        let at = tx_ring(ring) + u64::from(slot % RING) * TxDesc::SIZE as u64;
        self.poke(at, desc.as_bytes());
    }

    /// Puts `frame` and its only descriptor into slot `slot` of TX ring `ring`.
    pub(super) fn put_frame(&self, ring: usize, slot: u32, frame: &[u8]) -> TxDesc {
        let addr = tx_buffer(slot);
        self.poke(addr, frame);
        let desc = tx_desc(addr, frame.len(), frame.len());
        self.put_tx(ring, slot, &desc);
        desc
    }

    /// Announces `count` descriptors and has the card work on all of them.
    pub(super) fn transmit(&mut self, ring: usize, count: u32) {
        self.doorbell(qc::ring_queue(START_TXQ, ring), count);
        self.work(ring);
    }

    /// Has the card work on TX ring `ring` until it is idle.
    pub(super) fn work(&self, ring: usize) {
        for _ in 0..2 * RING {
            if self.card.service_tx(ring) == Progress::Idle {
                return;
            }
        }
        panic!("the ring does not come to rest");
    }

    /// Frames that the card has sent since the last call.
    pub(super) fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.try_iter().collect()
    }

    /// RX descriptor in slot `slot` of ring `ring`, when it is done, and its buffer.
    pub(super) fn received(&self, ring: usize, slot: u32) -> Option<(RxDesc, Vec<u8>)> {
        let bytes = self.peek(rx_desc(ring, slot), RxDesc::SIZE);
        let desc = RxDesc::read_from_bytes(&bytes).unwrap();
        desc.is_done().then(|| {
            let len = usize::from(desc.data_len.get());
            (desc, self.peek(rx_buffer(ring, slot), len))
        })
    }

    /// Frames that all RX rings hold, from their first slots on.
    pub(super) fn received_total(&self) -> usize {
        (0..RINGS)
            .map(|ring| {
                (0..RING)
                    .take_while(|slot| self.received(ring, *slot).is_some())
                    .count()
            })
            .sum()
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.drops(reason)
    }

    pub(super) fn counted(&self, counter: Counter) -> u64 {
        self.counters.get(counter)
    }
}

/// A descriptor for a whole frame.
pub(super) fn tx_desc(addr: u64, len: usize, data_len: usize) -> TxDesc {
    let mut desc = TxDesc {
        dma_len: U16::new(len as u16),
        offset_eop: TX_EOP,
        data_len: U16::new(data_len as u16),
        ..TxDesc::default()
    };
    desc.set_dma_addr(addr);
    desc
}

/// The same as one fragment of several.
pub(super) fn not_last(mut desc: TxDesc) -> TxDesc {
    desc.offset_eop &= nfd3::TX_OFFSET_MASK;
    desc
}

pub(super) fn tx_ring(ring: usize) -> u64 {
    BASE + 0x1000 * ring as u64
}

pub(super) fn write_back(ring: usize) -> u64 {
    BASE + 0x7000 + 64 * ring as u64
}

pub(super) fn rx_ring(ring: usize) -> u64 {
    BASE + 0x8000 + 0x1000 * ring as u64
}

fn rx_desc(ring: usize, slot: u32) -> u64 {
    rx_ring(ring) + u64::from(slot) * RxDesc::SIZE as u64
}

/// Room for a TX frame of up to 8 KiB.
pub(super) fn tx_buffer(slot: u32) -> u64 {
    BASE + 0x1_0000 + u64::from(slot % RING) * 0x2000
}

pub(super) fn rx_buffer(ring: usize, slot: u32) -> u64 {
    let index = ring as u64 * u64::from(RING) + u64::from(slot);
    BASE + 0x10_0000 + index * u64::from(BUFFER)
}

/// An Ethernet frame to the card, with `len` bytes in all.
pub(super) fn frame_to_card(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
    frame[..6].copy_from_slice(&MAC);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// A UDP datagram to the card from port `port`, checksums left zero.
pub(super) fn udp_to_card(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_to_card(14);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let total = 20 + 8 + payload.len() as u16;
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 99, 0, 1, 10, 99, 0, 2]);
    frame.extend(port.to_be_bytes());
    frame.extend(9_u16.to_be_bytes());
    frame.extend((total - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
