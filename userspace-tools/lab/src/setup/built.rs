// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernels that the lab builds, from the source of the stock one's version.
//!
//! They stand in `build/debug-kernels`, apart from the stock kernel's tree: one copy of the source,
//! which stays as it was unpacked, and an output folder for each kernel. An interrupted build goes
//! on where it was; only another source begins anew.

use std::{collections::BTreeMap, fs};

use anyhow::{ensure, Context, Result};

use super::{packages, Facts};
use crate::util::{mounts, Chroot, Fingerprint, Kernel, Layout, Lock, Stamp, Step};

/// What every kernel has.
const BASE: &str = include_str!("../../kernel/base.config");

/// Parameters: archive of the source, folder to make.
const UNPACK: &str = r#"
set -e
mkdir -p "$2"
tar -C "$2" --strip-components=1 -xf "$1"
"#;

/// Parameters: source, output folder, LLVM's suffix.
const CONFIGURE: &str = r#"
exec make -s -C "$1" O="$2" LLVM="$3" KCONFIG_ALLCONFIG="$2/wanted.config" allnoconfig
"#;

/// Parameters as above. Line tables are all that a stack needs, and cost a tenth of full debugging
/// information; they come last, so that they win over the configuration's choice. The modules'
/// folder in the root lets `modprobe` know what is built in.
const BUILD: &str = r#"
set -e
run() { nice make -C "$source" O="$out" LLVM="$llvm" KCFLAGS=-gline-tables-only "$@"; }
source=$1 out=$2 llvm=$3
run -j"$(nproc)" vmlinux modules
run -s INSTALL_MOD_PATH= INSTALL_MOD_STRIP=1 modules_install
"#;

/// What is on top of [`BASE`].
fn options(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Stock => "",
        Kernel::Debug => include_str!("../../kernel/debug.config"),
        Kernel::Kcsan => include_str!("../../kernel/kcsan.config"),
    }
}

fn source_inputs(facts: &Facts) -> Fingerprint {
    Fingerprint::default()
        .with(&facts.kernel_package)
        .with(UNPACK)
}

fn inputs(facts: &Facts, kernel: Kernel) -> Fingerprint {
    source_inputs(facts)
        .with(BASE)
        .with(options(kernel))
        .with(CONFIGURE)
        .with(BUILD)
        .with(packages::LLVM)
}

/// What the guest's kernel depends on, for all that is built against it.
pub(crate) fn guest_kernel_inputs(layout: &Layout, facts: &Facts) -> Fingerprint {
    match layout.guest_kernel() {
        Kernel::Stock => Fingerprint::default().with(&facts.kernel_package),
        kernel => inputs(facts, kernel),
    }
}

/// Builds the guest's kernel, if it is one that the lab builds and it is not there already.
///
/// # Errors
///
/// The build failed, or a symbol of the configuration could not be had.
pub(super) fn ensure(layout: &Layout, facts: &Facts) -> Result<()> {
    let kernel = layout.guest_kernel();
    if !kernel.is_built() {
        return Ok(());
    }
    let stamp = Stamp::new(layout, &format!("kernel-{}", kernel.name()));
    let inputs = inputs(facts, kernel);
    if stamp.valid(inputs).is_some() && image(layout).is_file() {
        return Ok(());
    }
    // Not the lock of the set-up: others may build and test meanwhile.
    let _lock = Lock::kernels(layout)?;
    if stamp.valid(inputs).is_some() && image(layout).is_file() {
        return Ok(());
    }
    // Nobody may remove `build/` meanwhile.
    Lock::hold_use(layout)?;
    unpack(layout, facts)?;
    let title = format!(
        "build the {} kernel {} (once; 10 to 25 minutes)",
        kernel.name(),
        facts.kernel_package
    );
    let step = Step::start(layout, "kernel", &title)?;
    stamp.clear()?;
    let out = layout.built_kernel();
    fs::create_dir_all(&out)?;
    let wanted = [BASE, options(kernel)].concat();
    fs::write(out.join("wanted.config"), &wanted)?;
    let make = |script: &str| {
        let mut command = Chroot::new(layout).command("sh");
        command
            .args(["-c", script, "make", "/build/debug-kernels/source"])
            .arg(format!("/build/debug-kernels/{}", kernel.name()))
            .arg(packages::LLVM);
        command
    };
    step.run(&mut make(CONFIGURE))?;
    let config = fs::read_to_string(out.join(".config")).context("the configuration")?;
    check(&wanted, &config)?;
    step.run(&mut make(BUILD))?;
    stamp.set(inputs, "")?;
    step.done();
    Ok(())
}

fn image(layout: &Layout) -> std::path::PathBuf {
    layout.built_kernel().join("vmlinux")
}

fn unpack(layout: &Layout, facts: &Facts) -> Result<()> {
    let stamp = Stamp::new(layout, "kernels-source");
    if stamp.valid(source_inputs(facts)).is_some() {
        return Ok(());
    }
    let step = Step::start(layout, "source", "unpack the kernel's source")?;
    stamp.clear()?;
    // The archive's files keep their times: make could not tell that they differ.
    mounts::remove_tree(&layout.built_kernels())?;
    fs::create_dir_all(layout.built_kernels())?;
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", UNPACK, "unpack"])
            .arg(packages::source_archive())
            .arg("/build/debug-kernels/source"),
    )?;
    stamp.set(source_inputs(facts), "")?;
    step.done();
    Ok(())
}

/// The symbols of a configuration that are set.
fn symbols(config: &str) -> BTreeMap<&str, &str> {
    config
        .lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// Says which symbols the configuration does not have as they are wanted.
fn check(wanted: &str, config: &str) -> Result<()> {
    let has = symbols(config);
    let missing: Vec<String> = symbols(wanted)
        .into_iter()
        .filter(|(name, value)| has.get(name).copied().unwrap_or("n") != *value)
        .map(|(name, value)| {
            let found = has.get(name).copied().unwrap_or("n");
            format!("{name} is {found}, not {value}")
        })
        .collect();
    ensure!(
        missing.is_empty(),
        "the kernel's source does not give the configuration of userspace-tools/lab/kernel:\n  {}",
        missing.join("\n  ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_that_were_dropped_are_named() {
        let wanted = "# CONFIG_C=y\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_N=20\n";
        assert!(check(wanted, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=20\n").is_ok());
        let error = check(wanted, "CONFIG_B=y\nCONFIG_N=17\n").unwrap_err();
        let text = error.to_string();
        for line in [
            "CONFIG_A is n, not y",
            "CONFIG_B is y, not n",
            "CONFIG_N is 17, not 20",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn each_kernel_has_a_release_of_its_own() {
        for kernel in [Kernel::Debug, Kernel::Kcsan] {
            let version = format!("CONFIG_LOCALVERSION=\"-{}\"", kernel.name());
            assert!(options(kernel).lines().any(|line| line == version));
        }
    }
}
