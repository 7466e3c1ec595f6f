// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rows as a table for a terminal.

use comfy_table::{presets, Cell, CellAlignment, Table};

use super::Row;

const HEADER: [&str; 11] = [
    "workload",
    "driver",
    "offload",
    "transactions",
    "errors",
    "kernel insns/tx",
    "user insns/tx",
    "rx pkts/tx",
    "tx pkts/tx",
    "irqs/tx",
    "doorbells/tx",
];

/// Columns of text; the others hold numbers.
const TEXT: usize = 3;

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(HEADER);
    for row in rows {
        let nic = &row.nic;
        let offload = match row.offload.as_slice() {
            [] => "-".into(),
            some => some.join(","),
        };
        table.add_row(
            [
                row.workload.clone(),
                row.driver.clone(),
                offload,
                whole(row.transactions),
                whole(row.errors),
                thousands(row.kernel_insns_per_tx),
                thousands(row.user_insns_per_tx),
                decimal(nic.rx_packets_per_tx),
                decimal(nic.tx_packets_per_tx),
                decimal(nic.irqs_per_tx),
                decimal(nic.doorbells_per_tx),
            ]
            .into_iter()
            .enumerate()
            .map(|(column, text)| {
                let cell = Cell::new(text);
                match column < TEXT {
                    true => cell,
                    false => cell.set_alignment(CellAlignment::Right),
                }
            }),
        );
    }
    table.to_string()
}

fn whole(value: Option<u64>) -> String {
    value.map_or("-".into(), grouped)
}

fn thousands(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| grouped(value.max(0.0).round() as u64))
}

fn decimal(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.2}"))
}

/// Digits in groups of three.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Nic;

    #[test]
    fn digits_are_grouped() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (80_900, "80,900")] {
            assert_eq!(grouped(value), text);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn unmeasured_is_a_dash() {
        let row = Row {
            workload: "redis-short".into(),
            server: String::new(),
            client: String::new(),
            driver: "nfp".into(),
            offload: Vec::new(),
            vcpus: 1,
            transactions: Some(5000),
            errors: Some(0),
            rate_per_s: None,
            kernel_insns_per_s: None,
            kernel_insns_per_tx: Some(80_950.4),
            user_insns_per_tx: None,
            nic: Nic::default(),
        };
        let text = table(&[row]);
        let line = text.lines().last().unwrap();
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells[1..6], ["redis-short", "nfp", "-", "5,000", "0"]);
        assert_eq!(cells[6..9], ["80,950", "-", "-"]);
    }
}
