// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Many connections through a proxy of the guest: `lab-load` at both ends, the proxy between them.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{bail, ensure, Context as _, Result};
use nix::libc::SIGTERM;

use super::Context;
use crate::session::{Cmd, Process, Session};

/// Ports of the proxy, and of the server's listeners, of which each has windows of its own.
pub(super) const PROXY: u16 = 8080;
pub(super) const SERVERS: [(u16, u32); 2] = [(9000, 30_000), (9001, 400_000)];
/// Addresses of the guest and of the server.
const HOSTS: [[&str; 2]; 2] = [["10.99.0.2", "10.99.0.1"], ["[fd99:0::2]", "[fd99:0::1]"]];
/// Time for a proxy to listen, or to end.
const START: Duration = Duration::from_secs(30);
/// No load takes longer.
const LIMIT: Duration = Duration::from_secs(7000);
/// What `l7proxy` calls it when one peer was faster than it.
const BUSY: &str = "not spliced, Device or resource busy (os error 16)";
/// What it calls it when there was too much data under way.
const AGAIN: &str = "not spliced, Resource temporarily unavailable (os error 11)";

/// One proxy for each family.
pub(super) struct Proxy(Vec<Process>);

impl Proxy {
    pub(super) fn start(session: &Session, mode: &str, options: &[&str]) -> Result<Self> {
        let program = format!("l7proxy --raw --mode {mode} {}", options.join(" "));
        Self::program(session, &program)
    }

    fn program(session: &Session, program: &str) -> Result<Self> {
        let mut processes = Vec::new();
        for [guest, server] in HOSTS {
            let backends = SERVERS.map(|(port, _)| format!("--backend {server}:{port}"));
            let line = format!(
                "ulimit -n 65536; exec /build/bin/{program} --listen {guest}:{PROXY} {}",
                backends.join(" "),
            );
            let mut process = session.guest().spawn(Cmd::from(line).timeout(LIMIT))?;
            process.wait_for("listening on")?;
            processes.push(process);
        }
        Ok(Self(processes))
    }

    /// Ends them; what they have counted.
    pub(super) fn stop(self) -> Result<Stats> {
        let mut stats = Stats::default();
        for process in self.0 {
            process.signal(SIGTERM)?;
            let output = process.limit(START).wait()?;
            ensure!(output.status.success(), "the proxy: {}", output.status);
            eprint!("{}", output.stderr);
            for line in output.stdout.lines() {
                let Some((name, value)) = line.rsplit_once(": ") else {
                    continue;
                };
                let value: u64 = value.parse().with_context(|| line.to_owned())?;
                *stats.0.entry(name.into()).or_insert(0) += value;
            }
        }
        eprintln!("{stats}");
        Ok(stats)
    }
}

/// What proxies have counted.
#[derive(Debug, Default)]
pub(super) struct Stats(BTreeMap<String, u64>);

impl Stats {
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All of `connections` came to a good end, and many of them by the card: some have closed one direction before
    /// they can be spliced, or have more data under way than the card takes over.
    pub(super) fn all_went_well(&self, connections: u64) -> Result<()> {
        self.most_went_well(connections, connections / 8)
    }

