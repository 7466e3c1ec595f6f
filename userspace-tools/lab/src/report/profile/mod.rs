// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the kernel's instructions go: by functions, and by groups of functions.
//!
//! A block ends at the first branch, call or return, so that it counts whole for the function that its
//! first address lies in. Functions that are inlined count for those that they are inlined into, and
//! those of one name are one.

mod groups;
mod symbols;

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{presets, Cell, CellAlignment, Table};

use super::{table::grouped, Profiled};
use groups::group;
use symbols::Function;
pub use symbols::Symbols;

/// Longer names are cut in tables: Rust's are paths.
const NAME: usize = 88;

/// What a transaction costs in one function.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    instructions: f64,
    calls: f64,
}

/// What a transaction of a load costs in each function.
#[derive(Debug)]
pub struct Functions {
    name: String,
    costs: BTreeMap<Function, Cost>,
    /// Sum of the functions.
    profiled: f64,
    /// What the plain counter says.
    counted: f64,
    /// That less what the idle guest would have executed.
    net: Option<f64>,
}

impl Functions {
    /// Adds up the blocks of `transactions`. `name` is the heading, and `net` what the load's row says
    /// of the kernel's instructions.
    pub fn new(
        name: &str,
        profile: &Profiled,
        symbols: &Symbols,
        transactions: u64,
        net: Option<f64>,
    ) -> Self {
        let per_tx = |amount: u64| amount as f64 / transactions.max(1) as f64;
        let unknown = |name: &str| Function {
            module: None,
            name: name.into(),
        };
        let mut costs: BTreeMap<Function, Cost> = BTreeMap::new();
        for block in &profile.blocks.blocks {
            let (function, first) = match symbols.find(block.address) {
                Some((function, first)) => (function.clone(), first),
                None => (unknown("(no symbol)"), false),
            };
            let cost = costs.entry(function).or_default();
            cost.instructions += per_tx(block.total());
            if first {
                cost.calls += per_tx(block.executions);
            }
        }
        if profile.blocks.lost > 0 {
            let cost = costs.entry(unknown("(no slot)")).or_default();
            cost.instructions += per_tx(profile.blocks.lost);
        }
        Self {
            name: name.into(),
            costs,
            profiled: per_tx(profile.blocks.instructions()),
            counted: per_tx(profile.counted),
            net,
        }
    }

    fn groups(&self) -> BTreeMap<String, f64> {
        let mut groups = BTreeMap::new();
        for (function, cost) in &self.costs {
            *groups.entry(group(function)).or_insert(0.0) += cost.instructions;
        }
        groups
    }
}

/// Groups and sums, then the `top` functions of the last column, and what they cost in the others.
pub fn tables(columns: &[Functions], top: usize) -> String {
    let Some(last) = columns.last() else {
        return String::new();
    };
    format!(
        "{}\n\n{}",
        group_table(columns),
        function_table(columns, last, top)
    )
}

fn group_table(columns: &[Functions]) -> Table {
    let mut table = new_table("kernel insns/tx", columns);
    let sums: Vec<_> = columns.iter().map(Functions::groups).collect();
    let most = |name: &str| {
        let costs = sums.iter().filter_map(|sum| sum.get(name).copied());
        costs.fold(0.0, f64::max)
    };
    let names: BTreeSet<_> = sums.iter().flat_map(BTreeMap::keys).collect();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by(|a, b| most(b).total_cmp(&most(a)));
    for name in names {
        let cells = sums.iter().map(|sum| whole(sum.get(name).copied()));
        add(&mut table, name, cells);
    }
    let sum = |pick: fn(&Functions) -> Option<f64>| columns.iter().map(move |c| whole(pick(c)));
    add(&mut table, "all of these", sum(|c| Some(c.profiled)));
    add(&mut table, "by the plain counter", sum(|c| Some(c.counted)));
    add(&mut table, "less the idle guest's", sum(|c| c.net));
    table
}

fn function_table(columns: &[Functions], last: &Functions, top: usize) -> Table {
    let mut table = new_table("function: kernel insns (calls)/tx", columns);
    let mut functions: Vec<_> = last.costs.iter().collect();
    functions.sort_by(|(_, a), (_, b)| b.instructions.total_cmp(&a.instructions));
    for (function, _) in functions.into_iter().take(top) {
        let mut name = match &function.module {
            Some(module) => format!("[{module}] {}", function.name),
            None => function.name.clone(),
        };
        if let Some((cut, _)) = name.char_indices().nth(NAME) {
            name.replace_range(cut.., "...");
        }
        let cells = columns
            .iter()
            .map(|column| match column.costs.get(function) {
                Some(cost) => format!("{} ({:.1})", whole(Some(cost.instructions)), cost.calls),
                None => "-".into(),
            });
        add(&mut table, &name, cells);
    }
    table
}

