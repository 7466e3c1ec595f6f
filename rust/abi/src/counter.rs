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
