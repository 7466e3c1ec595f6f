// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where everything lies.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{bail, Result};

use super::Kernel;

/// The paths of one checkout, for one of the guest's kernels. Everything that the lab makes is below [`Layout::build`].
#[derive(Clone, Debug)]
pub struct Layout {
    top: PathBuf,
    kernel: Kernel,
    kunit: bool,
}

impl Layout {
    /// Finds the checkout that this program was built from, else the one of the current directory.
    ///
    /// # Errors
    ///
    /// Neither the program nor the current directory is below a checkout.
    pub fn find() -> Result<Self> {
        let starts = [env::current_exe(), env::current_dir()];
        for start in starts.into_iter().flatten() {
            if let Some(top) = start.ancestors().find(|path| is_checkout(path)) {
                return Ok(Self::at(top));
            }
        }
        bail!("not in a checkout of AccelTCP for Linux: no userspace-tools/lab/Cargo.toml above");
    }

    /// The layout of the checkout at `top`.
    pub fn at(top: &Path) -> Self {
        Self {
            top: top.to_path_buf(),
            kernel: Kernel::Stock,
            kunit: false,
        }
    }

    /// The same checkout with another kernel in the guest; it is the stock one otherwise.
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// The same with KUnit suites in this project's module; only kernels that the lab builds run them.
    pub fn with_kunit(mut self) -> Self {
        self.kunit = true;
        self
    }

    /// Whether there are KUnit suites in this project's module.
    pub fn has_kunit(&self) -> bool {
        self.kunit
    }

    /// The guest's kernel.
    pub fn guest_kernel(&self) -> Kernel {
        self.kernel
    }

    /// The checkout.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Everything that is made; removed by `lab clean`.
    pub fn build(&self) -> PathBuf {
        self.top.join("build")
    }

    /// Cargo's output.
    pub fn target(&self) -> PathBuf {
        self.top.join("target")
    }

    /// Build root and root file system of the guest.
    pub fn root(&self) -> PathBuf {
        self.build().join("root")
    }

    /// The stock kernel's tree and the modules built from it.
    pub fn kernel(&self) -> PathBuf {
        self.build().join("kernel")
    }

    /// The kernels that the lab builds: their common source, and a folder for each.
    pub fn built_kernels(&self) -> PathBuf {
        self.build().join("debug-kernels")
    }

    /// Output of the guest's kernel, where the lab builds it.
    pub fn built_kernel(&self) -> PathBuf {
        self.built_kernels().join(self.kernel.name())
    }

    /// The upstream driver's module, judge of the card; only the stock kernel has it.
    pub fn nfp_module(&self) -> PathBuf {
        self.kernel().join("nfp/nfp.ko")
    }

    /// Output folder of this project's module.
    pub fn module_dir(&self) -> PathBuf {
        self.build().join(self.module_name())
    }

    /// Name of that folder, by which its stamps go too.
    pub(crate) fn module_name(&self) -> String {
        let name = self.kernel.suffixed("module");
        match self.kunit {
            true => format!("{name}-kunit"),
            false => name,
        }
    }

    /// This project's module.
    pub fn module(&self) -> PathBuf {
        self.module_dir().join("acceltcp.ko")
    }

    /// Programs: lab, agilio-model, lab-agent.
    pub fn bin(&self) -> PathBuf {
        self.build().join("bin")
    }

    /// Shared objects: liblab_count.so.
    pub fn lib(&self) -> PathBuf {
        self.build().join("lib")
    }

    /// Output of the long steps and of the tests.
    pub fn log(&self) -> PathBuf {
        let log = self.build().join("log");
        match self.kernel {
            Kernel::Stock => log,
            kernel => log.join(kernel.name()),
        }
    }

    /// Debian packages.
    pub fn debs(&self) -> PathBuf {
        self.build().join("deb")
    }

    /// Results of demo and bench.
    pub fn report(&self) -> PathBuf {
        self.build().join("report")
    }

    /// One folder a session: sockets and logs.
    pub fn run(&self) -> PathBuf {
        self.build().join("run")
    }

    /// What saves work and may be deleted at any time.
    pub fn cache(&self) -> PathBuf {
        self.build().join("cache")
    }

    /// Marks of the completed set-up steps.
    pub fn stamps(&self) -> PathBuf {
        self.build().join("stamps")
    }

    /// The lock that excludes a second set-up or build.
    pub fn lock_file(&self) -> PathBuf {
        self.build().join("lock")
    }
}

fn is_checkout(path: &Path) -> bool {
    path.join("userspace-tools/lab/Cargo.toml").is_file() && path.join("rust/abi").is_dir()
}
