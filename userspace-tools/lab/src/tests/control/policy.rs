// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Servers that know nothing of the card, given to it and taken from it again by one command of the tool.

use anyhow::{ensure, Context as _, Result};
use nix::libc::SIGTERM;

use super::{
    super::observe::{counter_until, statistic, PATIENCE},
    Context,
};
use crate::{
    commands::workloads::{NGINX, REDIS_SHORT},
    report::offload::TOOL,
    session::{Cmd, Process, Session},
};

/// Connections of each run of each client.
const COUNT: u64 = 200;

/// What the clients do; each connection is a new one, which redis's client closes first, and nginx itself.
const CLIENTS: [&str; 2] = [
    "redis-benchmark -h 10.99.0.2 -k 0 -c 8 -t get -n 200 --csv",
    "for i in $(seq 200); do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | \
     socat -t 0.01 STDIO,ignoreeof TCP:10.99.0.2:8080 | grep -q '200 OK' || exit 1; done",
];

/// Ports of the servers.
const PORTS: [u16; 2] = [6379, 8080];

/// Runs the tool in the guest; returns what it says.
fn tool(session: &Session, args: &str) -> Result<String> {
    session.guest().run_ok(format!("{TOOL} {args}"))
}

/// What the tool says as JSON.
fn told(session: &Session, args: &str) -> Result<serde_json::Value> {
    let text = tool(session, &format!("-j {args}"))?;
    serde_json::from_str(&text).with_context(|| format!("{args}: {text}"))
}

/// Connections that the card has set up, and that it was handed to end them, while all clients ran.
fn run_clients(session: &Session) -> Result<[u64; 2]> {
    let count = || -> Result<[u64; 2]> {
        Ok([
            statistic(session, "setup_delivered")?,
            statistic(session, "teardown_handed_over")?,
        ])
    };
    let before = count()?;
    for client in CLIENTS {
        session
            .wire()
            .run_ok(Cmd::from(client).timeout(PATIENCE * 4))?;
    }
    let after = count()?;
    Ok([after[0] - before[0], after[1] - before[1]])
}

pub(super) fn policy(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    // One listens before there is a rule, the other behind it.
    let redis = server(&session, REDIS_SHORT.server, 0)?;
    let number = tool(
        &session,
        "policy add --port 1024-9000 --offload setup,teardown",
    )?;
    let nginx = server(&session, NGINX.server, 1)?;
    for port in PORTS {
        let shown = offloaded(&session, port)?;
        ensure!(shown, "port {port} is not offloaded");
    }
    session
        .guest()
        .run_ok("sysctl -q -w net.acceltcp.teardown_time_wait=1")?;
    let [set_up, handed_over] = run_clients(&session)?;
    // Not within the 60 s of the default.
    counter_until(&session, "nic.table.time_wait.used", |used| used == 0)?;
    let entered = session.card(0)?.counter("nic.time_wait.entered")?;
    ensure!(entered != 0, "no connection was in TIME-WAIT");
    // A handshake may be the host's for a reason; a few are no failure of the policy.
    ensure!(
        set_up >= 2 * COUNT * 9 / 10 && handed_over >= 2 * COUNT / 2,
        "{set_up} of {} set up by the card, {handed_over} ended by it",
        2 * COUNT
    );
    let status = tool(&session, "status")?;
    ensure!(
        status.contains("nic0") && status.contains("attached"),
        "{status}"
    );
    let rules = told(&session, "policy list")?;
    let text = rules.to_string();
    ensure!(text.contains("\"hits\":"), "{number}{text}");
    let ulp = session.guest().run_ok("ss -Htnli 'sport = 6379'")?;
    ensure!(
        ulp.contains("tcp-ulp-acceltcp"),
        "ss does not show it: {ulp}"
    );
    let saved = tool(&session, "policy save")?;

    // Whoever has data left stays with the host.
    let before = statistic(&session, "teardown_too_large")?;
    session
        .guest()
        .run_ok("sysctl -q -w net.acceltcp.teardown_max_bytes=0")?;
    run_clients(&session)?;
    let too_large = statistic(&session, "teardown_too_large")? - before;
    ensure!(too_large != 0, "no connection had too much data");

    // Switched off as a whole, and on.
    let switch = |value: u32| {
        let set = format!("sysctl -q -w net.acceltcp.offloads={value}");
        session.guest().run_ok(set)
    };
    let rules =
        |wanted: &dyn Fn(u64) -> bool| counter_until(&session, "nic.table.listeners.used", wanted);
    switch(0)?;
    rules(&|used| used == 0)?;
    ensure!(
        run_clients(&session)? == [0, 0],
        "the card has a part in connections although offloads are off"
    );
    switch(7)?;
    rules(&|used| used != 0)?;
    ensure!(switch(8).is_err(), "an offload that there is not");

    // All off: the servers go on, the card has no part in new connections, and nothing holds the module.
    tool(&session, "policy flush")?;
    rules(&|used| used == 0)?;
    ensure!(
        run_clients(&session)? == [0, 0],
        "the card still has a part in connections"
    );
    for port in PORTS {
        ensure!(!offloaded(&session, port)?, "port {port} is offloaded");
    }
    let users = session.guest().run_ok("cat /sys/module/acceltcp/refcnt")?;
    ensure!(users.trim() == "0", "{users} uses of the module");

    // And on again, from what was saved.
    session
        .guest()
        .run_ok(Cmd::new(["sh", "-c", "cat > /tmp/policy.conf"]).input(&*saved))?;
    tool(&session, "policy load /tmp/policy.conf")?;
    for port in PORTS {
        ensure!(offloaded(&session, port)?, "port {port} after the load");
    }
    let [set_up, _] = run_clients(&session)?;
    ensure!(set_up != 0, "no handshake by the card after the load");
    tool(&session, "policy flush")?;
    for server in [nginx, redis] {
        server.signal(SIGTERM)?;
        server.wait()?;
    }
    context.finish(session)
}

/// Starts one that knows nothing of offloads, and leaves the rules as they are.
fn server(session: &Session, command: &str, index: usize) -> Result<Process> {
    let guest = session.guest();
    let server = guest.spawn(Cmd::from(command).timeout(PATIENCE * 20))?;
    guest.wait_listening(PORTS[index], PATIENCE)?;
    Ok(server)
}

/// Whether the card sets connections to the port up; waits until it has been told.
fn offloaded(session: &Session, port: u16) -> Result<bool> {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let all = told(session, "listeners")?;
        let listeners = all.as_array().context("no list")?;
        let mut of_port = listeners.iter().filter(|one| one["port"] == port);
        let listener = of_port
            .next()
            .with_context(|| format!("no port {port}: {all}"))?;
        match listener["reason"].as_str() {
            Some("none") => return Ok(true),
            Some("pending") if std::time::Instant::now() < end => {}
            _ => return Ok(false),
        }
    }
}
