// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp policy list`.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        policy::{self, Rule, DEFAULT_PRIORITY},
        Connection,
    },
    output::{Cell, Output, Table, Tone},
    rule::{Ports, Prefix, Resolver},
    system::{cgroup, names::Names},
};

/// A rule with names.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    rule: Rule,
    device: Option<String>,
    user: Option<String>,
    path: Option<PathBuf>,
}

/// Shows all rules.
pub(super) fn run(output: &mut Output<'_>) -> Result<()> {
    let rules = policy::rules(&mut Connection::open()?)?;
    let mut names = Names::default();
    let resolver = Resolver::default();
    let named = |rule: Rule| Entry {
        device: rule.terms.ifindex.and_then(|index| names.interface(index)),
        user: rule.terms.uid.and_then(|uid| names.user(uid)),
        path: rule
            .terms
            .cgroup
            .and_then(|number| cgroup::path(&resolver.cgroups, number)),
        rule,
    };
    let entries: Vec<Entry> = rules.into_iter().map(named).collect();
    show(output, &entries)
}

fn show(output: &mut Output<'_>, entries: &[Entry]) -> Result<()> {
    if output.is_json() {
        return output.value(&entries);
    }
    let mut table = Table::new(&[
        "ID",
        "PRIORITY",
        "MATCHES",
        "OFFLOADS",
        "LISTENERS",
        "HITS",
        "REFUSED",
    ]);
    for entry in entries {
        let rule = &entry.rule;
        let refused = match (rule.refused, rule.last_reason) {
            (0, _) => Cell::new(0),
            (count, Some(reason)) => {
                Cell::new(format_args!("{count} ({reason})")).tone(Tone::Warning)
            }
            (count, None) => Cell::new(count).tone(Tone::Warning),
        };
        table.row([
            Cell::number(rule.id),
            Cell::number(rule.terms.priority.unwrap_or(DEFAULT_PRIORITY)),
            Cell::new(matches(entry)),
            Cell::new(offloads(rule)),
            Cell::number(rule.listeners),
            Cell::number(rule.hits),
            refused,
        ]);
    }
    table.write(output)
}

/// What a socket must have.
fn matches(entry: &Entry) -> String {
    let terms = &entry.rule.terms;
    let mut all = Vec::new();
    if let Some(first) = terms.port_first {
        let last = terms.port_last.unwrap_or(first);
        all.push(format!("port {}", Ports { first, last }));
    }
    if let Some(address) = terms.address {
        all.push(format!(
            "address {}",
            Prefix::new(address, terms.prefix_len)
        ));
    }
    if let Some(index) = terms.ifindex {
        let name = entry.device.clone();
        all.push(format!(
            "dev {}",
            name.unwrap_or_else(|| format!("if{index}"))
        ));
    }
    if let Some(uid) = terms.uid {
        let name = entry.user.clone();
        all.push(format!("uid {}", name.unwrap_or_else(|| uid.to_string())));
    }
    if let Some(number) = terms.cgroup {
        all.push(match &entry.path {
            Some(path) => format!("cgroup {}", path.display()),
            None => format!("cgroup {number} (gone)"),
        });
    }
    match all.is_empty() {
        true => "all".into(),
        false => all.join(" "),
    }
}

fn offloads(rule: &Rule) -> String {
    match rule.terms.max_data {
        Some(bytes) => format!("{} (up to {bytes} bytes)", rule.terms.offloads),
        None => rule.terms.offloads.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::{policy::Terms, Offloads, Reason},
        output::written,
    };

    fn entries() -> [Entry; 2] {
        let terms = Terms {
            priority: Some(10),
            port_first: Some(80),
            port_last: Some(81),
            address: Some([10, 0, 0, 0].into()),
            prefix_len: Some(8),
            ifindex: Some(3),
            uid: Some(33),
            cgroup: Some(77),
            offloads: Offloads::SETUP,
            max_data: Some(1460),
        };
        let rule = Rule {
            id: 2,
            terms,
            listeners: 1,
            hits: 12,
            refused: 3,
            last_reason: Some(Reason::Mptcp),
        };
        let all = Rule {
            id: 1,
            terms: Terms::default(),
            refused: 0,
            last_reason: None,
            ..rule.clone()
        };
        [
            Entry {
                rule,
                device: Some("nic0".into()),
                user: Some("www-data".into()),
                path: Some("/system.slice".into()),
            },
            Entry {
                rule: all,
                device: None,
                user: None,
                path: None,
            },
        ]
    }

    #[test]
    fn text() {
        let text = written(false, false, |output| show(output, &entries()));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("ID  PRIORITY  MATCHES "));
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "2 10 port 80-81 address 10.0.0.0/8 dev nic0 uid www-data cgroup /system.slice \
             setup (up to 1460 bytes) 1 12 3 (mptcp)"
        );
        assert!(lines[2].contains("1000  all ") && lines[2].contains("  none "));
    }

    #[test]
    fn what_has_gone_is_shown_by_its_number() {
        let [mut entry, _] = entries();
        (entry.device, entry.user, entry.path) = (None, None, None);
        assert_eq!(
            matches(&entry),
            "port 80-81 address 10.0.0.0/8 dev if3 uid 33 cgroup 77 (gone)"
        );
    }

    #[test]
    fn json() {
        let text = written(true, false, |output| show(output, &entries()[..1]));
        assert_eq!(
            text,
            concat!(
                r#"[{"id":2,"priority":10,"port_first":80,"port_last":81,"address":"10.0.0.0","prefix_len":8,"#,
                r#""ifindex":3,"uid":33,"cgroup":77,"offloads":["setup"],"max_data":1460,"listeners":1,"#,
                r#""hits":12,"refused":3,"last_reason":"mptcp","device":"nic0","user":"www-data","#,
                r#""path":"/system.slice"}]"#,
                "\n"
            )
        );
    }
}
