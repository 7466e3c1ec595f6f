// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Marks of completed steps.

use std::{
    fmt::Display,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Layout;

/// A hash over what a step depends on: FNV-1a, 64 bits. It tells inputs apart that change by
/// chance or by an edit; nobody gains by forging it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds one input; where one ends and the next begins counts too.
    #[must_use]
    pub fn with(mut self, input: impl Display) -> Self {
        let text = input.to_string();
        let length = (text.len() as u64).to_le_bytes();
        for byte in length.iter().chain(text.as_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        self
    }

    /// Adds a file's name, size and time of change.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn with_file(self, path: &Path) -> Result<Self> {
        let data = path
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?;
        let time = data.modified()?.duration_since(std::time::UNIX_EPOCH)?;
        Ok(self
            .with(path.display())
            .with(data.len())
            .with(time.as_nanos()))
    }
}

impl Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The mark of one step: exists only when the step is complete, and holds the fingerprint of its
/// inputs and what the step found.
#[derive(Clone, Debug)]
pub struct Stamp {
    path: PathBuf,
}

impl Stamp {
    /// The mark of the step `name`.
    pub fn new(layout: &Layout, name: &str) -> Self {
        Self {
            path: layout.stamps().join(name),
        }
    }

    /// What the step found, if it is complete for these inputs.
    pub fn valid(&self, inputs: Fingerprint) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (first, found) = text.split_once('\n')?;
        (first == inputs.to_string()).then(|| found.to_owned())
    }

    /// Takes the mark away, before the step changes anything.
    ///
    /// # Errors
    ///
    /// The mark cannot be removed.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Sets the mark: the step is complete.
    ///
    /// # Errors
    ///
    /// The mark cannot be written.
    pub fn set(&self, inputs: Fingerprint, found: &str) -> Result<()> {
        write_whole(&self.path, &format!("{inputs}\n{found}"))
    }
}

/// Writes a file under a temporary name and renames it, so that nobody sees half of it.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let part = path.with_extension("part");
        fs::write(&part, text)?;
        fs::rename(&part, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_sees_content_order_and_borders() {
        let of = |inputs: &[&str]| {
            inputs
                .iter()
                .fold(Fingerprint::default(), |hash, input| hash.with(input))
        };
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
    }

    #[test]
    fn stamp_holds_only_for_its_inputs() {
        let folder = std::env::temp_dir().join(format!("lab-stamp-{}", std::process::id()));
        let stamp = Stamp::new(&Layout::at(&folder), "step");
        let inputs = Fingerprint::default().with("one");
        assert_eq!(stamp.valid(inputs), None);
        stamp.set(inputs, "7.3.4").expect("writable");
        assert_eq!(stamp.valid(inputs).as_deref(), Some("7.3.4"));
        assert_eq!(stamp.valid(inputs.with("two")), None);
        stamp.clear().expect("removable");
        stamp.clear().expect("nothing to remove is fine");
        assert_eq!(stamp.valid(inputs), None);
        fs::remove_dir_all(&folder).expect("removable");
    }
}
