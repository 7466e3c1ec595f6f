// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection setup: SYNs are answered and ACKs are checked without state.
//!
//! Only a frame to a rule's port is looked at closely. What the host owns keeps working: SYN-ACKs, RSTs and ACKs
//! that verify as nothing go to it as they came. An ACK of an existing connection costs the parsing, the
//! lookup of its rule and at most two hashes; of some in a hundred a third, shorter one.
//!
//! * A SYN (RFC 9293 section 3.10.7.2) is answered with a cookie, so that one that is sent again,
//!   or a flood, costs an answer and no memory. Data in it is not acknowledged and comes again
//!   (section 3.10.7.2 allows that; what Linux does without TCP Fast Open). SYN with FIN or RST is
//!   dropped, as by Linux. The host gets SYNs for a listener that it serves itself
//!   ([`rule::SYN_TO_HOST`]), and those of a peer to which it has sent a SYN.
//! * The ACK must acknowledge the cookie, have the sequence number behind the SYN, and echo a timestamp that the
//!   SYN-ACK may have had. It goes to the host with a [`Handshake`].
//! * With deferral a bare ACK is absorbed: the client's first data carries the same numbers.
//! * A segment behind missing ones is delivered as early: it must not make a connection, and no RST either.
//! * Checksums of what would be answered or absorbed are checked. All else the host checks.

use crate::cookie::{self, Claim, Tuple, Verdict};
use crate::half_open::{Due, Kept};
use crate::rule::{Key, Rule};
use crate::stats::Counter;
use crate::synack::{Stamps, SynAck};
use crate::timestamp::{self, TimestampOptions};
use crate::wire::ethernet;
use crate::wire::ipv6::Extensions;
use crate::wire::options::Options;
use crate::wire::segment::{Segment, MAX_HEADERS};
use crate::wire::tcp::Flags;
use crate::{Instant, Memory, Nic, Output};
use acceltcp_abi::setup::{handshake, rule, Handshake};

/// MSS of a client that announces none (RFC 9293 section 3.7.1).
const fn default_mss(tuple: &Tuple) -> u16 {
    match tuple.addresses {
        crate::wire::ip::Addresses::V4 { .. } => 536,
        crate::wire::ip::Addresses::V6 { .. } => 1220,
    }
}

/// What is done with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// It is not for setup, or setup leaves it to the host.
    ToHost,
    /// It goes to the host with a handshake.
    ToHostWith(Handshake),
    /// A SYN-ACK goes back, and nothing to the host.
    Answer(SynAck),
    /// It ends here.
    Consume,
}

/// What is done with a segment, and what that is counted as.
type Outcome = (Action, Counter);

pub(crate) fn tuple_of(segment: &Segment<'_>) -> Tuple {
    Tuple {
        addresses: segment.ip.addresses,
        src_port: segment.tcp.header.src_port,
        dst_port: segment.tcp.header.dst_port,
        vlans: segment.ethernet.vlans(),
    }
}

/// The same from the client's side, for a segment that the host sends.
pub(crate) fn tuple_back(segment: &Segment<'_>) -> Tuple {
    let there = tuple_of(segment);
    Tuple {
        addresses: there.addresses.answer(),
        src_port: there.dst_port,
        dst_port: there.src_port,
        vlans: there.vlans,
    }
}

impl<M: Memory> Nic<M> {
    /// Takes a segment from the wire; `frame` is the whole of it.
    pub(crate) fn setup_from_wire(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        frame: &[u8],
        out: &mut impl Output,
    ) {
        let (action, counter) = self.classify(now, segment);
        self.stats.count(counter);
        match action {
            Action::ToHost => out.to_host(frame),
            Action::ToHostWith(handshake) => out.to_host_with(frame, &handshake),
            Action::Answer(syn_ack) => self.send(now, &syn_ack, out),
            Action::Consume => {}
        }
    }

