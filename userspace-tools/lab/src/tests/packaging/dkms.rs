// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DKMS builds the module from its package, in a copy of the build root.

use std::fs;

use anyhow::{ensure, Context as _, Result};

use super::{copy::Copy, package};
use crate::{
    session::{inner_path, Driver},
    setup::Facts,
    tests::{driver::alive, Context},
};

pub(super) fn dkms(context: &Context<'_>) -> Result<()> {
    let facts = Facts::load(context.layout)?;
    let release = &facts.kernel_release;
    let version = env!("CARGO_PKG_VERSION");
    let named = format!("-m acceltcp -v {version} -k {release}");
    let copy = Copy::new(context)?;
    let (_, deb) = package(context, "acceltcp-dkms_")?;
    // dpkg checks that all that the package depends on is there; the module is then built step by step.
    copy.run(&format!(
        "touch /etc/dkms/no-autoinstall; dpkg --install {deb}; dkms add -m acceltcp -v {version}"
    ))?;
    let log = format!("/var/lib/dkms/acceltcp/{version}/build/make.log");
    copy.run(&format!(
        "dkms build {named} || {{ tail -n 40 {log}; exit 1; }}"
    ))?;
    copy.run(&format!("dkms install {named}"))?;
    let magic = |name: &str| copy.run(&format!("modinfo -k {release} -F vermagic {name}"));
    let (ours, stock) = (magic("acceltcp")?, magic("overlay")?);
    ensure!(ours == stock, "vermagic is {ours}, the kernel's {stock}");
    // The tree is made only once.
    let text = copy.run(&format!(
        "/usr/src/acceltcp-{version}/packaging/prepare-kernel-tree {release}"
    ))?;
    ensure!(
        text.ends_with("is ready\n") && text.lines().count() == 1,
        "{text}"
    );

    // The kernel takes it, too.
    let module = format!("/lib/modules/{release}/updates/dkms/acceltcp.ko.xz");
    copy.run(&format!(
        "xz --decompress --stdout {module} > /opt/acceltcp.ko"
    ))?;
    let session = context.start(context.session().driver(Driver::None))?;
    let path = inner_path(context.layout, &copy.changed("/opt/acceltcp.ko"))?;
    session.guest().load_module(&path, "")?;
    session.configure()?;
    alive(&session)?;
    context.finish(session)?;

    copy.run("dpkg --purge acceltcp-dkms")?;
    for folder in [
        "usr/src",
        "var/lib/dkms",
        &format!("usr/lib/modules/{release}/updates"),
    ] {
        left(&copy, folder)?;
    }
    Ok(())
}

/// Fails if something of the project's is left in a folder.
fn left(copy: &Copy, folder: &str) -> Result<()> {
    let path = copy.changed(folder);
    if !path.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
        let name = entry?.file_name();
        ensure!(
            !name.to_string_lossy().contains("acceltcp"),
            "{} is left in {folder}",
            name.display()
        );
    }
    Ok(())
}
