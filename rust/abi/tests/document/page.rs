// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The page as reStructuredText.

use super::layout::Layouts;
use super::source::{Group, Module};

/// Rustdoc's marks as those of reStructuredText.
fn rst(said: &str) -> String {
    let mut plain = String::new();
    let mut rest = said;
    // A link: its target goes.
    while let Some((before, link)) = rest.split_once("[`") {
        plain.push_str(before);
        let Some((name, after)) = link.split_once("`]") else {
            rest = link;
            break;
        };
        plain.push('`');
        plain.push_str(name.trim_start_matches("super::"));
        plain.push('`');
        rest = match after
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
        {
            Some((_, rest)) => rest,
            None => after,
        };
    }
    plain.push_str(rest);
    plain.replace('`', "``")
}

/// A paragraph in one line.
fn line(said: &str) -> String {
    let words: Vec<_> = said.split_whitespace().collect();
    rst(&words.join(" "))
}

fn heading(text: &str, mark: &str) -> String {
    format!("{text}\n{}\n\n", mark.repeat(text.chars().count()))
}

/// A table whose last column may be of any length.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let all =
        || std::iter::once(head).chain(rows.iter().map(|row| row.each_ref().map(|s| s.as_str())));
    let width = |column: usize| {
        all()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(|column| width(column).max(2));
    let join = |cells: Vec<String>| format!("{}\n", cells.join(" ").trim_end());
    let rule = join(widths.iter().map(|width| "=".repeat(*width)).collect());
    let mut out = rule.clone();
    for (number, row) in all().enumerate() {
        let cells = row.iter().zip(widths);
        out += &join(
            cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect(),
        );
        if number == 0 {
            out += &rule;
        }
    }
    out + &rule + "\n"
}

/// The paragraphs of a module; its own headings become bold lines.
fn prose(said: &str) -> String {
    let lines = said.lines().map(|line| match line.strip_prefix("# ") {
        Some(title) => format!("**{title}**"),
        None => rst(line),
    });
    let lines: Vec<_> = lines.collect();
    format!("{}\n\n", lines.join("\n").trim())
}

fn group(group: &Group) -> String {
    let mut out = String::new();
    if group.constants.is_empty() {
        return out;
    }
    if !group.name.is_empty() {
        out += &heading(&format!("``{}``", group.name), "~");
        out += &format!("{}\n\n", line(&group.said));
    }
    let rows: Vec<_> = group
        .constants
        .iter()
        .map(|constant| {
            assert!(
                !constant.said.is_empty(),
                "nothing is said of {}",
                constant.name
            );
            [
                format!("``{}``", constant.name),
                format!("``{}``", constant.value),
                line(&constant.said),
            ]
        })
        .collect();
    out + &table(["Name", "Value", "Meaning"], &rows)
}

/// All of `modules`.
pub(crate) fn write(modules: &[Module]) -> String {
    let layouts = Layouts::of(modules);
    let mut out = String::new();
    for module in modules {
        out += &heading(&format!("``{}``", module.name), "-");
        out += &prose(&module.said);
        for item in &module.structs {
            let Some(layout) = layouts.get(&item.name) else {
                continue;
            };
            out += &heading(&format!("{}, {} bytes", item.name, layout.size), "~");
            out += &prose(&item.said);
            let rows: Vec<_> = layout
                .fields
                .iter()
                .map(|field| {
                    [
                        format!("{:#04x}", field.offset),
                        field.kind.clone(),
                        format!("``{}``", field.name),
                        line(&field.said),
                    ]
                })
                .collect();
            out += &table(["At", "Type", "Field", "Meaning"], &rows);
        }
        for constants in &module.groups {
            out += &group(constants);
        }
    }
    out
}

#[test]
fn links_lose_their_targets() {
    assert_eq!(
        line("See [`super::cmd::A`](x::y)\nof [`B`] and `c`."),
        "See ``cmd::A`` of ``B`` and ``c``."
    );
}
