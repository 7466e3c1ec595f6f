// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The packages of tool and module, in the guest.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{ensure, Result};

use super::package;
use crate::{
    commands::workloads::{NGINX, REDIS_SHORT},
    session::{Cmd, Driver, Session},
    tests::{
        observe::{counter_until, guest_until, statistic},
        Context,
    },
};

/// dpkg reads and writes all its files, on an emulated CPU.
const DPKG: Duration = Duration::from_secs(120);
const REDIS: u16 = 6379;
const UNIT: &str = "/usr/lib/systemd/system/acceltcp-policy.service";
const START: Duration = Duration::from_secs(60);

/// What is in the folders that the packages, the parameters, have files in, and below those that dpkg, depmod
/// and the administrator's tools write to. The guest cannot look at all of its files at once: each takes
/// virtiofsd a descriptor.
const LIST: &str = r#"
for deb; do dpkg-deb --fsys-tarfile "$deb" | tar --list; done | grep '/$' | sort -u |
    while read -r folder; do
        if [ -d "/$folder" ]; then find "/$folder" -maxdepth 1; fi
    done
find /etc /var/lib/dpkg/info "/usr/lib/modules/$(uname -r)"
"#;

/// The live view shows the device, and ends by its key. A terminal without a size shows nothing.
const TOP: &str = r#"
mkfifo /tmp/keys
TERM=xterm script -qfec 'stty rows 40 cols 120; acceltcp top' /tmp/screen < /tmp/keys > /tmp/seen &
exec 3> /tmp/keys
until grep -q nic0 /tmp/screen; do sleep 0.1; done
printf q >&3
wait $!
"#;

pub(super) fn debs(context: &Context<'_>) -> Result<()> {
    let (_, tool) = package(context, "acceltcp_")?;
    let (_, module) = package(context, "acceltcp-modules-")?;
    let session = context.start(context.session().driver(Driver::None))?;
    let list = || files(&session, &tool, &module);
    let before = list()?;
    dpkg(&session, &format!("--install {tool} {module}"))?;
    let verified = session
        .guest()
        .run_ok("dpkg --verify acceltcp \"acceltcp-modules-$(uname -r)\"")?;
    ensure!(verified.is_empty(), "not as in the packages:\n{verified}");
    contents(&session)?;

    session.guest().run_ok("modprobe acceltcp")?;
    session.configure()?;
    serve(&session)?;
    session.guest().run_ok("modprobe --remove acceltcp")?;

    dpkg(
        &session,
        "--remove acceltcp \"acceltcp-modules-$(uname -r)\"",
    )?;
    session
        .guest()
        .run_ok("test -e /etc/acceltcp/policy.conf && ! modinfo acceltcp 2> /tmp/modinfo")?;
    dpkg(
        &session,
        "--purge acceltcp \"acceltcp-modules-$(uname -r)\"",
    )?;
    let after = list()?;
    let left: Vec<&String> = after.difference(&before).collect();
    ensure!(left.is_empty(), "left after the purge: {left:?}");
    let lost: Vec<&String> = before.difference(&after).collect();
    ensure!(lost.is_empty(), "lost by the purge: {lost:?}");
    context.finish(session)
}

