// SPDX-License-Identifier: GPL-2.0

//! What the offloads count, for the host as a whole and for each network namespace.
//!
//! Events that belong to a namespace are counted by [`Netns::count`](super::netns::Netns::count):
//! for the host, and for the namespace unless that is the initial one, which sees the host's. Events
//! of a device or of the module as a whole ([`HOST_ONLY`]) are counted by [`count`].

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
    /// Delivered connections of a listener that does not ask for setup: others of its group do, or
    /// it did before. Of a group one member is looked at; the TCP stack may choose another one.
    setup_not_asked,
    /// Frames for a listener that cannot take the handshake: multipath TCP, it or a member of its
    /// group, or `net.ipv4.tcp_syncookies` is 0.
    setup_ineligible,
    /// Frames dropped as the accept queue was full; the client tries again.
    setup_queue_full,
    /// Frames dropped as earlier bytes were missing; the client sends them again.
    setup_early,
    /// Frames that could not belong to a handshake.
    setup_malformed,
    /// Frames dropped as there was no memory; the client tries again.
    setup_no_memory,
    /// Frames that brought no connection as a rule of netfilter comes behind the module's hook and could keep them.
    setup_rule_behind,
    /// Connections that a card was handed to end them.
    teardown_handed_over,
    /// First answers of connections that were held back for a moment.
    teardown_held,
    /// Connections among those that were handed over with their answer.
    teardown_held_over,
    /// Connections that were with a card when it lost its state, or was taken away.
    teardown_lost,
    /// Frames of connections that a card ends or relays, which were on their way when they were handed over.
    teardown_late,
    /// Copies of their first segments among those.
    teardown_copies,
    /// Frames of such connections that came in the moment of the hand-over, behind the socket's lock.
    teardown_backlog,
    /// Connections ended by the host, as they had ended on both sides, or were none yet.
    teardown_state,
    /// The same for `SO_LINGER`, or `TCP_LINGER2` below 0.
    teardown_linger,
    /// The same for data that nobody has read.
    teardown_unread,
    /// The same for data behind a hole.
    teardown_out_of_order,
    /// The same for TCP-MD5 or TCP-AO.
    teardown_authenticated,
    /// The same for something of TCP or IP that cards do not know.
    teardown_options,
    /// The same for urgent data under way.
    teardown_urgent,
    /// The same for a way that is not straight to a network device.
    teardown_route,
    /// The same for a peer whose frames come in by another network device than the card's.
    teardown_other_path,
    /// The same for frames that wait in a queueing discipline, which would come after the end.
    teardown_queued,
    /// The same for a next hop whose address is not known.
    teardown_neighbour,
    /// The same for a frame that netfilter has dropped or kept.
    teardown_filtered,
    /// The same for want of memory.
    teardown_no_memory,
    /// The same as its frames do not go to a card, or to one that takes no connections.
    teardown_no_card,
    /// The same for more data than a card takes.
    teardown_too_large,
    /// The same for want of room on the card.
    teardown_no_credit,
    /// The same for want of room in the card's ring.
    teardown_no_room,
    /// The same as the card's link is down.
    teardown_link_down,
    /// Frames of connections that a card has got since, which were given back to it.
    late_given_back,
    /// Such frames that could not be given back, and were dropped.
    late_dropped,
    /// Such frames that came in by another network device than that card's, and were dropped.
    late_other_path,
    /// Pairs that a card was handed to relay them.
    splice_handed_over,
    /// Pairs that could not be spliced; the errno said why.
    splice_not_possible,
    /// Pairs that were not spliced as their namespace has as many as `quota_pairs` allows.
    splice_quota,
    /// Pairs that could not be spliced yet.
    splice_not_now,
    /// Pairs that the host has got back.
    splice_returned,
    /// Pairs that ended, or came back, while a user had a socket of theirs locked, which had to wait.
    splice_stalled,
    /// Connections that came back when another one had their place.
    splice_displaced,
    /// Pairs that both peers have closed.
    splice_closed,
    /// Pairs that ended as a peer reset its connection.
    splice_reset,
    /// The same as nothing was heard for too long.
    splice_idle,
    /// The same as a peer did not acknowledge what the host had sent.
    splice_timeout,
    /// The same as a socket was closed.
    splice_aborted,
    /// The same as the card was lost.
    splice_lost,
    /// The same as the card could not make sense of them.
    splice_refused,
    /// Closed sockets whose card could not be told.
    splice_not_told,
    /// Rules that a card took.
    rules_added,
    /// Rules that were taken back.
    rules_removed,
    /// Rules that were changed.
    rules_replaced,
    /// Rules that pass SYNs to the host: another listener has the address, or the listener has
    /// stopped asking.
    rules_to_host,
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
    /// Listeners that are served by the host, as their namespace has as many with cards as `quota_listeners` allows.
    fallback_quota,
    /// Times that a process was not allowed to ask, as `unprivileged` is 0.
    refused_unprivileged,
    /// Listeners that were given what a rule of the policy says.
    policy_applied,
    /// Listeners that a rule could not be applied to.
    policy_refused,
    /// Listeners that no rule is for any more.
    policy_withdrawn,
    /// Times that listeners could not be looked at, for want of memory.
    policy_no_memory,
    /// Times that a listener could not be looked at as a user had it locked, and was left for later.
    policy_stalled,
    /// Entries in cards' lists of connections that made no sense, and were left out.
    flows_malformed,
    /// Connections ended by the host as the card has more than `net.acceltcp.sram_high` allows.
    teardown_watermark,
    /// Pairs that were not spliced for the same reason; the errno was `ENOSPC`.
    splice_watermark,
    /// Connections ended by the host as an egress BPF program of their cgroup has dropped the frame, or wants them slower.
    teardown_cgroup_bpf,
    /// Pairs that were not spliced as a BPF program of a socket's cgroup, or a socket filter, is to see each segment; the
    /// errno was `EACCES`.
    splice_bpf,
    /// Pairs of whose end those that listen were not told, as there were too many at once.
    splice_not_reported,
    /// Connections whose application has given them to another ULP, such as kTLS.
    fallback_other_ulp,
    /// Connections ended by the host as their namespace has as many with cards as `quota_teardown` allows.
    teardown_quota,
}