fn new_table(what: &str, columns: &[Functions]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let names = columns.iter().map(|column| column.name.clone());
    table.set_header(std::iter::once(what.to_string()).chain(names));
    table
}

fn add(table: &mut Table, name: &str, cells: impl Iterator<Item = String>) {
    let numbers = cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
    table.add_row(std::iter::once(Cell::new(name)).chain(numbers));
}

fn whole(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| grouped(value.max(0.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use lab_count::{Block, Profile};

    use super::*;

    const SYMBOLS: &str = "\
ffffffff81000200 T tcp_ack
ffffffff81000300 T kfree
ffffffffc0000000 t poll\t[acceltcp]
";

    fn block(address: u64, instructions: u64, executions: u64) -> Block {
        Block {
            address,
            instructions,
            executions,
        }
    }

    fn functions(name: &str, blocks: Vec<Block>, lost: u64) -> Functions {
        let blocks = Profile { blocks, lost };
        let counted = blocks.instructions();
        let profile = Profiled { counted, blocks };
        let symbols = Symbols::parse(SYMBOLS).unwrap();
        Functions::new(name, &profile, &symbols, 10, Some(12.0))
    }

    fn rows(text: &str) -> Vec<Vec<String>> {
        let cells = |line: &str| {
            line.split('|')
                .map(|cell| cell.trim().to_string())
                .collect()
        };
        text.lines().map(cells).collect()
    }

    fn row(text: &str, name: &str) -> Vec<String> {
        let found = rows(text)
            .into_iter()
            .find(|row| row.get(1).is_some_and(|n| n == name));
        found.unwrap_or_else(|| panic!("no {name} in\n{text}"))[2..4].to_vec()
    }

    #[test]
    fn blocks_add_up_to_functions_and_groups() {
        let host = vec![
            block(0xffff_ffff_8100_0200, 5, 40),
            block(0xffff_ffff_8100_0210, 10, 20),
            block(0xffff_ffff_8100_0300, 3, 10),
        ];
        let card = vec![
            block(0xffff_ffff_8100_0200, 5, 20),
            block(0xffff_ffff_c000_0000, 30, 10),
        ];
        let text = tables(&[functions("host", host, 0), functions("card", card, 0)], 2);
        assert_eq!(row(&text, "TCP"), ["40", "10"]);
        assert_eq!(row(&text, "memory"), ["3", "-"]);
        assert_eq!(row(&text, "module acceltcp"), ["-", "30"]);
        assert_eq!(row(&text, "all of these"), ["43", "40"]);
        assert_eq!(row(&text, "by the plain counter"), ["43", "40"]);
        assert_eq!(row(&text, "less the idle guest's"), ["12", "12"]);
        // Only the first block of a function is a call.
        assert_eq!(row(&text, "tcp_ack"), ["40 (4.0)", "10 (2.0)"]);
        assert_eq!(row(&text, "[acceltcp] poll"), ["-", "30 (1.0)"]);
        assert!(!text.contains("kfree"));
    }

    #[test]
    fn nothing_counted_is_left_out() {
        let blocks = vec![block(0xffff_8000_0000_0000, 2, 10)];
        let text = tables(
            &[functions("a", blocks, 50), functions("b", Vec::new(), 0)],
            9,
        );
        assert_eq!(row(&text, "other"), ["7", "-"]);
        assert_eq!(row(&text, "all of these"), ["7", "0"]);
        assert!(tables(&[], 9).is_empty());
    }

    #[test]
    fn most_expensive_come_first() {
        let blocks = vec![
            block(0xffff_ffff_8100_0200, 1, 10),
            block(0xffff_ffff_8100_0300, 3, 10),
            block(0xffff_8000_0000_0000, 2, 10),
        ];
        let text = tables(&[functions("a", blocks, 0)], 2);
        let (_, functions) = text.split_once("\n\n").unwrap();
        let names: Vec<_> = rows(functions)[2..]
            .iter()
            .map(|row| row[1].clone())
            .collect();
        assert_eq!(names, ["kfree", "(no symbol)"]);
    }
}