    /// The same, and no fewer than `least` by the card.
    pub(super) fn most_went_well(&self, connections: u64, least: u64) -> Result<()> {
        let [accepted, failed, spliced] =
            ["accepted", "failed", "spliced"].map(|name| self.count(name));
        ensure!((accepted, failed) == (connections, 0), "{self}");
        ensure!(spliced >= least, "{self}");
        for name in self.0.keys() {
            let is_bad = |prefix: &str, good: &[&str]| {
                name.starts_with(prefix) && !good.contains(&name.as_str())
            };
            if is_bad("not spliced, ", &[BUSY, AGAIN])
                || is_bad("ended, ", &["ended, both peers have closed"])
            {
                bail!("{self}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}: {value}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Connections of all kinds, from 1 byte to 10 MB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    connections: u64,
    seed: u64,
    greeting: bool,
    min_size: u64,
    parallel: u64,
}

impl Load {
    pub(super) fn new(connections: u64) -> Self {
        Self {
            connections,
            seed: 1,
            greeting: false,
            min_size: 1,
            parallel: 16,
        }
    }

    /// Other ones.
    pub(super) fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Those that begin when they are spliced, most likely.
    pub(super) fn greeting(self) -> Self {
        Self {
            greeting: true,
            ..self
        }
    }

    /// Those that say so much or more at a time.
    pub(super) fn min_size(self, min_size: u64) -> Self {
        Self { min_size, ..self }
    }

    /// So many at a time.
    pub(super) fn parallel(self, parallel: u64) -> Self {
        Self { parallel, ..self }
    }

    /// Runs it to the end. All must go well, at both ends.
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let mut listen = String::new();
        for [_, server] in HOSTS {
            for (port, rcvbuf) in SERVERS {
                listen += &format!(" --listen {server}:{port} --rcvbuf {rcvbuf}");
            }
        }
        let server = format!("exec lab-load server --patience 120{listen}");
        let mut server = session.wire().spawn(Cmd::from(server).timeout(LIMIT))?;
        server.wait_for("ready")?;
        let Self {
            connections,
            seed,
            greeting,
            min_size,
            parallel,
        } = self;
        let greeting = if greeting { "--greeting" } else { "" };
        let to = HOSTS.map(|[guest, _]| format!("--to {guest}:{PROXY}"));
        let client = format!(
            "lab-load client {} --connections {connections} --seed {seed} --parallel {parallel} --patience 120 {greeting} \
             --min-size {min_size} --rcvbuf 20000 --rcvbuf 100000 --rcvbuf 400000",
            to.join(" ")
        );
        let said = session.wire().run_ok(Cmd::from(client).timeout(LIMIT))?;
        eprint!("{said}");
        // The last ones have ended there, too: a client is done when it has heard all and its socket holds what is left to
        // be said.
        let ports = SERVERS.map(|(port, _)| format!("sport = :{port}"));
        let line = format!(
            "for i in $(seq 1300); do [ -z \"$(ss -Htn state connected exclude time-wait \
             '( {} )')\" ] && exit 0; sleep 0.1; done; exit 1",
            ports.join(" or ")
        );
        session
            .wire()
            .run_ok(Cmd::from(line).timeout(Duration::from_secs(150)))
            .context("connections of the server do not end")?;
        server.signal(SIGTERM)?;
        let output = server.wait()?;
        ensure!(output.stderr.is_empty(), "{}", output.stderr);
        Ok(())
    }
}

/// Connections of a yardstick: enough for each size and each end.
const FEW: u64 = 60;

/// The proxy copies: what the other tests are held against.
pub(super) fn copied(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    copies(&session, FEW)?;
    context.finish(session)
}

/// The host's kernel relays: what `lab bench splice` compares with must be right, too.
pub(super) fn sockmap(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    redirects(&session, FEW)?;
    context.finish(session)
}

/// Hundreds of both.
pub(super) fn long_yardsticks(context: &Context<'_>) -> Result<()> {
    const MANY: u64 = 1000;
    let session = context.start(context.session())?;
    copies(&session, MANY).context("copied")?;
    redirects(&session, MANY).context("redirected")?;
    context.finish(session)
}

fn copies(session: &Session, count: u64) -> Result<()> {
    let proxy = Proxy::start(session, "copy", &[])?;
    Load::new(count).run(session)?;
    let stats = proxy.stop()?;
    ensure!(
        stats.count("accepted") == count && stats.count("failed") == 0,
        "{stats}"
    );
    ensure!(stats.count("spliced") == 0, "{stats}");
    Ok(())
}

fn redirects(session: &Session, count: u64) -> Result<()> {
    let proxy = Proxy::program(session, "sockmap-proxy")?;
    Load::new(count).run(session)?;
    let stats = proxy.stop()?;
    // Some have closed one direction before the kernel is asked.
    ensure!(
        stats.count("accepted") == count && stats.count("failed") == 0,
        "{stats}"
    );
    ensure!(stats.count("redirected") >= count / 2, "{stats}");
    Ok(())
}

/// A hundred connections of each kind.
pub(super) fn load(context: &Context<'_>) -> Result<()> {
    kinds(context, 100)
}

/// Thousands of each kind.
pub(super) fn long_kinds(context: &Context<'_>) -> Result<()> {
    kinds(context, 2000)
}

/// Connections that are spliced as they come, after a while, and before they begin, with the other offloads.
fn kinds(context: &Context<'_>, count: u64) -> Result<()> {
    let session = context.start(context.session())?;
    let load = Load::new(count);
    // Those that say less before than that are copied to the end.
    let late = ["--splice-after", "20000"];
    let offload = ["--offload", "setup,teardown"];
    let runs: [(&[&str], _, _); 3] = [
        (&[], load, count / 8),
        (&late, load, count / 10),
        (&offload, load.greeting(), count * 3 / 4),
    ];
    for (options, load, least) in runs {
        let proxy = Proxy::start(&session, "splice", options)?;
        load.run(&session).with_context(|| options.join(" "))?;
        proxy
            .stop()?
            .most_went_well(count, least)
            .with_context(|| options.join(" "))?;
    }
    context.finish(session)
}

/// Ten thousand that are spliced from the beginning, most of them on wires that lose and reorder.
pub(super) fn long(context: &Context<'_>) -> Result<()> {
    const WIRES: [(&str, u64); 3] = [
        ("", 4000),
        ("seed=1,loss=0.01,reorder=0.02,dup=0.01", 3000),
        ("seed=2,loss=0.05,reorder=0.05,dup=0.02", 3000),
    ];
    let session = context.start(context.session())?;
    for (seed, (spec, count)) in WIRES.into_iter().enumerate() {
        session.card(0)?.faults(spec)?;
        let proxy = Proxy::start(&session, "splice", &[])?;
        let load = Load::new(count).seed(seed as u64 + 1).greeting();
        load.run(&session).with_context(|| spec.to_owned())?;
        proxy
            .stop()?
            .most_went_well(count, count * 3 / 4)
            .with_context(|| spec.to_owned())?;
    }
    context.finish(session)
}
