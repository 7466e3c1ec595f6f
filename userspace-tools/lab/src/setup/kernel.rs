// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest's kernel: which release the archive has, its packages, its prepared source tree.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{bail, Context, Result};

use super::{
    packages::{self, BACKPORTS, FROM_BACKPORTS, KERNEL_FLAVOUR, KERNEL_SERIES},
    root, Facts,
};
use crate::util::{mounts, process, Chroot, Fingerprint, Layout, Stamp, Step};

/// Versions of packages by name.
type Versions = BTreeMap<String, Vec<String>>;

/// Unpacks image and modules, and the kernel in its image, which the machine starts by its PVH entry: to have it unpacked in
/// each guest costs a third of the boot. The header of an image tells where its payload is, whose last four bytes are the size
/// of what it unpacks to (Documentation/arch/x86/boot.rst).
///
/// Parameters: release, packages with their versions.
const UNPACK: &str = r#"
set -e
release=$1; shift
cd /build/cache/debs
apt-get -o Acquire::Retries=3 download "$@"
for deb in *.deb; do dpkg -x "$deb" /; done
modules=/usr/lib/modules/$release
image=$modules/vmlinuz
[ -e "$image" ] || cp "/boot/vmlinuz-$release" "$image"
field() { od -An -t"u$2" -j"$1" -N"$2" "$image" | tr -d ' '; }
start=$((($(field 497 1) + 1) * 512 + $(field 584 4)))
size=$(($(field 588 4) - 4))
tail -c +$((start + 1)) "$image" | head -c "$size" >payload
case $(od -An -tx1 -N4 payload | tr -d ' ') in
28b52ffd) unpack=zstd ;;
fd377a58) unpack=xz ;;
1f8b*) unpack=gzip ;;
*) echo "$image is compressed by a program that is not known here" >&2; exit 1 ;;
esac
$unpack -dc <payload >vmlinux
wanted=$(od -An -tu4 -j$((start + size)) -N4 "$image" | tr -d ' ')
[ "$(stat -c %s vmlinux)" = "$wanted" ] || { echo "$image has not the size it says" >&2; exit 1; }
mv vmlinux "$modules/vmlinux"
depmod -a "$release"
"#;

/// What the kernel's packages depend on.
pub(super) fn inputs() -> Fingerprint {
    FROM_BACKPORTS.iter().fold(
        root::base_inputs()
            .with(KERNEL_SERIES)
            .with(KERNEL_FLAVOUR)
            .with(UNPACK),
        |inputs, name| inputs.with(name),
    )
}

/// Installs kernel, headers, source and QEMU, all from the backports.
pub(super) fn install(layout: &Layout, mirror: &str, update: bool) -> Result<Facts> {
    let stamp = Stamp::new(layout, "kernel");
    if !update {
        if let Some(facts) = stamp.valid(inputs()) {
            return serde_json::from_str(&facts).context("the kernel's stamp is damaged");
        }
    }
    let step = Step::start(layout, "kernel", "install kernel, its source and QEMU")?;
    root::refresh_lists(layout, &step, update)?;
    let kernel = find(layout, mirror)?;
    stamp.clear()?;

    let version = &kernel.version;
    let mut names: Vec<String> = FROM_BACKPORTS.iter().map(|name| (*name).into()).collect();
    names.push(format!("{}={version}", packages::headers(&kernel.release)));
    names.push(format!("{}={version}", packages::source()));
    root::install(layout, &step, &["-t", BACKPORTS], &names)?;
    unpack(layout, &step, &kernel)?;

    let qemu = process::capture(Chroot::new(layout).command("dpkg-query").args([
        "-W",
        "-f",
        "${Version}",
        FROM_BACKPORTS[0],
    ]))?;
    let facts = Facts {
        kernel_release: kernel.release,
        kernel_package: kernel.version,
        qemu_package: qemu.trim().to_owned(),
        mirror: mirror.to_owned(),
    };
    if !facts.image(layout).is_file() {
        bail!("no kernel image at {}", facts.image(layout).display());
    }
    stamp.set(inputs(), &serde_json::to_string(&facts)?)?;
    step.done();
    Ok(facts)
}

/// A release of the kernel that the archive has whole.
#[derive(Debug, Eq, PartialEq)]
struct Kernel {
    /// As `uname -r` gives it.
    release: String,
    /// Of its packages.
    version: String,
    /// Packages of image and modules.
    packages: Vec<String>,
}

fn find(layout: &Layout, mirror: &str) -> Result<Kernel> {
    let chroot = Chroot::new(layout);
    let headers = packages::headers("");
    let names = process::capture(chroot.command("apt-cache").args(["pkgnames", "linux-"]))?;
    let wanted: Vec<&str> = names
        .lines()
        .filter(|name| name.ends_with(KERNEL_FLAVOUR) || *name == packages::source())
        .collect();
    // Names alone may be left over in dependencies: only what has a version is there.
    let table = process::capture(chroot.command("apt-cache").arg("madison").args(&wanted))?;
    let versions = parse_madison(&table);
    newest(&versions, &compare_versions).with_context(|| {
        let found: Vec<&str> = versions
            .keys()
            .filter_map(|name| name.strip_prefix(&headers))
            .collect();
        format!(
            "{mirror} has no complete kernel {KERNEL_SERIES}.y of the flavour {KERNEL_FLAVOUR} in \
             {BACKPORTS} (headers, image, and {} of the same version); its kernels are: {}. \
             AccelTCP needs {KERNEL_SERIES}; name a mirror that still has it with \
             `lab setup --mirror URL`",
            packages::source(),
            found.join(", ")
        )
    })
}

