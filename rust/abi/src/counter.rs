// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the AccelTCP firmware counts: one counter for each outcome.
//!
//! A counter keeps its number for ever; new ones go to the end.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A counter of the firmware.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Counter {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Counter {
            /// All counters, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Dotted name, for people and tools.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// What is counted.
            pub const fn doc(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

counters! {
    /// Frames from the wire that setup has no part in, passed to the host.
    WirePassed = "wire.passed",
    /// Fragments, passed to the host.
    WireFragment = "wire.fragment",
    /// Frames with malformed headers, passed to the host, which drops and counts them.
    WireMalformed = "wire.malformed",
    /// Frames from the host, passed to the wire.
    HostPassed = "host.passed",
    /// SYNs answered with a SYN-ACK; SYNs with an outcome of their own below are not among them.
    SynAnswered = "syn.answered",
    /// Of the answered SYNs, those without timestamps: only the MSS could be kept.
    SynAnsweredPlain = "syn.answered_plain",
    /// Of the answered SYNs, those with data, which is left to retransmission (no TCP Fast Open).
    SynData = "syn.data",
    /// SYNs for which there is no rule, passed to the host.
    SynNoRule = "syn.host.no_rule",
    /// SYNs passed to the host because no cookie key is set.
    SynNoKey = "syn.host.no_key",
    /// SYNs without timestamps, passed to the host as their rule says.
    SynNoTimestamps = "syn.host.no_timestamps",
    /// SYNs with an MSS too small for a cookie, passed to the host.
    SynSmallMss = "syn.host.small_mss",
    /// SYNs signed with TCP-MD5 (RFC 2385), passed to the host.
    SynMd5 = "syn.host.md5",
    /// SYNs signed with TCP-AO (RFC 5925), passed to the host.
    SynAo = "syn.host.ao",
    /// SYNs of Multipath TCP (RFC 8684), passed to the host.
    SynMptcp = "syn.host.mptcp",
    /// SYNs with IPv4 options, passed to the host. (IPv6 extension headers that may not be skipped hide what is
    /// behind them: such frames are among those that setup has no part in.)
    SynIpOptions = "syn.host.ip_options",
    /// SYNs with FIN, dropped.
    SynFin = "syn.drop.fin",
    /// SYNs with RST, dropped.
    SynRst = "syn.drop.rst",
    /// SYNs with a bad checksum, dropped.
    SynChecksum = "syn.drop.checksum",
    /// SYNs from an address that cannot be a source, dropped.
    SynMartian = "syn.drop.martian",
    /// SYNs whose source is their destination (a "land" attack), dropped.
    SynLand = "syn.drop.land",
    /// SYNs to a broadcast or multicast address, dropped.
    SynMulticast = "syn.drop.multicast",
    /// ACKs with a good cookie, delivered with the handshake's options.
    AckVerified = "ack.verified",
    /// Segments of a handshake whose first bytes are missing yet, delivered so marked.
    AckEarly = "ack.early",
    /// Bare ACKs with a good cookie, absorbed until the client's data comes.
    AckDeferred = "ack.deferred",
    /// ACKs for a rule's port whose time, key or echo rules a cookie out, passed to the host.
    AckStale = "ack.stale",
    /// ACKs for a rule's port with a bad cookie (those of existing connections are among them), passed to
    /// the host.
    AckMismatch = "ack.mismatch",
    /// ACKs with a good cookie but a bad checksum, dropped.
    AckChecksum = "ack.drop.checksum",
    /// ACKs with the cookie of a connection that has ended, passed to the host without the handshake.
    AckReplay = "ack.replay",
    /// Frames dropped because their rule changed again and again during the lookup.
    RuleBusy = "rule.busy",
    /// Half-open connections kept for a server that speaks first.
    HalfOpenKept = "half_open.kept",
    /// Half-open connections that found no room and were answered without state.
    HalfOpenFull = "half_open.full",
    /// SYN-ACKs sent again.
    HalfOpenRetransmit = "half_open.retransmit",
    /// Half-open connections given up after the last retransmission.
    HalfOpenTimeout = "half_open.timeout",
    /// Half-open connections ended by the client's RST.
    HalfOpenReset = "half_open.reset",
    /// Commands carried out.
    CommandDone = "command.done",
    /// Commands refused.
    CommandRefused = "command.refused",
    /// Connections taken over from the host, to be ended.
    TeardownTaken = "teardown.taken",
    /// Connections refused: the driver did not ask for credits.
    TeardownNotAttached = "teardown.refused.not_attached",
    /// Connections refused: message and template contradict the rules or each other.
    TeardownBadTemplate = "teardown.refused.template",
    /// Connections refused: the host had no credit for them.
    TeardownFull = "teardown.refused.full",
    /// Frames and connections dropped because the lock of their chain was held for too long.
    TeardownBusy = "teardown.busy",
    /// Connections that a later one of the same tuple replaced.
    TeardownReplaced = "teardown.end.replaced",
    /// Connections that ended as they should: both FINs were acknowledged.
    TeardownDone = "teardown.end.done",
    /// Connections that the peer reset.
    TeardownReset = "teardown.end.reset",
    /// Connections given up after the last retransmission or probe.
    TeardownTimeout = "teardown.end.timeout",
    /// Connections given up in FIN-WAIT-2: the peer's FIN did not come.
    TeardownFinWaitTimeout = "teardown.end.fin_wait_timeout",
    /// Connections reset because the peer sent data that nobody will read.
    TeardownDataAfterClose = "teardown.end.data_after_close",
    /// Connections forgotten because the driver went away or started anew.
    TeardownAborted = "teardown.end.aborted",
    /// Segments received for connections that are ended.
    TeardownReceived = "teardown.received",
    /// Segments sent for connections that are ended.
    TeardownSent = "teardown.sent",
    /// Segments for connections that are ended, or in TIME-WAIT, with a bad checksum, dropped.
    TeardownChecksum = "teardown.drop.checksum",
    /// Segments sent again because no acknowledgement came in time.
    TeardownRetransmit = "teardown.retransmit",
    /// Segments sent again after three duplicate acknowledgements.
    TeardownFastRetransmit = "teardown.fast_retransmit",
    /// Probes of a closed window.
    TeardownProbe = "teardown.probe",
    /// Segments older than the last timestamp (PAWS, RFC 7323 section 5).
    TeardownPaws = "teardown.paws",
    /// Segments out of place that were answered (challenge ACKs of RFC 5961 among them).
    TeardownChallenge = "teardown.challenge",
    /// Segments out of place that were not answered, as one was a moment before.
    TeardownChallengeLimited = "teardown.challenge_limited",
    /// RSTs outside of the window, dropped.
    TeardownBadReset = "teardown.drop.reset",
    /// RSTs of the host for connections that the card owns, dropped, and SYNs, answered with a RST.
    TeardownHostDropped = "teardown.drop.host",
    /// Notices of credits.
    TeardownNotice = "teardown.notice",
    /// Connections that came to TIME-WAIT.
    TimeWaitEntered = "time_wait.entered",
    /// Segments in TIME-WAIT that were acknowledged.
    TimeWaitAnswered = "time_wait.answered",
    /// Connections in TIME-WAIT whose time was over.
    TimeWaitOver = "time_wait.over",
    /// Connections in TIME-WAIT let go early to make room.
    TimeWaitEvicted = "time_wait.evicted",
    /// Connections in TIME-WAIT that a new one of the tuple ended (RFC 6191).
    TimeWaitReused = "time_wait.reused",
    /// Connections in TIME-WAIT that an RST ended.
    TimeWaitReset = "time_wait.reset",
    /// Pairs of connections taken, to be spliced.
    SpliceTaken = "splice.taken",
    /// Pairs refused: the driver did not ask for what becomes of them, or for credits.
    SpliceNotAttached = "splice.refused.not_attached",
    /// Pairs refused: message and templates contradict the rules or each other.
    SpliceBadTemplate = "splice.refused.template",
    /// Pairs refused: there is no such number.
    SpliceBadNumber = "splice.refused.number",
    /// Pairs refused: their number is in use.
    SpliceNumberInUse = "splice.refused.number_in_use",
    /// Pairs refused: one of the connections is in another pair.
    SpliceTupleInUse = "splice.refused.tuple_in_use",
    /// Pairs refused: the host had no credit for the buffers.
    SpliceNoBuffers = "splice.refused.buffers",
    /// Frames dropped and pairs refused because a lock was held for too long.
    SpliceBusy = "splice.busy",
    /// Messages about pairs that there are not.
    SpliceUnknown = "splice.unknown",
    /// Segments relayed.
    SpliceRelayed = "splice.relayed",
    /// Of these, those with SYN, which the peer sorts out.
    SpliceSyn = "splice.syn",
    /// Of these, segments of pairs that had ended.
    SpliceLate = "splice.late",
    /// Bare acknowledgements that were for the card alone.
    SpliceAbsorbed = "splice.absorbed",
    /// Answers of the card to segments that said nothing new, or were beyond the window.
    SpliceAnswered = "splice.answered",
    /// Segments that the card sent itself.
    SpliceSent = "splice.sent",
    /// Segments sent again because no acknowledgement came in time.
    SpliceRetransmit = "splice.retransmit",
    /// Segments sent again after three duplicate acknowledgements.
    SpliceFastRetransmit = "splice.fast_retransmit",
    /// Probes of a closed window.
    SpliceProbe = "splice.probe",
    /// Pairs that ended as they should: both peers closed.
    SpliceClosed = "splice.end.closed",
    /// Pairs that a peer reset.
    SpliceReset = "splice.end.reset",
    /// Pairs reset because nothing was heard for too long.
    SpliceIdle = "splice.end.idle",
    /// Pairs reset because the host said so.
    SpliceAborted = "splice.end.aborted",
    /// Pairs reset because what the host handed over was not acknowledged.
    SpliceTimeout = "splice.end.timeout",
    /// Pairs that the host took back.
    SpliceTakenBack = "splice.end.taken_back",
    /// Pairs forgotten because the driver went away or started anew.
    SpliceForgotten = "splice.end.forgotten",
    /// Pairs that could not be taken back.
    SpliceKept = "splice.kept",
    /// Pairs that had ended and made room for a new connection of one of the tuples.
    SpliceReused = "splice.reused",
    /// Segments with a bad checksum, dropped.
    SpliceChecksum = "splice.drop.checksum",
    /// RSTs outside of the window, dropped.
    SpliceBadReset = "splice.drop.reset",
    /// Data from beyond the window that the peer was sent, dropped.
    SpliceBeyond = "splice.drop.window",
    /// Segments with IP options or extension headers that only a host understands, dropped.
    SpliceIpOptions = "splice.drop.ip_options",
    /// Segments that are too long to be relayed, dropped.
    SpliceTooLong = "splice.drop.too_long",
    /// Segments of the host for connections that are spliced, dropped.
    SpliceHostDropped = "splice.drop.host",
    /// Events told to the host.
    SpliceEvent = "splice.event",
    /// Events that found no buffer and were kept for later.
    SpliceEventRetry = "splice.event_retry",
    /// Refusals that found no buffer, and had no place to be kept.
    SpliceEventLost = "splice.event_lost",
    /// Frames that the host gave back, and that were of a connection of the card.
    SpliceReturned = "splice.returned",
    /// Frames that the host gave back, and that were of none, dropped.
    SpliceReturnedDropped = "splice.returned_dropped",
    /// ICMP errors about relayed segments, translated and passed on.
    SpliceIcmp = "splice.icmp",
    /// ICMP errors about relayed segments that could not be passed on, dropped.
    SpliceIcmpDropped = "splice.drop.icmp",
    /// Frames from the wire that the access list denies, dropped.
    AclDenied = "acl.denied",
    /// Frames from the wire dropped because the access list changed again and again while it was looked at.
    AclBusy = "acl.busy",
    /// SYNs for a listener that the host serves, passed to the host.
    SynOtherListener = "syn.host.listener",
    /// SYNs of a peer to which the host has sent a SYN from a listener's port, passed to the host.
    SynConnecting = "syn.host.connecting",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for (number, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, number);
            let twins = Counter::ALL.iter().filter(|c| c.name() == counter.name());
            assert_eq!(twins.count(), 1, "{}", counter.name());
            assert!(!counter.doc().is_empty());
        }
    }
}
