// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Paths of cgroup v2 directories.

use std::path::{Component, Path};

use anyhow::{bail, Context, Result};

/// Where cgroup v2 is mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// The path of a cgroup from the root of the hierarchy, given with or without [`MOUNT`] in front. There need not be such a
/// cgroup.
///
/// # Errors
///
/// When the path leads upwards, or is no UTF-8.
pub fn path(given: &Path) -> Result<String> {
    let relative = given.strip_prefix(MOUNT).unwrap_or(given);
    let mut path = String::new();
    for component in relative.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                let name = name.to_str();
                path.push('/');
                path.push_str(name.context("the path of the cgroup is no UTF-8")?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                bail!("the path of the cgroup has \"..\": {}", given.display())
            }
        }
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_from_the_root() {
        for (given, wanted) in [
            ("/system.slice/a.service", "/system.slice/a.service"),
            ("system.slice//a.service/", "/system.slice/a.service"),
            ("/sys/fs/cgroup/user.slice/./x", "/user.slice/x"),
            ("/sys/fs/cgroup", "/"),
            ("/sys/fs/cgroups", "/sys/fs/cgroups"),
            ("/", "/"),
        ] {
            assert_eq!(path(Path::new(given)).unwrap(), wanted, "{given}");
        }
    }

    #[test]
    fn ways_up_are_refused() {
        for given in ["..", "/a/../b", "/sys/fs/cgroup/../x"] {
            assert!(path(Path::new(given)).is_err(), "{given}");
        }
    }
}
