// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What only a kernel that the lab has built can show: errors on demand, and that they are seen.

use std::time::Duration;

use anyhow::{bail, ensure, Result};

use super::{driver::alive, Context, LabTest};
use crate::session::{Cmd, Driver, Session};

/// Beginning of these tests' names; the stock kernel does not run them.
pub(crate) const PREFIX: &str = "debug-";

/// Runs in the guest.
const INJECT: &str = include_str!("inject.py");

/// Runs on the wire side: connections one after the other. A connection that the guest could not take
/// may be refused, and is tried again.
const CLIENT: &str = r#"
import socket
refused = 0
while True:
    try:
        with socket.create_connection(("10.99.0.2", 7000), timeout=120) as connection:
            connection.sendall(b"?")
            answer = connection.recv(1)
    except ConnectionResetError:
        refused += 1
        continue
    except ConnectionRefusedError:
        # The server has ended, which tells itself whether well: its last answer went to a connection that the guest has taken, and
        # of which the client was told that it had not.
        break
    if answer == b".":
        break
    assert answer == b"+", answer
print(f"{refused} refused")
"#;

/// Each step is hundreds of attempts.
const LIMIT: Duration = Duration::from_secs(600);

/// The tests of this file.
pub(super) fn tests() -> Vec<LabTest> {
    let case = |name: &str, about, run: fn(&Context<'_>) -> Result<()>| {
        LabTest::ours(format!("{PREFIX}{name}"), about, LIMIT.as_secs(), run)
    };
    vec![
        case(
            "report",
            "misuse of memory fails a test, and is told with the lines of the source",
            report,
        ),
        case(
            "fail-load",
            "each allocation of loading and probing fails once",
            fail_load,
        ),
        case(
            "fail-open",
            "each allocation of opening the interface fails once",
            fail_open,
        ),
        case(
            "fail-listen",
            "each allocation of a listener fails once",
            fail_listen,
        ),
        case(
            "fail-child",
            "each allocation of a connection fails once, and the client gets through",
            fail_child,
        ),
    ]
}

/// A script of Python with an argument.
fn script(text: &str, argument: &str) -> Cmd {
    Cmd::new(["python3", "-", argument])
        .input(text)
        .timeout(LIMIT)
}

/// Has the guest run a part of the script; returns what it printed.
fn inject(session: &Session, part: &str) -> Result<String> {
    let found = session.guest().run_ok(script(INJECT, part))?;
    eprint!("{found}");
    Ok(found)
}

/// What the kernel is told to do (Documentation/fault-injection/provoke-crashes.rst there), and parts of what
/// the lab must then say.
const MISUSE: &[(&str, &[&str])] = &[
    (
        "READ_AFTER_FREE",
        &["KASAN: slab-use-after-free", "drivers/misc/lkdtm/heap.c:"],
    ),
    (
        "ARRAY_BOUNDS",
        &[
            "UBSAN: array-index-out-of-bounds",
            "drivers/misc/lkdtm/bugs.c:",
        ],
    ),
    (
        "CORRUPT_LIST_ADD",
        &["list_add corruption", "drivers/misc/lkdtm/bugs.c:"],
    ),
    ("WARNING", &["WARNING: ", "drivers/misc/lkdtm/bugs.c:"]),
];

/// Watches the watchers: what they do not report would go unseen everywhere.
fn report(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for (what, _) in MISUSE {
        session.guest().run_ok(format!(
            "echo {what} > /sys/kernel/debug/provoke-crash/DIRECT"
        ))?;
    }
    ensure!(
        session.guest().read_file("/proc/sys/kernel/tainted")? != b"0\n",
        "nothing was provoked"
    );
    let Err(error) = session.shutdown() else {
        bail!("the reports were not seen");
    };
    let text = format!("{error:#}");
    for (what, parts) in MISUSE {
        for part in *parts {
            ensure!(text.contains(part), "{what} brought no {part:?}:\n{text}");
        }
    }
    Ok(())
}

fn fail_load(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().driver(Driver::None))?;
    inject(&session, "load")?;
    session.configure()?;
    alive(&session)?;
    context.finish(session)
}

fn fail_open(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    // The smallest rings: their buffers are all alike.
    session
        .guest()
        .run_ok("ethtool -G nic0 rx 64 tx 64 && ip link set nic0 down")?;
    inject(&session, "open")?;
    session.configure()?;
    alive(&session)?;
    context.finish(session)
}

fn fail_listen(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    inject(&session, "listen")?;
    alive(&session)?;
    context.finish(session)
}

fn fail_child(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let mut server = session.guest().spawn(script(INJECT, "child"))?;
    server.wait_for("ready")?;
    let client = session.wire().run_ok(script(CLIENT, ""))?;
    let found = server.wait_ok()?;
    eprint!("{found}{client}");
    ensure!(found.contains("child: "), "{found}");
    alive(&session)?;
    context.finish(session)
}
