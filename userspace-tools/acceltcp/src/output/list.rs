// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Long lists, of any number of entries, in little memory.
//!
//! Entries are kept back until the list is complete, as it may have to start again: the first MiB in memory,
//! more in a temporary file.

use std::{
    fmt,
    io::{self, Seek, Write},
};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::SpooledTempFile;

use super::Output;
use crate::netlink::Snapshot;

/// Bytes that are kept in memory.
const IN_MEMORY: usize = 1 << 20;
/// Bytes that go to the file at once.
const AT_ONCE: usize = 64 << 10;

/// A list that is being written: a heading and lines of text, or an array of JSON with an entry a line.
pub struct List {
    json: bool,
    entries: u64,
    kept: SpooledTempFile,
    /// The last entries, which are not in `kept` yet.
    recent: Vec<u8>,
}

impl List {
    /// An empty list in the form that `output` asks for.
    pub fn new(output: &Output<'_>) -> Self {
        Self {
            json: output.is_json(),
            entries: 0,
            kept: SpooledTempFile::new(IN_MEMORY),
            recent: Vec::new(),
        }
    }

    /// Adds an entry, in both forms.
    pub fn entry(&mut self, value: &impl Serialize, text: impl fmt::Display) -> Result<()> {
        let recent = &mut self.recent;
        match self.json {
            true => {
                let separator: &[u8] = if self.entries == 0 { b"" } else { b",\n" };
                recent.extend(separator);
                serde_json::to_writer(recent, value)?;
            }
            false => writeln!(recent, "{text}")?,
        }
        self.entries += 1;
        match self.recent.len() {
            0..AT_ONCE => Ok(()),
            _ => self.keep(),
        }
    }

    fn keep(&mut self) -> Result<()> {
        let kept = self.kept.write_all(&self.recent);
        self.recent.clear();
        kept.context("temporary file for a long list")
    }

    /// Forgets all entries.
    pub fn restart(&mut self) -> Result<()> {
        self.entries = 0;
        self.recent.clear();
        self.kept.rewind()?;
        Ok(self.kept.set_len(0)?)
    }

    /// Writes the list. A warning goes to the standard error when it does not show one moment.
    pub fn finish(
        mut self,
        output: &mut Output<'_>,
        heading: impl fmt::Display,
        snapshot: Snapshot,
    ) -> Result<()> {
        self.keep()?;
        self.kept.rewind()?;
        match (self.json, self.entries) {
            (true, 0) => output.line("[]")?,
            (true, _) => {
                output.line("[")?;
                io::copy(&mut self.kept, output.writer)?;
                output.line("\n]")?;
            }
            (false, _) => {
                output.line(heading)?;
                io::copy(&mut self.kept, output.writer)?;
            }
        }
        if snapshot == Snapshot::Inconsistent {
            output.flush()?;
            let warning = "acceltcp: entries came and went all the time; some may be missing, or be there twice";
            let _ = writeln!(io::stderr(), "{warning}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::written;

    fn list(json: bool, entries: u32, restart: bool) -> String {
        written(json, false, |output| {
            let mut list = List::new(output);
            if restart {
                list.entry(&"void", "void")?;
                list.restart()?;
            }
            for entry in 0..entries {
                list.entry(&entry, format_args!("entry {entry}"))?;
            }
            list.finish(output, "HEAD", Snapshot::Consistent)
        })
    }

    #[test]
    fn text_has_a_heading() {
        assert_eq!(list(false, 0, false), "HEAD\n");
        assert_eq!(list(false, 2, true), "HEAD\nentry 0\nentry 1\n");
    }

    #[test]
    fn json_is_an_array() {
        assert_eq!(list(true, 0, true), "[]\n");
        assert_eq!(list(true, 2, true), "[\n0,\n1\n]\n");
    }

    #[test]
    fn long_lists_are_complete() {
        let text = list(true, 300_000, false);
        let numbers: Vec<u32> = serde_json::from_str(&text).unwrap();
        assert!(text.len() > IN_MEMORY && numbers.iter().copied().eq(0..300_000));
    }
}
