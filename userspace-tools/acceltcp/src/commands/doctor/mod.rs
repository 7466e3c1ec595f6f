// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp doctor`: looks for what keeps offloads from working.
//!
//! Facts are gathered first; the checks are functions of them, and of a directory with `proc` and `sys` in
//! it, so that tests need neither a module nor a card.

mod cards;
mod host;
mod policy;
mod sockets;

use anyhow::Result;
use serde::Serialize;

use crate::{
    exit::Status,
    netlink::{
        device::{self, Device},
        listener::each_listener,
        policy::{rules, Rule},
        Connection, Error, Step, Wire,
    },
    output::{Output, Tone},
    system::{sockmap, Root},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// To be looked at.
    Warn,
    /// Offloads do not work.
    Fail,
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Finding {
    level: Level,
    check: &'static str,
    message: String,
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            check,
            message: message.into(),
            advice: None,
        }
    }

    fn warn(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            advice: Some(advice.into()),
            ..Self::ok(check, message)
        }
    }

    fn fail(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::warn(check, message, advice)
        }
    }
}

/// What the module says.
#[derive(Debug, Default)]
struct Facts {
    devices: Vec<Device>,
    sockets: sockets::Sockets,
    rules: Vec<Rule>,
    /// BPF maps of sockets.
    sockmaps: Vec<String>,
}

fn gather<W: Wire>(connection: &mut Connection<W>) -> Result<Facts> {
    let devices = device::devices(connection)?;
    let rules = rules(connection)?;
    let mut sockets = sockets::Sockets::default();
    let _ = each_listener(connection, |step| {
        match step {
            Step::Entry(listener) => sockets.add(&listener),
            Step::Restart => sockets = sockets::Sockets::default(),
        }
        Ok(())
    })?;
    Ok(Facts {
        devices,
        sockets,
        rules,
        sockmaps: sockmap::names(),
    })
}

/// Looks at everything.
pub fn run(output: &mut Output<'_>) -> Result<Status> {
    let facts = Connection::open().map_err(Into::into);
    let facts = facts.and_then(|mut connection| gather(&mut connection));
    let findings = examine(&Root::default(), &facts);
    show(output, &findings)?;
    Ok(match findings.iter().map(|one| one.level).max() {
        Some(Level::Fail) => Status::Unhealthy,
        _ => Status::Ok,
    })
}

fn examine(root: &Root, facts: &Result<Facts>) -> Vec<Finding> {
    let mut findings = vec![host::kernel(root), host::module(root), family(facts)];
    let none = Facts::default();
    let told = facts.as_ref().unwrap_or(&none);
    if facts.is_ok() {
        findings.extend(cards::cards(&told.devices));
    }
    findings.extend(host::settings(root));
    findings.push(host::syncookies(root));
    findings.push(host::conntrack(root));
    findings.extend(cards::steering(root, &told.devices));
    if facts.is_ok() {
        findings.extend(cards::tables(&told.devices));
        findings.extend(sockets::findings(root, &told.sockets));
        findings.extend(policy::findings(root, &told.rules, &told.sockmaps));
    }
    findings
}

fn family(facts: &Result<Facts>) -> Finding {
    let check = "netlink";
    match facts {
        Ok(_) => Finding::ok(check, "the module answers"),
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::NoFamily) => Finding::fail(
                check,
                "the netlink family acceltcp is not there",
                "load the module: modprobe acceltcp",
            ),
            Some(error) if error.is_permission() => {
                Finding::fail(check, error.to_string(), "run it as root")
            }
            _ => Finding::fail(
                check,
                format!("{error:#}"),
                "tool and module may be of different versions; install those that belong together",
            ),
        },
    }
}

fn show(output: &mut Output<'_>, findings: &[Finding]) -> Result<()> {
    if output.is_json() {
        return output.value(&findings);
    }
    for one in findings {
        let (tone, word) = match one.level {
            Level::Ok => (Tone::Good, "ok"),
            Level::Warn => (Tone::Warning, "warn"),
            Level::Fail => (Tone::Bad, "fail"),
        };
        let word = output.paint(tone, format_args!("{word:<4}"));
        output.line(format_args!("{word}  {}: {}", one.check, one.message))?;
        if let Some(advice) = &one.advice {
            output.line(format_args!("      {advice}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
