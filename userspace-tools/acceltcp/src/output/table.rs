// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables of text whose columns are as wide as what is in them.

use super::{Output, Tone};
use anyhow::Result;

/// A field of a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// Text.
    pub fn new(text: impl ToString) -> Self {
        Self {
            text: text.to_string(),
            tone: Tone::Plain,
            right: false,
        }
    }

    /// A number, which stands at the right.
    pub fn number(number: impl ToString) -> Self {
        Self {
            right: true,
            ..Self::new(number)
        }
    }

    /// Text, or a dash when there is none.
    pub fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::new("-"), Self::new)
    }

    /// The same in a colour.
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    indent: usize,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with this heading.
    pub fn new(heads: &[&str]) -> Self {
        let heads = heads.iter().map(|head| Cell::new(head).tone(Tone::Strong));
        Self {
            indent: 0,
            rows: vec![heads.collect()],
        }
    }

    /// A table without heading, so far in from the left.
    pub fn indented(indent: usize) -> Self {
        Self {
            indent,
            rows: Vec::new(),
        }
    }

    /// Adds a line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes it.
    pub fn write(&self, output: &mut Output<'_>) -> Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |cell: &Cell| cell.text.chars().count();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(width).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (place, (cell, wide)) in row.iter().zip(&widths).enumerate() {
                let room = " ".repeat(wide - width(cell));
                let text = output.paint(cell.tone, &cell.text);
                let last = place + 1 == row.len();
                match (cell.right, last) {
                    (true, _) => line += &format!("{room}{text}"),
                    (false, true) => line += &text,
                    (false, false) => line += &format!("{text}{room}"),
                }
                if !last {
                    line += "  ";
                }
            }
            output.line(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::written;

    #[test]
    fn columns_line_up_with_colours_and_without() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row([Cell::new("a"), Cell::number(7)]);
        table.row([Cell::new("größer").tone(Tone::Bad), Cell::number(1000)]);
        table.row([Cell::maybe(None::<&str>), Cell::new("x")]);
        let plain = written(false, false, |output| table.write(output));
        assert_eq!(plain, "NAME    N\na          7\ngrößer  1000\n-       x\n");
        let color = written(false, true, |output| table.write(output));
        assert!(color.contains("\x1b[31mgrößer\x1b[0m  1000\n"));
    }
}
