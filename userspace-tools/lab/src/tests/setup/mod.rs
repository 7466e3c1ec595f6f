// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection setup on the card: as seen by servers, by clients and by the administrator.

mod basic;
mod card;
mod changes;
mod fallback;
mod faults;
mod flood;
mod host;
mod keys;
mod many;
mod mixed;
mod netns;
mod options;
mod queue;
mod queued;
mod reuse;
mod vlan;

use anyhow::{ensure, Result};

use super::{
    observe::{answering_until, counter_until, guest_until, statistic},
    peer::{self, Connection},
    Context, LabTest, LONG,
};

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case =
        |name: &str, about, limit, run| LabTest::ours(format!("setup-{name}"), about, limit, run);
    vec![
        case(
            "basic",
            "connections that the card sets up: every byte right, options as by the host",
            180,
            basic::basic,
        )
        .shares(),
        case(
            "release",
            "rules go with their process, and nothing holds the module then",
            180,
            basic::release,
        )
        .shares(),
        case(
            "options",
            "both ends of a connection agree, whatever client and server offer",
            240,
            options::options,
        ),
        case(
            "no-timestamps",
            "clients without timestamps",
            180,
            options::no_timestamps,
        )
        .shares(),
        case(
            "faults",
            "loss, reordering, duplication: no connection hangs, no byte is wrong",
            400,
            faults::client_first,
        )
        .shares(),
        case(
            "faults-defer",
            "the same when the card waits for the first data",
            400,
            faults::deferred,
        )
        .shares(),
        case(
            "faults-server-first",
            "the same when the server speaks first",
            400,
            faults::server_first,
        )
        .shares(),
        case(
            "flood",
            "no SYN of a flood reaches the host, and clients get through",
            300,
            flood::flood,
        ),
        case(
            "fallback",
            "listeners that the card cannot serve are served by the host, for a reason",
            240,
            fallback::fallback,
        ),
        case(
            "table-full",
            "listeners for which the card has no room are served by the host",
            180,
            fallback::table_full,
        ),
        case(
            "queue-full",
            "clients of a server that does not accept wait, and are served when it does",
            240,
            queue::queue_full,
        )
        .shares(),
        case(
            "defer",
            "a client that says nothing costs the host nothing",
            180,
            queue::defer,
        )
        .shares(),
        case(
            "card-reset",
            "rules come back when the card has been reset, has died, or the interface was down",
            240,
            card::reset,
        ),
        case(
            "netfilter",
            "rules of netfilter decide on connections of the card, with and without conntrack",
            240,
            host::netfilter,
        ),
        case(
            "queued",
            "frames that come back from NFQUEUE: softirqs are off, and none is kept behind the module's hook",
            240,
            queued::queued,
        ),
        case(
            "steering",
            "RPS, SO_REUSEPORT and SO_BINDTODEVICE",
            180,
            host::steering,
        ),
        case(
            "mixed",
            "SO_REUSEPORT groups of which not all members ask, or can take a connection",
            240,
            mixed::groups,
        ),
        case(
            "addresses",
            "listeners for an address, a device or a family that the host prefers to one for any address",
            300,
            mixed::addresses,
        ),
        case(
            "options-shared",
            "SO_REUSEPORT groups whose members ask for different offloads",
            240,
            mixed::options,
        ),
        case(
            "removed",
            "a listener takes pending handshakes after it has stopped asking",
            240,
            mixed::removed,
        ),
        case(
            "simultaneous",
            "simultaneous open from the port of a listener",
            180,
            mixed::simultaneous,
        ),
        case(
            "conntrack",
            "conntrack has confirmed a connection before its first request comes",
            240,
            host::conntrack,
        ),
        case(
            "ktls",
            "an accepted connection can be given to kTLS, and the module goes afterwards",
            180,
            host::ktls,
        )
        .shares(),
        case(
            "keys",
            "keys of cookies change under way, by the clock and on demand",
            240,
            keys::keys,
        ),
        case(
            "vlan",
            "listeners on VLAN devices of a card, also of another namespace",
            240,
            vlan::vlan,
        ),
        case(
            "netns",
            "cards in network namespaces, several cards in one, cards that go and come",
            300,
            netns::netns,
        ),
        case(
            "changes",
            "sysctls and the device of a listener change while it listens",
            240,
            changes::changes,
        ),
        case(
            "reuse",
            "a client that comes back with the port of a connection that it has forgotten",
            180,
            reuse::reuse,
        )
        .shares(),
        LabTest::ours(
            format!("{LONG}setup-faults"),
            "5,000 connections at loss of 1, 5 and 20 percent, with reordering and duplicates",
            7200,
            many::many,
        ),
    ]
}

/// Both ends of a connection have negotiated the same.
fn agree(server: &Connection, client: &Connection) -> Result<()> {
    let options = |end: &Connection| (end.timestamps, end.sack, end.wscale, end.ecn);
    ensure!(
        options(server) == options(client)
            && server.snd_wscale == client.rcv_wscale
            && server.rcv_wscale == client.snd_wscale,
        "the ends do not agree: server {server:?}, client {client:?}"
    );
    // 1500 bytes less the headers of IPv6 and TCP and the timestamps, at least.
    for end in [server, client] {
        ensure!((1400..=1460).contains(&end.advmss), "{end:?}");
        ensure!((1400..=1460).contains(&end.snd_mss), "{end:?}");
    }
    Ok(())
}
