// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp acl list`.

use anyhow::Result;
use serde::Serialize;

use super::words;
use crate::{
    netlink::{
        acl::{self, Rule},
        AclAction, Connection,
    },
    output::{Cell, Output, Table, Tone},
    system::names::Names,
};

/// A rule with the name of its card.
#[derive(Debug, Serialize)]
struct Entry {
    device: Option<String>,
    #[serde(flatten)]
    rule: Rule,
}

/// Shows the rules of a card, or of all.
pub(super) fn run(ifindex: Option<u32>, output: &mut Output<'_>) -> Result<()> {
    let rules = acl::rules(&mut Connection::open()?, ifindex)?;
    let mut names = Names::default();
    let named = |rule: Rule| Entry {
        device: names.interface(rule.ifindex),
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
        "DEVICE", "HANDLE", "PRIORITY", "ACTION", "FRAMES", "BYTES", "ORIGIN", "MATCHES",
    ]);
    for entry in entries {
        let rule = &entry.rule;
        let action = Cell::new(rule.terms.action);
        table.row([
            Cell::new(match &entry.device {
                Some(name) => name.clone(),
                None => format!("if{}", rule.ifindex),
            }),
            Cell::number(rule.handle),
            Cell::number(rule.terms.priority.unwrap_or_default()),
            match rule.terms.action {
                AclAction::Deny => action.tone(Tone::Warning),
                _ => action,
            },
            Cell::number(rule.frames),
            Cell::number(rule.bytes),
            Cell::new(rule.origin),
            Cell::new(words::matches(&rule.terms)),
        ]);
    }
    table.write(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::{acl::Terms, AclOrigin},
        output::written,
    };

    fn entry() -> Entry {
        let terms = Terms {
            priority: Some(10),
            protocol: Some(6),
            family: Some(4),
            source: Some([192, 0, 2, 0].into()),
            source_len: Some(24),
            destination_port_first: Some(80),
            destination_port_last: Some(90),
            ..Terms::new(AclAction::Deny)
        };
        Entry {
            device: Some("nic0".into()),
            rule: Rule {
                ifindex: 3,
                handle: 7,
                terms,
                frames: 12,
                bytes: 800,
                origin: AclOrigin::Tc,
            },
        }
    }

    #[test]
    fn text() {
        let mut gone = entry();
        gone.device = None;
        gone.rule.terms = Terms::new(AclAction::Allow);
        let text = written(false, false, |output| show(output, &[entry(), gone]));
        assert_eq!(
            text,
            "DEVICE  HANDLE  PRIORITY  ACTION  FRAMES  BYTES  ORIGIN  MATCHES\n\
             nic0         7        10  deny        12    800  tc      \
             proto tcp from 192.0.2.0/24 to any port 80-90\n\
             if3          7         0  allow       12    800  tc      all\n"
        );
    }

    #[test]
    fn json() {
        let text = written(true, false, |output| show(output, &[entry()]));
        assert_eq!(
            text,
            concat!(
                r#"[{"device":"nic0","ifindex":3,"handle":7,"priority":10,"action":"deny","protocol":6,"#,
                r#""family":4,"source":"192.0.2.0","source_len":24,"destination":null,"#,
                r#""destination_len":null,"source_port_first":null,"source_port_last":null,"#,
                r#""destination_port_first":80,"destination_port_last":90,"vlan":null,"#,
                r#""untagged":false,"frames":12,"bytes":800,"origin":"tc"}]"#,
                "\n"
            )
        );
    }
}
