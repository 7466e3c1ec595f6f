// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that the card joins.

mod basic;
mod card;
mod cgroup;
mod ends;
mod errors;
mod events;
mod full;
mod haproxy;
mod host;
mod load;
pub(super) mod middle;
mod netns;
mod options;
mod stalled;
mod takeback;

use super::{Context, LabTest, LONG};

/// The test that needs more than `lab build` builds.
pub(super) const HAPROXY: &str = "splice-haproxy";

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case =
        |name: &str, about, limit, run| LabTest::ours(format!("splice-{name}"), about, limit, run);
    vec![
        case(
            "copied",
            "a proxy that copies: the yardstick of connections whose every byte is checked",
            300,
            load::copied,
        )
        .shares(),
        case(
            "sockmap",
            "a proxy that redirects by a BPF sockmap, with which splicing is compared: every byte",
            300,
            load::sockmap,
        )
        .shares(),
        case(
            "basic",
            "a spliced pair: every byte, both ends in both orders, half-closed, and its numbers",
            240,
            basic::basic,
        )
        .shares(),
        case(
            "options",
            "peers with other options and windows: relayed rightly, or refused for it",
            240,
            options::options,
        ),
        case(
            "errors",
            "each reason for which connections are not spliced, after which they are as before",
            240,
            errors::errors,
        ),
        case(
            "cgroup",
            "sockets of which BPF programs are to see each segment are not spliced",
            180,
            cgroup::cgroup,
        ),
        case(
            "stalled",
            "users that keep sockets locked: the policy, RTNL, lists and other pairs go on",
            180,
            stalled::stalled,
        ),
        case(
            "events",
            "the end of a pair is told to those that listen; a card above its mark gets no new pairs",
            240,
            events::events,
        ),
        case(
            "ends",
            "resets, idle pairs, closed sockets, processes that end, and pairs that go on alone",
            240,
            ends::ends,
        )
        .shares(),
        case(
            "card-lost",
            "a card that is lost with its pairs: an error on both sockets, and the module goes",
            300,
            card::lost,
        ),
        case(
            "dma",
            "nothing of what is relayed crosses the bus",
            180,
            card::dma,
        )
        .shares(),
        case(
            "netns",
            "pairs within the quota and the idle time of their namespace, which dies before one of them",
            300,
            netns::netns,
        ),
        case(
            "conntrack",
            "connection tracking forgets what the card has, and nothing else",
            180,
            host::conntrack,
        ),
        case(
            "ports",
            "no other connection is given the port of a spliced one",
            180,
            host::ports,
        ),
        case(
            "port-returned",
            "the port of a connection that has come back is shared with other destinations again",
            180,
            host::returned,
        ),
        case(
            "takeback",
            "pairs that come back to the host and go to the card again",
            300,
            takeback::takeback,
        )
        .shares(),
        case(
            "load",
            "hundreds of connections of all sizes through a proxy that splices",
            600,
            load::load,
        )
        .shares(),
        LabTest::ours(
            HAPROXY.into(),
            "haproxy between clients and servers: what it has the card splice, and what it does not",
            900,
            haproxy::haproxy,
        ),
        LabTest::ours(
            format!("{LONG}splice-load"),
            "10,000 connections of all sizes, most of them under loss and reordering",
            7200,
            load::long,
        ),
        LabTest::ours(
            format!("{LONG}splice-kinds"),
            "2,000 connections each: spliced as they come, after a while, and before they begin",
            3600,
            load::long_kinds,
        ),
        LabTest::ours(
            format!("{LONG}splice-yardsticks"),
            "1,000 connections each through a proxy that copies and one that redirects by a sockmap",
            3600,
            load::long_yardsticks,
        ),
        LabTest::ours(
            format!("{LONG}splice-full"),
            "as many pairs at once as the card takes, and more, all of which relay and end well",
            1800,
            full::full,
        ),
        LabTest::ours(
            format!("{LONG}splice-takeback"),
            "connections are taken back 1,000 times and more while data flows",
            3600,
            takeback::long,
        ),
    ]
}
