// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Text for people, with colours or without, and JSON for programs.

mod bar;
mod list;
mod number;
mod paint;
mod table;

use std::{fmt, io::Write};

use anyhow::Result;
use serde::Serialize;

pub use bar::bar;
pub use list::List;
pub use number::{bytes, rate};
pub use paint::Tone;
pub use table::{Cell, Table};

/// Where output goes, and in what form.
pub struct Output<'w> {
    writer: &'w mut dyn Write,
    json: bool,
    color: bool,
}

impl<'w> Output<'w> {
    /// Output to `writer`.
    pub fn new(writer: &'w mut dyn Write, json: bool, color: bool) -> Self {
        Self {
            writer,
            json,
            color,
        }
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether colours are asked for.
    pub fn is_colored(&self) -> bool {
        self.color
    }

    /// Writes a line of text.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<()> {
        Ok(writeln!(self.writer, "{text}")?)
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.writer.write_all(bytes)?)
    }

    /// Writes a value as JSON, on one line.
    pub fn value(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self.writer, value)?;
        Ok(writeln!(self.writer)?)
    }

    /// `text` in the colour of `tone`, if colours are asked for.
    pub fn paint(&self, tone: Tone, text: impl fmt::Display) -> String {
        tone.paint(self.color, text)
    }

    /// Has all that was written so far be seen.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.writer.flush()?)
    }
}

/// What `write` writes, for tests.
#[cfg(test)]
pub(crate) fn written(
    json: bool,
    color: bool,
    write: impl FnOnce(&mut Output<'_>) -> Result<()>,
) -> String {
    let mut bytes = Vec::new();
    write(&mut Output::new(&mut bytes, json, color)).unwrap();
    String::from_utf8(bytes).unwrap()
}
