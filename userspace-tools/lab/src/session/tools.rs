// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The build root as a place to run programs in.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{ensure, Context, Result};
use nix::mount::{mount, MsFlags};

use crate::util::Layout;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/build/bin";

/// Where programs of the build root see the guest's root file system.
pub(super) const GUEST_ROOT: &str = "/mnt";

/// Where programs, and the guest, see the checkout's `build/`.
const BUILD: &str = "/build";

/// The build root, mounted for programs: read-only, with /proc, /dev, some memory file systems and
/// the checkout's `build/`.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Mounts the build root at `root`, for this mount namespace.
    pub(super) fn mount(layout: &Layout, root: &Path) -> Result<Self> {
        let source = layout.root();
        let build = layout.build();
        fs::create_dir_all(root).with_context(|| root.display().to_string())?;
        for point in [&source.join("build"), &source.join("mnt")] {
            if !point.is_dir() {
                fs::create_dir(point)
                    .with_context(|| format!("{}: is the lab set up?", point.display()))?;
            }
        }
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        let guest = inside(GUEST_ROOT);
        bind(&source, root, MsFlags::empty())?;
        bind(&source, &guest, MsFlags::empty())?;
        bind(&build, &guest.join("build"), MsFlags::empty())?;
        bind(&build, &inside(BUILD), MsFlags::empty())?;
        if layout.guest_kernel().is_built() {
            // The guest finds its kernel's module where that of the stock kernel would be.
            let module = guest.join("build/module");
            bind(&layout.module_dir(), &module, MsFlags::empty())?;
        }
        bind(Path::new("/dev"), &inside("dev"), MsFlags::MS_REC)?;
        for (kind, path) in [
            ("proc", "proc"),
            ("sysfs", "sys"),
            ("tmpfs", "tmp"),
            ("tmpfs", "run"),
            ("tmpfs", "root"),
            ("tmpfs", "var/tmp"),
        ] {
            let target = inside(path);
            mount(
                Some(kind),
                &target,
                Some(kind),
                MsFlags::empty(),
                None::<&str>,
            )
            .with_context(|| format!("mount {kind} on {}", target.display()))?;
        }
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        for path in [root, &guest] {
            mount(None::<&str>, path, None::<&str>, read_only, None::<&str>)
                .with_context(|| format!("make {} read-only", path.display()))?;
        }
        Ok(Self::at(root))
    }

    /// The build root that is mounted at `root`.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// A program of the build root, with `dir` as its working directory.
    pub(crate) fn command(&self, program: &str, dir: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("LANG", "C.UTF-8");
        let (root, dir) = (self.root.clone(), PathBuf::from(dir));
        // SAFETY: chroot and chdir are async-signal-safe, allocate nothing for paths of this
        // length and change only the new process.
        unsafe {
            command.pre_exec(move || {
                nix::unistd::chroot(&root)?;
                nix::unistd::chdir(&dir)?;
                Ok(())
            });
        }
        command
    }

    /// Runs `ip`.
    ///
    /// # Errors
    ///
    /// It fails.
    pub(super) fn ip(&self, args: &[&str]) -> Result<()> {
        let output = self
            .command("ip", "/")
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("ip")?;
        ensure!(
            output.status.success(),
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | flags,
        None::<&str>,
    )
    .with_context(|| format!("bind {} to {}", source.display(), target.display()))
}

/// Path of a file below `build/` as programs of the build root, and the guest, see it.
///
/// # Errors
///
/// The file is not below `build/`.
pub(crate) fn inner_path(layout: &Layout, path: &Path) -> Result<String> {
    let rest = path
        .strip_prefix(layout.build())
        .with_context(|| format!("{} is not below build/", path.display()))?;
    Ok(format!("{BUILD}/{}", rest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_build_are_seen_inside() {
        let layout = Layout::at(Path::new("/checkout"));
        assert_eq!(
            inner_path(&layout, &layout.module()).unwrap(),
            "/build/module/acceltcp.ko"
        );
        assert!(inner_path(&layout, Path::new("/checkout/README.md")).is_err());
    }
}
