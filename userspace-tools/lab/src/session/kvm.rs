// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Does hardware virtualisation work here?
//!
//! `/dev/kvm` can be there and open while its guests die, for instance in a nested machine without
//! the host's help. So a guest is booted once, and the result kept for this host and this QEMU.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use super::{Driver, Kvm, Session};
use crate::{
    setup::Facts,
    util::{Kernel, Layout},
};

/// A guest that works is up in a fraction of this.
const BOOT: Duration = Duration::from_secs(10);

/// What the last trial found.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Trial {
    /// The host's kernel.
    host: String,
    /// QEMU's version.
    qemu: String,
    works: bool,
    /// The error, if it does not.
    reason: String,
}

/// Whether a guest runs with KVM. Tries once and remembers.
pub(super) fn works(layout: &Layout, facts: &Facts) -> Result<bool> {
    if fs::File::open("/dev/kvm").is_err() {
        return Ok(false);
    }
    let host = uname()?;
    let host = format!(
        "{} {}",
        host.release().to_string_lossy(),
        host.version().to_string_lossy()
    );
    let path = layout.cache().join("kvm.json");
    let known = fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Trial>(&bytes).ok())
        .filter(|trial| trial.host == host && trial.qemu == facts.qemu_package);
    if let Some(trial) = known {
        return Ok(trial.works);
    }
    eprintln!("lab: see whether hardware virtualisation works here ...");
    let result = attempt(layout);
    let trial = Trial {
        host,
        qemu: facts.qemu_package.clone(),
        works: result.is_ok(),
        reason: result
            .err()
            .map_or(String::new(), |error| format!("{error:#}")),
    };
    store(&path, &trial).with_context(|| path.display().to_string())?;
    Ok(trial.works)
}

fn attempt(layout: &Layout) -> Result<()> {
    let session = Session::builder()
        .name("kvm-trial")
        .cards(0)
        .memory_mb(512)
        .driver(Driver::None)
        .kvm(Kvm::On)
        .boot_limit(BOOT)
        // It boots fastest, and what is tried is the machine.
        .start(&layout.clone().with_kernel(Kernel::Stock))?;
    session.guest().run_ok("true")?;
    session.shutdown()
}

fn store(path: &PathBuf, trial: &Trial) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, serde_json::to_vec_pretty(trial)?)?)
}
