// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp policy list`.

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        policy::{self, Rule, DEFAULT_PRIORITY},
        Connection, Pending,
    },
    output::{Cell, Output, Table, Tone},
    rule::{Ports, Prefix},
    system::{names::Names, sockmap},
};

/// A rule with names.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    rule: Rule,
    user: Option<String>,
}

/// Shows all rules.
pub(super) fn run(output: &mut Output<'_>) -> Result<()> {
    let rules = policy::rules(&mut Connection::open()?)?;
    let mut names = Names::default();
    let named = |rule: Rule| Entry {
        user: rule.terms.uid.and_then(|uid| names.user(uid)),
        rule,
    };
    let entries: Vec<Entry> = rules.into_iter().map(named).collect();
    show(output, &entries)?;
    let applies = |entry: &Entry| !entry.rule.terms.offloads.is_empty();
    let maps = sockmap::names();
    if !output.is_json() && !maps.is_empty() && entries.iter().any(applies) {
        output.line(format_args!(
            "Listeners that a rule applies to cannot be put into the BPF maps of sockets: {}",
            maps.join(", ")
        ))?;
    }
    Ok(())
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
    let pending = |what| match entry.rule.pending.contains(what) {
        true => " (pending)",
        false => "",
    };
    if let Some(name) = &terms.device {
        all.push(format!("dev {name}{}", pending(Pending::DEVICE)));
    }
    if let Some(uid) = terms.uid {
        let name = entry.user.clone();
        all.push(format!("uid {}", name.unwrap_or_else(|| uid.to_string())));
    }
    if let Some(path) = &terms.cgroup {
        all.push(format!("cgroup {path}{}", pending(Pending::CGROUP)));
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
            device: Some("nic0".into()),
            uid: Some(33),
            cgroup: Some("/system.slice".into()),
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
            pending: Pending::empty(),
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
                user: Some("www-data".into()),
            },
            Entry {
                rule: all,
                user: None,
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
    fn what_is_not_there_is_marked() {
        let [mut entry, _] = entries();
        entry.user = None;
        entry.rule.pending = Pending::CGROUP;
        assert_eq!(
            matches(&entry),
            "port 80-81 address 10.0.0.0/8 dev nic0 uid 33 cgroup /system.slice (pending)"
        );
        entry.rule.pending = Pending::DEVICE;
        assert_eq!(
            matches(&entry),
            "port 80-81 address 10.0.0.0/8 dev nic0 (pending) uid 33 cgroup /system.slice"
        );
    }

    #[test]
    fn json() {
        let text = written(true, false, |output| show(output, &entries()[..1]));
        assert_eq!(
            text,
            concat!(
                r#"[{"id":2,"priority":10,"port_first":80,"port_last":81,"address":"10.0.0.0","prefix_len":8,"#,
                r#""device":"nic0","uid":33,"cgroup":"/system.slice","offloads":["setup"],"max_data":1460,"#,
                r#""listeners":1,"hits":12,"refused":3,"last_reason":"mptcp","pending":[],"user":"www-data"}]"#,
                "\n"
            )
        );
    }
}
