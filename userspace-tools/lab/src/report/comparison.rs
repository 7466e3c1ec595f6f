// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Two drivers side by side.

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
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
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

/// Kernel instructions per transaction of two drivers for each load, and their ratio.
pub fn comparison(rows: &[Row], drivers: [&str; 2]) -> String {
    let mut loads: Vec<&str> = Vec::new();
    for row in rows {
        if !loads.contains(&row.workload.as_str()) {
            loads.push(&row.workload);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "workload".to_string(),
        "n".into(),
        format!("{} kernel insns/tx", drivers[0]),
        format!("{} kernel insns/tx", drivers[1]),
        format!("{} / {}", drivers[1], drivers[0]),
    ]);
    for load in loads {
        let of = |driver: &str| {
            let mine = |row: &&Row| row.workload == load && row.driver == driver;
            Spread::of(
                rows.iter()
                    .filter(mine)
                    .filter_map(|row| row.kernel_insns_per_tx),
            )
        };
        let [first, second] = drivers.map(of);
        let ratio = first
            .zip(second)
            .map(|(first, second)| format!("{:.3}", second.median / first.median));
        let count = rows
            .iter()
            .filter(|row| row.workload == load && row.driver == drivers[0])
            .count();
        let cells = [
            count.to_string(),
            first.map_or("-".into(), Spread::text),
            second.map_or("-".into(), Spread::text),
            ratio.unwrap_or("-".into()),
        ];
        let numbers = cells
            .into_iter()
            .map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(load)).chain(numbers));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
