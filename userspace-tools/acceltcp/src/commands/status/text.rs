// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The status for people.

use anyhow::Result;

use super::{Listeners, Policy, Rate, Status};
use crate::{
    commands::monitor,
    netlink::device::{Device, Table},
    output::{self, bar, bytes, rate, Cell, Output, Tone},
};

/// Characters of a bar.
const BAR: usize = 20;
/// From here on a table is nearly full.
const NEARLY_FULL: f64 = 0.9;

/// Writes it.
pub(super) fn show(output: &mut Output<'_>, status: &Status) -> Result<()> {
    if status.devices.is_empty() {
        output.line("no card in this network namespace")?;
    }
    for device in &status.devices {
        show_device(output, device)?;
    }
    output.line("")?;
    show_listeners(output, &status.listeners)?;
    show_policy(output, &status.policy)?;
    match &status.rates {
        Some(rates) => show_rates(output, rates),
        None => Ok(()),
    }
}

fn show_device(output: &mut Output<'_>, device: &Device) -> Result<()> {
    let name = output.paint(Tone::Strong, &device.ifname);
    let state = output.paint(monitor::tone(device.state), device.state);
    let mut line = format!("{name}: {state}, offloads {}", device.capabilities);
    if let Some(firmware) = &device.firmware {
        line += &format!(", firmware {firmware}");
    }
    output.line(line)?;
    let with_room = |what: &str, used: Option<u32>, room: Option<u32>| {
        let room = room.map(|room| format!(" (room for {room})"));
        used.map(|used| format!("{what} {used}{}", room.unwrap_or_default()))
    };
    let numbers: Vec<String> = [
        with_room("rules", device.rules, None),
        with_room("flows", device.flows, device.flow_credits),
        with_room("buffers free", device.buffer_credits, None),
        with_room("pairs", device.pairs, device.pair_credits),
        device
            .sram_bytes
            .map(|count| format!("sram {}", bytes(count))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !numbers.is_empty() {
        output.line(format_args!("  {}", numbers.join(", ")))?;
    }
    let mut tables = output::Table::indented(2);
    for table in &device.tables {
        tables.row(cells(table));
    }
    tables.write(output)
}

fn cells(table: &Table) -> Vec<Cell> {
    let tone = match table.fill() >= NEARLY_FULL {
        true => Tone::Warning,
        false => Tone::Good,
    };
    let mut cells = vec![
        Cell::new(&table.name),
        Cell::maybe(table.memory),
        Cell::new(bar(table.fill(), table.peak(), BAR)).tone(tone),
        Cell::number(table.used),
        Cell::new(format_args!("of {}", table.capacity)),
        Cell::number(format_args!("{:.0}%", (table.fill() * 100.0).floor())),
        Cell::new(format_args!("peak {}", table.high_water)),
    ];
    if table.refused > 0 {
        cells.push(Cell::new(format_args!("refused {}", table.refused)).tone(Tone::Warning));
    }
    cells
}

fn show_listeners(output: &mut Output<'_>, listeners: &Listeners) -> Result<()> {
    output.line(format_args!(
        "{} {} of {} set up by a card ({} asked by the application, {} by a rule)",
        output.paint(Tone::Strong, "Listeners:"),
        listeners.offloaded,
        listeners.total,
        listeners.by_application,
        listeners.by_policy
    ))?;
    for (reason, count) in &listeners.host {
        let reason = output.paint(Tone::Warning, reason);
        output.line(format_args!("  host serves {count}: {reason}"))?;
    }
    Ok(())
}

fn show_policy(output: &mut Output<'_>, policy: &Policy) -> Result<()> {
    let tone = match policy.refused {
        0 => Tone::Plain,
        _ => Tone::Warning,
    };
    output.line(format_args!(
        "{} {} {}, {} hits, {}",
        output.paint(Tone::Strong, "Policy:"),
        policy.rules,
        if policy.rules == 1 { "rule" } else { "rules" },
        policy.hits,
        output.paint(tone, format_args!("{} refused", policy.refused))
    ))
}

fn show_rates(output: &mut Output<'_>, rates: &[Rate]) -> Result<()> {
    let head = output.paint(Tone::Strong, "Rates:");
    if rates.is_empty() {
        return output.line(format_args!("{head} no counter grows"));
    }
    output.line(head)?;
    let mut table = output::Table::indented(2);
    for one in rates {
        let source = match (&one.device, one.ifindex) {
            (Some(name), _) => name.clone(),
            (None, Some(index)) => format!("if{index}"),
            (None, None) => "host".into(),
        };
        table.row([
            Cell::new(source),
            Cell::new(&one.name),
            Cell::number(format_args!("{}/s", rate(one.per_second))),
        ]);
    }
    table.write(output)
}
