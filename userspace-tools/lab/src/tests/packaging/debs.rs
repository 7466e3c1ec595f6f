// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The packages of tool and module, in the guest.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{ensure, Result};

use super::package;
use crate::{
    session::{Cmd, Driver, Session},
    tests::{observe::statistic, Context},
};

/// dpkg reads and writes all its files, on an emulated CPU.
const DPKG: Duration = Duration::from_secs(120);
const REDIS: u16 = 6379;
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
        "grep '^Exec' /usr/lib/systemd/system/acceltcp-policy.service | cut -d= -f2 | cut -d' ' -f1 | xargs -n 1 test -x",
    ] {
        session.guest().run_ok(line)?;
    }
    Ok(())
}

/// The module that was installed does its work, for a program that was started by what was installed.
fn serve(session: &Session) -> Result<()> {
    session
        .guest()
        .run_ok("sysctl -p /usr/share/doc/acceltcp/examples/sysctl.conf")?;
    let server = session.guest().spawn(
        "acceltcp-run --offload setup,teardown -- redis-server --protected-mode no --save ''",
    )?;
    session.guest().wait_listening(REDIS, START)?;
    let answer = session.wire().run_ok("redis-cli -h 10.99.0.2 ping")?;
    ensure!(answer == "PONG\n", "Redis answers {answer:?}");
    let delivered = statistic(session, "setup_delivered")?;
    ensure!(delivered > 0, "no connection came through the card");
    drop(server);
    session.guest().run_ok(
        "pkill -x redis-server; for i in $(seq 100); do pgrep -x redis-server > /tmp/pids || exit 0; \
         sleep 0.1; done; exit 1",
    )?;
    Ok(())
}
