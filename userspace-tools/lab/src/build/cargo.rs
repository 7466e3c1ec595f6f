// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Firmware and tools, built by the host's cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    setup,
    util::{Layout, Step},
};

/// A package, its file in cargo's output, and whether it goes to `build/lib` or `build/bin`.
struct Product {
    package: &'static str,
    file: &'static str,
    library: bool,
}

const PRODUCTS: &[Product] = &[
    Product {
        package: "agilio-model",
        file: "agilio-model",
        library: false,
    },
    Product {
        package: "lab-agent",
        file: "lab-agent",
        library: false,
    },
    Product {
        package: "lab",
        file: "lab",
        library: false,
    },
    Product {
        package: "acceltcp",
        file: "acceltcp",
        library: false,
    },
    Product {
        package: "acceltcp-preload",
        file: "acceltcp-run",
        library: false,
    },
    Product {
        package: "acceltcp-preload",
        file: "libacceltcp_preload.so",
        library: true,
    },
    Product {
        package: "l7proxy",
        file: "l7proxy",
        library: false,
    },
    Product {
        package: "sockmap-proxy",
        file: "sockmap-proxy",
        library: false,
    },
    Product {
        package: "lab-load",
        file: "lab-load",
        library: false,
    },
    Product {
        package: "lab-fuzz",
        file: "lab-fuzz",
        library: false,
    },
    Product {
        package: "lab-count",
        file: "liblab_count.so",
        library: true,
    },
];

/// Builds all products and installs what changed.
pub(super) fn build(layout: &Layout) -> Result<()> {
    let cargo = setup::check_cargo()?;
    let step = Step::start(layout, "cargo", "build firmware and tools")?;
    let mut command = Command::new(cargo);
    command
        .current_dir(layout.top())
        .args(["build", "--release", "--locked", "--color=never"])
        .arg("--target-dir")
        .arg(layout.target());
    for product in PRODUCTS {
        command.args(["-p", product.package]);
    }
    step.run(&mut command)?;
    for product in PRODUCTS {
        let from = layout.target().join("release").join(product.file);
        let folder = if product.library {
            layout.lib()
        } else {
            layout.bin()
        };
        install(&from, &folder.join(product.file))?;
    }
    step.done();
    Ok(())
}

/// Copies a file if it differs. The copy appears by renaming, so that a program that is running
/// from the old one goes on.
fn install(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> Result<()> {
        let (source, old) = (from.metadata()?, to.metadata());
        if let Ok(old) = old {
            if old.len() == source.len() && old.modified()? >= source.modified()? {
                return Ok(());
            }
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        let part: PathBuf = to.with_extension("part");
        fs::copy(from, &part)?;
        fs::rename(&part, to)?;
        Ok(())
    };
    copy().with_context(|| format!("cannot install {} as {}", from.display(), to.display()))
}
