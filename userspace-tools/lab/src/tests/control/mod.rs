// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What operators touch: netlink and the policy.

mod policy;

use std::time::Duration;

use anyhow::{ensure, Result};

use super::{Context, LabTest};
use crate::session::Cmd;

/// The definition of the netlink family.
const SPEC: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../Documentation/netlink/specs/acceltcp.yaml"
));

/// Runs in the guest.
const NETLINK: &str = include_str!("netlink.py");

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case = |name: &str, about, limit, run: fn(&Context<'_>) -> Result<()>| {
        LabTest::ours(format!("control-{name}"), about, limit, run)
    };
    vec![
        case(
            "policy",
            "servers that know nothing of the card are given to it, and taken from it, by one command",
            300,
            policy::policy,
        ),
        case(
        "netlink",
        "each operation of the netlink family, by the kernel's generic client, and wrong input",
        240,
        netlink,
    ),
    ]
}

fn netlink(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let said = session.guest().run_ok(
        Cmd::new(["python3", "-c", NETLINK])
            .input(SPEC)
            .timeout(Duration::from_secs(200)),
    )?;
    ensure!(said.ends_with("every operation\n"), "{said}");
    context.finish(session)
}
