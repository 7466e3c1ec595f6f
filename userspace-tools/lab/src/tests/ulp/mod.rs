// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ULP on sockets that several threads, users and processes share, and that change while it is there.

mod fuzz;
mod races;
mod states;
mod unload;

use super::{Context, LabTest, LONG};

/// User of the programs that need no privilege.
const NOBODY: u32 = 65534;

/// What scripts of the guest and of the wire side run.
const SCRIPT: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("ulp.py"),
    include_str!("../commands.py")
);

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case =
        |name: &str, about, limit, run| LabTest::ours(format!("ulp-{name}"), about, limit, run);
    vec![
        case(
            "swap",
            "a thread replaces the ULP of connections while others set and read its options",
            400,
            races::swap,
        ),
        case(
            "inherit",
            "listeners get the ULP, and are closed, while connections come in: these have it, or do not",
            400,
            races::inherit,
        ),
        case(
            "exists",
            "TCP_ULP on sockets that have the ULP: what fails changes nothing, kTLS takes its place",
            400,
            states::exists,
        ),
        case(
            "pair",
            "TCP_ULP on sockets of pairs: none of a pair that goes on, and no other socket inherits what became of one",
            400,
            states::pair,
        ),
        case(
            "unload",
            "a call that goes on holds the module although its socket has lost the ULP",
            400,
            unload::call,
        ),
        case(
            "requests",
            "half-open connections outlive the module that their listener has had",
            400,
            unload::requests,
        ),
        case(
            "fuzz",
            "random system calls on shared sockets while the policy changes; nothing holds the module then",
            400,
            fuzz::short,
        ),
        LabTest::ours(
            format!("{LONG}ulp-fuzz"),
            "the same for twenty minutes",
            2400,
            fuzz::long,
        ),
    ]
}
