// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs lab tests one after the other in one process, which may share a guest.
//!
//! Booting a guest and powering it off costs more than most tests do. Tests that leave nothing behind but
//! what goes with the driver share one: between two of them the driver is unloaded and loaded again. A test that
//! fails, or wants a guest of another kind, ends the guest.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{runner, Context, LabTest};
use crate::{
    session::{Builder, Driver, Session},
    util::Layout,
};

/// A guest between two tests of a chain.
#[derive(Debug)]
struct Idle {
    builder: Builder,
    driver: Driver,
    session: Session,
}

/// The guest that the tests of a chain share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    idle: RefCell<Option<Idle>>,
    /// Of which kind the running test's guest is, if the next test may have it.
    lent: RefCell<Option<(Builder, Driver)>>,
    /// Whether a test follows.
    more: std::cell::Cell<bool>,
}

impl Shared {
    /// A guest of the kind of `builder` with a driver that was just loaded: the one of the test before, if it is
    /// of this kind, or a new one.
    ///
    /// # Errors
    ///
    /// The guest before ended badly, or the new one does not start.
    pub(super) fn start(
        &self,
        layout: &Layout,
        builder: Builder,
        driver: Driver,
    ) -> Result<Session> {
        if let Some(idle) = self.idle.take() {
            if idle.builder == builder {
                refresh(&idle).context("between two tests")?;
                self.lent.replace(Some((idle.builder, idle.driver)));
                return Ok(idle.session);
            }
            idle.session.shutdown().context("of the tests before")?;
        }
        let session = builder.clone().start(layout)?;
        self.lent
            .replace(self.more.get().then_some((builder, driver)));
        Ok(session)
    }

    /// Ends a test's use of a guest: keeps it for the next test, or powers it off.
    ///
    /// # Errors
    ///
    /// The guest's kernel had a problem, or does not power off.
    pub(super) fn finish(&self, session: Session) -> Result<()> {
        let lent = self.lent.take().filter(|_| self.more.get());
        match lent {
            Some((builder, driver)) if session.kernel_problems()?.is_empty() => {
                self.idle.replace(Some(Idle {
                    builder,
                    driver,
                    session,
                }));
                Ok(())
            }
            _ => session.shutdown(),
        }
    }
}

/// Removes what a test has left: the driver goes with all that belongs to its interfaces.
fn refresh(idle: &Idle) -> Result<()> {
    let session = &idle.session;
    for card in session.cards() {
        card.faults("")?;
        card.link(true)?;
    }
    if let Some(module) = idle.driver.module_name() {
        session.end_all(module)?;
    }
    session.load_driver(idle.driver, "")?;
    session.wire().run_ok("ip neigh flush all")?;
    session.wait_reachable()
}

/// Runs tests in this process, which is in namespaces of its own, and writes a line for each to standard output
/// as it ends: `ok NAME` or `FAILED NAME`. What the tests say goes to their logs.
///
/// # Errors
///
/// A log cannot be written, or nobody reads the results.
pub(crate) fn run(layout: &Layout, tests: &[LabTest], vcpus: u32) -> Result<()> {
    let results = std::io::stdout().as_fd().try_clone_to_owned()?;
    let mut results = File::from(results);
    let Some(first) = tests.first() else {
        return Ok(());
    };
    let shared = Shared::default();
    for (number, test) in tests.iter().enumerate() {
        redirect(&runner::log(layout, &test.name))?;
        shared.more.set(number + 1 < tests.len());
        let context = Context {
            layout,
            name: &test.name,
            sessions: &first.name,
            driver: test.driver,
            vcpus,
            shared: &shared,
        };
        let result = (test.run)(&context);
        // A failed test may have dropped its guest.
        shared.lent.take();
        let word = match result {
            Ok(()) => "ok",
            Err(error) => {
                shared.idle.take();
                eprintln!("{error:#}");
                eprint!("{}", runner::session_logs(layout, &first.name));
                "FAILED"
            }
        };
        writeln!(results, "{word} {}", test.name).context("nobody reads the results")?;
    }
    Ok(())
}

/// Runs a test in this process, whose output is what the test says.
///
/// # Errors
///
/// The test fails.
pub(crate) fn shown(layout: &Layout, test: &LabTest, vcpus: u32) -> Result<()> {
    (test.run)(&Context {
        layout,
        name: &test.name,
        sessions: &test.name,
        driver: test.driver,
        vcpus,
        shared: &Shared::default(),
    })
}

/// Has standard output and error go to a file.
fn redirect(path: &Path) -> Result<()> {
    let log = open(path)?;
    nix::unistd::dup2_stdout(&log)?;
    nix::unistd::dup2_stderr(&log)?;
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.into())
}
