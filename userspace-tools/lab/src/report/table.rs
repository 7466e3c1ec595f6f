// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rows as a table for a terminal.

use comfy_table::{presets, Cell, CellAlignment, Table};

use super::Row;

/// Columns of text that name a row; the others hold numbers.
const TEXT: [&str; 3] = ["workload", "driver", "offload"];

const COSTS: [&str; 6] = [
    "transactions",
    "errors",
    "kernel insns/tx",
    "user insns/tx",
    "rx pkts/tx",
    "tx pkts/tx",
];

/// Of these the card counts the first two, and the guest's kernel the others.
const EVENTS: [&str; 6] = [
    "card irqs/tx",
    "doorbells/tx",
    "interrupts/tx",
    "softirqs/tx",
    "ctx switches/tx",
    "TLB shootdowns/tx",
];

/// The rows as two tables, of costs and of events, and the guest's clock.
pub fn table(rows: &[Row]) -> String {
    let costs = lines(rows, &COSTS, |row| {
        [
            whole(row.transactions),
            whole(row.errors),
            thousands(row.kernel_insns_per_tx),
            thousands(row.user_insns_per_tx),
            decimal(row.nic.rx_packets_per_tx),
            decimal(row.nic.tx_packets_per_tx),
        ]
    });
    let events = lines(rows, &EVENTS, |row| {
        [
            row.nic.irqs_per_tx,
            row.nic.doorbells_per_tx,
            row.kernel.interrupts_per_tx,
            row.kernel.softirqs_per_tx,
            row.kernel.context_switches_per_tx,
            row.kernel.tlb_shootdowns_per_tx,
        ]
        .map(decimal)
    });
    format!("{costs}\n\n{events}\n\n{}", clocks(rows))
}

fn lines(rows: &[Row], columns: &[&str], numbers: impl Fn(&Row) -> [String; 6]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(TEXT.iter().chain(columns));
    for row in rows {
        let offload = match row.offload.as_slice() {
            [] => "-".into(),
            some => some.join(","),
        };
        let names = [row.workload.clone(), row.driver.clone(), offload];
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row(
            names
                .map(Cell::new)
                .into_iter()
                .chain(numbers(row).map(right)),
        );
    }
    table
}

/// What the guest's clock followed in these rows.
fn clocks(rows: &[Row]) -> String {
    let mut clocks: Vec<&str> = rows.iter().map(|row| row.clock.as_str()).collect();
    clocks.sort_unstable();
    clocks.dedup();
    let told = clocks.into_iter().map(|clock| match clock {
        "instructions" => "executed instructions, 1 ns each (real time while idle)",
        other => other,
    });
    format!("Guest clock: {}.", told.collect::<Vec<_>>().join("; "))
}

fn whole(value: Option<u64>) -> String {
    value.map_or("-".into(), grouped)
}

fn thousands(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| grouped(value.max(0.0).round() as u64))
}

fn decimal(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{:.2}", value.max(0.0)))
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
    use crate::report::{Kernel, Nic};

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
            clock: "instructions".into(),
            guest_seconds: 1.0,
            transactions: Some(5000),
            errors: Some(0),
            rate_per_s: None,
            kernel_insns_per_s: None,
            kernel_insns_per_tx: Some(80_950.4),
            user_insns_per_tx: None,
            nic: Nic::default(),
            kernel: Kernel {
                interrupts_per_tx: Some(1.5),
                ..Kernel::default()
            },
        };
        let text = table(&[row]);
        let lines: Vec<_> = text.lines().collect();
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().into()).collect()
        };
        let costs = cells(lines[2]);
        assert_eq!(costs[1..6], ["redis-short", "nfp", "-", "5,000", "0"]);
        assert_eq!(costs[6..9], ["80,950", "-", "-"]);
        // An empty line, header and rule are between.
        let events = cells(lines[6]);
        assert_eq!(events[1..4], ["redis-short", "nfp", "-"]);
        assert_eq!(events[4..8], ["-", "-", "1.50", "-"]);
        assert!(
            text.ends_with("Guest clock: executed instructions, 1 ns each (real time while idle).")
        );
    }
}
