// SPDX-License-Identifier: GPL-2.0

//! Counters of the ring pairs.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A counter with one writer at a time, which may be read at any time.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

/// Atomics of the kernel crate have no `Default`.
struct AtomicU64(Atomic<u64>);

impl Default for AtomicU64 {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Counter {
    /// Adds `count`. The caller is the only writer, so that no atomic addition is needed.
    pub(crate) fn add(&self, count: u64) {
        let value = self.0 .0.load(Relaxed);
        self.0 .0.store(value.wrapping_add(count), Relaxed);
    }

    /// The value.
    pub(crate) fn get(&self) -> u64 {
        self.0 .0.load(Relaxed)
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: Counter,)*
        }

        impl $name {
            /// Names, as `ethtool -S` shows them behind the ring's.
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Writes the values to the front of `values`, in the order of their names.
            pub(crate) fn read(&self, values: &mut [u64]) {
                let counters = [$(&self.$field),*];
                for (value, counter) in values.iter_mut().zip(counters) {
                    *value = counter.get();
                }
            }
        }
    };
}

counters! {
    /// Counters of an RX ring; its poll function writes them.
    RxStats {
        /// Frames given to the stack.
        packets,
        /// Their bytes.
        bytes,
        /// Frames whose checksum the card found right.
        csum_ok,
        /// Frames whose checksum the card found wrong.
        csum_error,
        /// Frames dropped as there was no memory.
        no_memory,
        /// Frames dropped as their descriptor made no sense.
        bad_descriptor,
        /// Frames dropped as their metadata made no sense.
        bad_metadata,
        /// Notices of credits.
        credits,
        /// Notices of credits that were never given.
        bad_credits,
        /// Notices of what has become of pairs.
        splice_events,
        /// Such notices of pairs that there are not.
        bad_splice_events,
    }
}

counters! {
    /// Counters of a TX ring; the holder of the queue's lock writes them.
    TxStats {
        /// Frames queued.
        packets,
        /// Their bytes.
        bytes,
        /// Frames whose checksum the card fills in.
        csum,
        /// Frames that the card cuts into segments.
        lso,
        /// Frames in more than one descriptor.
        gather,
        /// Times that the ring was full.
        busy,
        /// Frames dropped as they could not be mapped.
        map_error,
        /// Frames dropped as the card could not send them.
        bad_frame,
        /// Frames dropped as the datapath was down.
        down,
    }
}

counters! {
    /// Counters of finishing sent frames; the poll function writes them.
    TxDoneStats {
        /// Frames finished.
        completed,
        /// Read pointers from the card that made no sense.
        bad_completion,
    }
}
