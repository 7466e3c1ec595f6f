// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Drivers of the cards, and where their modules are.

use std::path::Path;

use anyhow::{bail, ensure, Result};

use super::tools::inner_path;
use crate::util::{Kernel, Layout};

/// The driver of the cards.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Driver {
    /// This project's.
    #[default]
    #[value(name = "acceltcp")]
    AccelTcp,
    /// The upstream one.
    Nfp,
    /// None at all.
    None,
}

impl Driver {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccelTcp => "acceltcp",
            Self::Nfp => "nfp",
            Self::None => "none",
        }
    }

    /// Modules of the distribution that it needs, and their files.
    fn dependencies(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Nfp => &[("tls", "kernel/net/tls/tls.ko")],
            Self::AccelTcp | Self::None => &[],
        }
    }

    /// Its module, as `rmmod` knows it.
    pub fn module_name(self) -> Option<&'static str> {
        (self != Self::None).then_some(self.name())
    }
}

/// Where modules are found.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) layout: Layout,
    pub(super) release: String,
}

impl Paths {
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The module of a driver as the guest sees it.
    pub(super) fn module(&self, driver: Driver) -> Result<Option<String>> {
        let path = match driver {
            Driver::None => return Ok(None),
            Driver::AccelTcp => self.layout.module(),
            Driver::Nfp => self.layout.nfp_module(),
        };
        ensure!(path.is_file(), "{}: not built", path.display());
        inner_path(&self.layout, &path).map(Some)
    }

    /// Modules of the distribution that a driver needs. Kernels that the lab builds have them built in.
    pub(super) fn dependencies(&self, driver: Driver) -> &'static [(&'static str, &'static str)] {
        match self.layout.guest_kernel() {
            Kernel::Stock => driver.dependencies(),
            _ => &[],
        }
    }

    /// A module of the distribution's kernel.
    pub(super) fn stock(&self, name: &str) -> Result<String> {
        let inner = format!("/usr/lib/modules/{}/{name}", self.release);
        for suffix in ["", ".xz", ".zst", ".gz"] {
            let path = format!("{}{inner}{suffix}", self.layout.root().display());
            if Path::new(&path).exists() {
                return Ok(format!("{inner}{suffix}"));
            }
        }
        bail!("{inner}: the build root has no such module")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_drivers_have_modules() {
        assert_eq!(Driver::AccelTcp.module_name(), Some("acceltcp"));
        assert_eq!(Driver::None.module_name(), None);
    }
}
