// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp policy load`.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    netlink::{
        policy::{self, Terms},
        Connection, Wire,
    },
    output::Output,
    rule::{parse, Line, Mistake, Mistakes, Resolver},
};

/// Replaces all rules by those of `file`, or checks the file only.
pub(super) fn run(file: &Path, check: bool, output: &mut Output<'_>) -> Result<()> {
    let (name, text) = match file == Path::new("-") {
        true => ("standard input".into(), io::read_to_string(io::stdin())),
        false => (file.display().to_string(), fs::read_to_string(file)),
    };
    let text = text.with_context(|| name.clone())?;
    let lines = parse(&name, &text)?;
    if !check {
        let rules = resolve(&name, &lines, &Resolver::default())?;
        replace(&mut Connection::open()?, &name, &rules)?;
    }
    let count = lines.len();
    let what = if count == 1 { "rule" } else { "rules" };
    match (output.is_json(), check) {
        (true, _) => output.value(&json!({ "rules": count })),
        (false, true) => output.line(format_args!("{name}: {count} {what}, no mistakes")),
        (false, false) => output.line(format_args!("{count} {what}")),
    }
}

/// What the kernel is told for the lines, with their numbers; or all names that are not known.
fn resolve(
    file: &str,
    lines: &[Line],
    resolver: &Resolver,
) -> Result<Vec<(usize, Terms)>, Mistakes> {
    let mut rules = Vec::new();
    let mut mistakes = Vec::new();
    for Line { number, rule } in lines {
        match rule.terms(resolver) {
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

/// Replaces all rules; when one is refused, those that there were are put back.
fn replace<W: Wire>(
    connection: &mut Connection<W>,
    file: &str,
    rules: &[(usize, Terms)],
) -> Result<()> {
    let old = policy::rules(connection)?;
    policy::flush(connection)?;
    for (number, terms) in rules {
        if let Err(error) = policy::add(connection, terms) {
            let restored = policy::flush(connection).and_then(|()| {
                old.iter()
                    .try_for_each(|rule| policy::add(connection, &rule.terms).map(drop))
            });
            let outcome = match restored {
                Ok(()) => "the rules are as before".to_string(),
                Err(error) => format!("and the rules before could not be put back: {error}"),
            };
            return Err(error)
                .context(format!("{file}:{number}: the kernel refuses it; {outcome}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{
        testing::{u32_of, Said, Script},
        uapi,
    };

    const TEXT: &str = "--port 80\n\n--port 81\n";

    fn commands(script: impl IntoIterator<Item = Said>) -> (Result<()>, Vec<u8>) {
        let sent = std::rc::Rc::default();
        let wire = Script::new(script).recording(std::rc::Rc::clone(&sent));
        let mut connection = Connection::with(wire).unwrap();
        let rules = resolve("f", &parse("f", TEXT).unwrap(), &Resolver::default()).unwrap();
        let done = replace(&mut connection, "f", &rules);
        // The command is behind the header.
        let commands = sent.borrow().iter().map(|m: &Vec<u8>| m[16]).collect();
        (done, commands)
    }

    fn old_rule() -> Said {
        Said::Packet(uapi::ACCELTCP_CMD_POLICY_GET, 2, u32_of(1, 9))
    }

    fn added() -> [Said; 2] {
        [
            Said::Packet(uapi::ACCELTCP_CMD_POLICY_ADD, 0, u32_of(1, 1)),
            Said::Ack(0),
        ]
    }

    const GET: u8 = uapi::ACCELTCP_CMD_POLICY_GET;
    const ADD: u8 = uapi::ACCELTCP_CMD_POLICY_ADD;
    const FLUSH: u8 = uapi::ACCELTCP_CMD_POLICY_FLUSH;

    #[test]
    fn all_rules_are_replaced() {
        let [a, b] = added();
        let [c, d] = added();
        let (done, commands) = commands([old_rule(), Said::Done(2), Said::Ack(0), a, b, c, d]);
        done.unwrap();
        assert_eq!(commands, [GET, FLUSH, ADD, ADD]);
    }

    #[test]
    fn a_refused_rule_leaves_all_as_it_was() {
        let [a, b] = added();
        let [c, d] = added();
        let refused = Said::Ack(-libc::ENOSPC);
        let (done, commands) = commands([
            old_rule(),
            Said::Done(2),
            Said::Ack(0),
            a,
            b,
            refused,
            Said::Ack(0),
            c,
            d,
        ]);
        let error = format!("{:#}", done.unwrap_err());
        assert_eq!(
            error,
            "f:3: the kernel refuses it; the rules are as before: No space left on device"
        );
        assert_eq!(commands, [GET, FLUSH, ADD, ADD, FLUSH, ADD]);
    }

    #[test]
    fn names_are_looked_up_before_anything_is_changed() {
        let text = "--dev no-such-dev\n--port 80\n--cgroup /no/such\n";
        let lines = parse("f", text).unwrap();
        let error = resolve("f", &lines, &Resolver::default()).unwrap_err();
        let numbers: Vec<_> = error.lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 3]);
    }
}
