// SPDX-License-Identifier: GPL-2.0 OR MIT

//! cgroup v2 directories and their numbers, which are those of their inodes.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{bail, Context, Result};
use nix::sys::statfs::{statfs, CGROUP2_SUPER_MAGIC};

/// Where cgroup v2 is mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// Number of the cgroup `path`, given with or without `mount` in front.
///
/// # Errors
///
/// When there is no such directory, or it is not below `mount`.
pub fn number(mount: &Path, path: &Path) -> Result<u64> {
    let relative = path.strip_prefix(mount).unwrap_or(path);
    let relative = relative.strip_prefix("/").unwrap_or(relative);
    let whole = mount.join(relative);
    let found = whole
        .canonicalize()
        .with_context(|| format!("cgroup {}", whole.display()))?;
    let top = mount
        .canonicalize()
        .with_context(|| format!("cgroup v2 is not mounted at {}", mount.display()))?;
    if !found.starts_with(&top) {
        bail!("{} is not below {}", path.display(), mount.display());
    }
    let data = fs::metadata(&found).with_context(|| found.display().to_string())?;
    if !data.is_dir() {
        bail!("{} is no cgroup, but a file", found.display());
    }
    // Inodes of other file systems say nothing to the kernel.
    if mount == Path::new(MOUNT) && !is_cgroup2(&found)? {
        bail!("cgroup v2 is not mounted at {MOUNT}; the kernel knows no sockets of cgroup v1");
    }
    Ok(data.ino())
}

fn is_cgroup2(path: &Path) -> Result<bool> {
    let system = statfs(path).with_context(|| path.display().to_string())?;
    Ok(system.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// The cgroup below `mount` with this number, as `/` and a path from there; none if it has gone.
pub fn path(mount: &Path, number: u64) -> Option<PathBuf> {
    let mut waiting = vec![mount.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let Ok(data) = fs::symlink_metadata(&directory) else {
            continue;
        };
        if !data.is_dir() {
            continue;
        }
        if data.ino() == number {
            let relative = directory.strip_prefix(mount).ok()?;
            return Some(Path::new("/").join(relative));
        }
        let entries = fs::read_dir(&directory).into_iter().flatten();
        waiting.extend(entries.filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        }));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_numbers_round_trip() {
        let mount = tempfile::tempdir().unwrap();
        let mount = mount.path();
        fs::create_dir_all(mount.join("system.slice/nginx.service")).unwrap();
        fs::write(mount.join("cgroup.procs"), "").unwrap();
        let short = number(mount, Path::new("/system.slice/nginx.service")).unwrap();
        let long = number(mount, &mount.join("system.slice/nginx.service")).unwrap();
        assert_eq!(short, long);
        assert_eq!(
            path(mount, short).as_deref(),
            Some(Path::new("/system.slice/nginx.service"))
        );
        let top = number(mount, Path::new("/")).unwrap();
        assert_eq!(path(mount, top).as_deref(), Some(Path::new("/")));
        assert_eq!(path(mount, u64::MAX), None);
    }

    #[test]
    fn file_systems_are_told_apart() {
        assert!(!is_cgroup2(Path::new("/proc")).unwrap());
        assert!(is_cgroup2(Path::new("/no/such")).is_err());
    }

    #[test]
    fn what_is_no_cgroup_is_refused() {
        let mount = tempfile::tempdir().unwrap();
        let mount = mount.path();
        fs::write(mount.join("cgroup.procs"), "").unwrap();
        for (path, words) in [
            ("cgroup.procs", "is no cgroup"),
            ("gone", "No such file"),
            ("../..", "is not below"),
        ] {
            let error = number(mount, Path::new(path)).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
