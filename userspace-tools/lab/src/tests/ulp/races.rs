// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Threads that meet at the ULP of a socket. What happens when is up to chance, and to the two vCPUs.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{ensure, Context as _, Result};

use super::{
    super::{driver::left_behind, observe::guest_until},
    Context, NOBODY,
};
use crate::session::{Cmd, Session};

/// How long threads race, in seconds.
const SECONDS: u64 = 15;

/// Runs a part of `lab-fuzz` in the guest, without privileges; the numbers that it prints.
fn race(session: &Session, part: &str) -> Result<BTreeMap<String, u64>> {
    let line = format!("exec lab-fuzz {part} --seconds {SECONDS} --uid {NOBODY}");
    let text = session
        .guest()
        .run_ok(Cmd::from(line).timeout(Duration::from_secs(4 * SECONDS)))?;
    let number = |line: &str| -> Option<(String, u64)> {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.lines()
        .map(|line| number(line).with_context(|| format!("not a number: {line}")))
        .collect()
}

/// Nothing holds the module any more, and nothing of it stays.
pub(super) fn goes(context: &Context<'_>, session: &Session) -> Result<()> {
    guest_until(
        session,
        "nothing uses the module",
        "[ $(cat /sys/module/acceltcp/refcnt) = 0 ]",
    )?;
    session.unload_driver(context.driver)?;
    let left = left_behind(session)?;
    ensure!(left.is_empty(), "left after rmmod:\n{left}");
    Ok(())
}

pub(super) fn swap(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().vcpus(2))?;
    // Built in where it is not found.
    session.guest().run("modprobe tls")?;
    let taken = race(&session, "swap")?;
    ensure!(taken["tls"] > 0, "kTLS never took the place: {taken:?}");
    for name in ["nosuch", "acceltcp", "mptcp"] {
        ensure!(taken[name] == 0, "{name} was taken: {taken:?}");
    }
    goes(context, &session)?;
    context.finish(session)
}

pub(super) fn inherit(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().vcpus(2))?;
    let found = race(&session, "inherit")?;
    ensure!(
        found["with"] > 0 && found["without"] > 0,
        "only one kind of connection: {found:?}"
    );
    goes(context, &session)?;
    context.finish(session)
}
