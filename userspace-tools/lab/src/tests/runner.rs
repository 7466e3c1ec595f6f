// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Runs tests one after the other, each in a process of its own with a time limit.
//!
//! The process of a lab test enters namespaces of its own (see [`crate::session`]): when it ends,
//! or is killed because its time is over, its cards, guests and interfaces are gone with it.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::LabTest;
use crate::util::{process::die_with_parent, tail, Layout};

/// Lines of a test's log that a failure shows.
const TAIL_LINES: usize = 80;

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

/// Runs one lab test in guests with `vcpus` vCPUs or more, and prints its line.
pub(crate) fn run(layout: &Layout, test: &LabTest, vcpus: u32, verbose: bool) -> Result<Tally> {
    fs::create_dir_all(layout.log())?;
    let path = layout.log().join(format!("test-{}.log", test.name));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let start = Instant::now();
    if io::stdout().is_terminal() && !verbose {
        print!("   {} ...", test.name);
        io::stdout().flush()?;
    }
    // Not by name: a build may have put a newer program in its place.
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["test", "--kernel", layout.guest_kernel().name()])
        .args(["--vcpus", &vcpus.to_string()])
        .args(["--one", &test.name])
        .stdin(Stdio::null());
    if verbose {
        println!("== {}: {}", test.name, test.about);
        command.arg("--verbose");
    } else {
        command.stdout(log.try_clone()?).stderr(log);
    }
    let mut child = die_with_parent(&mut command)
        .spawn()
        .context("cannot start the test")?;
    let limit = layout.guest_kernel().patience(test.limit);
    let status = wait_limited(&mut child, limit)?;
    if io::stdout().is_terminal() && !verbose {
        print!("\r\x1b[K");
    }
    let passed = status.is_some_and(|status| status.success());
    print_line(passed, &test.name, start.elapsed());
    if !passed {
        if status.is_none() {
            println!("    not finished after {} s", limit.as_secs());
        }
        if !verbose {
            println!("{}", tail(&path, TAIL_LINES));
            if status.is_none() {
                // It had no chance to show them itself.
                print!("{}", session_logs(layout, &test.name));
            }
            println!("    The whole output is in {}", path.display());
        }
    }
    Ok(Tally {
        passed: usize::from(passed),
        failed: usize::from(!passed),
    })
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

/// Prints a test's line.
pub(crate) fn print_line(passed: bool, name: &str, time: Duration) {
    let word = if passed { "ok" } else { "FAILED" };
    println!("{word} {name} ({:.1} s)", time.as_secs_f32());
}

/// Waits for a child; `None` when it had to be killed because its time was over.
pub(crate) fn wait_limited(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    // A thread that waits for the time, and not for the child: only the owner of the child may
    // kill it, or its number could be another process's by then.
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (ended, end) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let late = end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
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
    let status = child.wait()?;
    Ok((!late).then_some(status))
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
        let status = wait_limited(&mut child, minute).expect("waits");
        assert_eq!(status.and_then(|status| status.code()), Some(3));

        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let status = wait_limited(&mut child, Duration::from_millis(50)).expect("waits");
        assert!(status.is_none());
    }
}
