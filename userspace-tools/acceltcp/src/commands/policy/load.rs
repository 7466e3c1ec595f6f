// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp policy load`.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    netlink::{
        policy::{self, Changes, Refusal, Rule, Terms},
        Connection, Wire,
    },
    output::{Output, Tone},
    rule::{line, parse, Line, Mistake, Mistakes},
};

/// Replaces all rules by those of `file`, or checks the file only.
pub(super) fn run(file: &Path, check: bool, output: &mut Output<'_>) -> Result<()> {
    let (name, text) = match file == Path::new("-") {
        true => ("standard input".into(), io::read_to_string(io::stdin())),
        false => (file.display().to_string(), fs::read_to_string(file)),
    };
    let text = text.with_context(|| name.clone())?;
    let lines = parse(&name, &text)?;
    if check {
        return match output.is_json() {
            true => output.value(&json!({ "rules": lines.len() })),
            false => output.line(format_args!(
                "{name}: {}, no mistakes",
                counted(lines.len())
            )),
        };
    }
    let rules = resolve(&name, &lines)?;
    let report = replace(&mut Connection::open()?, &name, &rules)?;
    report.show(rules.len(), output)
}

fn counted(rules: usize) -> String {
    match rules {
        1 => "1 rule".into(),
        count => format!("{count} rules"),
    }
}

/// What the kernel is told for the lines, with their numbers; or all that is not understood.
fn resolve(file: &str, lines: &[Line]) -> Result<Vec<(usize, Terms)>, Mistakes> {
    let mut rules = Vec::new();
    let mut mistakes = Vec::new();
    for Line { number, rule } in lines {
        match rule.terms() {
            Ok(terms) => rules.push((*number, terms)),
            Err(error) => mistakes.push(Mistake {
                number: *number,
                what: format!("{error:#}"),
            }),
        }
    }
    match mistakes.is_empty() {
        true => Ok(rules),
        false => Err(Mistakes {
            file: file.into(),
            lines: mistakes,
        }),
    }
}

/// What has become of the rules.
struct Report {
    changes: Changes,
    /// Those that are gone, as far as nobody else has changed rules meanwhile.
    removed: Vec<Rule>,
    /// Those that are new, likewise.
    added: Vec<Rule>,
}

/// Replaces all rules, or none when one is refused.
fn replace<W: Wire>(
    connection: &mut Connection<W>,
    file: &str,
    rules: &[(usize, Terms)],
) -> Result<Report> {
    let before = policy::rules(connection)?;
    let done = policy::set(connection, rules.iter().map(|(_, terms)| terms));
    let changes = done.map_err(|Refusal { error, rule }| {
        let line = rule.and_then(|rule| rules.get(rule));
        let place = line.map(|(number, _)| format!("{file}:{number}"));
        let place = place.unwrap_or_else(|| file.to_string());
        anyhow::Error::from(error).context(format!(
            "{place}: the kernel refuses it; the rules are as before"
        ))
    })?;
    let after = policy::rules(connection)?;
    let without = |rules: &[Rule], others: &[Rule]| -> Vec<Rule> {
        let known = |rule: &&Rule| !others.iter().any(|other| other.id == rule.id);
        rules.iter().filter(known).cloned().collect()
    };
    Ok(Report {
        changes,
        removed: without(&before, &after),
        added: without(&after, &before),
    })
}

