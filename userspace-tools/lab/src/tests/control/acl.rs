// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Access lists: whom they keep out, of what, and when.

use anyhow::{ensure, Context as _, Result};
use nix::libc::SIGTERM;
use serde_json::Value;

use super::{
    super::observe::{counter_until, guest_until, statistic, Loss, LOSSES, PATIENCE},
    Context,
};
use crate::{
    report::offload::TOOL,
    session::{Action, Cmd, Process, Session},
};

/// Addresses of clients, of which rules know the second.
pub(super) const FRIEND: &str = "10.99.0.1";
/// See [`FRIEND`].
pub(super) const STRANGER: &str = "10.99.0.50";
/// The stranger's by IPv6.
const STRANGER_V6: &str = "fd99:0::50";
/// Ports of a server that the card has a part in, and of one that it has not.
pub(super) const PORTS: [u16; 2] = [6379, 6380];

/// Runs the tool in the guest; returns what it says.
pub(super) fn tool(session: &Session, args: &str) -> Result<String> {
    session.guest().run_ok(format!("{TOOL} {args}"))
}

/// Adds a rule and returns its handle.
pub(super) fn add(session: &Session, rule: &str) -> Result<u64> {
    let text = tool(session, &format!("-j acl add dev nic0 {rule}"))?;
    let told: Value = serde_json::from_str(&text)?;
    told["handle"].as_u64().context("no handle")
}

fn delete(session: &Session, handle: u64) -> Result<()> {
    tool(session, &format!("acl del dev nic0 handle {handle}")).map(drop)
}

/// All rules.
pub(super) fn rules(session: &Session) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&tool(session, "-j acl list")?)?)
}

/// Frames that the rule has decided about, which have bytes if there are any.
fn frames(session: &Session, handle: u64) -> Result<u64> {
    let rules = rules(session)?;
    let rule = rules.iter().find(|rule| rule["handle"] == handle);
    let rule = rule.context("the rule has gone")?;
    let number = |name: &str| rule[name].as_u64().context("no number");
    let (frames, bytes) = (number("frames")?, number("bytes")?);
    ensure!(
        (frames * 34..=frames * 1522).contains(&bytes),
        "{frames} frames have {bytes} bytes"
    );
    Ok(frames)
}

/// A server for each of [`PORTS`], both unaware of the card; the first is given to it.
pub(super) fn servers(session: &Session) -> Result<Vec<Process>> {
    session.wire().run_ok(format!(
        "ip address add {STRANGER}/24 dev wire0 && ip address add {STRANGER_V6}/64 dev wire0 nodad"
    ))?;
    let mut servers = Vec::new();
    for port in PORTS {
        let line = format!(
            "redis-server --port {port} --bind 0.0.0.0 :: --save '' --protected-mode no --daemonize no"
        );
        servers.push(
            session
                .guest()
                .spawn(Cmd::from(line).timeout(PATIENCE * 20))?,
        );
        session.guest().wait_listening(port, PATIENCE)?;
    }
    tool(
        session,
        &format!(
            "policy add --port {} --offload setup,teardown,no-hold",
            PORTS[0]
        ),
    )?;
    counter_until(session, "nic.table.listeners.used", |used| used == 2)?;
    Ok(servers)
}

/// Ends the servers.
pub(super) fn stop(session: &Session, servers: Vec<Process>) -> Result<()> {
    tool(session, "policy flush")?;
    for server in servers {
        server.signal(SIGTERM)?;
        server.wait()?;
    }
    Ok(())
}

/// A connection from `from`, which asks once.
fn ask(from: &str, port: u16, seconds: u32) -> String {
    let [to, open, close] = match from.contains(':') {
        true => ["TCP6:[fd99:0::2]", "[", "]"],
        false => ["TCP4:10.99.0.2", "", ""],
    };
    format!(
        "printf 'PING\\r\\nQUIT\\r\\n' | timeout {seconds} \
         socat -t 5 STDIO,ignoreeof {to}:{port},bind={open}{from}{close},connect-timeout={seconds} | grep -q PONG"
    )
}

/// Clients at `from` are served at all `ports`, and get echoes if they are wanted.
pub(super) fn served(session: &Session, from: &str, ports: &[u16], echo: bool) -> Result<()> {
    for port in ports {
        session
            .wire()
            .run_ok(Cmd::from(ask(from, *port, 20)).timeout(PATIENCE))
            .with_context(|| format!("{from} is not served at port {port}"))?;
    }
    if echo {
        session
            .wire()
            .run_ok(ping(from, 10))
            .with_context(|| format!("{from} gets no echo"))?;
    }
    Ok(())
}

