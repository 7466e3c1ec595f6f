// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Drivers or offloads side by side.

use comfy_table::{presets, Cell, CellAlignment, Table};

use super::{table::grouped, Row};

/// Median and range of repeated measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// `None` without values.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        Some(Self {
            median: median(values.clone())?,
            least: values.clone().min_by(f64::total_cmp)?,
            most: values.max_by(f64::total_cmp)?,
        })
    }

    /// Median, and the range in percent of it.
    fn text(self) -> String {
        let range = 100.0 * (self.most - self.least) / self.median;
        format!(
            "{} (range {range:.1} %)",
            grouped(self.median.max(0.0).round() as u64)
        )
    }
}

/// The middle value; `None` without values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => Some(f64::midpoint(
            values[middle.checked_sub(1)?],
            values[middle],
        )),
        _ => Some(values[middle]),
    }
}

/// One of the things that are compared.
#[derive(Clone, Debug)]
pub struct Column {
    /// What the table calls it.
    pub name: String,
    /// Driver of its rows.
    pub driver: String,
    /// Offloads of its rows.
    pub offload: Vec<String>,
}

impl Column {
    fn has(&self, row: &Row) -> bool {
        row.driver == self.driver && row.offload == self.offload
    }
}

/// Kernel instructions per transaction of all columns for each load, and their ratios to the first
/// one.
pub fn comparison(rows: &[Row], columns: &[Column]) -> String {
    let mut loads: Vec<&str> = Vec::new();
    for row in rows {
        if !loads.contains(&row.workload.as_str()) {
            loads.push(&row.workload);
        }
    }
    let Some((yardstick, others)) = columns.split_first() else {
        return String::new();
    };
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(
        ["workload".to_string(), "n".into()]
            .into_iter()
            .chain(
                columns
                    .iter()
                    .map(|c| format!("{} kernel insns/tx", c.name)),
            )
            .chain(
                others
                    .iter()
                    .map(|c| format!("{} / {}", c.name, yardstick.name)),
            ),
    );
    for load in loads {
        let mine = |column: &Column, row: &Row| row.workload == load && column.has(row);
        let spreads = columns.iter().map(|column| {
            let rows = rows.iter().filter(|row| mine(column, row));
            Spread::of(rows.filter_map(|row| row.kernel_insns_per_tx))
        });
        let spreads: Vec<_> = spreads.collect();
        let ratio = |other: &Option<Spread>| {
            let (first, other) = spreads[0].zip(*other)?;
            Some(format!("{:.3}", other.median / first.median))
        };
        let count = rows.iter().filter(|row| mine(yardstick, row)).count();
        let numbers = std::iter::once(count.to_string())
            .chain(
                spreads
                    .iter()
                    .map(|spread| spread.map_or("-".into(), Spread::text)),
            )
            .chain(
                spreads[1..]
                    .iter()
                    .map(|other| ratio(other).unwrap_or("-".into())),
            )
            .map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(load)).chain(numbers));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Kernel, Nic};

    #[test]
    fn median_of_odd_and_even_counts() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter()).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).unwrap().median, 1.5);
        assert_eq!(Spread::of([].into_iter()), None);
    }

    #[test]
    fn range_is_relative_to_the_median() {
        let spread = Spread::of([99_000.0, 100_000.0, 102_000.0].into_iter()).unwrap();
        assert_eq!(spread.text(), "100,000 (range 3.0 %)");
    }

    #[test]
    fn rows_are_told_apart_by_offload() {
        let column = |offload: &[&str]| Column {
            name: if offload.is_empty() { "host" } else { "card" }.into(),
            driver: "acceltcp".into(),
            offload: offload.iter().map(|name| (*name).into()).collect(),
        };
        let columns = [column(&[]), column(&["setup"])];
        let row = |column: &Column, insns| Row {
            workload: "redis-short".into(),
            server: String::new(),
            client: String::new(),
            driver: column.driver.clone(),
            offload: column.offload.clone(),
            vcpus: 1,
            clock: "instructions".into(),
            guest_seconds: 1.0,
            transactions: Some(5000),
            errors: Some(0),
            rate_per_s: None,
            kernel_insns_per_s: None,
            kernel_insns_per_tx: Some(insns),
            user_insns_per_tx: None,
            nic: Nic::default(),
            kernel: Kernel::default(),
        };
        let rows = [row(&columns[0], 80_000.0), row(&columns[1], 60_000.0)];
        let text = comparison(&rows, &columns);
        let line = text.lines().last().unwrap();
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells[1..3], ["redis-short", "1"]);
        assert_eq!(
            cells[3..5],
            ["80,000 (range 0.0 %)", "60,000 (range 0.0 %)"]
        );
        assert_eq!(cells[5], "0.750");
        assert!(comparison(&rows, &[]).is_empty());
    }
}
