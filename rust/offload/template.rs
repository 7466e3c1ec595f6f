// SPDX-License-Identifier: GPL-2.0

//! What a listener's SYN-ACKs promise, and why a listener has to do without the card.

use super::{
    counters::Counter,
    netns::Netns,
    socket::{
        flag,
        reason,
        Options, //
    },
};
use crate::net::sock::ListenerInfo;
use acceltcp_abi::setup::{
    rule,
    ListenRule, //
};

/// Largest window scale (RFC 7323 section 2.3).
const MAX_WSCALE: u32 = 14;

/// Rules of one listener, one for each family that it takes.
pub(super) type Rules = [Option<ListenRule>; 2];

/// Why a listener with `options` is served by the host.
pub(super) fn ineligible(info: &ListenerInfo, options: &Options) -> u32 {
    if options.asked() & flag::SETUP == 0 {
        reason::NOT_ASKED
    } else if !info.listening {
        reason::NOT_LISTENING
    } else if options.flags() & flag::SETUP == 0 {
        reason::DISABLED
    } else if info.mptcp {
        reason::MPTCP
    } else if info.authenticated {
        reason::AUTHENTICATED
    } else if !info.sysctl_syncookies {
        reason::SYNCOOKIES
    } else if info.any_address && info.forwarding {
        reason::FORWARDING
    } else {
        reason::NONE
    }
}

/// Counts that a listener of `netns` is left to the host.
pub(super) fn count_fallback(why: u32, netns: &Netns) {
    netns.count(match why {
        reason::AUTHENTICATED => Counter::fallback_authenticated,
        reason::SYNCOOKIES => Counter::fallback_syncookies,
        reason::FORWARDING => Counter::fallback_forwarding,
        reason::QUOTA => Counter::fallback_quota,
        _ => return,
    });
}

/// What a listener wants of a card; MSS, the rest of the window, VLANs and the offset of the timestamps depend on
/// the card and are filled in later.
pub(super) fn rules(info: &ListenerInfo, flags: u32) -> Rules {
    let mut options = 0;
    let on = |set, bit| if set { bit } else { 0 };
    options |= on(info.sysctl_window_scaling, rule::WSCALE);
    options |= on(info.sysctl_sack, rule::SACK);
    options |= on(info.sysctl_timestamps, rule::TIMESTAMPS);
    options |= on(info.sysctl_ecn, rule::ECN);
    let server_first = flags & flag::SERVER_FIRST != 0;
    let defer = (flags & flag::DEFER != 0 || info.defer) && !server_first;
    options |= on(defer, rule::DEFER);
    options |= on(server_first, rule::SERVER_FIRST);
    let template = ListenRule {
        port: info.port.into(),
        wscale: if info.sysctl_window_scaling {
            window_scale(info)
        } else {
            0
        },
        flags: options.into(),
        window: (info.full_space.min(u16::MAX.into()) as u16).into(),
        ttl: info.ttl,
        dscp: info.tos >> 2,
        ..ListenRule::default()
    };
    let with = |family, address: Option<&[u8]>| {
        let mut rule = ListenRule { family, ..template };
        match address {
            Some(bytes) => {
                for (to, from) in rule.address.iter_mut().zip(bytes) {
                    *to = *from;
                }
            }
            None => rule.flags = (options | rule::ANY_ADDRESS).into(),
        }
        rule
    };
    let v4 = info.v4_address();
    let v6 = info
        .takes_v6()
        .then(|| (!info.any_address).then_some(info.address.as_slice()));
    [
        v4.map(|address| with(4, address.as_ref().map(|a| a.as_slice()))),
        v6.map(|address| with(6, address)),
    ]
}

/// As `tcp_select_initial_window()` chooses it.
fn window_scale(info: &ListenerInfo) -> u8 {
    let space = if info.window_clamped {
        info.full_space
    } else {
        info.full_space.max(info.rmem_max)
    };
    space.max(1).ilog2().saturating_sub(15).min(MAX_WSCALE) as u8
}