/// Clients at `from` are not served at any of `ports`, nor get echoes if that is asked for, and it is the card that does it.
pub(super) fn kept_out(session: &Session, from: &str, ports: &[u16], echo: bool) -> Result<()> {
    let denied = || session.card(0)?.counter("nic.acl.denied");
    for port in ports {
        let before = denied()?;
        let output = session.wire().run(ask(from, *port, 2))?;
        ensure!(
            !output.status.success(),
            "{from} is served at port {port}: {}",
            output.stdout
        );
        ensure!(denied()? > before, "nothing of {from} was denied");
    }
    if echo {
        let before = denied()?;
        let output = session.wire().run(ping(from, 1))?;
        ensure!(!output.status.success(), "{from} gets an echo");
        ensure!(denied()? > before, "no echo request of {from} was denied");
    }
    Ok(())
}

fn ping(from: &str, seconds: u32) -> String {
    let to = match from.contains(':') {
        true => "fd99:0::2",
        false => "10.99.0.2",
    };
    format!("ping -q -n -c 1 -W {seconds} -I {from} {to}")
}

/// Echo requests of IPv4 that the guest has received since it started.
pub(super) fn echoes(session: &Session) -> Result<u64> {
    let text = session
        .guest()
        .run_ok("nstat -asz IcmpInEchos | awk '/IcmpInEchos/ {print $2}'")?;
    text.trim().parse().with_context(|| text.clone())
}

pub(super) fn acl(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let servers = servers(&session)?;
    served(&session, STRANGER, &PORTS, true)?;
    served(&session, STRANGER_V6, &PORTS, true)?;

    // A prefix: not the others, and by which protocol makes no difference.
    let rule = add(&session, "prio 10 deny from 10.99.0.48/28")?;
    kept_out(&session, STRANGER, &PORTS, true)?;
    ensure!(frames(&session, rule)? >= 3, "frames are not counted");
    served(&session, FRIEND, &PORTS, true)?;
    served(&session, STRANGER_V6, &PORTS, true)?;

    // A smaller priority comes first, and goes.
    let exception = add(
        &session,
        &format!("prio 5 allow proto tcp from {STRANGER} to any port 6000-6379"),
    )?;
    served(&session, STRANGER, &PORTS[..1], false)?;
    ensure!(frames(&session, exception)? >= 5, "frames are not counted");
    kept_out(&session, STRANGER, &PORTS[1..], true)?;
    delete(&session, exception)?;
    kept_out(&session, STRANGER, &PORTS[..1], false)?;

    // IPv6, and no other address; not by what a rule for IPv4 says.
    let v6 = add(
        &session,
        "deny family inet6 proto tcp from fd99:0::40/122 to any port 6380",
    )?;
    served(&session, STRANGER_V6, &PORTS[..1], true)?;
    kept_out(&session, STRANGER_V6, &PORTS[1..], false)?;
    served(&session, "fd99:0::1", &PORTS, true)?;
    delete(&session, v6)?;
    served(&session, STRANGER_V6, &PORTS, true)?;
    let all = add(&session, "deny family inet6")?;
    kept_out(&session, STRANGER_V6, &PORTS, true)?;
    delete(&session, all)?;

    running(&session)?;
    for loss in LOSSES {
        lasting(&session, loss, rule)?;
    }
    dead(&session, rule)?;
    closed(&session, rule)?;

    tool(&session, "acl flush dev nic0")?;
    served(&session, STRANGER, &PORTS, true)?;
    add(&session, "deny from 10.99.0.48/28")?;
    stop(&session, servers)?;
    // Gone with the module.
    session.unload_driver(context.driver)?;
    session.load_driver(context.driver, "")?;
    ensure!(rules(&session)?.is_empty(), "rules are left");
    session
        .wire()
        .run_ok(Cmd::from(ping(STRANGER, 10)).timeout(PATIENCE))?;
    context.finish(session)
}

