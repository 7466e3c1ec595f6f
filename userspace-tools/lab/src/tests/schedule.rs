// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs the chosen tests, several at a time.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
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

/// What a worker takes at a time.
#[derive(Clone, Debug)]
enum Task<'a> {
    Unit(&'a str),
    /// Lab tests of one process.
    Chain(Vec<&'a LabTest>),
}

/// Most tests of a chain: longer ones would be left for the end.
const LONGEST: usize = 8;

/// The jobs as tasks: unit tests first, then what may take longest, so that no long one is left for the end. Tests
/// that may share a guest are put together, in their order, unless all output is to be shown.
fn tasks<'a>(jobs: &[Job<'a>], apart: bool) -> VecDeque<Task<'a>> {
    let mut tasks: Vec<Task<'a>> = Vec::new();
    for job in jobs {
        match *job {
            Job::Unit(filter) => tasks.push(Task::Unit(filter)),
            Job::Lab(test) => {
                let fits = |task: &&mut Task<'a>| match task {
                    Task::Chain(chain) if !apart && chain.len() < LONGEST => chain
                        .iter()
                        .all(|other| test.group().is_some() && other.group() == test.group()),
                    _ => false,
                };
                match tasks.iter_mut().find(fits) {
                    Some(Task::Chain(chain)) => chain.push(test),
                    _ => tasks.push(Task::Chain(vec![test])),
                }
            }
        }
    }
    tasks.sort_by_key(|task| match task {
        Task::Unit(_) => (0, Reverse(Duration::MAX)),
        Task::Chain(chain) => (1, Reverse(chain.iter().map(|test| test.limit).sum())),
    });
    tasks.into()
}

/// Results of one run over the queue.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// One entry for each lab test, in the order in which they ended.
    pub(crate) outcomes: Vec<Outcome>,
    /// Runs of the unit tests.
    pub(crate) units: Vec<Units>,
    /// The first test of each process, how many tests it had, and its CPU time.
    pub(crate) cpu: Vec<(String, usize, Duration)>,
    /// Tests that failed, and passed when they were run a second time.
    pub(crate) flaky: Vec<String>,
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

    /// The lab tests that failed.
    pub(crate) fn failed<'a>(&self, tests: &'a [LabTest]) -> Vec<&'a LabTest> {
        let failed = |test: &&LabTest| {
            self.outcomes
                .iter()
                .any(|outcome| !outcome.passed && outcome.name == test.name)
        };
        tests.iter().filter(failed).collect()
    }

    /// Takes the results of a second run of failed tests: those that passed are flaky.
    pub(crate) fn supersede(&mut self, second: Results) {
        for outcome in second.outcomes.into_iter().filter(|again| again.passed) {
            let first = self
                .outcomes
                .iter_mut()
                .find(|first| first.name == outcome.name);
            if let Some(first) = first {
                first.passed = true;
                self.flaky.push(outcome.name);
            }
        }
        self.cpu.extend(second.cpu);
    }
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
        queue: Mutex::new(tasks(jobs, options.verbose)),
        running: Mutex::default(),
        results: Mutex::default(),
        shows_running: io::stdout().is_terminal() && !options.verbose,
    };
    let work = || -> Result<()> {
        while let Some(task) = board.next() {
            if let Err(error) = board.work(layout, task, options) {
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
    queue: Mutex<VecDeque<Task<'a>>>,
    /// Names of the tests that run now.
    running: Mutex<Vec<String>>,
    results: Mutex<Results>,
    /// Whether the last line of the terminal names the running tests.
    shows_running: bool,
}

impl<'a> Board<'a> {
    fn next(&self) -> Option<Task<'a>> {
        lock(&self.queue).pop_front()
    }

    fn work(&self, layout: &Layout, task: Task<'a>, options: runner::Options) -> Result<()> {
        match task {
            Task::Unit(filter) => {
                let report = unit::run(layout, filter, options.verbose)?;
                self.print(&report.text)?;
                lock(&self.results).units.push(Units {
                    filter: filter.to_owned(),
                    report,
                });
            }
            Task::Chain(chain) => {
                let mut left = chain.as_slice();
                while !left.is_empty() {
                    left = self.chain(layout, left, options)?;
                }
            }
        }
        Ok(())
    }

    /// Runs tests in one process, and returns those that were not reached.
    fn chain<'t>(
        &self,
        layout: &Layout,
        tests: &'t [&'a LabTest],
        options: runner::Options,
    ) -> Result<&'t [&'a LabTest]> {
        let mut names = tests.iter().map(|test| &test.name);
        self.begins(names.next())?;
        let (cpu, left) = runner::run(layout, tests, options, |outcome| {
            lock(&self.running).retain(|running| *running != outcome.name);
            self.print(&outcome.text)?;
            lock(&self.results).outcomes.push(outcome);
            Ok(self.begins(names.next())?)
        })?;
        if let Some(first) = tests.first() {
            let row = (first.name.clone(), tests.len() - left.len(), cpu);
            lock(&self.results).cpu.push(row);
        }
        Ok(left)
    }

    fn begins(&self, name: Option<&String>) -> io::Result<()> {
        lock(&self.running).extend(name.cloned());
        self.print("")
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

    fn queue(apart: bool) -> Vec<Vec<String>> {
        let all: Vec<LabTest> = tests::all();
        let mut jobs: Vec<Job<'_>> = all.iter().map(Job::Lab).collect();
        jobs.push(Job::Unit(""));
        let names = |task: Task<'_>| match task {
            Task::Unit(_) => vec!["unit".to_owned()],
            Task::Chain(chain) => chain.iter().map(|test| test.name.clone()).collect(),
        };
        tasks(&jobs, apart).into_iter().map(names).collect()
    }

    #[test]
    fn unit_tests_come_first_and_every_test_once() {
        for apart in [false, true] {
            let queue = queue(apart);
            assert_eq!(queue.first().unwrap(), &["unit"]);
            let mut names: Vec<_> = queue.iter().skip(1).flatten().collect();
            names.sort_unstable();
            let all = tests::all();
            let mut wanted: Vec<_> = all.iter().map(|test| &test.name).collect();
            wanted.sort_unstable();
            assert_eq!(names, wanted);
            assert_eq!(apart, queue.iter().all(|chain| chain.len() == 1));
        }
    }

    #[test]
    fn chains_hold_tests_of_one_group() {
        let all = tests::all();
        let group = |name: &String| {
            let test = all.iter().find(|test| test.name == *name).unwrap();
            test.group()
        };
        for chain in queue(false).iter().filter(|chain| chain.len() > 1) {
            assert!(chain.len() <= LONGEST);
            assert!(group(&chain[0]).is_some());
            assert!(chain.iter().all(|name| group(name) == group(&chain[0])));
        }
    }
}
