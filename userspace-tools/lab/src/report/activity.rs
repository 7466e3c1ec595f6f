// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the guest's kernel counts of itself: interrupts, softirqs, context switches, TLB shootdowns.

use std::ops::Sub;

use anyhow::{Context, Result};

use crate::session::Activity;

/// Events since the start of the guest, all CPUs together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Events {
    /// Interrupts of devices, timers and other CPUs.
    pub(super) interrupts: u64,
    /// Softirqs of all kinds.
    pub(super) softirqs: u64,
    /// Context switches.
    pub(super) context_switches: u64,
    /// TLB shootdowns that a CPU was asked for by another one.
    pub(super) tlb_shootdowns: u64,
}

impl Events {
    /// Reads what the agent has sent.
    ///
    /// # Errors
    ///
    /// The kernel's files lack a counter.
    pub(super) fn parse(activity: &Activity) -> Result<Self> {
        let stat = |name: &str| {
            first_number(&activity.stat, name).with_context(|| format!("/proc/stat: no {name}"))
        };
        Ok(Self {
            interrupts: stat("intr")?,
            softirqs: stat("softirq")?,
            context_switches: stat("ctxt")?,
            tlb_shootdowns: shootdowns(&activity.interrupts)?,
        })
    }
}

impl Sub for Events {
    type Output = Self;

    /// Counters do not go back; a difference below zero is an overhead that was less this time.
    fn sub(self, other: Self) -> Self {
        Self {
            interrupts: self.interrupts.saturating_sub(other.interrupts),
            softirqs: self.softirqs.saturating_sub(other.softirqs),
            context_switches: self.context_switches.saturating_sub(other.context_switches),
            tlb_shootdowns: self.tlb_shootdowns.saturating_sub(other.tlb_shootdowns),
        }
    }
}

/// The number after a line's first word; with `intr` and `softirq` it is the sum of the others.
fn first_number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == name).then(|| words.next()?.parse().ok())?
    })
}

/// Sum of a row `TLB:` of `/proc/interrupts`, which has a number for each CPU and then its meaning.
/// A kernel for one CPU has no such row.
fn shootdowns(text: &str) -> Result<u64> {
    let Some(row) = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("TLB:"))
    else {
        return Ok(0);
    };
    row.split_ascii_whitespace()
        .take_while(|word| word.bytes().all(|c| c.is_ascii_digit()))
        .map(|word| word.parse::<u64>().context("/proc/interrupts: TLB"))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "\
cpu  1 2 3 4 5 6 7 8 9 10
cpu0 1 2 3 4 5 6 7 8 9 10
intr 5012 0 9 0 300 4703
ctxt 8123
btime 1764547200
processes 57
procs_running 1
procs_blocked 0
softirq 2400 0 900 100 1100 0 0 20 80 0 200
";
    const INTERRUPTS: &str = "           CPU0       CPU1       CPU2
 24:          0       1812          0  PCI-MSIX-0000:00:10.0   1-edge      nic0-rxtx-0
LOC:       5012       6100          7   Local timer interrupts
TLB:         17          4          0   TLB shootdowns
ERR:          0
";

    fn activity(stat: &str, interrupts: &str) -> Activity {
        Activity {
            stat: stat.into(),
            interrupts: interrupts.into(),
            ..Activity::default()
        }
    }

    #[test]
    fn sums_are_read() {
        let events = Events::parse(&activity(STAT, INTERRUPTS)).unwrap();
        assert_eq!(
            events,
            Events {
                interrupts: 5012,
                softirqs: 2400,
                context_switches: 8123,
                tlb_shootdowns: 21
            }
        );
    }

    #[test]
    fn kernel_for_one_cpu_has_no_shootdowns() {
        let events = Events::parse(&activity(STAT, "CPU0\nERR: 0\n")).unwrap();
        assert_eq!(events.tlb_shootdowns, 0);
    }

    #[test]
    fn missing_counter_is_named() {
        let without = STAT.replace("ctxt", "other");
        let error = Events::parse(&activity(&without, INTERRUPTS)).unwrap_err();
        assert_eq!(error.to_string(), "/proc/stat: no ctxt");
        let garbage = STAT.replace("intr 5012", "intr many");
        assert!(Events::parse(&activity(&garbage, INTERRUPTS)).is_err());
    }

    #[test]
    fn differences_do_not_go_below_zero() {
        let events = |interrupts, softirqs| Events {
            interrupts,
            softirqs,
            ..Events::default()
        };
        assert_eq!(events(10, 3) - events(4, 5), events(6, 0));
    }
}
