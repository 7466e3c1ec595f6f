// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs tests in processes of their own with time limits.
//!
//! The process of lab tests enters namespaces of its own (see [`crate::session`]): when it ends, or is
//! killed because a test's time is over, its cards, guests and interfaces are gone with it. Tests that may
//! share a guest have one process (see [`super::chain`]), which tells the result of each by a line.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::LabTest;
use crate::util::{process::die_with_parent, tail, Layout};

/// Lines of a test's log that a failure shows.
const TAIL_LINES: usize = 80;

/// How long a process may take to end when its last test has.
const EXIT: Duration = Duration::from_secs(60);

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
}

impl Tally {
    /// Adds another count.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// How lab tests are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// vCPUs of each guest at least.
    pub(crate) vcpus: u32,
    /// Passes all output on; needs tests that run one at a time.
    pub(crate) verbose: bool,
}

/// How a test ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Its name.
    pub(crate) name: String,
    /// Whether it passed.
    pub(crate) passed: bool,
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// Lines to print: the result, and for a failure the ends of its logs.
    pub(crate) text: String,
}

/// The log of a test.
pub(crate) fn log(layout: &Layout, name: &str) -> PathBuf {
    layout.log().join(format!("test-{name}.log"))
}

/// What became of a test in its process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Passed,
    Failed,
    /// Its time was over.
    Late,
    /// The process ended without a result.
    Gone,
}

/// Runs lab tests one after the other in one process, and calls `ended` for each. Returns the CPU time of all its
/// processes, those of guests among them, and the tests that were not reached: those behind one that took the
/// process with it.
///
/// # Errors
///
/// The process could not be started, or `ended` fails.
pub(crate) fn run<'a, 't>(
    layout: &Layout,
    tests: &'a [&'t LabTest],
    options: Options,
    mut ended: impl FnMut(Outcome) -> Result<()>,
) -> Result<(Duration, &'a [&'t LabTest])> {
    fs::create_dir_all(layout.log())?;
    for test in tests {
        let path = log(layout, &test.name);
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let Some(first) = tests.first() else {
        return Ok((Duration::ZERO, tests));
    };
    let mut child = start(layout, tests, options)?;
    let lines = child.stdout.take().map(lines);
    let patience = |limit| layout.guest_kernel().patience(limit);
    let mut left = tests;
    while let Some((test, behind)) = left.split_first() {
        let begun = Instant::now();
        let end = match &lines {
            Some(lines) => next(lines, &test.name, patience(test.limit)),
            // What is shown as it comes has no results: there is one test, and its exit status tells.
            None => {
                let waited = wait_limited(&mut child, patience(test.limit))?;
                let end = match waited.status {
                    Some(status) if status.success() => End::Passed,
                    Some(_) => End::Failed,
                    None => End::Late,
                };
                ended(outcome(layout, test, first, end, begun.elapsed(), options))?;
                return Ok((waited.cpu, behind));
            }
        };
        ended(outcome(layout, test, first, end, begun.elapsed(), options))?;
        left = behind;
        match end {
            End::Passed | End::Failed => {}
            End::Gone => break,
            End::Late => {
                // All that it has started ends with it.
                child.kill().context("cannot end the test")?;
                break;
            }
        }
    }
    let waited = wait_limited(&mut child, patience(EXIT))?;
    Ok((waited.cpu, left))
}

/// Starts the process of some tests. Its standard output are their results, but for a test whose output is shown.
fn start(layout: &Layout, tests: &[&LabTest], options: Options) -> Result<Child> {
    // Not by name: a build may have put a newer program in its place.
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["test", "--kernel", layout.guest_kernel().name()])
        .args(["--vcpus", &options.vcpus.to_string()])
        .stdin(Stdio::null());
    for test in tests {
        command.args(["--one", &test.name]);
    }
    match tests {
        [test, ..] if options.verbose => {
            println!("== {}: {}", test.name, test.about);
            command.arg("--verbose");
        }
        [test, ..] => {
            // Until the test itself writes its log.
            let log = File::options().append(true).open(log(layout, &test.name))?;
            command.stdout(Stdio::piped()).stderr(log);
        }
        [] => {}
    }
    die_with_parent(&mut command)
        .spawn()
        .context("cannot start the test")
}

/// The lines of a pipe, until its last writer ends.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Waits for the result of the test of this name.
fn next(lines: &Receiver<String>, name: &str, limit: Duration) -> End {
    match lines.recv_timeout(limit) {
        Ok(line) if line == format!("ok {name}") => End::Passed,
        Ok(_) => End::Failed,
        Err(RecvTimeoutError::Timeout) => End::Late,
        Err(RecvTimeoutError::Disconnected) => End::Gone,
    }
}

