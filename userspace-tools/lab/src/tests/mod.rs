// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The lab tests and their runner.
//!
//! A lab test is a function that boots guests and fails with a reason. To add one, write it in a
//! file here and put it into `all`. Tests that any driver of the card must pass are in
//! `driver`; they exist once for each driver. What only this project's driver is held to is in
//! `resilience`; connection setup is in `setup`, teardown in `teardown`, splicing in `splice`. What is
//! delivered is installed in `packaging`; `count` checks what figures rest on.

pub(crate) mod chain;
mod control;
mod count;
pub(crate) mod debug;
pub(crate) mod driver;
mod observe;
mod packaging;
mod peer;
mod resilience;
pub(crate) mod runner;
pub(crate) mod schedule;
pub(crate) mod select;
mod setup;
mod splice;
pub(crate) mod summary;
mod teardown;
mod ulp;
pub(crate) mod unit;

use std::{fmt, time::Duration};

use anyhow::{bail, ensure, Context as _, Result};

use crate::{
    session::{Builder, Driver, Session},
    util::Layout,
};

/// Beginning of the names of tests that run only when they are named.
pub(crate) const LONG: &str = "long-";

/// A lab test.
pub(crate) struct LabTest {
    /// Its name; its log is `build/log/test-NAME.log`.
    pub(crate) name: String,
    /// What it shows, in one line.
    pub(crate) about: &'static str,
    /// It has failed when it takes longer.
    pub(crate) limit: Duration,
    /// The driver that the card is given.
    driver: Driver,
    /// It leaves nothing behind in the guest but what goes with the driver.
    shares: bool,
    run: fn(&Context<'_>) -> Result<()>,
}

impl fmt::Debug for LabTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl LabTest {
    /// A test of this project's driver, which has failed after `limit` seconds.
    fn ours(
        name: String,
        about: &'static str,
        limit: u64,
        run: fn(&Context<'_>) -> Result<()>,
    ) -> Self {
        Self {
            name,
            about,
            limit: Duration::from_secs(limit),
            driver: Driver::AccelTcp,
            shares: false,
            run,
        }
    }

    /// The same test, which may share its guest with others (see [`chain`]): it leaves no process, setting, rule or
    /// address behind that does not go with the driver, and compares counters of the card with earlier ones only.
    fn shares(self) -> Self {
        Self {
            shares: true,
            ..self
        }
    }

    /// Tests that may share a guest with this one have the same group.
    pub(crate) fn group(&self) -> Option<&str> {
        let family = self.name.split_once('-').map_or("", |(family, _)| family);
        self.shares.then_some(family)
    }

    /// Why it cannot be run, if `lab build` is not enough.
    pub(crate) fn lacks(&self, layout: &Layout) -> Option<String> {
        match self.name.as_str() {
            control::FLOWER if layout.guest_kernel().is_built() => {
                Some("kernels that are built here have no flower filters".to_owned())
            }
            _ if layout.guest_kernel().is_built() && self.driver == Driver::Nfp => {
                Some("kernels that are built here do not have the upstream driver".to_owned())
            }
            _ => None,
        }
    }

    /// Whether it runs the patched haproxy, which takes minutes to build.
    pub(crate) fn needs_haproxy(&self) -> bool {
        self.name == splice::HAPROXY
    }

    /// Whether it installs the Debian packages, which `lab deb` makes.
    pub(crate) fn needs_debs(&self) -> bool {
        packaging::has(&self.name)
    }
}

/// What a test gets.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    layout: &'a Layout,
    name: &'a str,
    /// Beginning of the names of its sessions' logs.
    sessions: &'a str,
    /// The driver under test.
    pub(crate) driver: Driver,
    /// vCPUs of each guest at least.
    vcpus: u32,
    shared: &'a chain::Shared,
}

impl Context<'_> {
    /// A session for this test: its logs have the test's name, its driver is the one under test.
    pub(crate) fn session(&self) -> Builder {
        Session::builder().name(self.sessions).driver(self.driver)
    }

    /// Starts a session, or goes on with that of the test before.
    ///
    /// # Errors
    ///
    /// The guest does not start.
    pub(crate) fn start(&self, builder: Builder) -> Result<Session> {
        let builder = builder.at_least_vcpus(self.vcpus);
        self.shared.start(self.layout, builder, self.driver)
    }

    /// Ends a session: fails if the guest's kernel complained, on its console or by a taint.
    pub(crate) fn finish(&self, session: Session) -> Result<()> {
        let text = session.guest().read_file("/proc/sys/kernel/tainted")?;
        let text = String::from_utf8_lossy(&text);
        let value: u64 = text.trim().parse().context("the kernel's taint")?;
        let taints = taints(value);
        ensure!(
            taints.is_empty(),
            "the guest's kernel is tainted: {}",
            taints.join(", ")
        );
        self.shared.finish(session)
    }
}

/// All lab tests, in the order in which they run.
pub(crate) fn all() -> Vec<LabTest> {
    let mut all = driver::tests();
    all.extend(resilience::tests());
    all.extend(setup::tests());
    all.extend(teardown::tests());
    all.extend(splice::tests());
    all.extend(ulp::tests());
    all.extend(control::tests());
    all.extend(count::tests());
    all.extend(packaging::tests());
    all.extend(debug::tests());
    all
}

/// The lab test of this name.
pub(crate) fn named(name: &str) -> Result<LabTest> {
    match all().into_iter().find(|test| test.name == name) {
        Some(test) => Ok(test),
        None => bail!("there is no lab test {name}"),
    }
}

/// Taints of the kernel that are complaints. See Documentation/admin-guide/tainted-kernels.rst.
const BAD_TAINTS: &[(u32, &str)] = &[
    (5, "bad page"),
    (7, "oops"),
    (9, "warning"),
    (14, "soft lockup"),
];

/// The complaints in a value of `/proc/sys/kernel/tainted`.
fn taints(value: u64) -> Vec<&'static str> {
    BAD_TAINTS
        .iter()
        .filter(|(bit, _)| value & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod unit_tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_good_for_files() {
        let tests = all();
        let names: BTreeSet<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names.len(), tests.len());
        for name in names {
            assert!(
                name.bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn out_of_tree_and_unsigned_modules_are_no_complaint() {
        assert!(taints((1 << 12) | (1 << 13)).is_empty());
        assert_eq!(taints((1 << 9) | (1 << 12)), ["warning"]);
    }
}
