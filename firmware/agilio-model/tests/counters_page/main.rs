// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Documentation/counters.rst has every counter, and says of it what the source says.
//!
//! The tables of the page are made here. After a change of the counters
//! `UPDATE_DOCS=1 cargo test -p agilio-model --test counters_page` writes them anew.

mod source;

use acceltcp_abi::counter::Counter;
use nicstack::{splice::pair, teardown::tcb};
use source::{top, Rows};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::{env, fs};

/// Puts `before` in front of all names.
fn with_prefix(before: &str, rows: Rows) -> Rows {
    let rows = rows.into_iter();
    rows.map(|(name, said)| (format!("{before}{name}"), said))
        .collect()
}

fn stack() -> Rows {
    let counters = Counter::ALL.iter();
    counters
        .map(|counter| (format!("nic.{}", counter.name()), counter.doc().into()))
        .collect()
}

fn states() -> Rows {
    let closing = tcb::State::ALL.map(|state| (format!("{state:?}"), state.name()));
    let spliced = pair::State::ALL.map(|state| (format!("{state:?}"), state.name()));
    let closing = source::states("firmware/nicstack/src/teardown/tcb.rs", &closing);
    let spliced = source::states("firmware/nicstack/src/splice/pair.rs", &spliced);
    let mut rows = with_prefix("nic.teardown.state.", closing);
    rows.extend(with_prefix("nic.splice.state.", spliced));
    rows
}

/// The tables by their names on the page.
fn tables() -> Vec<(&'static str, Rows)> {
    let mut sent = source::ring("TxStats");
    sent.extend(source::ring("TxDoneStats"));
    vec![
        ("driver", source::driver("const DRIVER: &[&str] = &[")),
        ("rx ring", with_prefix("rxN_", source::ring("RxStats"))),
        ("tx ring", with_prefix("txN_", sent)),
        (
            "port",
            source::driver("const CARD: [&str; card::COUNT] = ["),
        ),
        ("host", source::host()),
        ("stack", stack()),
        ("tables", source::memory("Capacity")),
        ("states", states()),
        ("model", source::model("Counter")),
        ("drops", source::model("DropReason")),
        ("faults", source::model("FaultKind")),
    ]
}

/// Rustdoc's marks as those of reStructuredText.
fn rst(said: &str) -> String {
    let plain = said.replace("[`", "`").replace("`]", "`");
    plain.replace('`', "``").replace('*', "\\*")
}

fn table(rows: &Rows) -> String {
    let names = rows.iter().map(|(name, _)| format!("``{name}``"));
    let names: Vec<_> = names.collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let rule = format!("{} {}\n", "=".repeat(width), "=".repeat(100 - width));
    let lines = names
        .iter()
        .zip(rows)
        .map(|(name, (_, said))| format!("{name:width$} {}\n", rst(said)));
    format!("{rule}{}{rule}", lines.collect::<String>())
}

/// `page` with the table `name` replaced.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let begin = format!(".. begin {name}, made by firmware/agilio-model/tests/counters_page\n");
    let end = format!(".. end {name}\n");
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        panic!("the page has not the marks of {name:?}:\n{begin}{end}");
    };
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_page_says_what_the_sources_say() {
    let path = top().join("Documentation/counters.rst");
    let page = fs::read_to_string(&path).unwrap();
    let wanted = tables()
        .into_iter()
        .fold(page.clone(), |page, (name, rows)| {
            with_table(&page, name, &table(&rows))
        });
    if env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
        return;
    }
    let differs = wanted
        .lines()
        .zip(page.lines())
        .find(|(new, old)| new != old);
    assert!(
        wanted == page,
        "Documentation/counters.rst is old: {differs:?}; run this test with UPDATE_DOCS=1"
    );
}

/// Names of all counters of a running card.
fn live() -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    let mut card = Command::new(env!("CARGO_BIN_EXE_agilio-model"))
        .arg("--socket")
        .arg(dir.path().join("vfio"))
        .arg("--control")
        .arg(&control)
        .arg("--wire")
        .arg(format!("unix:{}", dir.path().join("wire").display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let answer = || -> std::io::Result<String> {
        let mut line = String::new();
        BufReader::new(card.stdout.take().unwrap()).read_line(&mut line)?;
        let mut stream = UnixStream::connect(&control)?;
        writeln!(stream, r#"{{"cmd":"counters"}}"#)?;
        line.clear();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let answer = { answer }();
    card.kill().unwrap();
    card.wait().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer.unwrap()).unwrap();
    let counters = answer["counters"].as_object().unwrap();
    counters.keys().cloned().collect()
}

#[test]
fn a_card_has_the_counters_of_the_page_and_no_others() {
    let mut named = BTreeSet::new();
    for (table, rows) in tables() {
        for (name, _) in rows {
            match table {
                "stack" | "states" | "model" | "drops" | "faults" => {
                    named.insert(name);
                }
                "tables" => {
                    for what in ["used", "capacity", "refused"] {
                        named.insert(format!("nic.table.{name}.{what}"));
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(live(), named);
}

/// Whether `word` is meant for a counter: of the offloads, or of the card's stack.
fn is_counter(word: &str) -> bool {
    let of = [
        "setup", "teardown", "splice", "late", "fallback", "rules", "keys", "policy", "nic",
    ];
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._*".contains(c);
    let first = word.split(['_', '.']).next();
    word.chars().all(plain)
        && first.is_some_and(|first| first != word && of.contains(&first))
        && !["rs", "rst", "c"]
            .iter()
            .any(|kind| word.ends_with(&format!(".{kind}")))
}

#[test]
fn other_documents_name_counters_that_there_are() {
    let mut names: Vec<_> = tables().into_iter().flat_map(|(_, rows)| rows).collect();
    for (table, _) in source::memory("Capacity") {
        for what in ["used", "capacity", "refused"] {
            names.push((format!("nic.table.{table}.{what}"), String::new()));
        }
    }
    let exists = |word: &str| match word.split_once('*') {
        Some((before, _)) => names.iter().any(|(name, _)| name.starts_with(before)),
        None => names.iter().any(|(name, _)| name == word),
    };
    for page in [
        "faq",
        "setup",
        "sockopt",
        "splice",
        "teardown",
        "troubleshooting",
    ] {
        let path = top().join(format!("Documentation/{page}.rst"));
        let text = fs::read_to_string(path).unwrap();
        let quoted = text.split("``").skip(1).step_by(2);
        for word in quoted.filter(|word| is_counter(word)) {
            let place = word.contains("TABLE");
            assert!(place || exists(word), "{page}.rst: there is no {word}");
        }
    }
}

#[test]
fn words_that_are_counters_are_told_from_others() {
    for word in ["teardown_late", "nic.syn.host.*", "nic.ack.early"] {
        assert!(is_counter(word), "{word}");
    }
    for word in ["setup", "setup.rst", "teardown,no-hold", "wheel.rs", "late"] {
        assert!(!is_counter(word), "{word}");
    }
}

#[test]
fn marks_and_stars_are_those_of_the_page() {
    assert_eq!(rst("`a` of [`B`], `c.*`"), "``a`` of ``B``, ``c.\\*``");
}