/// What is to be said of a test, whose sessions' logs are named after `first`.
fn outcome(
    layout: &Layout,
    test: &LabTest,
    first: &LabTest,
    end: End,
    wall: Duration,
    options: Options,
) -> Outcome {
    let passed = end == End::Passed;
    let mut text = result_line(passed, &test.name, wall, None);
    match end {
        End::Passed | End::Failed => {}
        End::Late => {
            let limit = layout.guest_kernel().patience(test.limit).as_secs();
            text += &format!("    not finished after {limit} s\n");
        }
        End::Gone => text += "    its process ended without a result\n",
    }
    if !passed && !options.verbose {
        let path = log(layout, &test.name);
        text += &format!("{}\n", tail(&path, TAIL_LINES));
        if end != End::Failed {
            // It had no chance to show them itself.
            text += &session_logs(layout, &first.name);
        }
        text += &format!("    The whole output is in {}\n", path.display());
    }
    Outcome {
        name: test.name.clone(),
        passed,
        wall,
        text,
    }
}

/// The ends of the logs of a test's sessions: console, virtual machine, cards.
pub(crate) fn session_logs(layout: &Layout, name: &str) -> String {
    const LINES: usize = 12;
    let prefix = format!("{name}-");
    let mut logs: Vec<PathBuf> = fs::read_dir(layout.log())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|file| file.to_str())
                .is_some_and(|file| file.starts_with(&prefix) && file.ends_with(".log"))
        })
        .collect();
    logs.sort();
    let mut text = String::new();
    for log in logs {
        let end = tail(&log, LINES);
        if !end.is_empty() {
            text += &format!("-- the end of {}:\n{end}\n", log.display());
        }
    }
    text
}

/// The line of a test's result.
pub(crate) fn result_line(
    passed: bool,
    name: &str,
    wall: Duration,
    cpu: Option<Duration>,
) -> String {
    let word = if passed { "ok" } else { "FAILED" };
    let wall = wall.as_secs_f32();
    match cpu {
        Some(cpu) => format!(
            "{word} {name} ({wall:.1} s, CPU {:.1} s)\n",
            cpu.as_secs_f32()
        ),
        None => format!("{word} {name} ({wall:.1} s)\n"),
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// `None` when it had to be killed because its time was over.
    pub(crate) status: Option<ExitStatus>,
    /// CPU time of the child and of all its descendants that were waited for.
    pub(crate) cpu: Duration,
}

/// Waits for a child, and kills it after `limit`.
///
/// # Errors
///
/// The child cannot be waited for.
pub(crate) fn wait_limited(child: &mut Child, limit: Duration) -> Result<Ended> {
    // A thread that waits for the time, and not for the child: only the owner of the child may
    // kill it, or its number could be another process's by then.
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (ended, end) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let late = end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            // The child is not reaped yet: the number is still its own.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        late
    });
    // Waits without reaping, so that the watch may still send its signal.
    let waited = loop {
        match nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(pid),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other,
        }
    };
    drop(ended);
    let late = watch.join().unwrap_or(true);
    waited.context("cannot wait for the child")?;
    // Until it is reaped its counters are there.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let status = child.wait()?;
    Ok(Ended {
        status: (!late).then_some(status),
        cpu: cpu_time(&stat).unwrap_or_default(),
    })
}

/// CPU time of a process and of its children that were waited for, from the text of its
/// `/proc/PID/stat` (proc_pid_stat(5): utime, stime, cutime, cstime).
fn cpu_time(stat: &str) -> Option<Duration> {
    // The name may hold blanks and parentheses; the fields after it do not.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()
        .ok()?;
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let hertz = u64::try_from(hertz).ok().filter(|hertz| *hertz > 0)?;
    Some(Duration::from_millis(ticks.saturating_mul(1000) / hertz))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_passed_on_and_time_is_limited() {
        let minute = Duration::from_secs(60);
        let mut child = Command::new("sh")
            .args(["-c", "exit 3"])
            .spawn()
            .expect("sh");
        let ended = wait_limited(&mut child, minute).expect("waits");
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));

        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let ended = wait_limited(&mut child, Duration::from_millis(50)).expect("waits");
        assert!(ended.status.is_none());
    }

    #[test]
    fn cpu_time_of_descendants_is_counted() {
        let mut child = Command::new("sh")
            .args([
                "-c",
                "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); :",
            ])
            .spawn()
            .expect("sh");
        let ended = wait_limited(&mut child, Duration::from_secs(60)).expect("waits");
        assert!(ended.cpu > Duration::ZERO);
    }

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 5";
        assert!(cpu_time(stat).is_some_and(|time| time > Duration::ZERO));
        assert_eq!(cpu_time("7 (a) S 1"), Some(Duration::ZERO));
        assert_eq!(cpu_time(""), None);
    }
}
