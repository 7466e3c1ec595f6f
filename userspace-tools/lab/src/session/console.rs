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
    "list_add corruption",
    "list_del corruption",
    "unregister_netdevice: waiting for",
    "Bad page state",
    "scheduling while atomic",
    "sleeping function called from invalid context",
];

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

    /// The lines that tell of a problem, in their order.
    pub(super) fn problems(&self) -> Result<Vec<String>> {
        let bytes = fs::read(&self.path).with_context(|| self.path.display().to_string())?;
        Ok(problems(&String::from_utf8_lossy(&bytes)))
    }

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        tail_of(&self.path)
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
        .filter(|line| PROBLEMS.iter().any(|word| line.contains(word)) || is_stall(line))
        .map(str::to_string)
        .collect()
}

/// `rcu: INFO: rcu_preempt detected stalls ...` and its variants.
fn is_stall(line: &str) -> bool {
    line.split_once("rcu")
        .is_some_and(|(_, rest)| rest.contains("stall"))
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
[    1.0] nfp: NFP PCIe Driver, Copyright (C) 2014-2020 Netronome Systems
";
        assert!(problems(console).is_empty());
    }
}
