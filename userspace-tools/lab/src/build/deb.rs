// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The Debian packages, of what has been built.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{bail, Context, Result};

use crate::{
    setup::Facts,
    util::{Layout, Lock, Step},
};

/// Makes the packages; gives their paths, in the order of their names.
///
/// # Errors
///
/// The build is not up to date or not for the stock kernel, or the packages could not be made.
pub fn debs(layout: &Layout, facts: &Facts) -> Result<Vec<PathBuf>> {
    if layout.guest_kernel().is_built() {
        bail!("packages are made for the stock kernel only");
    }
    let _lock = Lock::build(layout)?;
    let step = Step::start(layout, "deb", "make the Debian packages")?;
    step.run(
        Command::new(layout.top().join("packaging/build-debs"))
            .current_dir(layout.top())
            .arg(&facts.kernel_release),
    )?;
    let folder = layout.debs();
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    found.sort();
    step.done();
    Ok(found)
}