/// Reads lines of the form `package | version | where`.
fn parse_madison(table: &str) -> Versions {
    let mut versions = Versions::new();
    for line in table.lines() {
        let mut fields = line.split('|').map(str::trim);
        if let (Some(name), Some(version), Some(place)) =
            (fields.next(), fields.next(), fields.next())
        {
            if place.ends_with("Packages") {
                let list = versions.entry(name.to_owned()).or_default();
                list.push(version.to_owned());
            }
        }
    }
    versions
}

/// The newest release whose headers, image and source all stand in the archive.
fn newest(versions: &Versions, newer: &dyn Fn(&str, &str) -> bool) -> Option<Kernel> {
    let has = |name: &str, version: &str| {
        versions
            .get(name)
            .is_some_and(|list| list.iter().any(|other| other == version))
    };
    let series = format!("{KERNEL_SERIES}.");
    let prefix = packages::headers("");
    let mut best: Option<Kernel> = None;
    for (name, list) in versions {
        let Some(release) = name.strip_prefix(&prefix) else {
            continue;
        };
        if !release.starts_with(&series) || !release.ends_with(&format!("-{KERNEL_FLAVOUR}")) {
            continue;
        }
        for version in list {
            let image = packages::images(release)
                .into_iter()
                .find(|image| has(image, version));
            let Some(image) = image.filter(|_| has(&packages::source(), version)) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|best| newer(version, &best.version))
            {
                let modules = packages::modules(release);
                let mut packages = vec![image];
                packages.extend(has(&modules, version).then_some(modules));
                best = Some(Kernel {
                    release: release.to_owned(),
                    version: version.clone(),
                    packages,
                });
            }
        }
    }
    best
}

/// Whether version `a` is newer than `b` by Debian's rules.
fn compare_versions(a: &str, b: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", a, "gt", b])
        .status()
        .is_ok_and(|status| status.success())
}

/// Unpacks image and modules. They are not installed: that would make an initramfs and ask for a
/// boot loader.
fn unpack(layout: &Layout, step: &Step, kernel: &Kernel) -> Result<()> {
    let debs = layout.cache().join("debs");
    mounts::remove_tree(&debs)?;
    fs::create_dir_all(&debs)?;
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", UNPACK, "unpack", &kernel.release])
            .args(
                kernel
                    .packages
                    .iter()
                    .map(|name| format!("{name}={}", kernel.version)),
            ),
    )?;
    mounts::remove_tree(&debs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough of Debian's order for these tests: numbers between dots, by value.
    fn newer(a: &str, b: &str) -> bool {
        let key = |text: &str| -> Vec<u32> {
            text.split(|c: char| !c.is_ascii_digit())
                .filter_map(|part| part.parse().ok())
                .collect()
        };
        key(a) > key(b)
    }

    fn archive(lines: &[(&str, &str)]) -> Versions {
        let table: String = lines
            .iter()
            .map(|(name, version)| {
                format!(" {name} | {version} | http://m trixie-backports/main amd64 Packages\n")
            })
            .collect();
        parse_madison(&table)
    }

    #[test]
    fn takes_the_newest_release_that_is_whole() {
        let versions = archive(&[
            ("linux-headers-7.3.9+deb13-cloud-amd64", "7.3.9-1"),
            ("linux-binary-7.3.9+deb13-cloud-amd64", "7.3.9-1"),
            ("linux-modules-7.3.9+deb13-cloud-amd64", "7.3.9-1"),
            ("linux-headers-7.3.10+deb13-cloud-amd64", "7.3.10-1"),
            ("linux-binary-7.3.10+deb13-cloud-amd64", "7.3.10-1"),
            ("linux-modules-7.3.10+deb13-cloud-amd64", "7.3.10-1"),
            // Its image is not there yet.
            ("linux-headers-7.3.11+deb13-cloud-amd64", "7.3.11-1"),
            ("linux-headers-7.4.1+deb13-cloud-amd64", "7.4.1-1"),
            ("linux-source-7.3", "7.3.9-1"),
            ("linux-source-7.3", "7.3.10-1"),
            ("linux-source-7.3", "7.3.11-1"),
        ]);
        let kernel = newest(&versions, &newer).expect("two are whole");
        assert_eq!(kernel.release, "7.3.10+deb13-cloud-amd64");
        assert_eq!(
            kernel.packages,
            [
                "linux-binary-7.3.10+deb13-cloud-amd64",
                "linux-modules-7.3.10+deb13-cloud-amd64"
            ]
        );
    }

    #[test]
    fn source_must_have_the_same_version() {
        let versions = archive(&[
            ("linux-headers-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
            ("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1"),
            ("linux-source-7.3", "7.3.5-1"),
        ]);
        assert_eq!(newest(&versions, &newer), None);
    }

    #[test]
    fn other_series_do_not_count() {
        let versions = archive(&[
            ("linux-headers-7.30.1+deb13-cloud-amd64", "7.30.1-1"),
            ("linux-image-7.30.1+deb13-cloud-amd64", "7.30.1-1"),
            ("linux-headers-7.3.4+deb13-amd64", "7.3.4-1"),
            ("linux-image-7.3.4+deb13-amd64", "7.3.4-1"),
            ("linux-source-7.3", "7.30.1-1"),
            ("linux-source-7.3", "7.3.4-1"),
        ]);
        assert_eq!(newest(&versions, &newer), None);
    }
}
