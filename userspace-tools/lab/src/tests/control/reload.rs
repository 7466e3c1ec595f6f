// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The policy is loaded again and again while clients come.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use nix::libc::SIGTERM;
use serde_json::Value;

use super::{
    super::observe::PATIENCE,
    policy::{offloaded, told, tool},
    Context,
};
use crate::{
    commands::workloads::NGINX,
    report::offload::TOOL,
    session::{Cmd, Process, Session},
};

/// Runs on the wire side.
const CLIENTS: &str = include_str!("reload.py");

/// Loads of a file that has not changed, and of files that take turns.
const LOADS: u32 = 12;

/// The rule of the server with others around it.
const RULES: &str = "\
--port 8080 --offload setup,teardown
--port 9000-9100 --address 10.99.0.0/24 --offload setup
--uid 33 --offload none --priority 2000
";

/// The same rule for the server, in another place, and other rules around it.
const OTHERS: &str = "\
--port 7000 --offload setup,defer
--port 8080 --offload setup,teardown
--port 9000-9100 --address 10.99.0.0/24 --offload setup --priority 3
";

/// Another rule for the server, which says the same.
const NARROWER: &str = "--port 8000-8100 --offload setup,teardown\n";

pub(super) fn reload(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let guest = session.guest();
    let server = guest.spawn(Cmd::from(NGINX.server).timeout(PATIENCE * 20))?;
    guest.wait_listening(NGINX.port, PATIENCE)?;
    for (name, rules) in [("rules", RULES), ("others", OTHERS), ("narrower", NARROWER)] {
        let file = format!("cat > /tmp/{name}.conf");
        guest.run_ok(Cmd::from(file).input(rules))?;
    }
    tool(&session, "policy load /tmp/rules.conf")?;
    ensure!(
        offloaded(&session, NGINX.port)?,
        "the port is not offloaded"
    );
    let before = rules(&session)?;

    // A file that has not changed.
    let clients = clients(&session)?;
    load(&session, &["rules"])?;
    let good = outcome(clients)?;
    let after = rules(&session)?;
    ensure!(before == after, "the same file: {before} then {after}");
    eprintln!("{LOADS} loads of the same file, {good} connections");

    // Files that differ, but for the rule of the server.
    let number = rule_of(&before, 8080)?;
    let clients = self::clients(&session)?;
    load(&session, &["others", "rules"])?;
    let good = outcome(clients)?;
    let after = rules(&session)?;
    let same = rule_of(&after, 8080)?;
    ensure!(
        number == same,
        "the rule of the server: {number} then {same}"
    );
    eprintln!("{LOADS} loads of two files, {good} connections");

    // Files that differ also in the rule of the server, but not in what it gets.
    let clients = self::clients(&session)?;
    load(&session, &["narrower", "rules"])?;
    let good = outcome(clients)?;
    eprintln!("{LOADS} loads of another rule for the server, {good} connections");

    tool(&session, "policy flush")?;
    server.signal(SIGTERM)?;
    server.wait()?;
    context.finish(session)
}

/// Loads the files by turns.
fn load(session: &Session, files: &[&str]) -> Result<()> {
    let names = files.join(" ");
    let line = format!(
        "set -e; for i in $(seq {LOADS}); do for name in {names}; do {TOOL} policy load /tmp/$name.conf; done; done"
    );
    let limit = Duration::from_secs(100);
    session
        .guest()
        .run_ok(Cmd::from(line).timeout(limit))
        .map(drop)
}

/// Clients that have begun to come.
fn clients(session: &Session) -> Result<Process> {
    let port = NGINX.port.to_string();
    let argv = ["python3", "-c", CLIENTS, "10.99.0.2", &port];
    let command = Cmd::new(argv).open_stdin().timeout(PATIENCE * 10);
    let mut clients = session.wire().spawn(command)?;
    clients.wait_for("running")?;
    Ok(clients)
}

/// How many connections there were, none of which has failed.
fn outcome(clients: Process) -> Result<u64> {
    clients.close_stdin()?;
    let text = clients.wait_ok()?;
    let line = text.lines().last().context("clients say nothing")?;
    let outcomes: Value = serde_json::from_str(line).with_context(|| text.clone())?;
    let all = outcomes.as_object().context("no object")?;
    ensure!(all.len() == 1, "not all connections are good: {line}");
    all["good"].as_u64().context("no number")
}

/// The rules, with what they have done.
fn rules(session: &Session) -> Result<Value> {
    told(session, "policy list")
}

/// Number of the rule that begins with this port.
fn rule_of(rules: &Value, port: u16) -> Result<u64> {
    let mut all = rules.as_array().context("no list")?.iter();
    let rule = all.find(|rule| rule["port_first"] == port);
    let number = rule.and_then(|rule| rule["id"].as_u64());
    number.with_context(|| format!("no rule of port {port}: {rules}"))
}
