// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the host must be and have.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{bail, Context, Result};
use nix::{sys::utsname::uname, unistd::Uid};

use super::packages;
use crate::util::{process, Layout, Step};

/// The oldest compiler that the workspace builds with.
const OLDEST_RUSTC: (u32, u32) = (1, 85);

/// Checks the machine, and installs the few host packages that are missing.
///
/// # Errors
///
/// It is not Debian 12 or newer on x86-64, the user is not root, or packages cannot be installed.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    check_machine()?;
    let missing = missing_packages();
    if !missing.is_empty() {
        install(layout, &missing)?;
        let still = missing_packages();
        if !still.is_empty() {
            bail!(
                "still missing after the installation: {}",
                still.iter().copied().collect::<Vec<_>>().join(" ")
            );
        }
    }
    Ok(())
}

/// Says what to do when there is no usable cargo.
///
/// # Errors
///
/// There is none, or it is too old.
pub(crate) fn check_cargo() -> Result<std::path::PathBuf> {
    let (major, minor) = OLDEST_RUSTC;
    let advice = format!(
        "install Rust {major}.{minor} or newer with rustup, or on Debian 13 with \
         `apt-get install cargo` (Debian 12's own is too old)"
    );
    let Some(cargo) = process::find_program("cargo") else {
        bail!("cargo is not installed: {advice}");
    };
    let text = process::capture(Command::new(&cargo).arg("--version"))?;
    if cargo_version(&text).is_some_and(|version| version < OLDEST_RUSTC) {
        bail!("{} is too old: {advice}", text.trim());
    }
    Ok(cargo)
}

/// Says what is wrong with a machine that the lab cannot run on.
///
/// # Errors
///
/// It is not Debian 12 or newer on x86-64, or the user is not root.
pub(crate) fn check_machine() -> Result<()> {
    let machine = uname()?.machine().to_string_lossy().into_owned();
    if machine != "x86_64" {
        bail!("the lab needs an x86-64 machine, this is {machine}");
    }
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    check_distribution(&release)?;
    if !Uid::effective().is_root() {
        bail!(
            "the lab must run as root: it makes a build root, network namespaces and TAP devices, \
             all in private namespaces"
        );
    }
    Ok(())
}

fn check_distribution(os_release: &str) -> Result<()> {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    let name = field("PRETTY_NAME").unwrap_or("an unknown system");
    if field("ID") != Some("debian") {
        bail!("the lab needs Debian 12 or 13, this is {name}");
    }
    // Testing and unstable have no number.
    let version = field("VERSION_ID").and_then(|text| text.parse::<u32>().ok());
    if version.is_some_and(|version| version < 12) {
        bail!("the lab needs Debian 12 or 13, this is {name}");
    }
    Ok(())
}

fn missing_packages() -> BTreeSet<&'static str> {
    packages::HOST
        .iter()
        .filter(|need| {
            if need.what.starts_with('/') {
                !Path::new(need.what).exists()
            } else {
                process::find_program(need.what).is_none()
            }
        })
        .flat_map(|need| need.packages.iter().copied())
        .collect()
}

fn install(layout: &Layout, missing: &BTreeSet<&'static str>) -> Result<()> {
    let list: Vec<&str> = missing.iter().copied().collect();
    let Some(apt) = process::find_program("apt-get") else {
        bail!("please install these packages: {}", list.join(" "));
    };
    let step = Step::start(
        layout,
        "host",
        &format!("install host packages {}", list.join(" ")),
    )?;
    let install = || {
        let mut command = Command::new(&apt);
        command
            .args(["install", "-y", "--no-install-recommends"])
            .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
            .args(&list)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // The lists are fetched only when they turn out to be missing or too old.
    if step.run(&mut install()).is_err() {
        let advice = || format!("please install these packages: {}", list.join(" "));
        step.run(Command::new(&apt).arg("update"))
            .with_context(advice)?;
        step.run(&mut install()).with_context(advice)?;
    }
    step.done();
    Ok(())
}

fn cargo_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(' ').nth(1)?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargo_versions() {
        assert_eq!(
            cargo_version("cargo 1.95.0 (f2d3ce0bd 2026-03-21)\n"),
            Some((1, 95))
        );
        assert_eq!(cargo_version("cargo 1.65.0"), Some((1, 65)));
        assert_eq!(cargo_version("nonsense"), None);
    }

    #[test]
    fn accepts_debian_12_and_newer_only() {
        assert!(check_distribution("ID=debian\nVERSION_ID=\"12\"\n").is_ok());
        assert!(check_distribution("VERSION_ID=\"13\"\nID=debian\n").is_ok());
        assert!(check_distribution("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux sid\"\n").is_ok());
        assert!(check_distribution("ID=debian\nVERSION_ID=\"11\"\n").is_err());
        let error = check_distribution("ID=fedora\nPRETTY_NAME=\"Fedora 44\"\n")
            .expect_err("not Debian")
            .to_string();
        assert!(error.contains("Fedora 44"), "{error}");
    }
}