    fn classify(&self, now: Instant, segment: &Segment<'_>) -> Outcome {
        const PASS: Outcome = (Action::ToHost, Counter::WirePassed);
        let flags = segment.tcp.header.flags;
        let syn = flags.has(Flags::SYN) && !flags.has(Flags::ACK);
        let ack = flags.has(Flags::ACK) && !flags.has_any(Flags::SYN | Flags::RST);
        if !syn && !ack {
            if flags.has(Flags::RST) {
                self.ended_by_client(segment);
            }
            return PASS;
        }
        let tuple = tuple_of(segment);
        let memory = &self.memory;
        match self.listeners.find(memory, &Key::of(&tuple)) {
            Ok(Some(rule)) if syn => self.syn(now, &tuple, &rule, segment),
            Ok(Some(rule)) => self.ack(now, &tuple, &rule, segment),
            Ok(None) if syn => (Action::ToHost, Counter::SynNoRule),
            Ok(None) => PASS,
            // The host would answer an ACK with RST; the peer sends it again.
            Err(_) => (Action::Consume, Counter::RuleBusy),
        }
    }

    fn syn(&self, now: Instant, tuple: &Tuple, rule: &Rule, segment: &Segment<'_>) -> Outcome {
        if rule.has(rule::SYN_TO_HOST) {
            return (Action::ToHost, Counter::SynOtherListener);
        }
        if self.connecting.has(&self.memory, now, tuple) {
            return (Action::ToHost, Counter::SynConnecting);
        }
        if let Some(counter) = refuse_syn(segment) {
            return (Action::Consume, counter);
        }
        let options = Options::parse(segment.tcp.options);
        if let Some(counter) = leave_syn(segment, &options) {
            return (Action::ToHost, counter);
        }
        let mss = options.mss.unwrap_or(default_mss(tuple));
        let Some(mss_step) = cookie::mss_step(tuple.mss_steps(), mss) else {
            return (Action::ToHost, Counter::SynSmallMss);
        };

        let times = options.timestamps.filter(|_| rule.has(rule::TIMESTAMPS));
        if times.is_none() && rule.has(rule::NO_TIMESTAMPS_TO_HOST) {
            return (Action::ToHost, Counter::SynNoTimestamps);
        }
        // Only the timestamp can keep these.
        let kept = match times {
            Some(_) => TimestampOptions {
                wscale: options.wscale.filter(|_| rule.has(rule::WSCALE)),
                sack: options.sack_permitted && rule.has(rule::SACK),
                ecn: rule.has(rule::ECN) && is_ecn_setup(segment),
            },
            None => TimestampOptions::default(),
        };
        let isn = segment.tcp.header.seq;
        let cookie = cookie::make(
            &self.keys,
            now,
            tuple,
            isn,
            cookie::Kept {
                mss_step,
                options: times.map(|_| kept.bits()),
                rcv_wscale: rule.wscale,
            },
        );
        let Some(cookie) = cookie else {
            return (Action::ToHost, Counter::SynNoKey);
        };
        let answer = SynAck {
            macs: [segment.ethernet.src, segment.ethernet.dst],
            tags: segment.ethernet.tags,
            addresses: tuple.addresses,
            ports: [tuple.src_port, tuple.dst_port],
            isn,
            cookie,
            mss: rule.mss,
            window: rule.window,
            ttl: rule.ttl,
            dscp: rule.dscp,
            wscale: kept.wscale.map(|_| rule.wscale),
            sack: kept.sack,
            ecn: kept.ecn,
            stamps: times.map(|times| Stamps {
                echo: times.value,
                options: kept.bits(),
                offset: self.ts_offset(tuple, rule),
            }),
        };
        if times.is_none() {
            self.stats.count(Counter::SynAnsweredPlain);
        }
        if !segment.tcp.data.is_empty() {
            self.stats.count(Counter::SynData);
        }
        if rule.has(rule::SERVER_FIRST) {
            match self.half_open.keep(&self.memory, now, &answer) {
                Kept::New => self.stats.count(Counter::HalfOpenKept),
                Kept::Known => {}
                Kept::Full => self.stats.count(Counter::HalfOpenFull),
            }
        }
        (Action::Answer(answer), Counter::SynAnswered)
    }

