// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Unit and property tests, run by cargo and counted from what libtest prints.

use std::{
    fs::{self, File},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::runner::{result_line, wait_limited, Tally};
use crate::{
    setup,
    util::{process, tail, Layout, Step},
};

/// Compiling all tests takes minutes on a small machine that is busy; a test that hangs must end too.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// Lines of the log that a failure shows.
const TAIL_LINES: usize = 40;

/// What a run of the unit tests found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// How many passed and failed.
    pub(crate) tally: Tally,
    /// Lines to print.
    pub(crate) text: String,
}

/// Runs the workspace's tests whose names hold `filter` (all when it is empty).
///
/// # Errors
///
/// cargo could not be run. Failing tests are no error.
pub(crate) fn run(layout: &Layout, filter: &str, verbose: bool) -> Result<Report> {
    let cargo = setup::check_cargo()?;
    let step = Step::start(layout, "unit", "compile and run unit and property tests")?;
    let path = step.log().to_path_buf();
    let log = File::options()
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let start = Instant::now();
    // In a process namespace, so that a test's own children end with it.
    let mut command = process::contained(cargo);
    command
        .current_dir(layout.top())
        .args(["test", "--workspace", "--no-fail-fast", "--locked"])
        .args(["--color", "never", "--target-dir"])
        .arg(layout.target())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if !filter.is_empty() {
        command.args(["--", filter]);
    }
    let mut child = command.spawn().context("cannot run cargo")?;
    let ended = wait_limited(&mut child, LIMIT)?;
    let output = fs::read_to_string(&path).unwrap_or_default();
    let mut tally = count(&output);
    let well = ended.status.is_some_and(|status| status.success());
    if well {
        step.done();
    } else {
        drop(step);
    }
    if !well && tally.failed == 0 {
        // It did not compile, or a test took the whole process with it.
        tally.failed = 1;
    }
    let mut text = String::new();
    if verbose {
        text += &output;
    }
    if tally.failed > 0 {
        for name in failed_names(&output) {
            text += &format!("FAILED unit test {name}\n");
        }
        if ended.status.is_none() {
            text += &format!("not finished after {} s\n", LIMIT.as_secs());
        }
        text += &format!("{}\n", tail(&path, TAIL_LINES));
        text += &format!("The whole output is in {}\n", path.display());
    }
    if filter.is_empty() || tally.passed + tally.failed > 0 {
        let name = format!("unit and property tests: {} passed", tally.passed);
        text += &result_line(tally.failed == 0, &name, start.elapsed(), Some(ended.cpu));
    }
    Ok(Report { tally, text })
}

/// Adds the result lines of all test programs up.
fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("test result: ") else {
            continue;
        };
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<usize>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => tally.passed += number,
                (Some(number), Some("failed")) => tally.failed += number,
                _ => {}
            }
        }
    }
    tally
}

fn failed_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
   Compiling lab v0.1.0
     Running unittests src/lib.rs (target/debug/deps/lab-1)

running 3 tests
test util::a ... ok
test util::b ... FAILED
test util::c ... ignored

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s

   Doc-tests lab
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.50s
";

    #[test]
    fn counts_all_programs() {
        let tally = count(TEXT);
        assert_eq!((tally.passed, tally.failed), (13, 1));
        assert_eq!(failed_names(TEXT).collect::<Vec<_>>(), ["util::b"]);
    }

    #[test]
    fn no_result_line_is_no_test() {
        let tally = count("error: could not compile\n");
        assert_eq!((tally.passed, tally.failed), (0, 0));
    }
}
