// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is delivered: the Debian packages, and the build on a user's machine.

mod copy;
mod debs;
mod dkms;
mod prepare;

use std::path::PathBuf;

use anyhow::{ensure, Context as _, Result};

use super::{Context, LabTest, LONG};
use crate::session::inner_path;

const DEBS: &str = "packaging-deb";
const PREPARE: &str = "packaging-prepare";

/// The tests of this folder.
pub(super) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::ours(
            DEBS.into(),
            "the packages install, serve, and leave nothing when they are purged",
            300,
            debs::debs,
        ),
        LabTest::ours(
            PREPARE.into(),
            "what is missing for a kernel tree is named, and nothing is left of a failed try",
            180,
            prepare::prepare,
        ),
        LabTest::ours(
            dkms_name(),
            "DKMS builds the module from its package, and the kernel takes it",
            1800,
            dkms::dkms,
        ),
    ]
}

/// A kernel tree is prepared for it, which takes minutes.
fn dkms_name() -> String {
    format!("{LONG}packaging-dkms")
}

/// Whether a test of this name is one of these, all of which need the packages.
pub(super) fn has(name: &str) -> bool {
    name == DEBS || name == PREPARE || name == dkms_name()
}

/// The one package whose file's name begins so: here, and as it is seen inside of build root and guest.
fn package(context: &Context<'_>, begin: &str) -> Result<(PathBuf, String)> {
    let folder = context.layout.debs();
    let mut found = Vec::new();
    let entries = folder
        .read_dir()
        .with_context(|| format!("{}: run `lab deb` first", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(begin) {
            found.push(entry.path());
        }
    }
    ensure!(
        found.len() == 1,
        "{} packages {begin}* in {}",
        found.len(),
        folder.display()
    );
    let path = found.swap_remove(0);
    let inner = inner_path(context.layout, &path)?;
    Ok((path, inner))
}
