// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernel module, built in the build root against the prepared kernel tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{bail, Context, Result};

use crate::{
    setup::{self, Facts, LLVM},
    util::{mounts, Chroot, Fingerprint, Kernel, Layout, Stamp, Step},
};

/// Parameters: kernel tree, output folder, further arguments. The source is at `/src`, read-only;
/// `MO=` keeps all output away from it.
const MAKE: &str = r#"
tree=$1 out=$2; shift 2
exec make -C "$tree" M=/src MO="$out" -j"$(nproc)" "$@" modules
"#;

/// Further arguments for the kernel.
fn arguments(layout: &Layout) -> Vec<String> {
    let mut arguments = match layout.guest_kernel() {
        // The kernel's own lints, all of them errors.
        Kernel::Stock => vec!["CLIPPY=1".into(), "W=e".into()],
        // Its compiler, and line tables as it has them.
        _ => vec![format!("LLVM={LLVM}"), "KCFLAGS=-gline-tables-only".into()],
    };
    if layout.has_kunit() {
        arguments.push("ACCELTCP_KUNIT=1".into());
    }
    arguments
}

/// Builds the module if its source, or the kernel, changed.
pub(super) fn build(layout: &Layout, facts: &Facts) -> Result<()> {
    if !layout.top().join("Kbuild").is_file() {
        bail!("there is no Kbuild file in {}", layout.top().display());
    }
    let guest = layout.guest_kernel();
    let name = layout.module_name();
    let arguments = arguments(layout);
    let kernel = Fingerprint::default()
        .with(facts.guest_release(layout)?)
        .with(setup::guest_kernel_inputs(layout, facts))
        .with(&facts.kernel_package)
        .with(MAKE)
        .with(arguments.join(" "));
    let inputs = sources(layout)?
        .iter()
        .try_fold(kernel, |inputs, path| inputs.with_file(path))?;
    let stamp = Stamp::new(layout, &name);
    if stamp.valid(inputs).is_some() && layout.module().is_file() {
        return Ok(());
    }
    let title = match guest {
        Kernel::Stock => "build the kernel module".to_owned(),
        _ => format!("build the kernel module for the {} kernel", guest.name()),
    };
    let step = Step::start(layout, "module", &title)?;
    stamp.clear()?;
    // Objects for another kernel are of no use, and kbuild would not see that.
    let tree = Stamp::new(layout, &format!("{name}-kernel"));
    if tree.valid(kernel).is_none() {
        mounts::remove_tree(&layout.module_dir())?;
        tree.set(kernel, "")?;
    }
    fs::create_dir_all(layout.module_dir())?;
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", MAKE, "make"])
            .arg(facts.kernel_tree_inside(layout))
            .arg(format!("/build/{name}"))
            .args(&arguments),
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
