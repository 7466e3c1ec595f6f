// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab kunit`.

use std::process::ExitCode;

use anyhow::{ensure, Result};

use crate::{
    build,
    session::{self, Entered, Session},
    util::{Kernel, Layout},
};

/// What the module's suites, which run when it is loaded, have left. They all begin with its name.
const RESULTS: &str = "cat /sys/kernel/debug/kunit/acceltcp*/results";

/// Arguments of `lab kunit`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the module's KUnit suites. They are in a build of the module for them alone, which is tested
/// on the debug kernel unless another one is asked for.
///
/// # Errors
///
/// The set-up or the build failed, or the guest's kernel complained. Failing cases are no error, but
/// an exit status.
pub fn run(_args: &Args, layout: &Layout) -> Result<ExitCode> {
    let layout = match layout.guest_kernel() {
        Kernel::Stock => layout.clone().with_kernel(Kernel::Debug),
        _ => layout.clone(),
    };
    let layout = layout.with_kunit();
    if !session::is_inside() {
        build::ensure(&layout)?;
    }
    if let Entered::Done(code) = session::enter(&layout)? {
        return Ok(code);
    }
    let session = Session::builder().name("kunit").cards(0).start(&layout)?;
    let results = session.guest().run_ok(RESULTS)?;
    let ended = session.shutdown();
    let cases = parse(&results);
    ensure!(!cases.is_empty(), "the module has no KUnit suite");
    for case in &cases {
        let word = if case.passed { "ok" } else { "FAILED" };
        println!("{word} {}", case.name);
        for line in &case.messages {
            println!("    {line}");
        }
    }
    let (passed, failed): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.passed);
    let (passed, mut failed) = (passed.len(), failed.len());
    if let Err(error) = ended {
        println!("FAILED: {error:#}");
        failed += 1;
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// One case of a suite.
#[derive(Debug, Eq, PartialEq)]
struct Case {
    /// `suite.case`.
    name: String,
    passed: bool,
    /// What it said.
    messages: Vec<String>,
}

/// Lines that say nothing of a case.
const PLAN: &[&str] = &["KTAP", "1..", "# module:"];

/// In lines that give an attribute of a case.
const ATTRIBUTE: &str = ".speed: ";

/// Reads KTAP as KUnit writes it: the cases of a suite stand four blanks deep.
fn parse(ktap: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut suite = "";
    let mut messages = Vec::new();
    for line in ktap.lines() {
        let Some(inner) = line.strip_prefix("    ") else {
            continue;
        };
        if let Some(name) = inner.strip_prefix("# Subtest: ") {
            suite = name;
            messages.clear();
        } else if let Some((passed, name)) = result(inner) {
            cases.push(Case {
                name: format!("{suite}.{name}"),
                passed,
                messages: std::mem::take(&mut messages),
            });
        } else if !PLAN.iter().any(|word| inner.starts_with(word)) && !inner.contains(ATTRIBUTE) {
            messages.push(inner.trim_start_matches(['#', ' ']).to_owned());
        }
    }
    cases
}

/// `ok 1 name` and `not ok 2 name`; a case that was skipped has not failed.
fn result(line: &str) -> Option<(bool, &str)> {
    let (passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    Some((passed, name.split(" # ").next().unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_all_suites_are_read() {
        let ktap = "\
    KTAP version 1
    # Subtest: rings
    # module: acceltcp
    1..2
    ok 1 wraps
    # full: ASSERTION FAILED at rust/agilio/ring_tx.rs:12
    Expected 1 == 2 to be true, but is false
    not ok 2 full
# rings: pass:1 fail:1 skip:0 total:2
not ok 1 rings
    KTAP version 1
    # Subtest: options
    # module: acceltcp
    1..1
    # reads.speed: normal
    ok 1 reads # SKIP no memory
ok 2 options
";
        let cases = parse(ktap);
        let names: Vec<(&str, bool)> = cases.iter().map(|c| (c.name.as_str(), c.passed)).collect();
        assert_eq!(
            names,
            [
                ("rings.wraps", true),
                ("rings.full", false),
                ("options.reads", true)
            ]
        );
        assert!(cases[1].messages[0].contains("ASSERTION FAILED"));
        assert!(cases[2].messages.is_empty());
    }
}
