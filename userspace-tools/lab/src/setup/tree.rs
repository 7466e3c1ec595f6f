// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The prepared kernel tree, and the upstream driver's module.
//!
//! The distribution's headers lack what Rust modules need, so a tree is prepared from the source
//! of the same version with the stock configuration: the compiler's symbols then match the stock
//! kernel's, and a module built against it loads there.

use std::fs;

use anyhow::{Context, Result};

use super::{packages, root, Facts};
use crate::util::{mounts, Chroot, Fingerprint, Layout, Stamp, Step};

/// Parameters: kernel release, archive of the source, folder to make. The release's names come
/// from the headers, or the stock kernel would refuse modules built here.
const PREPARE: &str = r#"
set -e
release=$1 archive=$2 tree=$3
headers=/usr/src/linux-headers-$release
mkdir "$tree"
tar -C "$tree" --strip-components=1 -xf "$archive"
cd "$tree"
cp "$headers/.config" .config
cp "$headers/Module.symvers" .
make -j"$(nproc)" modules_prepare
cp "$headers/include/generated/utsrelease.h" include/generated/
cp "$headers/include/config/kernel.release" include/config/
make -s rustavailable
"#;

/// Parameters: kernel tree, folder to make for a copy of the driver's source, folder of the result.
const NFP: &str = r#"
set -e
tree=$1 copy=$2 result=$3
mkdir "$result"
cp -r "$tree/drivers/net/ethernet/netronome" "$copy"
make -C "$tree" M="$copy" -j"$(nproc)" modules \
    CONFIG_NET_VENDOR_NETRONOME=y CONFIG_NFP=m CONFIG_NFP_NET_IPSEC=n \
    CONFIG_NFP_DEBUG=y KCFLAGS=-DCONFIG_NFP_DEBUG=1
cp "$copy/nfp/nfp.ko" "$result/"
"#;

/// What the tree depends on.
pub(super) fn tree_inputs(facts: &Facts) -> Fingerprint {
    root::base_inputs()
        .with(&facts.kernel_release)
        .with(&facts.kernel_package)
        .with(PREPARE)
}

/// What the upstream driver's module depends on.
pub(super) fn nfp_inputs(facts: &Facts) -> Fingerprint {
    tree_inputs(facts).with(NFP)
}

/// Unpacks and prepares the kernel tree. The tree stands under its final name from the start,
/// because the build notes it; an unfinished one is made anew.
pub(super) fn prepare(layout: &Layout, facts: &Facts) -> Result<()> {
    let stamp = Stamp::new(layout, "tree");
    if stamp.valid(tree_inputs(facts)).is_some() {
        return Ok(());
    }
    let step = Step::start(
        layout,
        "tree",
        &format!("prepare the kernel tree {}", facts.kernel_release),
    )?;
    stamp.clear()?;
    // Trees of other releases go too: they are large.
    mounts::remove_tree(&layout.kernel())?;
    Stamp::new(layout, "nfp").clear()?;
    fs::create_dir_all(layout.kernel())?;
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", PREPARE, "prepare", &facts.kernel_release])
            .arg(packages::source_archive())
            .arg(facts.stock_tree_inside()),
    )?;
    stamp.set(tree_inputs(facts), "")?;
    step.done();
    Ok(())
}

/// Builds the upstream driver, unmodified: the judge of the card.
pub(super) fn build_nfp(layout: &Layout, facts: &Facts) -> Result<()> {
    let stamp = Stamp::new(layout, "nfp");
    if stamp.valid(nfp_inputs(facts)).is_some() {
        return Ok(());
    }
    let step = Step::start(layout, "nfp", "build the upstream nfp driver")?;
    stamp.clear()?;
    let result = layout.nfp_module();
    let result = result.parent().context("the module lies in a folder")?;
    let part = result.with_extension("part");
    let copy = layout.kernel().join("nfp.src");
    for folder in [result, &part, &copy] {
        mounts::remove_tree(folder)?;
    }
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", NFP, "nfp"])
            .arg(facts.stock_tree_inside())
            .args(["/build/kernel/nfp.src", "/build/kernel/nfp.part"]),
    )?;
    fs::rename(&part, result)?;
    mounts::remove_tree(&copy)?;
    stamp.set(nfp_inputs(facts), "")?;
    step.done();
    Ok(())
}
