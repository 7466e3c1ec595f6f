// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is mounted below a folder: asked before anything is removed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{bail, Context, Result};

/// Removes a folder and all below it, unless something is mounted there.
///
/// # Errors
///
/// Something is mounted at or below `path`, or the removal failed.
pub fn remove_tree(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let real = path
        .canonicalize()
        .with_context(|| format!("cannot read {}", path.display()))?;
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    if let Some(mount) = mounts_below(&table, &real).first() {
        bail!(
            "{} is a mount point: unmount it, then try again; nothing was removed",
            mount.display()
        );
    }
    fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// The mount points at or below `path` in a text of the form of `/proc/self/mountinfo`.
pub fn mounts_below(table: &str, path: &Path) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(unescape(field)))
        .filter(|mount| mount.starts_with(path))
        .collect()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:20 / /home/a/build/root/proc rw - proc proc rw
31 22 0:21 / /home/a/build\\040two rw - tmpfs tmpfs rw
32 22 0:22 / /home/a/builder rw - tmpfs tmpfs rw
";

    #[test]
    fn finds_mounts_at_and_below_only() {
        let found = mounts_below(TABLE, Path::new("/home/a/build"));
        assert_eq!(found, [PathBuf::from("/home/a/build/root/proc")]);
        let found = mounts_below(TABLE, Path::new("/home/a/build two"));
        assert_eq!(found, [PathBuf::from("/home/a/build two")]);
        assert!(mounts_below(TABLE, Path::new("/home/b")).is_empty());
    }

    #[test]
    fn refuses_to_remove_a_mount_point() {
        assert!(remove_tree(Path::new("/proc")).is_err());
        assert!(remove_tree(Path::new("/nonexistent/folder")).is_ok());
    }
}
