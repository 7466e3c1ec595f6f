// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tracepoints: the life of connections, by who owns them.

use std::collections::BTreeMap;

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{counter_until, guest_until, PATIENCE},
        peer::Peer,
    },
    Context,
};
use crate::session::{Cmd, Session};

/// What client, guest and server run.
const SCRIPT: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("../splice/splice.py"),
    include_str!("../commands.py")
);

const TRACING: &str = "/sys/kernel/tracing";
const PORT: u16 = 7000;
const SERVER: u16 = 9000;
const SETUP_AND_TEARDOWN: u32 = 3;
const BYTES: u64 = 800;

/// Addresses of the guest and of the other side, and how tracepoints write them.
const HOSTS: [([&str; 2], [&str; 2], &str); 2] = [
    (["10.99.0.2", "10.99.0.1"], ["saddr", "daddr"], "AF_INET"),
    (
        ["fd99:0::2", "fd99:0::1"],
        ["saddrv6", "daddrv6"],
        "AF_INET6",
    ),
];

/// An event of the group.
#[derive(Debug)]
struct Event {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Event {
    /// Of a line of the trace.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(": acceltcp_")?;
        let (name, rest) = rest.split_once(": ")?;
        let field = |word: &str| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Some(Self {
            name: name.to_owned(),
            fields: rest.split_whitespace().filter_map(field).collect(),
        })
    }

    fn get(&self, name: &str) -> Result<&str> {
        let found = self.fields.get(name);
        found
            .map(String::as_str)
            .with_context(|| format!("{self:?} has no {name}"))
    }

    fn is(&self, name: &str, value: impl ToString) -> bool {
        self.fields.get(name) == Some(&value.to_string())
    }
}

/// What was traced since this was asked for last.
fn traced(session: &Session) -> Result<Vec<Event>> {
    let text = session
        .guest()
        .run_ok(format!("cat {TRACING}/trace; echo > {TRACING}/trace"))?;
    Ok(text.lines().filter_map(Event::parse).collect())
}

/// Has all events of the group be traced, or only this one, or none.
fn enable(session: &Session, event: Option<&str>) -> Result<()> {
    let group = format!("{TRACING}/events/acceltcp");
    let one = event.map_or_else(String::new, |event| {
        format!("echo 1 > {group}/{event}/enable")
    });
    session
        .guest()
        .run_ok(format!("echo 0 > {group}/enable; {one}"))
        .map(drop)
}

fn enable_all(session: &Session) -> Result<()> {
    session
        .guest()
        .run_ok(format!("echo 1 > {TRACING}/events/acceltcp/enable"))
        .map(drop)
}

/// Those of this name, of which there are so many.
fn only<'a>(events: &'a [Event], name: &str, count: usize) -> Result<Vec<&'a Event>> {
    let found: Vec<_> = events.iter().filter(|event| event.name == name).collect();
    ensure!(
        found.len() == count,
        "{} of {name}, not {count}: {events:#?}",
        found.len()
    );
    Ok(found)
}

struct Ends<'a> {
    session: &'a Session,
    ifindex: String,
    client: Peer,
    guest: Peer,
    server: Peer,
}

pub(super) fn trace(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let ifindex = session.guest().run_ok("cat /sys/class/net/nic0/ifindex")?;
    enable_all(&session)?;
    let mut ends = Ends {
        session: &session,
        ifindex: ifindex.trim().to_owned(),
        client: Peer::wire_script(&session, SCRIPT)?,
        guest: Peer::guest_script(&session, SCRIPT)?,
        server: Peer::wire_script(&session, SCRIPT)?,
    };
    ends.published(true).context("a listener")?;
    for (hosts, names, family) in HOSTS {
        ends.ended_by_card(hosts, names, family).context(family)?;
        ends.ended_by_host(hosts, family).context(family)?;
        ends.relayed(hosts, names, family).context(family)?;
    }
    ends.by_perf().context("by perf")?;
    ends.published(false).context("a listener that has gone")?;
    ends.chosen().context("one event")?;
    let Ends { guest, .. } = ends;
    guest.kill()?;

    // The module goes while somebody listens.
    enable_all(&session)?;
    guest_until(&session, "rmmod", "rmmod acceltcp")?;
    session
        .guest()
        .run_ok(format!("test ! -e {TRACING}/events/acceltcp"))?;
    session.guest().run_ok("insmod /build/module/acceltcp.ko")?;
    session.configure()?;
    context.finish(session)
}