const COUNT: usize = NAMES.len();

/// Counters of devices and of the module as a whole, which only the initial namespace sees.
const HOST_ONLY: &[Counter] = &[
    Counter::teardown_lost,
    Counter::splice_not_reported,
    Counter::rules_added,
    Counter::rules_removed,
    Counter::rules_replaced,
    Counter::rules_to_host,
    Counter::rules_table_full,
    Counter::rules_failed,
    Counter::keys_rotated,
    Counter::policy_no_memory,
    Counter::flows_malformed,
];

/// A value of each counter.
pub(super) struct Counts {
    values: [Atomic<u64>; COUNT],
    /// Values at the last [`Counts::reset`].
    bases: [Atomic<u64>; COUNT],
}

static HOST: Counts = Counts::new();

/// Its name.
pub(crate) fn name(counter: Counter) -> &'static str {
    NAMES[counter as usize]
}

/// Adds one to a counter of the host. Any context.
pub(crate) fn count(counter: Counter) {
    HOST.add(counter, 1);
}

/// Adds `number` to a counter of the host. Any context.
pub(crate) fn count_many(counter: Counter, number: u64) {
    HOST.add(counter, number);
}

/// The counters that a namespace sees.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    counts: &'a Counts,
    is_host: bool,
}

impl<'a> View<'a> {
    /// All counters of the host.
    pub(super) fn of_host() -> Self {
        Self {
            counts: &HOST,
            is_host: true,
        }
    }

    /// `counts` without [`HOST_ONLY`].
    pub(super) fn of_namespace(counts: &'a Counts) -> Self {
        Self {
            counts,
            is_host: false,
        }
    }

    /// The values in the order of [`NAMES`], 0 for those that the namespace does not see.
    pub(crate) fn values(self) -> impl Iterator<Item = u64> + 'a {
        self.counts.values()
    }

    /// Names and values since [`View::reset`] of those that the namespace sees.
    pub(crate) fn since_reset(self) -> impl Iterator<Item = (&'static str, u64)> + 'a {
        let all = NAMES.iter().copied().zip(self.counts.since_reset());
        all.enumerate()
            .filter(move |(index, _)| self.is_host || !is_host_only(*index))
            .map(|(_, counter)| counter)
    }

    /// Has [`View::since_reset`] start from 0.
    pub(crate) fn reset(self) {
        self.counts.reset();
    }
}

/// Whether the counter at `index` of [`NAMES`] is one of [`HOST_ONLY`].
fn is_host_only(index: usize) -> bool {
    HOST_ONLY.iter().any(|counter| *counter as usize == index)
}

impl Counts {
    /// All counters at 0.
    pub(super) const fn new() -> Self {
        Self {
            values: [const { Atomic::new(0) }; COUNT],
            bases: [const { Atomic::new(0) }; COUNT],
        }
    }

    /// Adds `number`.
    pub(super) fn add(&self, counter: Counter, number: u64) {
        self.values[counter as usize].add(number, Relaxed);
    }

    /// Has [`Counts::since_reset`] start from 0.
    fn reset(&self) {
        for (base, value) in self.bases.iter().zip(&self.values) {
            base.store(value.load(Relaxed), Relaxed);
        }
    }

    /// The values since [`Counts::reset`], in the order of [`NAMES`].
    fn since_reset(&self) -> impl Iterator<Item = u64> + '_ {
        self.values()
            .zip(&self.bases)
            .map(|(value, base)| value.wrapping_sub(base.load(Relaxed)))
    }

    /// The values, in the order of [`NAMES`].
    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.values.iter().map(|value| value.load(Relaxed))
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_counters)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_starts_from_0() {
        let counts = Counts::new();
        counts.add(Counter::setup_delivered, 3);
        counts.reset();
        counts.add(Counter::setup_delivered, 2);
        let place = Counter::setup_delivered as usize;
        assert_eq!(counts.values().nth(place), Some(5));
        assert_eq!(counts.since_reset().nth(place), Some(2));
        assert_eq!(counts.since_reset().sum::<u64>(), 2);
    }

    #[test]
    fn counters_of_devices_are_the_host_s() {
        let counts = Counts::new();
        let shown = || View::of_namespace(&counts).since_reset();
        assert!(shown().all(|(shown, _)| shown != name(Counter::keys_rotated)));
        assert!(shown().any(|(shown, _)| shown == name(Counter::setup_delivered)));
        assert_eq!(shown().count() + HOST_ONLY.len(), NAMES.len());
        assert_eq!(View::of_host().since_reset().count(), NAMES.len());
    }
}
