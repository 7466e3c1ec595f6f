// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How `top` shows it. Whatever the screen's size, what does not fit is cut.

use ratatui::{
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table},
    Frame,
};

use super::model::Model;
use crate::{
    commands::monitor,
    netlink::device::Device,
    output::{self, bar, Tone},
};

/// Characters of a bar.
const BAR: usize = 20;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, color: bool) {
    let cards = cards(model, color);
    let listeners = listeners(model, color);
    let height = |lines: &[Line<'_>]| u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let areas = Layout::vertical([
        Constraint::Length(height(&cards)),
        Constraint::Length(height(&listeners)),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [top, middle, _, rest, bottom] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(cards), top);
    frame.render_widget(Paragraph::new(listeners), middle);
    counters(frame, model, color, rest);
    frame.render_widget(Paragraph::new(footer(model, color)), bottom);
}

fn style(tone: Tone, color: bool) -> Style {
    let style = Style::new();
    match tone {
        _ if !color => style,
        Tone::Plain => style,
        Tone::Strong => style.add_modifier(Modifier::BOLD),
        Tone::Weak => style.add_modifier(Modifier::DIM),
        Tone::Good => style.fg(Color::Green),
        Tone::Warning => style.fg(Color::Yellow),
        Tone::Bad => style.fg(Color::Red),
    }
}

fn span(text: impl Into<String>, tone: Tone, color: bool) -> Span<'static> {
    Span::styled(text.into(), style(tone, color))
}

fn cards(model: &Model, color: bool) -> Vec<Line<'static>> {
    if model.devices.is_empty() {
        return vec![Line::from("no card in this network namespace")];
    }
    let lines = model.devices.iter().flat_map(|device| card(device, color));
    lines.collect()
}

fn card(device: &Device, color: bool) -> Vec<Line<'static>> {
    let numbers = [
        ("rules", device.rules),
        ("flows", device.flows),
        ("pairs", device.pairs),
    ];
    let numbers: String = numbers
        .iter()
        .filter_map(|(name, number)| Some(format!("  {name} {}", (*number)?)))
        .collect();
    let mut lines = vec![Line::from(vec![
        span(device.ifname.clone(), Tone::Strong, color),
        span(": ", Tone::Plain, color),
        span(device.state.to_string(), monitor::tone(device.state), color),
        span(numbers, Tone::Plain, color),
    ])];
    let name_width = device.tables.iter().map(|table| table.name.chars().count());
    let name_width = name_width.max().unwrap_or(0);
    lines.extend(device.tables.iter().map(|table| {
        Line::from(format!(
            "  {:<name_width$}  {} {:>8}/{}",
            table.name,
            bar(table.fill(), table.peak(), BAR),
            table.used,
            table.capacity
        ))
    }));
    lines
}

fn listeners(model: &Model, color: bool) -> Vec<Line<'static>> {
    let listeners = &model.listeners;
    let reasons: Vec<String> = listeners
        .host
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let mut spans = vec![
        span("listeners", Tone::Strong, color),
        span(
            format!(
                ": {} of {} set up by a card",
                listeners.offloaded, listeners.total
            ),
            Tone::Plain,
            color,
        ),
    ];
    if !reasons.is_empty() {
        let text = format!("; by the host: {}", reasons.join(", "));
        spans.push(span(text, Tone::Warning, color));
    }
    vec![Line::from(spans)]
}

fn counters(frame: &mut Frame<'_>, model: &Model, color: bool, area: Rect) {
    let source = |rate: &crate::commands::status::Rate| match (&rate.device, rate.ifindex) {
        (Some(name), _) => name.clone(),
        (None, Some(index)) => format!("if{index}"),
        (None, None) => "host".into(),
    };
    let visible = usize::from(area.height);
    let counters = model.counters();
    let rows = counters.iter().take(visible).map(|rate| {
        let per_second = format!("{:>12}", output::rate(rate.per_second));
        let value = format!("{:>20}", rate.value);
        Row::new([source(rate), rate.name.clone(), per_second, value])
    });
    let widths = [
        Constraint::Length(15),
        Constraint::Min(20),
        Constraint::Length(12),
        Constraint::Length(20),
    ];
    let head = [
        "SOURCE".into(),
        "COUNTER".into(),
        format!("{:>12}", "PER SECOND"),
        format!("{:>20}", "VALUE"),
    ];
    let table = Table::new(rows, widths).header(Row::new(head).style(style(Tone::Strong, color)));
    frame.render_widget(table, area);
}

fn footer(model: &Model, color: bool) -> Line<'static> {
    if let Some(trouble) = &model.trouble {
        return Line::from(span(trouble.clone(), Tone::Bad, color));
    }
    let paused = if model.is_paused() { "go on" } else { "pause" };
    let keys = format!(
        "q quit  space {paused}  s sort (by {})  z zeros  up/down scroll",
        model.sort.name()
    );
    Line::from(span(keys, Tone::Weak, color))
}

#[cfg(test)]
mod tests {
    use ratatui::{backend::TestBackend, Terminal};

    use super::*;
    use crate::commands::status::{tests::card, Rate};

    fn model() -> Model {
        let rate = |ifindex, device: Option<&str>, name: &str, value, per_second| Rate {
            ifindex,
            device: device.map(str::to_string),
            name: name.into(),
            value,
            per_second,
        };
        let rates = vec![
            rate(None, None, "setup_delivered", 1234, 0.5),
            rate(Some(3), Some("nic0"), "syn.answered", 99999, 1500.0),
        ];
        Model::with(vec![card()], rates)
    }

    fn screen(model: &Model, width: u16, height: u16, color: bool) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model, color)).unwrap();
        let buffer = terminal.backend().buffer();
        let symbols: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        let lines = symbols.chunks(usize::from(width.max(1)));
        lines
            .map(|line| line.concat().trim_end().to_string())
            .collect()
    }

    #[test]
    fn a_screen() {
        let mut model = model();
        assert_eq!(
            screen(&model, 80, 10, false),
            [
                "nic0: attached  rules 5  flows 12  pairs 2",
                "  listeners  [#----...............]        5/4096",
                "  recent     [###################-]    65000/65536",
                "listeners: 0 of 0 set up by a card",
                "",
                "SOURCE          COUNTER                          PER SECOND                VALUE",
                "nic0            syn.answered                           1500                99999",
                "host            setup_delivered                         0.5                 1234",
                "",
                "q quit  space pause  s sort (by rate)  z zeros  up/down scroll",
            ]
        );
        model.note(Err(anyhow::anyhow!("the module has gone")));
        let lines = screen(&model, 80, 10, true);
        assert_eq!(
            lines.last().map(String::as_str),
            Some("the module has gone")
        );
    }

    #[test]
    fn any_size_will_do() {
        for (width, height) in [(1, 1), (3, 40), (200, 2), (20, 5), (0, 0)] {
            let lines = screen(&model(), width, height, true);
            assert!(lines.len() <= usize::from(height));
        }
        assert_eq!(
            screen(&Model::default(), 80, 9, false)[0],
            "no card in this network namespace"
        );
    }
}
