// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a module leaves behind when it goes, as a kernel that keeps account of it tells.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{console::Report, resolve::Text, Cmd, Session};

/// Where the module's code is; nothing if it is not loaded.
const WHERE: &str = "cat /sys/module/acceltcp/sections/.text 2>/dev/null || true";

/// Ends what holds a module, and unloads it. Sockets in TIME_WAIT would hold it for a minute.
const UNLOAD: &str = r#"
module=$1
[ -d /sys/module/$module ] || exit 0
# All but the agent, which is process 1 and this shell's parent. Without a program for each: that takes long here.
for process in /proc/[0-9]*; do
    process=${process#/proc/}
    case $process in
    1 | $$ | $PPID) ;;
    *) kill -9 $process 2>/dev/null ;;
    esac
done
for try in $(seq 100); do
    ss -K -t -a >/dev/null 2>&1
    error=$(rmmod $module 2>&1) && exit 0
    sleep 0.2
done
echo "$error" >&2
cat /proc/modules >&2
exit 1
"#;

/// Memory counts as lost only when it is some seconds old, and when a second look finds it lost too.
const SCAN: &str = r#"
leaks=/sys/kernel/debug/kmemleak
[ -e $leaks ] || { echo "there is no $leaks" >&2; exit 1; }
sleep 6
echo scan > $leaks
echo scan > $leaks
cat $leaks
"#;

/// What was found at the end of a session.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Memory that nothing points to any more.
    pub(super) reports: Vec<Report>,
    /// Where the module's code had been.
    pub(super) text: Option<Text>,
}

/// How long the module may take to go, or the kernel to look for leaks.
const LIMIT: Duration = Duration::from_secs(60);

impl Session {
    /// Ends all programs of the guest but its agent, and unloads a module that they may have held.
    pub(crate) fn end_all(&self, module: &str) -> Result<()> {
        let cmd = Cmd::new(["sh", "-c", UNLOAD, "unload", module]).timeout(LIMIT);
        self.guest
            .run_ok(cmd)
            .map(drop)
            .context("unload the module")
    }

    /// Unloads the module and asks the kernel what it has left.
    pub(super) fn look_for_leaks(&self) -> Result<Left> {
        let start = self.guest.run_ok(WHERE)?;
        let start = start.trim().trim_start_matches("0x");
        let text = u64::from_str_radix(start, 16).ok();
        self.end_all("acceltcp")?;
        let found = self
            .guest
            .run_ok(Cmd::from(SCAN).timeout(LIMIT))
            .context("look for leaks")?;
        Ok(Left {
            reports: parse(&found),
            text: text.map(|start| Text { start }),
        })
    }
}

/// One report for each `unreferenced object`.
fn parse(found: &str) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for line in found.lines() {
        if line.starts_with("unreferenced object") {
            reports.push(Report(Vec::new()));
        }
        if let Some(report) = reports.last_mut() {
            report.0.push(line.to_owned());
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_a_report() {
        let found = parse(
            "unreferenced object 0xffff888004f2b800 (size 64):\n  backtrace:\n    f+0x1/0x2\n\
             unreferenced object 0xffff888004f2b900 (size 64):\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0.len(), 3);
        assert!(parse("").is_empty());
    }
}
