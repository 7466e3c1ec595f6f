// SPDX-License-Identifier: GPL-2.0 OR MIT

//! More pairs than the card has room for, with the sizes that it has by itself.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use serde_json::json;

use super::{
    super::{
        observe::{counter_until, guest_until, statistic, statistic_until},
        peer::Peer,
    },
    load::{Proxy, PROXY, SERVERS},
    middle::{V4, V6},
    Context,
};
use crate::session::Session;

const SCRIPT: &str = concat!(include_str!("crowd.py"), include_str!("../commands.py"));

/// Clients' processes for each family: one has some ten thousand descriptors at most.
const CROWDS: u64 = 2;
/// Pairs of each family beyond what the card has room for, and those that end then.
const MORE: u64 = 64;
const ENDING: u64 = 1000;
/// Memory of the guest, whose proxies have 57,000 sockets.
const MEMORY_MB: u32 = 3072;
/// Time for one step of all clients.
const PATIENCE: Duration = Duration::from_secs(900);
/// What `l7proxy` calls it when the card has no room.
const FULL: &str = "not spliced, No space left on device (os error 28)";

/// Clients that do the same.
struct Crowds(Vec<Peer>);

impl Crowds {
    fn new(session: &Session, count: u64) -> Result<Self> {
        let one = |_| Ok(Peer::wire_script(session, SCRIPT)?.patience(PATIENCE));
        (0..count).map(one).collect::<Result<_>>().map(Self)
    }

    /// Each opens so many connections, those of the first one by IPv4, and so on; bytes that went one way.
    fn hold(&mut self, each: u64) -> Result<u64> {
        for (crowd, [host, _]) in self.0.iter().zip([V4, V6].into_iter().cycle()) {
            let open = json!({"do": "hold", "host": host, "port": PROXY, "count": each});
            crowd.start(&open)?;
        }
        self.bytes()
    }

    /// Something is said on all connections; bytes that went one way.
    fn again(&mut self) -> Result<u64> {
        for crowd in &self.0 {
            crowd.start(&json!({"do": "again"}))?;
        }
        self.bytes()
    }

    /// Each ends so many.
    fn end(&mut self, each: u64) -> Result<()> {
        for crowd in &self.0 {
            crowd.start(&json!({"do": "end", "count": each}))?;
        }
        self.0
            .iter_mut()
            .try_for_each(|crowd| crowd.answer().map(drop))
    }

    fn bytes(&mut self) -> Result<u64> {
        self.0
            .iter_mut()
            .map(|crowd| crowd.answer()?.as_u64().context("bytes"))
            .sum()
    }
}

/// The card takes as many as it says. Those that come then are copied, and others have their places later.
pub(super) fn full(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().memory_mb(MEMORY_MB))?;
    // Spliced connections share no port.
    session
        .guest()
        .run_ok("sysctl -w net.ipv4.ip_local_port_range='1024 65535'")?;
    let room = statistic(&session, "splice_credits")?;
    ensure!(room >= 28_672, "the card has room for {room} pairs only");

    let mut servers = Vec::new();
    for [_, host] in [V4, V6] {
        let mut server = Peer::wire_script(&session, SCRIPT)?;
        let ports = SERVERS.map(|(port, _)| port);
        server.ask(&json!({"do": "listen", "host": host, "ports": ports}))?;
        server.start(&json!({"do": "serve"}))?;
        servers.push(server);
    }
    let proxy = Proxy::start(&session, "splice", &[])?;

    let done = crowded(&session, room);
    // It tells what has failed.
    let stats = proxy.stop();
    let copied = done?;
    let stats = stats?;
    let pairs = room + 2 * ENDING;
    for (name, count) in [
        ("accepted", pairs + 2 * MORE),
        ("failed", 0),
        ("spliced", pairs),
        (FULL, 2 * MORE),
        ("ended, both peers have closed", pairs),
    ] {
        ensure!(stats.count(name) == count, "{name} is not {count}: {stats}");
    }
    // Of what comes before that is refused the kernel has passed on some.
    ensure!(stats.count("copied bytes") >= 2 * copied, "{stats}");
    for server in servers {
        server.kill()?;
    }
    context.finish(session)
}

/// Fills the card, and empties it in the end; bytes that went one way of connections that were refused by then.
fn crowded(session: &Session, room: u64) -> Result<u64> {
    let active = |count: u64| counter_until(session, "nic.splice.state.active", |is| is == count);
    let mut spliced = Crowds::new(session, 2 * CROWDS)?;
    spliced
        .hold(room / (2 * CROWDS))
        .context("pairs are opened")?;
    active(room)?;
    ensure!(statistic(session, "splice_credits")? == 0);
    ensure!(statistic(session, "splice_with_card")? == room);
    spliced.again().context("all pairs")?;

    // The next ones are the host's, to their end.
    let mut copied = Crowds::new(session, 2)?;
    copied
        .hold(MORE)
        .context("the card is full: pairs are opened")?;
    let mut bytes = copied.again().context("the card is full: copied pairs")?;
    ensure!(statistic(session, "splice_not_possible")? == 2 * MORE);
    spliced.again().context("the card is full: spliced pairs")?;
    active(room)?;

    // Room for others.
    spliced.end(ENDING / CROWDS)?;
    active(room - 2 * ENDING)?;
    statistic_until(session, "splice_credits", |left| left == 2 * ENDING)?;
    let mut later = Crowds::new(session, 2)?;
    later.hold(ENDING).context("pairs are opened again")?;
    active(room)?;
    for crowds in [&mut spliced, &mut later] {
        crowds.again().context("the card is full again")?;
    }
    bytes += copied.again().context("copied pairs, later")?;

    copied.end(MORE)?;
    later.end(ENDING)?;
    spliced.end((room / 2 - ENDING) / CROWDS)?;
    active(0)?;
    statistic_until(session, "splice_credits", |left| left == room)?;
    for state in ["lingering", "over"] {
        let count = session
            .card(0)?
            .counter(&format!("nic.splice.state.{state}"))?;
        ensure!(count == 0, "{count} pairs are {state}");
    }
    guest_until(
        session,
        "the proxies close their sockets",
        "for p in $(pidof l7proxy); do test $(ls /proc/$p/fd | wc -l) -lt 50 || exit 1; done",
    )?;
    Ok(bytes)
}