/// A rule holds for connections that there are, also for those that the card has set up, and they go on behind it.
fn running(session: &Session) -> Result<()> {
    for port in PORTS {
        let line = format!("socat STDIO TCP4:10.99.0.2:{port}");
        let mut client = session
            .wire()
            .spawn(Cmd::from(line).open_stdin().timeout(PATIENCE * 2))?;
        client.write("ECHO before\r\n")?;
        client.wait_for("before")?;
        let rule = add(
            session,
            &format!("deny proto tcp from {FRIEND} to any port {port}"),
        )?;
        client.write("ECHO behind\r\n")?;
        let rule_of =
            format!("{TOOL} -j acl list | grep -q '\"handle\":{rule},.*\"frames\":[2-9]'");
        guest_until(session, "retransmissions that are denied", &rule_of)?;
        let commands =
            format!("redis-cli -p {port} info commandstats | grep -c cmdstat_echo:calls=1,");
        ensure!(
            session.guest().run_ok(&*commands)?.trim() == "1",
            "what was denied has reached the server"
        );
        delete(session, rule)?;
        client.wait_for("behind")?;
        client.close_stdin()?;
        client.wait()?;
    }
    Ok(())
}

/// The rule holds in, and behind, a loss of what the card has; nothing slips in meanwhile.
fn lasting(session: &Session, (name, lose): Loss, rule: u64) -> Result<()> {
    let (before, restarts) = (echoes(session)?, statistic(session, "restarts")?);
    let decided = frames(session, rule)?;
    let flood = session.wire().spawn(
        Cmd::from(format!("ping -q -n -i 0.002 -I {STRANGER} 10.99.0.2")).timeout(PATIENCE * 4),
    )?;
    // The flood is there.
    let more = |than: u64| -> Result<()> {
        let end = std::time::Instant::now() + PATIENCE;
        while frames(session, rule)? <= than {
            ensure!(
                std::time::Instant::now() < end,
                "{name}: the rule decides about no frames"
            );
        }
        Ok(())
    };
    more(decided)?;
    lose(session)?;
    if name != "down" {
        guest_until(
            session,
            "restart",
            &format!("ethtool -S nic0 | grep -x ' *restarts: [0-9]*' | grep -vqx ' *restarts: {restarts}'"),
        )?;
    }
    guest_until(session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
    // By the same handle, and counted on.
    let decided = frames(session, rule)?;
    more(decided.max(1) + 20)?;
    served(session, FRIEND, &PORTS, false)?;
    let slipped = echoes(session)? - before;
    ensure!(slipped == 0, "{name}: {slipped} frames slipped in");
    drop(flood);
    kept_out(session, STRANGER, &PORTS, true)
}

/// What a dead card was asked for fails, and the list is as before when it is back.
fn dead(session: &Session, rule: u64) -> Result<()> {
    let guest = session.guest();
    session.card(0)?.action(Action::Die)?;
    for change in [
        format!("acl add dev nic0 deny from {FRIEND}"),
        format!("acl del dev nic0 handle {rule}"),
        "acl flush dev nic0".into(),
    ] {
        let changed = guest.run(format!("{TOOL} {change}"))?;
        ensure!(
            !changed.status.success() && changed.stderr.contains("does not answer"),
            "{change}: {}",
            changed.stderr
        );
    }
    guest_until(session, "death", "grep -q 0 /sys/class/net/nic0/carrier")?;
    session.card(0)?.action(Action::Revive)?;
    guest_until(session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
    served(session, FRIEND, &PORTS, true)?;
    kept_out(session, STRANGER, &PORTS, true)?;
    only(session, rule)
}

/// There are no other rules.
fn only(session: &Session, rule: u64) -> Result<()> {
    let rules = rules(session)?;
    ensure!(
        rules.len() == 1 && rules[0]["handle"] == rule,
        "other rules: {rules:?}"
    );
    Ok(())
}

/// A card that does not take its list is not opened, and can be when it takes it again.
fn closed(session: &Session, rule: u64) -> Result<()> {
    let guest = session.guest();
    guest.run_ok("ip link set nic0 down")?;
    session.card(0)?.action(Action::Die)?;
    let opened = guest.run("ip link set nic0 up")?;
    ensure!(!opened.status.success(), "opened without its list");
    let log = guest.run_ok("dmesg")?;
    ensure!(log.contains("does not take its access list"), "{log}");
    let changed = guest.run(format!("{TOOL} acl add dev nic0 deny"))?;
    ensure!(
        !changed.status.success() && changed.stderr.contains("does not answer"),
        "a dead card takes rules: {}",
        changed.stderr
    );
    session.card(0)?.action(Action::Revive)?;
    guest_until(session, "opens again", "ip link set nic0 up")?;
    session.configure()?;
    kept_out(session, STRANGER, &PORTS, true)?;
    served(session, FRIEND, &PORTS, true)?;
    only(session, rule)
}