impl Report {
    fn show(&self, rules: usize, output: &mut Output<'_>) -> Result<()> {
        let lines = |rules: &[Rule]| -> Vec<String> {
            let lines = rules.iter().map(|rule| line(&rule.terms));
            lines.collect()
        };
        let (removed, added) = (lines(&self.removed), lines(&self.added));
        let changes = self.changes;
        if output.is_json() {
            return output.value(&json!({
                "rules": rules,
                "added": changes.added,
                "removed": changes.removed,
                "unchanged": changes.unchanged,
                "added_rules": added,
                "removed_rules": removed,
            }));
        }
        let rules = counted(rules);
        match changes {
            Changes {
                added: 0,
                removed: 0,
                ..
            } => output.line(format_args!("{rules}, none is new or gone"))?,
            Changes {
                added,
                removed,
                unchanged,
            } => output.line(format_args!(
                "{rules}: {added} added, {removed} removed, {unchanged} unchanged"
            ))?,
        }
        for line in removed {
            output.line(output.paint(Tone::Bad, format_args!("- {line}")))?;
        }
        for line in added {
            output.line(output.paint(Tone::Good, format_args!("+ {line}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::{
            testing::{u32_of, Said, Script},
            uapi,
        },
        output::written,
    };

    const TEXT: &str = "--port 80\n\n--port 81\n";

    fn loaded(script: impl IntoIterator<Item = Said>) -> (Result<Report>, Vec<u8>) {
        let sent = std::rc::Rc::default();
        let wire = Script::new(script).recording(std::rc::Rc::clone(&sent));
        let mut connection = Connection::with(wire).unwrap();
        let rules = resolve("f", &parse("f", TEXT).unwrap()).unwrap();
        let done = replace(&mut connection, "f", &rules);
        // The command is behind the header.
        let commands = sent.borrow().iter().map(|m: &Vec<u8>| m[16]).collect();
        (done, commands)
    }

    /// The rules that there are.
    fn rules(numbers: &[u32]) -> impl Iterator<Item = Said> + '_ {
        let command = uapi::ACCELTCP_CMD_POLICY_GET;
        let rule = move |number: &u32| {
            let offloads = u32_of(uapi::ACCELTCP_A_POLICY_OFFLOADS, *number);
            Said::Packet(command, 2, [u32_of(1, *number), offloads].concat())
        };
        numbers.iter().map(rule).chain([Said::Done(2)])
    }

    fn changed(added: u32, removed: u32, unchanged: u32) -> [Said; 2] {
        let counts = [u32_of(2, added), u32_of(3, removed), u32_of(4, unchanged)];
        let command = uapi::ACCELTCP_CMD_POLICY_SET;
        [Said::Packet(command, 0, counts.concat()), Said::Ack(0)]
    }

    const GET: u8 = uapi::ACCELTCP_CMD_POLICY_GET;
    const SET: u8 = uapi::ACCELTCP_CMD_POLICY_SET;

    fn shown(report: &Report, json: bool) -> String {
        written(json, false, |output| report.show(2, output))
    }

    #[test]
    fn all_rules_are_replaced_by_one_request() {
        let script = rules(&[1, 2]).chain(changed(1, 1, 1)).chain(rules(&[2, 3]));
        let (done, commands) = loaded(script);
        assert_eq!(commands, [GET, SET, GET]);
        let report = done.unwrap();
        assert_eq!(
            shown(&report, false),
            "2 rules: 1 added, 1 removed, 1 unchanged\n- --offload setup\n+ --offload setup,teardown\n"
        );
        assert_eq!(
            shown(&report, true),
            concat!(
                r#"{"added":1,"added_rules":["--offload setup,teardown"],"removed":1,"#,
                r#""removed_rules":["--offload setup"],"rules":2,"unchanged":1}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_file_that_has_not_changed() {
        let script = rules(&[1, 2]).chain(changed(0, 0, 2)).chain(rules(&[1, 2]));
        let report = loaded(script).0.unwrap();
        assert_eq!(shown(&report, false), "2 rules, none is new or gone\n");
    }

    #[test]
    fn the_line_of_a_refused_rule_is_told() {
        // Behind the first rule.
        let first = 20 + 4 + policy_bytes();
        let ack = [
            &(-libc::ENOSPC).to_ne_bytes()[..],
            &[0; 16],
            &u32_of(2, first),
        ];
        let script = rules(&[9]).chain([Said::Refused(ack.concat())]);
        let (done, commands) = loaded(script);
        assert_eq!(
            format!("{:#}", done.err().unwrap()),
            "f:3: the kernel refuses it; the rules are as before: No space left on device"
        );
        assert_eq!(commands, [GET, SET]);
        let (done, _) = loaded(rules(&[9]).chain([Said::Ack(-libc::ENOSPC)]));
        let error = format!("{:#}", done.err().unwrap());
        assert!(
            error.starts_with("f: the kernel refuses it; the rules are as before"),
            "{error}"
        );
    }

    /// Bytes of a rule with ports and offloads.
    fn policy_bytes() -> u32 {
        8 + 8 + 8
    }

    #[test]
    fn names_are_looked_up_before_anything_is_changed() {
        let text = "--uid no-such-user\n--dev no-such-dev --cgroup /no/such\n--cgroup /a/../b\n";
        let lines = parse("f", text).unwrap();
        let error = resolve("f", &lines).unwrap_err();
        let numbers: Vec<_> = error.lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 3]);
    }
}
