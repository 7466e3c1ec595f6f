// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest's console: a log file, and what in it is a kernel problem.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Words that no healthy kernel prints.
const PROBLEMS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "Oops",
    "RIP:",
    "Call Trace",
    "KASAN:",
    "UBSAN:",
    "KCSAN:",
    "Kernel panic",
    "general protection fault",
    "unable to handle",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "refcount_t:",
    "ref_tracker:",
    "list_add corruption",
    "list_del corruption",
    "unregister_netdevice: waiting for",
    "Bad page state",
    "scheduling while atomic",
    "sleeping function called from invalid context",
    "ODEBUG:",
    "stalled pool shutdown",
    "new suspected memory leaks",
    "panicked at",
];

/// Words of lines that look like a problem and are none: a tracker that got no memory for one
/// reference goes on without it (`ref_tracker_alloc` in lib/ref_tracker.c), which the tests that
/// make allocations fail bring about.
const HARMLESS: &[&str] = &["unreliable refcount tracker"];

/// Lines of one report at most: a circular dependency of locks prints the stack of each.
const LONGEST: usize = 160;

/// The console of one guest.
#[derive(Clone, Debug)]
pub(super) struct Console {
    path: PathBuf,
}

impl Console {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that were printed.
    pub(super) fn size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// The lines that tell of a problem, in their order.
    pub(super) fn problems(&self) -> Result<Vec<String>> {
        Ok(problems(&self.text()?))
    }

    /// The reports of problems, each with the lines that belong to it.
    pub(super) fn reports(&self) -> Result<Vec<Report>> {
        Ok(reports(&self.text()?))
    }

    fn text(&self) -> Result<String> {
        let bytes = fs::read(&self.path).with_context(|| self.path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        tail_of(&self.path)
    }
}

/// One report of the kernel: a heading and what follows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Report(pub(super) Vec<String>);

impl Report {
    /// Whether it tells of a data race.
    pub(super) fn is_race(&self) -> bool {
        self.0.first().is_some_and(|line| line.contains("KCSAN:"))
    }

    /// Whether a stack in it goes through the module `name`.
    pub(super) fn mentions(&self, name: &str) -> bool {
        let mark = format!("[{name}]");
        self.0.iter().any(|line| line.contains(&mark))
    }
}

/// The last lines of a log, indented, with its name; for error messages.
pub(super) fn tail_of(path: &Path) -> String {
    const LINES: usize = 15;
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    let mut tail = format!("\n{}:", path.display());
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        tail.push_str("\n  ");
        tail.push_str(line.trim_end());
    }
    tail
}

fn problems(console: &str) -> Vec<String> {
    console
        .lines()
        .map(str::trim_end)
        .filter(|line| is_problem(line))
        .map(str::to_string)
        .collect()
}

fn is_problem(line: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    (has(PROBLEMS) && !has(HARMLESS)) || is_stall(line)
}

/// `rcu: INFO: rcu_preempt detected stalls ...` and its variants.
fn is_stall(line: &str) -> bool {
    line.split_once("rcu")
        .is_some_and(|(_, rest)| rest.contains("stall"))
}

/// Divides the console into reports. Where one ends depends on who made it: the sanitizers draw a
/// line, a warning ends its trace, and of all others the stack comes last.
fn reports(console: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut lines = console.lines().map(str::trim_end).peekable();
    while let Some(heading) = lines.next() {
        if !is_problem(heading) {
            continue;
        }
        let mut report = vec![message(heading).to_owned()];
        let ruled = heading.contains("KASAN:") || heading.contains("KCSAN:");
        let mut stack = heading.contains("Call Trace");
        while report.len() < LONGEST {
            let Some(line) = lines.peek().map(|line| message(line)) else {
                break;
            };
            let rule = line.len() > 20 && line.bytes().all(|c| c == b'=');
            if rule || (stack && !ruled && !may_follow_stack(line)) {
                break;
            }
            stack |= line.contains("Call Trace");
            let end = line.starts_with("---[ end trace");
            report.push(line.to_owned());
            lines.next();
            if end {
                break;
            }
        }
        while report.last().is_some_and(String::is_empty) {
            report.pop();
        }
        reports.push(Report(report));
    }
    reports
}

