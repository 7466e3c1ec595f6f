// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters and what the sources say of them.

use std::{fs, path::Path};

/// Name and meaning, in the order of the source.
pub(crate) type Rows = Vec<(String, String)>;

/// The top folder of the repository.
pub(crate) fn top() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of `file` between the line `first` and the next line `last`, both without what is behind them.
fn block<'t>(text: &'t str, first: &str, last: &str) -> Vec<&'t str> {
    let mut lines = text.lines();
    assert!(lines.any(|line| line == first), "no line {first:?}");
    lines.take_while(|line| *line != last).collect()
}

/// Pairs each name in `lines` with the comment above it.
///
/// # Panics
///
/// When a name has none.
fn documented<'t>(lines: &[&'t str], name: impl Fn(&'t str) -> Option<&'t str>) -> Rows {
    let mut rows = Rows::new();
    let mut said: Vec<&str> = Vec::new();
    for line in lines.iter().map(|line| line.trim()) {
        if let Some(comment) = line.strip_prefix("//") {
            said.push(comment.trim_start_matches('/').trim());
        } else if let Some(name) = name(line) {
            assert!(!said.is_empty(), "nothing is said of {name}");
            rows.push((name.to_owned(), said.join(" ")));
            said.clear();
        }
    }
    assert!(!rows.is_empty());
    rows
}

fn read(file: &str) -> String {
    let path = top().join(file);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// What offloads count on the host.
pub(crate) fn host() -> Rows {
    let text = read("rust/offload/counters.rs");
    documented(&block(&text, "counters! {", "}"), |line| {
        line.strip_suffix(',')
    })
}

/// What the struct `name` counts of each ring.
pub(crate) fn ring(name: &str) -> Rows {
    let text = read("rust/agilio/stats.rs");
    documented(&block(&text, &format!("    {name} {{"), "    }"), |line| {
        line.strip_suffix(',')
    })
}

/// The list in the driver that begins with `first`.
pub(crate) fn driver(first: &str) -> Rows {
    let text = read("rust/agilio/ethtool.rs");
    documented(&block(&text, first, "];"), |line| {
        line.strip_prefix('"')?.strip_suffix("\",")
    })
}

/// The set `name` of the model's own counters.
pub(crate) fn model(name: &str) -> Rows {
    let text = read("firmware/agilio-model/src/counters.rs");
    documented(&block(&text, &format!("    {name} {{"), "    }"), |line| {
        line.split_once(" = \"")?.1.strip_suffix("\",")
    })
}

/// Fields of the struct `name` of the stack's memory; of each the first sentence.
pub(crate) fn memory(name: &str) -> Rows {
    let text = read("firmware/nicstack/src/memory.rs");
    let lines = block(&text, &format!("pub struct {name} {{"), "}");
    let fields = documented(&lines, |line| line.strip_prefix("pub ")?.split(':').next());
    let first = |said: String| said.split_inclusive(". ").next().map(|s| s.trim().into());
    let rows = fields.into_iter();
    rows.filter_map(|(name, said)| Some((name, first(said)?)))
        .collect()
}

/// What the enum `State` in `file` says of `states`, whose names are given behind their Rust names.
pub(crate) fn states(file: &str, states: &[(String, &'static str)]) -> Rows {
    let text = read(file);
    let said = documented(&block(&text, "pub enum State {", "}"), |line| {
        line.strip_suffix(',')
    });
    let find = |rust: &str| {
        let found = said.iter().find(|(name, _)| name == rust);
        found.unwrap_or_else(|| panic!("no state {rust}")).1.clone()
    };
    let rows = states.iter();
    rows.map(|(rust, name)| (name.to_string(), find(rust)))
        .collect()
}