fn files(session: &Session, tool: &str, module: &str) -> Result<BTreeSet<String>> {
    let list = Cmd::new(["sh", "-c", LIST, "list", tool, module]).timeout(DPKG);
    let text = session.guest().run_ok(list)?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn dpkg(session: &Session, action: &str) -> Result<()> {
    let line = format!("DEBIAN_FRONTEND=noninteractive dpkg {action}");
    session.guest().run_ok(Cmd::from(line).timeout(DPKG))?;
    Ok(())
}

/// What a program must be able to read of it.
fn contents(session: &Session) -> Result<()> {
    for line in [
        "acceltcp --version",
        "zcat /usr/share/man/man?/acceltcp.?.gz | grep -q '^.TH acceltcp '",
        "bash -n /usr/share/bash-completion/completions/acceltcp",
        "printf '#include <linux/acceltcp.h>\\n#include <linux/acceltcp_netlink.h>\\n' | gcc -fsyntax-only -xc -",
        "cd /usr/share/doc/acceltcp/examples && modprobe --config modprobe.conf --showconfig | grep -q '^softdep nfp pre: acceltcp'",
        // Each example rule of the policy is one.
        "sed 's/^#--/--/' /etc/acceltcp/policy.conf | acceltcp policy load --check - | grep -q ': 5 rules, no mistakes'",
    ] {
        session.guest().run_ok(line)?;
    }
    Ok(())
}

/// The module that was installed does its work, for a program that asks by what was installed, and for one
/// that does not ask, by the policy as the unit loads it.
fn serve(session: &Session) -> Result<()> {
    let guest = session.guest();
    guest.run_ok("sysctl -p /usr/share/doc/acceltcp/examples/sysctl.conf")?;
    redis(session, "acceltcp-run --offload setup,teardown --", 1)?;
    redis(session, "", 0)?;
    guest.run_ok("echo '--port 6379 --offload setup' >> /etc/acceltcp/policy.conf")?;
    guest.run_ok(exec("ExecStart"))?;
    redis(session, "", 1)?;
    guest.run_ok(exec("ExecReload"))?;
    redis(session, "", 1)?;
    guest.run_ok(exec("ExecStop"))?;
    redis(session, "", 0)?;
    by_hand(session)
}

/// What somebody does who tries it: looks whether all is well, gives two servers to the card by one command, watches, and takes
/// them back.
fn by_hand(session: &Session) -> Result<()> {
    let guest = session.guest();
    let doctor = guest.run_ok("acceltcp doctor")?;
    ensure!(!doctor.contains("fail"), "{doctor}");
    let servers = [REDIS_SHORT, NGINX].map(|service| {
        let server = guest.spawn(Cmd::from(service.server).timeout(START * 5))?;
        guest.wait_listening(service.port, START)?;
        anyhow::Ok(server)
    });
    guest.run_ok("acceltcp policy add --port 1024-9000 --offload setup,teardown")?;
    guest_until(
        session,
        "all listeners are the card's",
        "acceltcp status | grep -Eq ': ([1-9]+) of \\1 set up by a card'",
    )?;
    let count = || -> Result<[u64; 2]> {
        Ok([
            statistic(session, "setup_delivered")?,
            statistic(session, "teardown_handed_over")?,
        ])
    };
    let before = count()?;
    for clients in [
        "redis-benchmark -h 10.99.0.2 -k 0 -c 8 -t get -n 200 --csv",
        "wrk -t 1 -c 8 -d 1 -H 'Connection: close' http://10.99.0.2:8080/",
    ] {
        session.wire().run_ok(Cmd::from(clients).timeout(START))?;
    }
    let after = count()?;
    ensure!(
        (0..2).all(|which| after[which] - before[which] >= 200),
        "from {before:?} to {after:?} set up and ended by the card"
    );
    guest.run_ok(TOP)?;
    guest.run_ok("acceltcp policy flush")?;
    for server in servers {
        let server = server?;
        server.signal(libc::SIGTERM)?;
        server.wait()?;
    }
    guest_until(
        session,
        "nothing uses the module",
        "[ $(cat /sys/module/acceltcp/refcnt) = 0 ]",
    )
}

/// What the unit would run.
fn exec(name: &str) -> Cmd {
    format!("eval \"$(sed -n 's/^{name}=//p' {UNIT})\"").into()
}

/// Redis, started behind `with`, answers one client, and so many of its connections come through the card.
fn redis(session: &Session, with: &str, through_card: u64) -> Result<()> {
    let before = statistic(session, "setup_delivered")?;
    let server = session.guest().spawn(format!(
        "exec {with} redis-server --protected-mode no --save ''"
    ))?;
    session.guest().wait_listening(REDIS, START)?;
    if through_card > 0 {
        counter_until(session, "nic.table.listeners.used", |used| used > 0)?;
    }
    let answer = session.wire().run_ok("redis-cli -h 10.99.0.2 ping")?;
    ensure!(answer == "PONG\n", "Redis answers {answer:?}");
    let delivered = statistic(session, "setup_delivered")? - before;
    ensure!(
        delivered == through_card,
        "{with}: {delivered} connections came through the card instead of {through_card}"
    );
    server.signal(libc::SIGTERM)?;
    server.wait()?;
    Ok(())
}
