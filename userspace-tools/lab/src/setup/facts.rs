// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the set-up found and made, for all who use it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::util::{write_whole, Kernel, Layout};

/// The versions of one complete set-up; kept in `build/facts.json`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// The guest's kernel, as `uname -r` gives it.
    pub kernel_release: String,
    /// Version of the kernel's packages.
    pub kernel_package: String,
    /// Version of QEMU's package.
    pub qemu_package: String,
    /// The mirror that the packages came from.
    pub mirror: String,
}

impl Facts {
    /// Reads what the last set-up left.
    ///
    /// # Errors
    ///
    /// There was no complete set-up yet.
    pub fn load(layout: &Layout) -> Result<Self> {
        let path = Self::path(layout);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: run `lab setup` first", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes the facts.
    pub(super) fn store(&self, layout: &Layout) -> Result<()> {
        write_whole(&Self::path(layout), &serde_json::to_string_pretty(self)?)
    }

    /// Where the facts are kept.
    pub fn path(layout: &Layout) -> PathBuf {
        layout.build().join("facts.json")
    }

    /// The guest's kernel, uncompressed.
    pub fn image(&self, layout: &Layout) -> PathBuf {
        if layout.guest_kernel().is_built() {
            return layout.built_kernel().join("vmlinux");
        }
        self.modules(layout).join("vmlinux")
    }

    /// The kernel as the guest gives it in `uname -r`, with which reports name it.
    ///
    /// # Errors
    ///
    /// The kernel is one that the lab builds, and has not been built.
    pub fn guest_release(&self, layout: &Layout) -> Result<String> {
        if !layout.guest_kernel().is_built() {
            return Ok(self.kernel_release.clone());
        }
        let path = layout.built_kernel().join("include/config/kernel.release");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().to_owned())
    }

    /// The folder of the stock kernel's own modules.
    pub fn modules(&self, layout: &Layout) -> PathBuf {
        layout
            .root()
            .join("usr/lib/modules")
            .join(&self.kernel_release)
    }

    /// The tree that modules for the guest's kernel are built against, as seen inside the build root.
    pub fn kernel_tree_inside(&self, layout: &Layout) -> String {
        match layout.guest_kernel() {
            Kernel::Stock => self.stock_tree_inside(),
            kernel => format!("/build/debug-kernels/{}", kernel.name()),
        }
    }

    /// The prepared stock tree, as seen inside the build root.
    pub(super) fn stock_tree_inside(&self) -> String {
        format!("/build/kernel/linux-{}", self.kernel_release)
    }

    /// The prepared stock tree.
    pub fn kernel_tree(&self, layout: &Layout) -> PathBuf {
        layout
            .kernel()
            .join(format!("linux-{}", self.kernel_release))
    }
}
