// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A copy of the build root that stands for a user's machine.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{bail, Context as _, Result};

use crate::{
    tests::Context,
    util::{mounts, process},
};

/// Parameters: build root, folder of the copy, the checkout's `build/`, a line of the shell. All mounts
/// are gone with the command.
const RUN: &str = r#"
set -e
lower=$1 copy=$2 build=$3 line=$4
root=$copy/root
mount -t overlay -o "lowerdir=$lower,upperdir=$copy/upper,workdir=$copy/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$build" "$root/build"
mount -o remount,bind,ro "$root/build"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    chroot "$root" sh -euc "$line"
"#;

/// What is changed in it is kept from one command to the next, and removed with this.
pub(super) struct Copy {
    root: PathBuf,
    folder: PathBuf,
    build: PathBuf,
}

impl Copy {
    /// A copy that nothing has been changed in yet.
    ///
    /// # Errors
    ///
    /// Its folders could not be made.
    pub(super) fn new(context: &Context<'_>) -> Result<Self> {
        let build = context.layout.build();
        let folder = build.join(format!("test-{}", context.name));
        // A test that was killed may have left it.
        mounts::remove_tree(&folder)?;
        for name in ["upper", "work", "root"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        Ok(Self {
            root: context.layout.root(),
            folder,
            build,
        })
    }

    /// Where a file that was changed or made inside lies.
    pub(super) fn changed(&self, inside: &str) -> PathBuf {
        self.folder
            .join("upper")
            .join(inside.trim_start_matches('/'))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = process::contained("/bin/sh");
        command
            .args(["-c", RUN, "copy"])
            .args([&self.root, &self.folder, &self.build])
            .arg(line);
        command
    }

    /// Runs a line of the shell inside, which must succeed; gives its output.
    ///
    /// # Errors
    ///
    /// It failed; all that it wrote is told.
    pub(super) fn run(&self, line: &str) -> Result<String> {
        let output = process::output(&mut self.command(line))?;
        if !output.status.success() {
            bail!("{line}: {}\n{}", output.status, written(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a line of the shell inside, which must fail; gives all that it wrote.
    ///
    /// # Errors
    ///
    /// It succeeded.
    pub(super) fn refused(&self, line: &str) -> Result<String> {
        let output = process::output(&mut self.command(line))?;
        if output.status.success() {
            bail!("{line}: succeeds\n{}", written(&output));
        }
        Ok(written(&output))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = mounts::remove_tree(&self.folder) {
            eprintln!("lab: {error:#}");
        }
    }
}

fn written(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
