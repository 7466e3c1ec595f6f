// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The build root, which is the guest's root file system too.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{ensure, Context, Result};
use nix::sys::statvfs::statvfs;

use super::{
    mirror,
    packages::{BACKPORTS, BASE, BUILD_TOOLS, KEYRING, PROGRAMS, SUITE},
};
use crate::util::{mounts, Chroot, Fingerprint, Layout, Lock, Stamp, Step};

/// Package lists older than this are fetched anew before anything is installed.
const LISTS_FRESH: Duration = Duration::from_secs(3600);
/// No service may be started by an installation: this is asked before each start.
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// What the base system depends on. Not on the mirror: a root once made stays good.
pub(super) fn base_inputs() -> Fingerprint {
    let inputs = Fingerprint::default().with(SUITE).with(BACKPORTS);
    BASE.iter().fold(inputs, |inputs, name| inputs.with(name))
}

/// What the tools in the root depend on.
pub(super) fn tools_inputs() -> Fingerprint {
    BUILD_TOOLS
        .iter()
        .chain(PROGRAMS)
        .fold(base_inputs(), |inputs, name| inputs.with(name))
}

/// Makes the base system: apt and what it needs. Returns the mirror.
pub(super) fn make_base(layout: &Layout, wanted: Option<&str>) -> Result<String> {
    let stamp = Stamp::new(layout, "root");
    if let Some(mirror) = stamp.valid(base_inputs()) {
        if wanted.is_none_or(|wanted| wanted.trim_end_matches('/') == mirror) {
            return Ok(mirror);
        }
    }
    let mirror = match wanted {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => mirror::from_apt()?,
    };
    check_space(layout)?;
    // Nobody may be running on the root that is replaced now.
    let _unused = Lock::unused(layout)?;
    for name in [
        "root",
        "lists",
        "tools",
        "kernel",
        "tree",
        "nfp",
        // What is built stays; its modules' folder was in the root.
        "kernel-debug",
        "kernel-kcsan",
    ] {
        Stamp::new(layout, name).clear()?;
    }
    let step = Step::start(
        layout,
        "root",
        &format!("make the build root ({SUITE} from {mirror})"),
    )?;
    let part = layout.root().with_extension("part");
    mounts::remove_tree(&part)?;
    mounts::remove_tree(&layout.root())?;

    fs::create_dir_all(layout.cache())?;
    let settings = layout.cache().join("apt.conf");
    let mut text = mirror::apt_settings()?;
    // The checkout may lie where apt's own user cannot look.
    text.push_str("APT::Sandbox::User \"root\";\n");
    fs::write(&settings, &text)?;

    step.run(
        crate::util::process::contained("mmdebstrap")
            .args(["--mode=root", "--variant=apt"])
            .arg(format!("--keyring={KEYRING}"))
            .arg(format!("--aptopt={}", settings.display()))
            .arg("--dpkgopt=force-unsafe-io")
            .arg(format!("--include={}", BASE.join(",")))
            .arg(SUITE)
            .arg(&part)
            .arg(format!("deb {mirror} {SUITE} main"))
            .arg(format!("deb {mirror} {BACKPORTS} main")),
    )?;
    finish_base(&part, &text, &mirror)?;
    fs::rename(&part, layout.root())?;
    stamp.set(base_inputs(), &mirror)?;
    step.done();
    Ok(mirror)
}

/// Says so at once when the set-up cannot fit.
fn check_space(layout: &Layout) -> Result<()> {
    const NEEDED_MB: u64 = 6 * 1024;
    let build = layout.build();
    fs::create_dir_all(&build)?;
    let space = statvfs(&build).with_context(|| format!("cannot examine {}", build.display()))?;
    let free_mb = space.blocks_available() * space.fragment_size() / (1024 * 1024);
    ensure!(
        free_mb >= NEEDED_MB,
        "the lab needs {NEEDED_MB} MB below {}, there are {free_mb} MB",
        build.display()
    );
    Ok(())
}

/// What the fresh base system needs beside its packages.
fn finish_base(root: &Path, settings: &str, mirror: &str) -> Result<()> {
    let policy = root.join("usr/sbin/policy-rc.d");
    fs::write(&policy, POLICY)?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
    fs::write(root.join("etc/hostname"), "guest\n")?;
    for name in ["src", "build"] {
        fs::create_dir_all(root.join(name))?;
    }
    // What this machine trusts is what leads to its mirror.
    if mirror.starts_with("https:") && !settings.contains("Acquire::https::CaInfo") {
        let ours = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if ours.exists() {
            fs::copy(ours, root.join("etc/apt/machine-ca.crt"))?;
            fs::write(
                root.join("etc/apt/apt.conf.d/98machine-ca"),
                "Acquire::https::CaInfo \"/etc/apt/machine-ca.crt\";\n",
            )?;
        }
    }
    // Files that the settings name must be found inside under the same name.
    for path in settings.split('"').filter(|text| text.starts_with('/')) {
        let from = Path::new(path);
        if from.is_file() {
            let to = root.join(path.trim_start_matches('/'));
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(from, &to).with_context(|| format!("cannot copy {path}"))?;
        }
    }
    Ok(())
}

/// Installs compilers and programs.
pub(super) fn install_tools(layout: &Layout) -> Result<()> {
    let stamp = Stamp::new(layout, "tools");
    if stamp.valid(tools_inputs()).is_some() {
        return Ok(());
    }
    let step = Step::start(
        layout,
        "tools",
        "install compilers and programs in the build root",
    )?;
    let names: Vec<&str> = BUILD_TOOLS.iter().chain(PROGRAMS).copied().collect();
    install(layout, &step, &[], &names)?;
    stamp.set(tools_inputs(), "")?;
    step.done();
    Ok(())
}

/// Fetches the package lists when they are old, or when `always` is set.
pub(super) fn refresh_lists(layout: &Layout, step: &Step, always: bool) -> Result<()> {
    let fetched = layout.stamps().join("lists");
    let fresh = fs::metadata(&fetched)
        .and_then(|data| data.modified())
        .is_ok_and(|time| SystemTime::now().duration_since(time).unwrap_or_default() < LISTS_FRESH);
    if always || !fresh {
        step.run(apt(layout).arg("update"))?;
        fs::write(&fetched, "")?;
    }
    Ok(())
}

/// Installs packages in the root, first finishing what an interrupted run left.
pub(crate) fn install<S: AsRef<std::ffi::OsStr>>(
    layout: &Layout,
    step: &Step,
    options: &[&str],
    names: &[S],
) -> Result<()> {
    step.run(
        Chroot::new(layout)
            .command("dpkg")
            .args(["--configure", "-a"]),
    )?;
    refresh_lists(layout, step, false)?;
    step.run(
        apt(layout)
            .args(["install", "--fix-broken"])
            .args(options)
            .arg("--")
            .args(names),
    )?;
    step.run(apt(layout).arg("clean"))
}

/// apt-get inside the root: asks nothing, adds nothing that is only recommended.
pub(super) fn apt(layout: &Layout) -> Command {
    let mut command = Chroot::new(layout).command("apt-get");
    command
        .args(["-y", "--no-install-recommends"])
        .args(["-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"])
        .args(["-o", "Dpkg::Options::=--force-unsafe-io"])
        .args(["-o", "Dpkg::Options::=--force-confold"]);
    command
}
