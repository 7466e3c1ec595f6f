// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection teardown on the card, as seen by applications, by their peers and by the administrator.

mod forms;
mod pair;

use super::{Context, LabTest};

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    let case = |name: &str, about, limit, run| {
        LabTest::ours(format!("teardown-{name}"), about, limit, run)
    };
    vec![
        case(
            "forms",
            "every way in which a connection is closed that the card is given",
            300,
            forms::given,
        ),
        case(
            "kept",
            "every way in which a connection is closed that stays with the host, and why",
            300,
            forms::kept,
        ),
    ]
}
