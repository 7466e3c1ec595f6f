// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules that could not be applied.

use super::Finding;
use crate::netlink::policy::Rule;

/// One for each such rule.
pub(super) fn findings(rules: &[Rule]) -> Vec<Finding> {
    let check = "policy";
    let refused = rules.iter().filter(|rule| rule.refused > 0);
    let finding = |rule: &Rule| {
        let message = format!(
            "rule {} could not be applied {} times, and was {} times",
            rule.id, rule.refused, rule.hits
        );
        match rule.last_reason {
            Some(reason) => Finding::warn(
                check,
                format!("{message}; the last time: {reason}"),
                reason.advice(),
            ),
            None => Finding::warn(check, message, "see dmesg"),
        }
    };
    let mut findings: Vec<Finding> = refused.map(finding).collect();
    if findings.is_empty() {
        let count = rules.len();
        let what = if count == 1 { "rule" } else { "rules" };
        findings.push(Finding::ok(check, format!("{count} {what}")));
    }
    findings
}
