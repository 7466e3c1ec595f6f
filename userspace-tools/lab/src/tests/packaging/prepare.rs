// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `prepare-kernel-tree` on machines where something is wrong.

use anyhow::{ensure, Result};

use super::{copy::Copy, package};
use crate::{setup::Facts, tests::Context};

/// Unpacks the program, as the package of the source has it.
fn unpack(copy: &Copy, context: &Context<'_>) -> Result<()> {
    let (_, deb) = package(context, "acceltcp-dkms_")?;
    copy.run(&format!(
        "dpkg-deb --extract {deb} /opt && cp /opt/usr/src/acceltcp-*/packaging/prepare-kernel-tree /usr/bin/"
    ))?;
    Ok(())
}

pub(super) fn prepare(context: &Context<'_>) -> Result<()> {
    let facts = Facts::load(context.layout)?;
    let release = &facts.kernel_release;
    let series: Vec<&str> = release.split('.').take(2).collect();
    let series = series.join(".");
    let tree = format!("/usr/src/acceltcp-kernel-{release}");
    // What is changed, how it is changed back, and what must be said.
    let wrong = [
        (
            "mv /usr/bin/bindgen /opt/; mv /usr/bin/pahole /opt/".to_owned(),
            "mv /opt/bindgen /opt/pahole /usr/bin/".to_owned(),
            "apt install bindgen pahole".to_owned(),
        ),
        (
            format!("mv /usr/src/linux-headers-{release}/.config /opt/"),
            format!("mv /opt/.config /usr/src/linux-headers-{release}/"),
            format!("apt install linux-headers-{release}"),
        ),
        (
            format!(
                "cp /var/lib/dpkg/status /opt/; \
                 sed -i '/^Package: linux-source-{series}$/,/^$/s/^Version: .*/Version: {series}.0-1/' \
                 /var/lib/dpkg/status"
            ),
            "mv /opt/status /var/lib/dpkg/".to_owned(),
            format!("linux-source-{series} of version {series}.0-1"),
        ),
        (
            "printf '#!/bin/sh\\necho rustc 1.0.0\\n' > /opt/rustc; chmod +x /opt/rustc; \
             mv /usr/bin/rustc /opt/real; mv /opt/rustc /usr/bin/"
                .to_owned(),
            "mv /opt/real /usr/bin/rustc".to_owned(),
            "/usr/bin/rustc is rustc 1.0.0".to_owned(),
        ),
        (
            format!(
                "cd /usr/src; mv linux-source-{series}.tar.xz /opt/; \
                 head -c 3000000 /opt/linux-source-{series}.tar.xz > linux-source-{series}.tar.xz"
            ),
            format!("mv /opt/linux-source-{series}.tar.xz /usr/src/"),
            format!("could not unpack /usr/src/linux-source-{series}.tar.xz"),
        ),
        (
            format!("mkdir {tree}; echo mine > {tree}/file"),
            format!("grep -qx mine {tree}/file && rm -r {tree}"),
            "was not made by this program".to_owned(),
        ),
    ];
    let copy = Copy::new(context)?;
    unpack(&copy, context)?;
    for (change, back, said) in &wrong {
        copy.run(change)?;
        let text = copy.refused(&format!("prepare-kernel-tree {release}"))?;
        ensure!(text.contains(said), "not said: {said}; but:\n{text}");
        copy.run(back)?;
        ensure!(!copy.changed(&tree).exists(), "{said}: {tree} is left");
    }
    // Neither is what others have made removed, nor anything outside of the folder of sources.
    copy.run(&format!(
        "mkdir {tree}; prepare-kernel-tree --remove; test -d {tree}; rmdir {tree}"
    ))?;
    let text = copy.refused("prepare-kernel-tree --remove /usr/share")?;
    ensure!(text.contains("is not removed"), "{text}");
    copy.refused("prepare-kernel-tree ../../etc")?;
    Ok(())
}
