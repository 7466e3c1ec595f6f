// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection teardown on the card, as seen by applications, by their peers and by the administrator.

mod acks;
mod card;
mod cgroup;
mod faults;
mod forms;
mod full;
mod gone;
mod held;
mod host;
mod judge;
mod limits;
mod loads;
mod moment;
mod pair;
mod paths;
mod peers;
mod rare;
mod reuse;
mod vlan;

use super::{Context, LabTest, LONG};

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case = |name: &str, about, limit, run| {
        LabTest::ours(format!("teardown-{name}"), about, limit, run)
    };
    vec![
        case(
            "forms",
            "every way in which a connection is closed that the card is given",
            300,
            forms::given,
        ),
        case(
            "kept",
            "every way in which a connection is closed that stays with the host, and why",
            300,
            forms::kept,
        ),
        case(
            "paths",
            "peers whose frames come in by another device stay with the host",
            120,
            paths::paths,
        ),
        case(
            "limits",
            "connections for which card or driver have no place stay with the host",
            240,
            limits::limits,
        ),
        case(
            "held",
            "an answer waits a little for the close that follows it, and no longer",
            240,
            held::held,
        ),
        case(
            "acks",
            "acknowledgements of requests wait only where answers follow at once and the card has the connection",
            300,
            acks::acks,
        ),
        case(
            "credits",
            "a card with little room: the others stay with the host, and room comes back",
            180,
            limits::credits,
        ),
        case(
            "active",
            "connections that the guest opens, also from a port that the card has in TIME-WAIT",
            180,
            reuse::active,
        )
        .shares(),
        case(
            "reuse",
            "clients that come back with a port that the card has in TIME-WAIT",
            180,
            reuse::passive,
        )
        .shares(),
        case(
            "conntrack",
            "connection tracking and NAT",
            180,
            host::conntrack,
        ),
        case(
            "cgroup",
            "egress programs of a cgroup see the end of a connection, and decide on it",
            180,
            cgroup::cgroup,
        ),
        case(
            "vlan",
            "connections over VLAN devices of a card",
            240,
            vlan::vlan,
        ),
        case(
            "lost",
            "cards that lose the connections that they end: counted, told, and the module goes",
            300,
            card::lost,
        ),
        case(
            "moment",
            "frames that come in the moment of the hand-over: dropped and counted, nothing is lost",
            180,
            moment::moment,
        ),
        case(
            "rare",
            "timestamps in microseconds, accurate ECN, VRF, tunnels, IPsec, TCP-AO stay with the host",
            300,
            rare::rare,
        ),
        case(
            "netns",
            "network namespaces that go with open connections and such that the card ends",
            180,
            gone::netns,
        ),
        case(
            "rmmod",
            "the module is unloaded again and again while connections are closed",
            300,
            gone::module,
        ),
        case(
            "faults",
            "loss, reordering, duplication: every byte arrives, and every connection ends",
            1200,
            faults::faults,
        )
        .shares(),
        case(
            "judged",
            "redis and nginx, and what tshark says of their connections",
            400,
            loads::judged,
        ),
        case(
            "peers",
            "peers that vanish, never close, go on, shut their window, or reset",
            300,
            peers::peers,
        ),
        case(
            "rto-max",
            "tcp_rto_max_ms bounds the card's timeouts as it does the host's",
            180,
            peers::rto_max,
        ),
        case(
            "user-timeout",
            "TCP_USER_TIMEOUT bounds how long the card tries",
            180,
            peers::user_timeout,
        ),
        LabTest::ours(
            format!("{LONG}teardown-full"),
            "75,728 connections that stay half open: more than the card has room for",
            2400,
            full::full,
        ),
        LabTest::ours(
            format!("{LONG}teardown-window"),
            "a window that stays closed: probed for minutes, then given up",
            900,
            peers::long_window,
        ),
        LabTest::ours(
            format!("{LONG}teardown-redis"),
            "50,000 connections that the clients close first, judged by tshark",
            3600,
            loads::long_redis,
        ),
        LabTest::ours(
            format!("{LONG}teardown-nginx"),
            "50,000 connections that the server closes first, judged by tshark",
            3600,
            loads::long_nginx,
        ),
    ]
}
