// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What operators touch: netlink, the policy and access lists.

mod acl;
mod acl_tc;
mod flows;
mod fuzz;
pub(super) mod policy;
mod quota;
mod reload;
mod trace;
mod watermarks;

use std::time::Duration;

use anyhow::{ensure, Result};

use super::{Context, LabTest, LONG};
use crate::session::Cmd;

/// A file of the repository.
macro_rules! source {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../", $path))
    };
}

/// The definition of the netlink family, and what the kernel's generator has made of it.
const FILES: [(&str, &str); 4] = [
    ("spec", source!("Documentation/netlink/specs/acceltcp.yaml")),
    (
        "acceltcp_netlink.h",
        source!("include/uapi/linux/acceltcp_netlink.h"),
    ),
    ("netlink_gen.h", source!("rust/bindings/netlink_gen.h")),
    ("netlink_gen.c", source!("rust/bindings/netlink_gen.c")),
];

/// Runs natively.
const GENERATED: &str = include_str!("generated.py");

/// Runs in the guest.
const ISOLATION: &str = include_str!("isolation.py");

/// Runs in the guest.
const NETLINK: &str = include_str!("netlink.py");

/// Runs in the guest.
const PENDING: &str = include_str!("pending.py");

/// The example of a policy, as it is shipped.
const EXAMPLE: &str = source!("packaging/examples/policy.conf");

/// Runs in the guest.
const SYSCTL: &str = include_str!("sysctl.py");

/// Runs in the guest.
const TOOL: &str = include_str!("tool.py");

/// Runs in the guest.
const UNLOAD: &str = include_str!("unload.py");

/// The test that needs the kernel's flower filters.
pub(super) const FLOWER: &str = "control-acl-tc";

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case = |name: &str, about, limit, run: fn(&Context<'_>) -> Result<()>| {
        LabTest::ours(format!("control-{name}"), about, limit, run)
    };
    vec![
        case(
            "unload",
            "the module goes and comes while sockets begin to listen that a rule is for",
            300,
            unload,
        ),
        case(
            "sysctl",
            "the sysctls of each namespace: ranges, who may write them, quotas, who may ask, and nothing left of those that go",
            300,
            sysctl,
        ),
        case(
            "isolation",
            "a namespace sees no counters but its own, and requests of users without rights reach no card",
            300,
            isolation,
        ),
        case(
            "trace",
            "tracepoints: the life of a connection and of a pair by their owners, and the module that goes meanwhile",
            240,
            trace::trace,
        ),
        case(
            "tool",
            "each command of the operators' tool, wrong input, no permission, no module",
            300,
            tool,
        ),
        case(
            "acl",
            "whom an access list keeps out, also of connections that there are, and also when the card is reset",
            400,
            acl::acl,
        ),
        LabTest::ours(
            FLOWER.to_owned(),
            "flower filters of tc in the access list: what they keep out, counts, what the card refuses",
            400,
            acl_tc::tc,
        ),
        case(
            "policy",
            "servers that know nothing of the card are given to it, and taken from it, by one command",
            300,
            policy::policy,
        ),
        case(
            "pending",
            "rules for services and devices that are not there yet, that go, and that come back; the shipped example",
            300,
            pending,
        ),
        case(
            "reload",
            "the policy is loaded again and again while clients come: no connection fails, and what stays keeps its counters",
            400,
            reload::reload,
        ),
        case(
        "netlink",
        "the netlink family's generated files, each operation by the kernel's generic client, and wrong input",
        360,
        netlink,
    ),
        case(
            "flows",
            "the list of connections that the card ends: states and tuples of IPv4 and IPv6, filters, a reset",
            300,
            flows::flows,
        ),
        case(
            "watermarks",
            "a card above its mark gets no new connections until it is below the other one, and says so",
            300,
            watermarks::watermarks,
        ),
        case(
            "fuzz",
            "random netlink requests of many threads, from namespaces that come and go with listeners",
            240,
            fuzz::short,
        ),
        LabTest::ours(
            format!("{LONG}control-fuzz"),
            "the same for 20 minutes, with other seeds",
            20 * 60 * 12,
            fuzz::long,
        ),
        case(
            "quota",
            "connections beyond the quota of their namespace are ended by the host, until others have ended",
            300,
            quota::teardown,
        ),
        LabTest::ours(
            format!("{LONG}control-flows"),
            "108,000 connections on the card are listed while others come and go: each is there once",
            2400,
            flows::long_flows,
        ),
    ]
}

fn unload(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let said = session
        .guest()
        .run_ok(Cmd::new(["python3", "-c", UNLOAD]).timeout(Duration::from_secs(250)))?;
    eprint!("{said}");
    context.finish(session)
}

fn pending(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let script = Cmd::new(["python3", "-c", PENDING]).input(EXAMPLE);
    let said = session
        .guest()
        .run_ok(script.timeout(Duration::from_secs(250)))?;
    ensure!(said.ends_with("every rule\n"), "{said}");
    context.finish(session)
}

fn sysctl(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let said = session
        .guest()
        .run_ok(Cmd::new(["python3", "-c", SYSCTL]).timeout(Duration::from_secs(250)))?;
    ensure!(said.ends_with("every sysctl\n"), "{said}");
    context.finish(session)
}

fn isolation(context: &Context<'_>) -> Result<()> {
    /// What the card may be asked meanwhile, by its heartbeat; each of 1,600 requests would be one more.
    const OTHERS: u64 = 400;
    let session = context.start(context.session())?;
    let part = |name: &str| {
        let script = Cmd::new(["python3", "-c", ISOLATION, name]);
        let said = session
            .guest()
            .run_ok(script.timeout(Duration::from_secs(150)))?;
        ensure!(said.ends_with("every namespace\n"), "{said}");
        Ok(())
    };
    let asked = || session.card(0)?.counter("reconfigs");
    let before = asked()?;
    part("requests")?;
    let times = asked()? - before;
    ensure!(times < OTHERS, "the card was asked {times} times");
    part("counters")?;
    context.finish(session)
}

fn tool(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let said = session
        .guest()
        .run_ok(Cmd::new(["python3", "-c", TOOL]).timeout(Duration::from_secs(250)))?;
    ensure!(said.ends_with("every command\n"), "{said}");
    // The module is gone already.
    session.shutdown()
}

fn netlink(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().model_args(["--acl", "300"]))?;
    let files = serde_json::Value::from_iter(FILES);
    let script = |text: &str, input: &str| {
        Cmd::new(["python3", "-c", text])
            .input(input)
            .timeout(Duration::from_secs(150))
    };
    session
        .wire()
        .run_ok(script(GENERATED, &files.to_string()))?;
    let said = session.guest().run_ok(script(NETLINK, FILES[0].1))?;
    ensure!(said.ends_with("every operation\n"), "{said}");
    context.finish(session)
}