/// Whether a line may be of a report whose stack has begun.
fn may_follow_stack(line: &str) -> bool {
    const WORDS: &[&str] = &[
        "RIP:",
        "RSP:",
        "RAX:",
        "RDX:",
        "RBP:",
        "R10:",
        "R13:",
        "FS:",
        "CS:",
        "CR2:",
        "DR0:",
        "DR3:",
        "PKRU:",
        "Code:",
        "Modules linked",
        "irq event",
        "hardirqs",
        "softirqs",
        "---[ end trace",
    ];
    line.is_empty() || line.starts_with(' ') || WORDS.iter().any(|word| line.starts_with(word))
}

/// A line without the time that it was printed at.
fn message(line: &str) -> &str {
    let Some(rest) = line.strip_prefix('[') else {
        return line;
    };
    match rest.split_once("] ") {
        Some((time, text)) if time.trim().parse::<f64>().is_ok() => text,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_found() {
        let console = "\
[    1.0] rcu: Hierarchical RCU implementation.
[    2.0] acceltcp: loading out-of-tree module taints kernel.
[    3.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 f+0x1/0x2
[    4.0] rcu: INFO: rcu_preempt self-detected stall on CPU
[    5.0] RIP: 0010:f+0x1/0x2
";
        let found = problems(console);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[1].contains("stall"));
    }

    #[test]
    fn healthy_boot_has_none() {
        let console = "\
[    0.1] Spectre V2 : User space: Vulnerable
[    0.2] rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.
[    0.3] rcu: \tRCU lockdep checking is enabled.
[    0.4] DMA-API: preallocated 65536 debug entries
[    0.5] kmemleak: Kernel memory leak detector initialized (mem pool available: 15738)
[    1.0] nfp: NFP PCIe Driver, Copyright (C) 2014-2020 Netronome Systems
[    2.0] ref_tracker: memory allocation failure, unreliable refcount tracker.
";
        assert!(problems(console).is_empty());
    }

    #[test]
    fn report_of_a_sanitizer_goes_to_its_line() {
        let console = "\
[    3.0] ==================================================================
[    3.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2 [acceltcp]
[    3.0] Read of size 8 at addr ffff888004f2b800 by task sh/1
[    3.0] Call Trace:
[    3.0]  <TASK>
[    3.0]  f+0x1/0x2 [acceltcp]
[    3.0]  </TASK>
[    3.0] Allocated by task 1:
[    3.0]  g+0x1/0x2
[    3.0] ==================================================================
[    3.1] eth0: renamed
";
        let found = reports(console);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0.len(), 8);
        assert_eq!(found[0].0[7], " g+0x1/0x2");
        assert!(found[0].mentions("acceltcp") && !found[0].mentions("nfp"));
    }

    #[test]
    fn reports_that_follow_each_other_are_apart() {
        let console = "\
[    3.0] ------------[ cut here ]------------
[    3.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 f+0x1/0x2
[    3.0] RIP: 0010:f+0x1/0x2
[    3.0] Call Trace:
[    3.0]  <TASK>
[    3.0]  g+0x1/0x2
[    3.0]  </TASK>
[    3.0] irq event stamp: 12
[    3.0] ---[ end trace 0000000000000000 ]---
[    3.1] BUG: sleeping function called from invalid context at mm/slab.c:1
[    3.1] Call Trace:
[    3.1]  <TASK>
[    3.1]  h+0x1/0x2
[    3.1]  </TASK>
[    3.2] nic0: link is up
";
        let found = reports(console);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0.len(), 8);
        assert_eq!(found[1].0.last().map(String::as_str), Some(" </TASK>"));
    }
}
