// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The statistics areas of the control BAR.

use acceltcp_abi::regs::{self, stats};
use std::sync::atomic::{AtomicU64, Ordering};

/// Packets and bytes of a ring.
#[derive(Debug, Default)]
struct RingStats([AtomicU64; 2]);

/// Counters of one direction, in the order of the registers, and its rings.
#[derive(Debug)]
pub struct Direction {
    global: [AtomicU64; stats::COUNT],
    rings: Vec<RingStats>,
}

// Places of the counters, from the register map.
const DISCARDS: usize = 0;
const ERRORS: usize = index(stats::RX_ERRORS);
const OCTETS: usize = index(stats::RX_OCTETS);
const UC_OCTETS: usize = index(stats::RX_UC_OCTETS);
const MC_OCTETS: usize = index(stats::RX_MC_OCTETS);
const BC_OCTETS: usize = index(stats::RX_BC_OCTETS);
const FRAMES: usize = index(stats::RX_FRAMES);
const MC_FRAMES: usize = index(stats::RX_MC_FRAMES);
const BC_FRAMES: usize = index(stats::RX_BC_FRAMES);

const fn index(register: usize) -> usize {
    (register - stats::RX_DISCARDS) / 8
}

impl Direction {
    fn new(rings: usize) -> Self {
        Self {
            global: Default::default(),
            rings: (0..rings).map(|_| RingStats::default()).collect(),
        }
    }

    /// Counts `frame` on `ring`.
    pub fn frame(&self, ring: usize, frame: &[u8]) {
        let len = frame.len() as u64;
        let add = |which: usize, amount| {
            self.global[which].fetch_add(amount, Ordering::Relaxed);
        };
        add(OCTETS, len);
        add(FRAMES, 1);
        if frame.starts_with(&[0xff; 6]) {
            add(BC_OCTETS, len);
            add(BC_FRAMES, 1);
        } else if frame.first().is_some_and(|byte| byte & 1 != 0) {
            add(MC_OCTETS, len);
            add(MC_FRAMES, 1);
        } else {
            add(UC_OCTETS, len);
        }
        if let Some(RingStats([packets, bytes])) = self.rings.get(ring) {
            packets.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(len, Ordering::Relaxed);
        }
    }

    /// Counts a frame that was dropped for want of room.
    pub fn discard(&self) {
        self.global[DISCARDS].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a frame that was dropped because it was wrong.
    pub fn error(&self) {
        self.global[ERRORS].fetch_add(1, Ordering::Relaxed);
    }

    fn reset(&self) {
        let rings = self.rings.iter().flat_map(|ring| &ring.0);
        for counter in self.global.iter().chain(rings) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// All statistics that the host reads from the card.
#[derive(Debug)]
pub struct Stats {
    /// To the host.
    pub rx: Direction,
    /// From the host.
    pub tx: Direction,
}

impl Stats {
    /// Statistics of a card with `rings` ring pairs.
    pub fn new(rings: usize) -> Self {
        Self {
            rx: Direction::new(rings),
            tx: Direction::new(rings),
        }
    }

    /// All zero.
    pub fn reset(&self) {
        self.rx.reset();
        self.tx.reset();
    }

    /// Lays the statistics over `data`, read from `at` of the control BAR on. A counter is read in one piece.
    pub fn read(&self, at: usize, data: &mut [u8]) {
        let mut value = (usize::MAX, None);
        for (at, byte) in (at..=usize::MAX).zip(data) {
            if value.0 != at & !7 {
                let counter = self.counter(at & !7);
                let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_le_bytes();
                value = (at & !7, counter.map(load));
            }
            if let (_, Some(bytes)) = value {
                *byte = bytes[at % 8];
            }
        }
    }

    fn counter(&self, at: usize) -> Option<&AtomicU64> {
        if (stats::RX_DISCARDS..stats::RX_DISCARDS + stats::TX).contains(&at) {
            return self.rx.global.get(index(at));
        }
        let tx = stats::RX_DISCARDS + stats::TX;
        if (tx..tx + stats::TX).contains(&at) {
            return self.tx.global.get((at - tx) / 8);
        }
        let (direction, offset) =
            if (regs::txr_stats(0)..regs::txr_stats(regs::MAX_RINGS)).contains(&at) {
                (&self.tx, at - regs::txr_stats(0))
            } else if (regs::rxr_stats(0)..regs::rxr_stats(regs::MAX_RINGS)).contains(&at) {
                (&self.rx, at - regs::rxr_stats(0))
            } else {
                return None;
            };
        direction.rings.get(offset / 16)?.0.get(offset % 16 / 8)
    }
}

const _: () = assert!(index(stats::RX_DISCARDS + stats::TX) == stats::COUNT);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stats: &Stats, at: usize) -> u64 {
        let mut bytes = [0xee; 8];
        stats.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn frames_are_counted_by_kind_and_ring() {
        let stats = Stats::new(2);
        stats.rx.frame(1, &[2; 60]);
        stats.rx.frame(1, &[0xff; 70]);
        stats.rx.frame(0, &[0x33; 80]);
        stats.tx.frame(0, &[2; 90]);
        stats.rx.discard();
        stats.tx.error();
        assert_eq!(read(&stats, stats::RX_FRAMES), 3);
        assert_eq!(read(&stats, stats::RX_OCTETS), 210);
        assert_eq!(read(&stats, stats::RX_UC_OCTETS), 60);
        assert_eq!(read(&stats, stats::RX_BC_OCTETS), 70);
        assert_eq!(read(&stats, stats::RX_BC_FRAMES), 1);
        assert_eq!(read(&stats, stats::RX_MC_OCTETS), 80);
        assert_eq!(read(&stats, stats::RX_MC_FRAMES), 1);
        assert_eq!(read(&stats, stats::RX_DISCARDS), 1);
        assert_eq!(read(&stats, stats::RX_FRAMES + stats::TX), 1);
        assert_eq!(read(&stats, stats::RX_ERRORS + stats::TX), 1);
        assert_eq!(read(&stats, regs::rxr_stats(1)), 2);
        assert_eq!(read(&stats, regs::rxr_stats(1) + 8), 130);
        assert_eq!(read(&stats, regs::txr_stats(0) + 8), 90);
        stats.reset();
        assert_eq!(read(&stats, stats::RX_FRAMES), 0);
        assert_eq!(read(&stats, regs::rxr_stats(1)), 0);
    }

    #[test]
    fn other_registers_are_not_statistics() {
        let stats = Stats::new(2);
        let past_tx = stats::RX_DISCARDS + 2 * stats::TX;
        // The last one: there is no such ring.
        for at in [regs::CTRL, past_tx, regs::MBOX, regs::rxr_stats(2)] {
            assert_eq!(read(&stats, at), 0xeeee_eeee_eeee_eeee, "{at:#x}");
        }
        let mut across = [0xee; 4];
        stats.read(stats::RX_DISCARDS - 2, &mut across);
        assert_eq!(across, [0xee, 0xee, 0, 0]);
    }
}
