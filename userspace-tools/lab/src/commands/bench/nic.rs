// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a packet costs in the NIC's stack: time on this machine, and instructions, which are the same on every one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{bail, ensure, Context, Result};
use comfy_table::{presets, Cell, CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::{
    report::grouped,
    session::{Cmd, Driver, Session},
    setup,
    util::{Layout, Step},
};

/// The program in the guest.
const PROGRAM: &str = "/build/bin/nicstack-bench";

/// Packets that are counted; their instructions must dwarf what the idle guest executes meanwhile.
const PACKETS: u64 = 20_000;

/// A case and its cost for each packet.
#[derive(Clone, Debug, Serialize)]
struct PacketCost {
    case: String,
    ns_per_packet: f64,
    insns_per_packet: f64,
}

/// The part of a line of `cargo --message-format=json` that counts here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// The part of criterion's `estimates.json` that counts here.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    /// Nanoseconds.
    point_estimate: f64,
}

/// Measures all cases, prints them and writes them to `path`.
pub(super) fn run(layout: &Layout, path: &Path) -> Result<()> {
    let program = build(layout)?;
    let cases = Command::new(&program).arg("--list").output()?;
    ensure!(cases.status.success(), "{}: {}", PROGRAM, cases.status);
    let cases: Vec<String> = String::from_utf8(cases.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    let times = times(layout, &program, &cases)?;
    let instructions = instructions(layout, &cases)?;
    let costs: Vec<_> = cases
        .into_iter()
        .map(|case| PacketCost {
            ns_per_packet: times[&case],
            insns_per_packet: instructions[&case],
            case,
        })
        .collect();
    fs::create_dir_all(layout.report())?;
    fs::write(path, serde_json::to_string_pretty(&costs)?)?;
    println!("{}", table(&costs));
    println!("All figures: {}", path.display());
    Ok(())
}

/// Builds the bench and copies it to where guests see it.
fn build(layout: &Layout) -> Result<PathBuf> {
    let step = Step::start(layout, "bench-nic", "build the bench of the NIC's stack")?;
    let output = Command::new(setup::check_cargo()?)
        .current_dir(layout.top())
        .args(["bench", "--locked", "--no-run", "-p", "nicstack"])
        .args(["--bench", "setup", "--message-format=json", "--target-dir"])
        .arg(layout.target())
        .output()?;
    ensure!(
        output.status.success(),
        "the bench does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let built = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| {
            let target = message.target.as_ref();
            target.is_some_and(|target| target.kind.iter().any(|kind| kind == "bench"))
        })
        .find_map(|message| message.executable);
    let Some(built) = built else {
        bail!("cargo does not say where the bench is");
    };
    let program = layout.bin().join("nicstack-bench");
    fs::copy(&built, &program).context("cannot install the bench")?;
    step.done();
    Ok(program)
}

/// Nanoseconds for each packet, by criterion.
fn times(layout: &Layout, program: &Path, cases: &[String]) -> Result<BTreeMap<String, f64>> {
    let home = layout.report().join("criterion");
    let step = Step::start(layout, "bench-nic-times", "measure times")?;
    step.run(
        Command::new(program)
            .args(["--bench", "--noplot", "--warm-up-time", "1"])
            .args(["--measurement-time", "2"])
            .env("CRITERION_HOME", &home),
    )?;
    step.done();
    let mut times = BTreeMap::new();
    for case in cases {
        // As criterion makes a file's name of it.
        let folder = home.join("setup").join(case.replace('/', "_"));
        let file = folder.join("new/estimates.json");
        let text = fs::read(&file).with_context(|| file.display().to_string())?;
        let estimates: Estimates = serde_json::from_slice(&text)?;
        times.insert(case.clone(), estimates.median.point_estimate);
    }
    Ok(times)
}

/// Instructions for each packet: what a run with packets takes more than one without.
fn instructions(layout: &Layout, cases: &[String]) -> Result<BTreeMap<String, f64>> {
    eprintln!("lab: count instructions ...");
    let session = Session::builder()
        .name("bench-nic")
        .driver(Driver::None)
        .count(true)
        .start(layout)?;
    let mut found = BTreeMap::new();
    for case in cases {
        let run = |count: u64| -> Result<u64> {
            let before = session.instructions()?;
            let count = count.to_string();
            session
                .guest()
                .run_ok(Cmd::new([PROGRAM, "--run", case, &count]))?;
            Ok((session.instructions()? - before).user)
        };
        // The first run brings the program into the guest's memory.
        run(1)?;
        let without = run(0)?;
        let with = run(PACKETS)?;
        let more = with.saturating_sub(without);
        found.insert(case.clone(), more as f64 / PACKETS as f64);
    }
    session.shutdown()?;
    Ok(found)
}

fn table(costs: &[PacketCost]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["packet", "ns", "instructions"]);
    for cost in costs {
        let number = |value: f64| {
            let text = grouped(value.round() as u64);
            Cell::new(text).set_alignment(CellAlignment::Right)
        };
        table.add_row([
            Cell::new(&cost.case),
            number(cost.ns_per_packet),
            number(cost.insns_per_packet),
        ]);
    }
    table.to_string()
}
