// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Locks between `lab` processes.
//!
//! `build/lock` is held by the one process that sets up or builds, `build/lock.kernels` and `build/lock.haproxy`
//! by those that build kernels and haproxy, which takes long, and `build/lock.use` is shared by all that use what was
//! built, so that nobody removes it under them. The kernel drops them when their holder ends,
//! however it ends.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process,
    sync::OnceLock,
};

use anyhow::{bail, Context, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::Layout;

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of set-up and build, waiting for another process if there is one.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made.
    pub fn build(layout: &Layout) -> Result<Self> {
        Self::wait(&layout.lock_file(), "is setting up or building here")
    }

    /// Takes the lock of those who build kernels, waiting for another process if there is one.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made.
    pub fn kernels(layout: &Layout) -> Result<Self> {
        Self::wait(
            &layout.build().join("lock.kernels"),
            "is building a kernel here",
        )
    }

    /// Takes the lock of those who build haproxy, waiting for another process if there is one.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made.
    pub fn haproxy(layout: &Layout) -> Result<Self> {
        Self::wait(
            &layout.build().join("lock.haproxy"),
            "is building haproxy here",
        )
    }

    fn wait(path: &Path, what: &str) -> Result<Self> {
        let file = open(path)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                let holder = fs::read_to_string(path).unwrap_or_default();
                eprintln!(
                    "lab: another lab (process {}) {what}; waiting for it",
                    holder.trim()
                );
                lock(file, FlockArg::LockExclusive, path)?
            }
            Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
        };
        file.set_len(0)?;
        write!(file, "{}", process::id())?;
        Ok(Self { _file: file })
    }

    /// Takes the lock of set-up and build, and fails when another process has it.
    ///
    /// # Errors
    ///
    /// Another process has the lock.
    pub fn try_build(layout: &Layout) -> Result<Self> {
        let path = layout.lock_file();
        match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "another lab (process {}) is setting up or building here",
                fs::read_to_string(&path).unwrap_or_default().trim()
            ),
            Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
        }
    }

    /// Says that this process uses `build/` until it ends.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made.
    pub fn hold_use(layout: &Layout) -> Result<()> {
        static HELD: OnceLock<Lock> = OnceLock::new();
        if HELD.get().is_none() {
            let path = use_file(layout);
            let file = lock(open(&path)?, FlockArg::LockShared, &path)?;
            // A second caller's lock is dropped: the first one lasts.
            let _ = HELD.set(Self { _file: file });
        }
        Ok(())
    }

    /// Asks that no other process uses `build/`.
    ///
    /// # Errors
    ///
    /// A session or a test run is using it.
    pub fn unused(layout: &Layout) -> Result<Self> {
        let path = use_file(layout);
        match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "{} is in use by a running lab (a shell, a test, a demo): end it first",
                layout.build().display()
            ),
            Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
        }
    }
}

fn use_file(layout: &Layout) -> std::path::PathBuf {
    layout.build().join("lock.use")
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn lock(file: File, how: FlockArg, path: &Path) -> Result<Flock<File>> {
    Flock::lock(file, how)
        .map_err(|(_, errno)| anyhow::anyhow!("cannot lock {}: {errno}", path.display()))
}
