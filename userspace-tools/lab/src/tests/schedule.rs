// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs the chosen tests, several at a time.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::Result;

use super::{
    runner::{self, Outcome},
    unit, LabTest,
};
use crate::util::Layout;

/// One entry of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job<'a> {
    /// The unit and property tests whose names hold this text; all when it is empty.
    Unit(&'a str),
    /// A lab test.
    Lab(&'a LabTest),
}

/// Results of one run over the queue.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// One entry for each lab test, in the order in which they ended.
    pub(crate) outcomes: Vec<Outcome>,
    /// Runs of the unit tests.
    pub(crate) units: Vec<Units>,
}

/// One run of the unit tests.
#[derive(Debug)]
pub(crate) struct Units {
    filter: String,
    pub(crate) report: unit::Report,
}

impl Units {
    /// Whether this run was for `filter` and had tests of such a name.
    pub(crate) fn found(&self, filter: &str) -> bool {
        let tally = self.report.tally;
        self.filter == filter && tally.passed + tally.failed > 0
    }
}

impl Results {
    /// How many tests passed and failed.
    pub(crate) fn tally(&self) -> runner::Tally {
        let mut tally = runner::Tally::default();
        for unit in &self.units {
            tally.add(unit.report.tally);
        }
        for outcome in &self.outcomes {
            tally.add(runner::Tally {
                passed: usize::from(outcome.passed),
                failed: usize::from(!outcome.passed),
            });
        }
        tally
    }
}

/// Puts the jobs that may take longest first, so that no long one is left for the end.
pub(crate) fn sort(jobs: &mut [Job<'_>]) {
    jobs.sort_by_key(|job| match job {
        Job::Unit(_) => (0, std::cmp::Reverse(std::time::Duration::MAX)),
        Job::Lab(test) => (1, std::cmp::Reverse(test.limit)),
    });
}

/// Runs all jobs, `workers` at a time, and prints the result of each as it ends.
///
/// # Errors
///
/// A test could not be started; the others of the queue are left out.
pub(crate) fn run(
    layout: &Layout,
    jobs: &[Job<'_>],
    workers: usize,
    options: runner::Options,
) -> Result<Results> {
    let board = Board {
        queue: Mutex::new(jobs.iter().copied().collect()),
        running: Mutex::default(),
        results: Mutex::default(),
        shows_running: io::stdout().is_terminal() && !options.verbose,
    };
    let work = || -> Result<()> {
        while let Some(job) = board.next() {
            if let Err(error) = board.work(layout, job, options) {
                lock(&board.queue).clear();
                return Err(error);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().try_for_each(|end| {
            end.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker of the test run panicked")))
        })
    })?;
    Ok(board
        .results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner))
}

/// State shared by the workers.
struct Board<'a> {
    queue: Mutex<VecDeque<Job<'a>>>,
    /// Names of the tests that run now.
    running: Mutex<Vec<String>>,
    results: Mutex<Results>,
    /// Whether the last line of the terminal names the running tests.
    shows_running: bool,
}

impl<'a> Board<'a> {
    fn next(&self) -> Option<Job<'a>> {
        lock(&self.queue).pop_front()
    }

    fn work(&self, layout: &Layout, job: Job<'_>, options: runner::Options) -> Result<()> {
        match job {
            Job::Unit(filter) => {
                let report = unit::run(layout, filter, options.verbose)?;
                let mut results = lock(&self.results);
                self.print(&report.text)?;
                results.units.push(Units {
                    filter: filter.to_owned(),
                    report,
                });
            }
            Job::Lab(test) => {
                self.begins(&test.name)?;
                let outcome = runner::run(layout, test, options);
                self.ended(&test.name);
                let outcome = outcome?;
                self.print(&outcome.text)?;
                lock(&self.results).outcomes.push(outcome);
            }
        }
        Ok(())
    }

    fn begins(&self, name: &str) -> io::Result<()> {
        lock(&self.running).push(name.to_owned());
        self.print("")
    }

    fn ended(&self, name: &str) {
        lock(&self.running).retain(|running| running != name);
    }

    /// Prints a result, and on a terminal the names of the running tests below it.
    fn print(&self, text: &str) -> io::Result<()> {
        let running = lock(&self.running);
        let mut out = io::stdout().lock();
        if self.shows_running {
            write!(out, "\r\x1b[K")?;
        }
        write!(out, "{text}")?;
        if self.shows_running && !running.is_empty() {
            write!(out, "   {} ...", running.join(", "))?;
        }
        out.flush()
    }
}

/// A worker that panicked has left whole values behind: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests;

    #[test]
    fn unit_tests_come_first_and_long_limits_before_short_ones() {
        let all = tests::all();
        let mut jobs: Vec<Job<'_>> = all.iter().map(Job::Lab).collect();
        jobs.push(Job::Unit(""));
        sort(&mut jobs);
        assert!(matches!(jobs.first(), Some(Job::Unit(""))));
        let limits: Vec<_> = jobs
            .iter()
            .filter_map(|job| match job {
                Job::Lab(test) => Some(test.limit),
                Job::Unit(_) => None,
            })
            .collect();
        assert!(limits.windows(2).all(|pair| pair[0] >= pair[1]));
        assert_eq!(limits.len(), all.len());
    }
}