    /// Milliseconds that the timestamps of a connection are ahead of the host's clock.
    fn ts_offset(&self, tuple: &Tuple, rule: &Rule) -> u32 {
        rule.ts_offset
            .wrapping_add(self.clock.offset(&tuple.addresses))
    }

    fn ack(&self, now: Instant, tuple: &Tuple, rule: &Rule, segment: &Segment<'_>) -> Outcome {
        const STALE: Outcome = (Action::ToHost, Counter::AckStale);
        let header = &segment.tcp.header;
        let clock = self.clock.at(now).wrapping_add(self.ts_offset(tuple, rule));
        let times = Options::parse(segment.tcp.options)
            .timestamps
            .filter(|_| rule.has(rule::TIMESTAMPS));
        let kept = match times {
            Some(times) if !timestamp::is_recent(clock, times.echo) => return STALE,
            Some(times) => TimestampOptions::from_timestamp(times.echo),
            None => TimestampOptions::default(),
        };
        let claim = Claim {
            seq: header.seq,
            ack: header.ack,
            options: times.map(|_| kept.bits()),
            rcv_wscale: rule.wscale,
            window: rule.window,
        };
        let (mss, skipped) = match cookie::check(&self.keys, now, tuple, &claim) {
            Verdict::Good { mss } => (mss, 0),
            Verdict::Early { mss, skipped } => (mss, skipped),
            Verdict::Stale => return STALE,
            Verdict::Mismatch => return (Action::ToHost, Counter::AckMismatch),
        };
        if !segment.checksums_ok() {
            return (Action::Consume, Counter::AckChecksum);
        }

        let mut flags = 0;
        for (flag, set) in [
            (handshake::TIMESTAMPS, times.is_some()),
            (handshake::WSCALE, kept.wscale.is_some()),
            (handshake::SACK, kept.sack),
            (handshake::ECN, kept.ecn),
            (handshake::EARLY, skipped != 0),
        ] {
            if set {
                flags |= flag;
            }
        }
        let times = times.unwrap_or_default();
        let handshake = Handshake {
            version: Handshake::VERSION,
            flags,
            snd_wscale: kept.wscale.unwrap_or(0),
            rcv_wscale: kept.wscale.map_or(0, |_| rule.wscale),
            mss: mss.into(),
            window: rule.window.into(),
            rule: rule.handle.into(),
            tsval: times.value.into(),
            tsecr: times.echo.into(),
            clock: clock.into(),
            skipped: skipped.into(),
        };
        if skipped != 0 {
            return (Action::ToHostWith(handshake), Counter::AckEarly);
        }
        if rule.has(rule::SERVER_FIRST) && !self.half_open.is_empty() {
            let isn = header.seq.wrapping_sub(1);
            self.half_open.forget(&self.memory, tuple, isn);
        }
        let bare = segment.tcp.data.is_empty() && !header.flags.has(Flags::FIN);
        if bare && rule.has(rule::DEFER) {
            return (Action::Consume, Counter::AckDeferred);
        }
        let cookie = header.ack.wrapping_sub(1);
        if self.recent.deliver(&self.memory, now, tuple, cookie) {
            (Action::ToHostWith(handshake), Counter::AckVerified)
        } else {
            (Action::ToHost, Counter::AckReplay)
        }
    }

    /// The client resets a connection, unless the segment was damaged on the way.
    fn ended_by_client(&self, segment: &Segment<'_>) {
        if self.recent.is_empty() && self.half_open.is_empty() || !segment.checksums_ok() {
            return;
        }
        if !self.recent.is_empty() {
            self.recent.end(&self.memory, &tuple_of(segment));
        }
        if !self.half_open.is_empty() {
            // RFC 9293 section 3.10.7.4: only an RST that is where the next byte would be counts.
            let isn = segment.tcp.header.seq.wrapping_sub(1);
            if self.half_open.forget(&self.memory, &tuple_of(segment), isn) {
                self.stats.count(Counter::HalfOpenReset);
            }
        }
    }

