// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules that could not be applied, that wait for something, and that never apply.

use super::Finding;
use crate::{
    netlink::{
        policy::{Rule, Terms},
        Pending,
    },
    rule::{line, Prefix},
    system::{cgroup, Root},
};

const CHECK: &str = "policy";

/// One for each such rule, and one for BPF maps of sockets, which do not take those that rules apply to.
pub(super) fn findings(root: &Root, rules: &[Rule], sockmaps: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(unfit(rules, sockmaps));
    for (place, rule) in rules.iter().enumerate() {
        let before = rules.get(..place).unwrap_or_default();
        findings.extend(refused(rule));
        match before
            .iter()
            .find(|other| covers(&other.terms, &rule.terms))
        {
            Some(other) => findings.push(dead(rule, other)),
            None => findings.extend(pending(root, rule)),
        }
    }
    if findings.is_empty() {
        let count = rules.len();
        let what = if count == 1 { "rule" } else { "rules" };
        findings.push(Finding::ok(CHECK, format!("{count} {what}")));
    }
    findings
}

fn unfit(rules: &[Rule], sockmaps: &[String]) -> Option<Finding> {
    let applies = rules.iter().any(|rule| !rule.terms.offloads.is_empty());
    (applies && !sockmaps.is_empty()).then(|| {
        Finding::warn(
            CHECK,
            format!(
                "there are BPF maps of sockets ({}), which take no listener that a rule applies to (EINVAL)",
                sockmaps.join(", ")
            ),
            "exclude the ports of applications that use them: policy add --priority 1 --port PORT --offload none",
        )
    })
}

fn refused(rule: &Rule) -> Option<Finding> {
    if rule.refused == 0 {
        return None;
    }
    let message = format!(
        "rule {} could not be applied {} times, and was {} times",
        rule.id, rule.refused, rule.hits
    );
    Some(match rule.last_reason {
        Some(reason) => Finding::warn(
            CHECK,
            format!("{message}; the last time: {reason}"),
            reason.advice(),
        ),
        None => Finding::warn(CHECK, message, "see dmesg"),
    })
}

/// What a rule waits for.
fn pending(root: &Root, rule: &Rule) -> Option<Finding> {
    let mut missing = Vec::new();
    if let Some(name) = &rule.terms.device {
        if rule.pending.contains(Pending::DEVICE) {
            missing.push(format!("there is no network device {name}"));
        }
    }
    if let Some(path) = &rule.terms.cgroup {
        if rule.pending.contains(Pending::CGROUP) {
            missing.push(format!("there is no cgroup {path}"));
        }
    }
    if missing.is_empty() {
        return None;
    }
    let controllers = format!("{}/cgroup.controllers", cgroup::MOUNT);
    let advice = match rule.pending.contains(Pending::CGROUP)
        && !root.has(controllers.trim_start_matches('/'))
    {
        true => "cgroup v2 is not mounted at /sys/fs/cgroup, and the kernel knows no sockets of cgroup v1",
        false => "nothing is to be done if it is still to come, such as a service that is not started; otherwise correct the rule",
    };
    Some(Finding::warn(
        CHECK,
        format!("rule {} is pending: {}", rule.id, missing.join(", and ")),
        advice,
    ))
}

fn dead(rule: &Rule, other: &Rule) -> Finding {
    Finding::warn(
        CHECK,
        format!(
            "rule {} ({}) never applies: rule {} comes before it, for all sockets that it is for",
            rule.id,
            line(&rule.terms),
            other.id
        ),
        "remove it, or give it a smaller --priority",
    )
}

/// Whether each socket that matches `second` matches `first`, too, as far as their terms say so.
fn covers(first: &Terms, second: &Terms) -> bool {
    let ports = |terms: &Terms| {
        terms
            .port_first
            .map(|port| (port, terms.port_last.unwrap_or(port)))
    };
    let prefix = |terms: &Terms| {
        let address = terms.address?;
        Some(Prefix::new(address, terms.prefix_len))
    };
    within(ports(first), ports(second), |(a, b), (c, d)| {
        a <= c && d <= b
    }) && within(prefix(first), prefix(second), |a, b| a.holds(b))
        && within(first.device.as_ref(), second.device.as_ref(), |a, b| a == b)
        && within(first.uid, second.uid, |a, b| a == b)
        && within(first.cgroup.as_deref(), second.cgroup.as_deref(), |a, b| {
            let rest = b.strip_prefix(a.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// What is not said holds all; otherwise `holds` is asked.
fn within<T>(first: Option<T>, second: Option<T>, holds: impl Fn(T, T) -> bool) -> bool {
    match (first, second) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(second)) => holds(first, second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::parse;

    fn terms(text: &str) -> Terms {
        parse("t", text).unwrap()[0].rule.terms().unwrap()
    }

    #[test]
    fn maps_of_sockets_are_told_of_when_there_are_rules() {
        let maps = ["redirect".to_owned()];
        let rule = |text| Rule {
            id: 1,
            terms: terms(text),
            listeners: 0,
            hits: 0,
            refused: 0,
            last_reason: None,
            pending: Pending::empty(),
        };
        assert_eq!(unfit(&[], &maps), None);
        assert_eq!(unfit(&[rule("--port 80 --offload setup")], &[]), None);
        assert_eq!(unfit(&[rule("--port 80 --offload none")], &maps), None);
        let found = unfit(&[rule("--port 80 --offload setup")], &maps).unwrap();
        assert!(found.message.contains("(redirect)"), "{found:?}");
    }

    #[test]
    fn what_covers_what() {
        for (first, second, covered) in [
            ("--priority 1", "--port 80", true),
            ("--port 80", "--priority 1", false),
            ("--port 80-90", "--port 81-90", true),
            ("--port 80-90", "--port 81-91", false),
            ("--address 10.0.0.0/8", "--address 10.1.0.0/16", true),
            ("--address 10.0.0.0/8", "--address 11.0.0.0/16", false),
            ("--address 10.1.0.0/16", "--address 10.0.0.0/8", false),
            ("--address 0.0.0.0/0", "--address ::1", false),
            ("--address ::/0", "--address fd00::/8 --port 1", true),
            ("--cgroup /a", "--cgroup /a/b", true),
            ("--cgroup /", "--cgroup /a/b", true),
            ("--cgroup /a", "--cgroup /ab", false),
            ("--dev x", "--dev x --uid 1", true),
            ("--dev x", "--dev y", false),
            ("--uid 1", "--uid 1", true),
        ] {
            let found = covers(&terms(first), &terms(second));
            assert_eq!(found, covered, "{first}, {second}");
        }
    }
}
