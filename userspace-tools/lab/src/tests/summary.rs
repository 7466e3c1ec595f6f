// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the time of a test run went, and which tests failed how often.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::schedule::Results;
use crate::util;

/// Tests, and processes of tests, that the table of stages names one by one.
const SLOWEST: usize = 10;

/// A table of the stages of this process with their seconds, and the tests and processes that took most.
pub(crate) fn stages(runs: &[Results]) -> String {
    let mut rows: Vec<(String, Option<Duration>, Option<Duration>)> = util::ended()
        .into_iter()
        .map(|(title, wall)| (title, Some(wall), None))
        .collect();
    let mut outcomes: Vec<_> = runs.iter().flat_map(|run| &run.outcomes).collect();
    let wall = outcomes.iter().map(|outcome| outcome.wall).sum();
    let mut processes: Vec<_> = runs.iter().flat_map(|run| &run.cpu).collect();
    let cpu = processes.iter().map(|(_, _, cpu)| *cpu).sum();
    if !outcomes.is_empty() {
        let title = format!("{} lab tests, the sum of all", outcomes.len());
        rows.push((title, Some(wall), Some(cpu)));
    }
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.wall));
    for outcome in outcomes.iter().take(SLOWEST) {
        rows.push((format!("  {}", outcome.name), Some(outcome.wall), None));
    }
    processes.sort_by_key(|(_, _, cpu)| std::cmp::Reverse(*cpu));
    for (first, tests, cpu) in processes.iter().take(SLOWEST) {
        let others = match tests {
            0 | 1 => String::new(),
            tests => format!(" and {} more in its guest", tests - 1),
        };
        rows.push((format!("  {first}{others}"), None, Some(*cpu)));
    }
    let mut text = format!("{:>9} {:>9}  stage\n", "seconds", "CPU");
    let seconds = |time: Option<Duration>| {
        time.map_or_else(
            || "-".to_owned(),
            |time| format!("{:.1}", time.as_secs_f32()),
        )
    };
    for (title, wall, cpu) in rows {
        let (wall, cpu) = (seconds(wall), seconds(cpu));
        let _ = writeln!(text, "{wall:>9} {cpu:>9}  {title}");
    }
    text
}

/// Tests that passed only the second time, a line each.
pub(crate) fn flaky(runs: &[Results]) -> String {
    runs.iter()
        .flat_map(|run| &run.flaky)
        .map(|name| format!("FLAKY {name}: it passed only the second time\n"))
        .collect()
}

/// How often each test failed in several runs; only those that did.
pub(crate) fn repetitions(runs: &[Results]) -> String {
    let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs {
        for outcome in run.outcomes.iter().filter(|outcome| !outcome.passed) {
            *failed.entry(&outcome.name).or_default() += 1;
        }
        for unit in &run.units {
            if unit.report.tally.failed > 0 {
                *failed.entry("unit and property tests").or_default() += 1;
            }
        }
    }
    let mut text = format!("{} runs: ", runs.len());
    if failed.is_empty() {
        text += "no test failed\n";
        return text;
    }
    text += "these tests failed\n";
    for (name, times) in failed {
        let _ = writeln!(text, "{times:>9} x  {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::runner::Outcome;

    fn run(results: &[(&str, bool, u64)]) -> Results {
        Results {
            outcomes: results
                .iter()
                .map(|(name, passed, seconds)| Outcome {
                    name: (*name).to_owned(),
                    passed: *passed,
                    wall: Duration::from_secs(*seconds),
                    text: String::new(),
                })
                .collect(),
            cpu: vec![("long".to_owned(), 2, Duration::from_secs(2))],
            ..Results::default()
        }
    }

    #[test]
    fn failures_are_counted_by_test() {
        let runs = [
            run(&[("a", true, 1), ("b", false, 2)]),
            run(&[("a", false, 1), ("b", false, 2)]),
        ];
        let text = repetitions(&runs);
        assert!(text.contains("1 x  a\n"), "{text}");
        assert!(text.contains("2 x  b\n"), "{text}");
        assert!(repetitions(&[run(&[("a", true, 1)])]).contains("no test failed"));
    }

    #[test]
    fn a_test_that_passes_the_second_time_is_flaky() {
        let mut first = run(&[("a", false, 1), ("b", false, 1), ("c", true, 1)]);
        first.supersede(run(&[("a", true, 1), ("b", false, 1)]));
        assert_eq!((first.tally().passed, first.tally().failed), (2, 1));
        let text = flaky(&[first]);
        assert_eq!(text, "FLAKY a: it passed only the second time\n");
    }

    #[test]
    fn slowest_tests_are_named_with_their_sum() {
        let text = stages(&[run(&[("short", true, 1), ("long", true, 20)])]);
        let position = |name| text.find(name).unwrap();
        assert!(text.contains("21.0       2.0  2 lab tests"), "{text}");
        assert!(position("  long\n") < position("  short\n"));
        assert!(
            text.contains("-       2.0    long and 1 more in its guest\n"),
            "{text}"
        );
    }
}
