// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Files below /proc and /sys, or below another directory in tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directory that `proc` and `sys` are in.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self(PathBuf::from("/"))
    }
}

impl Root {
    /// Another one than `/`.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// Whether there is such a file or directory.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// The text of a file, without the white space around it; none if it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_string())
    }

    /// The value of a sysctl, such as `net.ipv4.ip_forward`.
    pub fn sysctl(&self, name: &str) -> Option<String> {
        self.read(Path::new("proc/sys").join(name.replace('.', "/")))
    }

    /// The names in a directory, in order; none if it cannot be read.
    pub fn list(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}
