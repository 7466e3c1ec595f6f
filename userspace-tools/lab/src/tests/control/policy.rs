// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Servers that know nothing of the card, given to it and taken from it again by one command of the tool.

use anyhow::{ensure, Context as _, Result};
use nix::libc::SIGTERM;

use super::{
    super::observe::{answering_until, counter_until, guest_until, statistic, PATIENCE},
    Context,
};
use crate::{
    commands::workloads::{NGINX, REDIS_SHORT},
    report::offload::TOOL,
    session::{Cmd, Process, Session},
};

/// Connections of a run of all clients.
const ALL: u64 = 200 * SERVICES.len() as u64;

/// A server of some other package, and clients with a new connection each.
struct Service {
    command: &'static str,
    port: u16,
    clients: &'static str,
}

/// Redis listens before there is a rule, the others behind it. Redis's clients close first, all others wait for the server to.
const SERVICES: [Service; 4] = [
    Service {
        command: REDIS_SHORT.server,
        port: REDIS_SHORT.port,
        clients: "redis-benchmark -h 10.99.0.2 -k 0 -c 8 -t get -n 200 --csv",
    },
    Service {
        command: NGINX.server,
        port: NGINX.port,
        clients: "for i in $(seq 200); do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | \
                  socat -t 0.01 STDIO,ignoreeof TCP:10.99.0.2:8080 | grep -q '200 OK' || exit 1; done",
    },
    Service {
        command: "exec memcached -u root -l 0.0.0.0 -p 11211",
        port: 11211,
        clients: "for i in $(seq 200); do printf 'set k 0 0 5\\r\\nvalue\\r\\nget k\\r\\nquit\\r\\n' | \
                  socat -t 0.01 STDIO,ignoreeof TCP:10.99.0.2:11211 | grep -q '^value' || exit 1; done",
    },
    Service {
        command: HAPROXY,
        port: 8081,
        clients: "for i in $(seq 200); do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | \
                  socat -t 0.01 STDIO,ignoreeof TCP:10.99.0.2:8081 | grep -q '200 OK' || exit 1; done",
    },
];

/// In front of nginx.
const HAPROXY: &str = "cat >/tmp/haproxy.cfg <<'END' && exec haproxy -db -f /tmp/haproxy.cfg
defaults
    mode http
    timeout connect 20s
    timeout client 20s
    timeout server 20s
listen web
    bind :8081
    server nginx 127.0.0.1:8080
END";

/// Runs the tool in the guest; returns what it says.
pub(in super::super) fn tool(session: &Session, args: &str) -> Result<String> {
    session.guest().run_ok(format!("{TOOL} {args}"))
}

/// What the tool says as JSON.
pub(in super::super) fn told(session: &Session, args: &str) -> Result<serde_json::Value> {
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
    for service in &SERVICES {
        session
            .wire()
            .run_ok(Cmd::from(service.clients).timeout(PATIENCE * 4))?;
    }
    let after = count()?;
    Ok([after[0] - before[0], after[1] - before[1]])
}

pub(super) fn policy(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    // One listens before there is a rule, the other behind it.
    let [before, behind @ ..] = &SERVICES;
    let mut servers = vec![server(&session, before)?];
    let number = tool(
        &session,
        "policy add --port 1024-12000 --offload setup,teardown",
    )?;
    for service in behind {
        servers.push(server(&session, service)?);
    }
    for Service { port, .. } in SERVICES {
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
        set_up >= ALL * 9 / 10 && handed_over >= ALL / 2,
        "{set_up} of {ALL} set up by the card, {handed_over} ended by it"
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
    chosen_by_the_kernel(&session)?;

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
    let rules = |wanted: &dyn Fn(u64) -> bool| answering_until(&session, wanted);
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
    for Service { port, .. } in SERVICES {
        ensure!(!offloaded(&session, port)?, "port {port} is offloaded");
    }
    // The last connections may be ending yet.
    guest_until(
        &session,
        "nothing uses the module",
        "[ $(cat /sys/module/acceltcp/refcnt) = 0 ]",
    )?;

    // And on again, from what was saved.
    session
        .guest()
        .run_ok(Cmd::new(["sh", "-c", "cat > /tmp/policy.conf"]).input(&*saved))?;
    tool(&session, "policy load /tmp/policy.conf")?;
    for Service { port, .. } in SERVICES {
        ensure!(offloaded(&session, port)?, "port {port} after the load");
    }
    let [set_up, _] = run_clients(&session)?;
    ensure!(set_up != 0, "no handshake by the card after the load");
    tool(&session, "policy flush")?;
    for server in servers.into_iter().rev() {
        server.signal(SIGTERM)?;
        server.wait()?;
    }
    context.finish(session)
}

/// A socket that listens on whatever port the kernel finds is met by a rule for that port.
fn chosen_by_the_kernel(session: &Session) -> Result<()> {
    tool(
        session,
        "policy add --port 16384-65535 --offload setup,teardown",
    )?;
    let known = SERVICES.iter().map(|service| service.port).collect();
    let line =
        "exec python3 -c 'import signal, socket; s = socket.socket(); s.listen(); signal.pause()'";
    let server = session
        .guest()
        .spawn(Cmd::from(line).timeout(PATIENCE * 20))?;
    let port = session.guest().wait_new_port(known, PATIENCE)?;
    ensure!(offloaded(session, port)?, "port {port} is not offloaded");
    server.signal(SIGTERM)?;
    server.wait().map(drop)
}

/// Starts one that knows nothing of offloads, and leaves the rules as they are.
fn server(session: &Session, service: &Service) -> Result<Process> {
    let guest = session.guest();
    let server = guest.spawn(Cmd::from(service.command).timeout(PATIENCE * 20))?;
    guest.wait_listening(service.port, PATIENCE)?;
    Ok(server)
}

/// Whether the card sets connections to the port up; waits until it has been told.
pub(in super::super) fn offloaded(session: &Session, port: u16) -> Result<bool> {
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