    /// Notes connections that the host opens or ends. `segment` is one that the host sends.
    pub(crate) fn setup_from_host(&self, now: Instant, segment: &Segment<'_>) {
        let flags = segment.tcp.header.flags;
        if flags.has_any(Flags::FIN | Flags::RST) {
            self.recent.end(&self.memory, &tuple_back(segment));
        }
        if flags.has(Flags::SYN) && !flags.has(Flags::ACK) {
            let peer = tuple_back(segment);
            if let Ok(Some(_)) = self.listeners.find(&self.memory, &Key::of(&peer)) {
                self.connecting.remember(&self.memory, now, &peer);
            }
        }
    }

    /// Sends again what servers that speak first wait for.
    pub(crate) fn setup_poll(&self, now: Instant, out: &mut impl Output) {
        self.half_open.poll(&self.memory, now, |due| match due {
            Due::Retransmit(syn_ack) => {
                let keys = Key::of(&syn_ack.tuple());
                match self.listeners.find(&self.memory, &keys) {
                    Ok(Some(_)) => {
                        self.stats.count(Counter::HalfOpenRetransmit);
                        self.send(now, &syn_ack, out);
                    }
                    // The listener is gone, and its half-open connections with it.
                    Ok(None) => {
                        let tuple = syn_ack.tuple();
                        self.half_open.forget(&self.memory, &tuple, syn_ack.isn);
                    }
                    Err(_) => {}
                }
            }
            Due::TimedOut => self.stats.count(Counter::HalfOpenTimeout),
        });
    }

    fn send(&self, now: Instant, syn_ack: &SynAck, out: &mut impl Output) {
        let mut frame = [0; MAX_HEADERS];
        if let Some(len) = syn_ack.emit(self.clock.at(now), &mut frame) {
            out.to_wire(&frame[..len]);
        }
    }
}

/// Why a SYN to a rule's port is dropped.
fn refuse_syn(segment: &Segment<'_>) -> Option<Counter> {
    let flags = segment.tcp.header.flags;
    let addresses = &segment.ip.addresses;
    let ethernet = &segment.ethernet;
    if flags.has(Flags::RST) {
        Some(Counter::SynRst)
    } else if flags.has(Flags::FIN) {
        Some(Counter::SynFin)
    } else if addresses.is_to_group() || ethernet::is_group(&ethernet.dst) {
        // RFC 1122 section 4.2.3.10.
        Some(Counter::SynMulticast)
    } else if addresses.is_martian() || ethernet::is_group(&ethernet.src) {
        Some(Counter::SynMartian)
    } else if addresses.is_land() {
        Some(Counter::SynLand)
    } else if !segment.checksums_ok() {
        Some(Counter::SynChecksum)
    } else {
        None
    }
}

/// Why a good SYN to a rule's port is left to the host.
fn leave_syn(segment: &Segment<'_>, options: &Options) -> Option<Counter> {
    if segment.ip.extensions != Extensions::Skipped {
        Some(Counter::SynIpOptions)
    } else if options.md5 {
        Some(Counter::SynMd5)
    } else if options.ao {
        Some(Counter::SynAo)
    } else if options.mptcp {
        Some(Counter::SynMptcp)
    } else {
        None
    }
}

/// Whether the client asks for ECN (RFC 3168 section 6.1.1): ECE and CWR, in a packet that is not ECN-capable. One
/// that is belongs to a client of accurate ECN (RFC 9768), which sets AE too and takes an answer of RFC 3168.
fn is_ecn_setup(segment: &Segment<'_>) -> bool {
    const AE: Flags = Flags(1 << 8);
    let flags = segment.tcp.header.flags;
    let not_ect = segment.ip.traffic_class & 3 == 0;
    flags.has(Flags::ECE | Flags::CWR) && (not_ect || flags.has(AE))
}
