// SPDX-License-Identifier: GPL-2.0

//! What the offloads count, for all cards and namespaces together.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A counter.
        #[derive(Clone, Copy)]
        #[allow(non_camel_case_types)]
        pub(crate) enum Counter { $($(#[$doc])* $name,)* }

        /// Names, in order.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

counters! {
    /// Connections that the TCP stack was asked to create.
    setup_delivered,
    /// Frames of connections that were there already.
    setup_existing,
    /// Connections of clients that have come back with a new handshake; the old ones were reset.
    setup_replaced,
    /// Frames dropped as an old connection that is to be reset was in use; the client tries again.
    setup_busy,
    /// Frames of a connection in TIME_WAIT that did not make way.
    setup_time_wait,
    /// Frames for a port on which nobody listens any more.
    setup_no_listener,
    /// Frames for a listener that does not ask for setup any more.
    setup_not_asked,
    /// Frames dropped as the accept queue was full; the client tries again.
    setup_queue_full,
    /// Frames dropped as earlier bytes were missing; the client sends them again.
    setup_early,
    /// Frames that could not belong to a handshake.
    setup_malformed,
    /// Frames dropped as there was no memory; the client tries again.
    setup_no_memory,
    /// Rules that a card took.
    rules_added,
    /// Rules that were taken back.
    rules_removed,
    /// Rules that were changed.
    rules_replaced,
    /// Times that a card had no room for a rule.
    rules_table_full,
    /// Rules that a card refused for other reasons, or did not answer to.
    rules_failed,
    /// Keys of cookies that were replaced, on all cards.
    keys_rotated,
    /// Listeners that are served by the host, as they use TCP-MD5 or TCP-AO.
    fallback_authenticated,
    /// Listeners that are served by the host, as `tcp_syncookies` is 0.
    fallback_syncookies,
    /// Listeners for any address that are served by the host, as it forwards.
    fallback_forwarding,
}

const COUNT: usize = NAMES.len();

static VALUES: [Atomic<u64>; COUNT] = [const { Atomic::new(0) }; COUNT];

/// Adds one.
pub(crate) fn count(counter: Counter) {
    VALUES[counter as usize].add(1, Relaxed);
}

/// The values, in the order of [`NAMES`].
pub(crate) fn values() -> impl Iterator<Item = u64> {
    VALUES.iter().map(|value| value.load(Relaxed))
}
