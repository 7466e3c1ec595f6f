// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the card counts. Every counter has a flat, dotted name, and every dropped frame a reason.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot by name.
pub type Snapshot = BTreeMap<Cow<'static, str>, u64>;

/// Declares a closed set of names.
macro_rules! names {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$inner])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in a [`Snapshot`].
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

names! {
    /// Work done.
    Counter {
        /// Frames delivered to the host.
        HostRxPackets = "host.rx.packets",
        /// Bytes of the frames delivered to the host.
        HostRxBytes = "host.rx.bytes",
        /// Frames taken from the host, before segmentation.
        HostTxPackets = "host.tx.packets",
        /// Bytes of the frames taken from the host, before segmentation.
        HostTxBytes = "host.tx.bytes",
        /// Frames taken from the host that were cut into segments.
        HostTxLso = "host.tx.lso",
        /// Frames that came from the wire.
        WireRxPackets = "wire.rx.packets",
        /// Bytes of the frames that came from the wire.
        WireRxBytes = "wire.rx.bytes",
        /// Frames put on the wire.
        WireTxPackets = "wire.tx.packets",
        /// Bytes of the frames put on the wire.
        WireTxBytes = "wire.tx.bytes",
        /// Reads of host memory.
        DmaReadTransactions = "dma.read.transactions",
        /// Bytes read from host memory.
        DmaReadBytes = "dma.read.bytes",
        /// Writes of host memory.
        DmaWriteTransactions = "dma.write.transactions",
        /// Bytes written to host memory.
        DmaWriteBytes = "dma.write.bytes",
        /// Accesses to host memory outside what the host has mapped for the card.
        DmaErrors = "dma.errors",
        /// Writes of queue controller pointers.
        Doorbells = "doorbells",
        /// Interrupts raised.
        Interrupts = "interrupts",
        /// Events of rings that shared an interrupt with an earlier one by moderation.
        InterruptsModerated = "interrupts.moderated",
        /// Reads of BARs.
        MmioReads = "mmio.reads",
        /// Writes of BARs.
        MmioWrites = "mmio.writes",
        /// Reconfigurations carried out.
        Reconfigs = "reconfigs",
        /// Reconfigurations refused.
        ReconfigErrors = "reconfig.errors",
        /// Rings stopped because of what the host put into them.
        RingsStopped = "rings.stopped",
    }
}

names! {
    /// Why a frame was dropped.
    DropReason {
        /// From the wire, with no buffer of the host to take it.
        NoBuffer = "drop.no_buffer",
        /// From the wire, and not for an address of the card.
        Filtered = "drop.filtered",
        /// From the wire, and longer than a buffer of the host or of the card.
        TooLong = "drop.too_long",
        /// Shorter than an Ethernet header.
        TooShort = "drop.too_short",
        /// The host has not enabled the datapath, or not the ring.
        Disabled = "drop.disabled",
        /// The link is down, or nobody is at its other end.
        LinkDown = "drop.link_down",
        /// The other end of the wire takes no more frames.
        WireFull = "drop.wire_full",
        /// The wire refused the frame.
        WireError = "drop.wire_error",
        /// From the host, with a descriptor that makes no sense.
        BadDescriptor = "drop.bad_descriptor",
        /// Its descriptor points to memory that the host has not mapped for the card.
        BadAddress = "drop.bad_address",
        /// From the host, with headers that cannot be segmented.
        BadLso = "drop.bad_lso",
        /// From the host, with metadata of AccelTCP that makes no sense.
        BadMetadata = "drop.bad_metadata",
        /// The card was told to stall or to die.
        CardDead = "drop.card_dead",
        /// A delayed frame with too many others delayed already.
        DelayFull = "drop.delay_full",
    }
}

names! {
    /// A fault injected on purpose.
    FaultKind {
        /// A frame lost.
        Loss = "fault.loss",
        /// A frame sent twice.
        Dup = "fault.dup",
        /// A frame held back past later ones.
        Reorder = "fault.reorder",
        /// A frame delayed.
        Delay = "fault.delay",
        /// A frame with flipped bits.
        Corrupt = "fault.corrupt",
        /// The card stalled.
        Stall = "fault.stall",
        /// The firmware died.
        Die = "fault.die",
        /// The card reset itself.
        Reset = "fault.reset",
        /// A descriptor or length of random bytes given to the host.
        Garbage = "fault.garbage",
    }
}

/// The counters of a card, safe to bump from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    work: [AtomicU64; Counter::ALL.len()],
    drops: [AtomicU64; DropReason::ALL.len()],
    faults: [AtomicU64; FaultKind::ALL.len()],
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `amount` to a counter.
    pub fn add(&self, counter: Counter, amount: u64) {
        self.work[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds one frame of `bytes` to a pair of counters.
    pub fn add_frame(&self, packets: Counter, bytes_counter: Counter, bytes: usize) {
        self.add(packets, 1);
        self.add(bytes_counter, bytes as u64);
    }

    /// Counts a dropped frame.
    pub fn drop_frame(&self, reason: DropReason) {
        self.drops[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an injected fault.
    pub fn fault(&self, kind: FaultKind) {
        self.faults[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Value of a counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.work[counter as usize].load(Ordering::Relaxed)
    }

    /// Frames dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    /// Faults of `kind`.
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize].load(Ordering::Relaxed)
    }

    /// All values by name, zeros included. Counters that move meanwhile are not seen at one instant.
    pub fn snapshot(&self) -> Snapshot {
        let work = Counter::ALL.iter().map(|c| (c.name(), self.get(*c)));
        let drops = DropReason::ALL.iter().map(|r| (r.name(), self.drops(*r)));
        let faults = FaultKind::ALL.iter().map(|k| (k.name(), self.faults(*k)));
        work.chain(drops)
            .chain(faults)
            .map(|(name, value)| (name.into(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let snapshot = Counters::new().snapshot();
        assert_eq!(
            snapshot.len(),
            Counter::ALL.len() + DropReason::ALL.len() + FaultKind::ALL.len()
        );
        for name in snapshot.keys() {
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'),
                "{name}"
            );
        }
        for reason in DropReason::ALL {
            assert!(reason.name().starts_with("drop."));
        }
        for kind in FaultKind::ALL {
            assert!(kind.name().starts_with("fault."));
        }
    }

    #[test]
    fn each_counter_has_its_own_cell() {
        let counters = Counters::new();
        for (value, counter) in Counter::ALL.iter().enumerate() {
            counters.add(*counter, value as u64);
        }
        counters.drop_frame(DropReason::BadLso);
        counters.fault(FaultKind::Garbage);
        counters.fault(FaultKind::Garbage);
        let snapshot = counters.snapshot();
        for (value, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(snapshot[counter.name()], value as u64);
        }
        assert_eq!(snapshot["drop.bad_lso"], 1);
        assert_eq!(snapshot["fault.garbage"], 2);
        assert_eq!(snapshot["fault.loss"], 0);
    }

    #[test]
    fn a_snapshot_serialises_flat() {
        let counters = Counters::new();
        counters.add_frame(Counter::WireRxPackets, Counter::WireRxBytes, 60);
        let json = serde_json::to_value(counters.snapshot()).unwrap();
        assert_eq!(json["wire.rx.packets"], 1);
        assert_eq!(json["wire.rx.bytes"], 60);
    }
}
