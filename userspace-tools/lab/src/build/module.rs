// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel module, built in the build root against the prepared kernel tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{bail, Context, Result};

use crate::{
    setup::Facts,
    util::{mounts, Chroot, Fingerprint, Layout, Stamp, Step},
};

/// Parameters: kernel tree. The source is at `/src`, read-only; `MO=` keeps all output away from
/// it. The kernel's own lints, all of them errors.
const MAKE: &str = r#"exec make -C "$1" M=/src MO=/build/module -j"$(nproc)" CLIPPY=1 W=e modules"#;

/// Builds the module if its source, or the kernel, changed.
pub(super) fn build(layout: &Layout, facts: &Facts) -> Result<()> {
    if !layout.top().join("Kbuild").is_file() {
        bail!("there is no Kbuild file in {}", layout.top().display());
    }
    let kernel = Fingerprint::default()
        .with(&facts.kernel_release)
        .with(&facts.kernel_package)
        .with(MAKE);
    let inputs = sources(layout)?
        .iter()
        .try_fold(kernel, |inputs, path| inputs.with_file(path))?;
    let stamp = Stamp::new(layout, "module");
    if stamp.valid(inputs).is_some() && layout.module().is_file() {
        return Ok(());
    }
    let step = Step::start(layout, "module", "build the kernel module")?;
    stamp.clear()?;
    // Objects for another kernel are of no use, and kbuild would not see that.
    let tree = Stamp::new(layout, "module-kernel");
    if tree.valid(kernel).is_none() {
        mounts::remove_tree(&layout.module_dir())?;
        tree.set(kernel, "")?;
    }
    fs::create_dir_all(layout.module_dir())?;
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", MAKE, "make"])
            .arg(facts.kernel_tree_inside()),
    )?;
    if !layout.module().is_file() {
        bail!("the build left no {}", layout.module().display());
    }
    stamp.set(inputs, "")?;
    step.done();
    Ok(())
}

/// What the module is built from, in a stable order.
fn sources(layout: &Layout) -> Result<Vec<PathBuf>> {
    let mut files = vec![layout.top().join("Kbuild")];
    collect(&layout.top().join("rust"), &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}