impl Ends<'_> {
    fn host(&mut self, step: &Value) -> Result<Value> {
        self.guest.ask(step).context("in the guest")
    }

    /// Rules for both families come and go.
    fn published(&mut self, there: bool) -> Result<()> {
        let (step, count, state) = match there {
            true => (
                json!({"do": "listen", "name": "l", "port": PORT, "flags": SETUP_AND_TEARDOWN}),
                2,
                "published",
            ),
            false => (json!({"do": "close", "name": "l"}), 0, "withdrawn"),
        };
        traced(self.session)?;
        self.host(&step)?;
        counter_until(self.session, "nic.table.listeners.used", |used| {
            used == count
        })?;
        // The event is behind the card's answer.
        guest_until(
            self.session,
            "events of both rules",
            &format!("test $(grep -c acceltcp_listener: {TRACING}/trace) = 2"),
        )?;
        let events = traced(self.session)?;
        for event in only(&events, "listener", 2)? {
            ensure!(
                event.is("sport", PORT)
                    && event.is("state", state)
                    && event.is("ifindex", &self.ifindex)
                    && event.is("vlan", "-1,-1"),
                "{event:?}"
            );
        }
        ensure!(events.iter().any(|event| event.is("family", "AF_INET6")));
        ensure!(events.iter().any(|event| event.is("family", "AF_INET")));
        Ok(())
    }

    /// Connects the client, which speaks first, to the guest. Returns the client's port.
    fn open(&mut self, [guest, _]: [&str; 2]) -> Result<Value> {
        let connect = json!({"do": "connect", "name": "c", "host": guest, "port": PORT});
        let port = self.client.ask(&connect)?;
        self.client
            .ask(&json!({"do": "send", "name": "c", "size": 1}))?;
        self.host(&json!({"do": "accept", "name": "a", "listener": "l"}))?;
        Ok(port)
    }

    /// Set up by the card, and handed over.
    fn ended_by_card(
        &mut self,
        hosts: [&str; 2],
        [near, far]: [&str; 2],
        family: &str,
    ) -> Result<()> {
        traced(self.session)?;
        let port = self.open(hosts)?;
        self.host(&json!({"do": "receive", "name": "a", "size": 1}))?;
        self.host(&json!({"do": "send", "name": "a", "size": BYTES}))?;
        self.host(&json!({"do": "close", "name": "a"}))?;
        self.client.ask(&json!({"do": "end", "name": "c"}))?;
        self.client.ask(&json!({"do": "close", "name": "c"}))?;
        let events = traced(self.session)?;
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        ensure!(names == ["child", "handover"], "{names:?}");
        // As the kernel writes IPv6 addresses.
        let addresses = hosts.map(|host| host.replace(":0::", "::"));
        for event in &events {
            ensure!(
                event.is("family", family)
                    && event.is("sport", PORT)
                    && event.is("dport", &port)
                    && event.is(near, &addresses[0])
                    && event.is(far, &addresses[1])
                    && event.is("ifindex", &self.ifindex),
                "{event:?}"
            );
        }
        let bytes: u64 = events[1].get("bytes")?.parse()?;
        ensure!(bytes <= BYTES, "{bytes} bytes were handed over");
        Ok(())
    }

    /// perf hears of the same.
    fn by_perf(&mut self) -> Result<()> {
        enable(self.session, None)?;
        let guest = self.session.guest();
        let perf = guest.spawn(
            Cmd::from(
                "exec perf record -q -a -e 'acceltcp:*' -o /tmp/perf.data -- \
                 sh -c 'touch /tmp/ready; until test -e /tmp/done; do sleep 0.1; done'",
            )
            .timeout(PATIENCE * 4),
        )?;
        guest_until(self.session, "perf record", "test -e /tmp/ready")?;
        let [(hosts, ..), _] = HOSTS;
        let port = self.open(hosts)?;
        self.host(&json!({"do": "receive", "name": "a", "size": 1}))?;
        self.host(&json!({"do": "close", "name": "a"}))?;
        self.client.ask(&json!({"do": "end", "name": "c"}))?;
        self.client.ask(&json!({"do": "close", "name": "c"}))?;
        guest.run_ok("touch /tmp/done")?;
        perf.wait_ok()?;
        let text = guest.run_ok("perf script -i /tmp/perf.data")?;
        // The names of events are padded.
        let text = text.replace("acceltcp:acceltcp_", ": acceltcp_");
        let events: Vec<_> = text.lines().filter_map(Event::parse).collect();
        for name in ["child", "handover"] {
            for event in only(&events, name, 1)? {
                ensure!(
                    event.is("sport", PORT) && event.is("dport", &port),
                    "{event:?}"
                );
            }
        }
        enable_all(self.session)
    }

    /// With a byte that nobody has read.
    fn ended_by_host(&mut self, hosts: [&str; 2], family: &str) -> Result<()> {
        traced(self.session)?;
        let port = self.open(hosts)?;
        self.host(&json!({"do": "close", "name": "a"}))?;
        self.client.ask(&json!({"do": "close", "name": "c"}))?;
        let events = traced(self.session)?;
        for event in only(&events, "handover_refused", 1)? {
            ensure!(
                event.is("reason", "teardown_unread")
                    && event.is("family", family)
                    && event.is("dport", &port),
                "{event:?}"
            );
        }
        only(&events, "handover", 0).map(drop)
    }

    /// Spliced, taken back, spliced again, and reset by a peer.
    fn relayed(
        &mut self,
        [guest, server]: [&str; 2],
        [near, far]: [&str; 2],
        family: &str,
    ) -> Result<()> {
        let port = self.open([guest, server])?;
        self.host(&json!({"do": "receive", "name": "a", "size": 1}))?;
        self.server
            .ask(&json!({"do": "listen", "name": "l", "port": SERVER, "flags": null}))?;
        let connect =
            json!({"do": "connect", "name": "b", "host": server, "port": SERVER, "flags": 0});
        let own_port = self.host(&connect)?;
        self.server
            .ask(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
        traced(self.session)?;
        let splice = json!({"do": "splice", "name": "a", "other": "b"});
        self.host(&splice)?;
        self.host(&json!({"do": "take_back", "name": "b"}))?;
        self.host(&splice)?;
        self.client
            .ask(&json!({"do": "send", "name": "c", "size": BYTES}))?;
        self.server
            .ask(&json!({"do": "drain", "name": "s", "size": BYTES}))?;
        // Bytes count when they are acknowledged; a reset may overtake that.
        self.client
            .ask(&json!({"do": "acknowledged", "name": "c"}))?;
        self.client.ask(&json!({"do": "reset", "name": "c"}))?;
        self.host(&json!({"do": "over", "name": "a"}))?;
        let events = traced(self.session)?;
        for name in ["a", "b"] {
            self.host(&json!({"do": "close", "name": name}))?;
        }
        for name in ["s", "l"] {
            self.server.ask(&json!({"do": "close", "name": name}))?;
        }

        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        let each_twice = ["splice", "unsplice", "splice", "splice_end"].map(|name| [name; 2]);
        ensure!(names == each_twice.concat(), "{names:?}");
        let addresses = [guest, server].map(|host| host.replace(":0::", "::"));
        let ports = [[json!(PORT), port], [own_port, json!(SERVER)]];
        for both in events.chunks_exact(2) {
            for (event, [sport, dport]) in both.iter().zip(&ports) {
                ensure!(
                    event.is("family", family)
                        && event.is(near, &addresses[0])
                        && event.is(far, &addresses[1])
                        && event.is("sport", sport)
                        && event.is("dport", dport)
                        && event.is("ifindex", &self.ifindex),
                    "{event:?}"
                );
            }
        }
        let name = |event: &Event| -> Result<_> {
            Ok([event.get("pair")?, event.get("generation")?].map(str::to_owned))
        };
        let pairs = events.iter().map(name).collect::<Result<Vec<_>>>()?;
        ensure!(
            pairs[..4].iter().all(|pair| *pair == pairs[0])
                && pairs[4..].iter().all(|pair| *pair == pairs[4])
                && pairs[0] != pairs[4],
            "{pairs:?}"
        );
        for (event, direction) in events[6..].iter().zip(["received", "sent"]) {
            ensure!(
                event.is("reason", "splice_reset") && event.is(direction, BYTES),
                "{event:?}"
            );
        }
        Ok(())
    }

    /// Only what was asked for is traced.
    fn chosen(&mut self) -> Result<()> {
        let (hosts, ..) = HOSTS[0];
        enable(self.session, Some("acceltcp_handover"))?;
        self.published_quietly()?;
        self.open(hosts)?;
        self.host(&json!({"do": "receive", "name": "a", "size": 1}))?;
        self.host(&json!({"do": "close", "name": "a"}))?;
        self.client.ask(&json!({"do": "end", "name": "c"}))?;
        self.client.ask(&json!({"do": "close", "name": "c"}))?;
        let events = traced(self.session)?;
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        ensure!(names == ["handover"], "{names:?}");
        enable(self.session, None)
    }

    fn published_quietly(&mut self) -> Result<()> {
        traced(self.session)?;
        self.host(&json!({
            "do": "listen", "name": "l", "port": PORT, "flags": SETUP_AND_TEARDOWN,
        }))?;
        counter_until(self.session, "nic.table.listeners.used", |used| used == 2)
    }
}
