// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The distribution's release of haproxy with this project's patch.
//!
//! Source, package lists and objects are in `build/haproxy`; the program is `build/bin/haproxy`. The
//! machine's own sources of packages stay as they are: lists of source packages are kept apart. Only
//! the upstream archive of the source package is used: it stays in the archive when a mirror's lists
//! name a revision of the packaging that the mirror has not got yet, or has no more.

use std::{fs, path::PathBuf};

use anyhow::{ensure, Context, Result};

use super::{packages::SUITE, root};
use crate::util::{mounts, Chroot, Fingerprint, Layout, Lock, Stamp, Step};

/// The patch, in the checkout.
const PATCH: &str = "userspace-tools/contrib/haproxy/splice-nic.patch";
/// The folder as commands in the root see it.
const INSIDE: &str = "/build/haproxy";

/// Parameters: folder, release of the distribution. The archive's keys and hashes are checked by apt.
const FETCH: &str = r#"
set -e
mkdir -p "$1/lists/partial"
cd "$1"
sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > sources.list
set -- "$2" -o Dir::Etc::SourceList="$1/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$1/lists" -o APT::Sandbox::User=root -o Acquire::Retries=3
suite=$1; shift
apt-get "$@" update
rm -f haproxy_*
apt-get "$@" source --download-only --tar-only --only-source "haproxy/$suite"
"#;

/// Parameters: folder, patch.
const UNPACK: &str = r#"
set -e
cd "$1"
mkdir source
tar -C source --strip-components=1 -xf haproxy_*.orig.tar.*
cd source
patch --batch --forward -p1 -i "$2" || {
    echo "$2 does not apply to this version of haproxy" >&2
    exit 1
}
"#;

/// Parameters: folder, what the version says of the build. Nothing but TCP and plain HTTP is asked for, and little
/// optimisation: what is compared is the kernel's work.
const BUILD: &str = r#"
set -e
nice make -C "$1/source" -j"$(nproc)" haproxy TARGET=linux-glibc V=1 EXTRAVERSION="$2" \
    ARCH_FLAGS= OPT_CFLAGS=-O1 USE_CRYPT_H= USE_LIBCRYPT= USE_SYSTEMD=
"#;

/// Its version, and whether it was there already.
#[derive(Debug)]
pub(crate) struct Haproxy {
    /// Upstream's, of the distribution's package.
    pub(crate) version: String,
    /// Nothing was to be done.
    pub(crate) was_there: bool,
}

/// The program.
pub(crate) fn program(layout: &Layout) -> PathBuf {
    layout.bin().join("haproxy")
}

fn folder(layout: &Layout) -> PathBuf {
    layout.build().join("haproxy")
}

fn source_inputs() -> Fingerprint {
    Fingerprint::default().with(SUITE).with(FETCH)
}

fn inputs(version: &str, patch: &str) -> Fingerprint {
    root::tools_inputs()
        .with(version)
        .with(patch)
        .with(UNPACK)
        .with(BUILD)
}

/// Why it cannot be used, if so.
pub(crate) fn lack(layout: &Layout) -> Option<String> {
    let patch = fs::read_to_string(layout.top().join(PATCH)).ok();
    let version = Stamp::new(layout, "haproxy-source").valid(source_inputs());
    let built = version
        .zip(patch)
        .and_then(|(version, patch)| Stamp::new(layout, "haproxy").valid(inputs(&version, &patch)));
    let is_there = built.is_some() && program(layout).is_file();
    (!is_there).then(|| {
        "its program is not built, or not for today's patch; `lab haproxy` does that".into()
    })
}

/// A counter in the answer to `show activity`: the sum of all threads comes first.
pub(crate) fn activity(answer: &str, name: &str) -> Option<u64> {
    let rest = answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Fetches, patches and builds it, if it is not there for this patch. With `update` the newest
/// version of the distribution's release is looked for.
///
/// # Errors
///
/// A step failed: the source is not to be had, the patch does not apply, or it does not compile.
pub(crate) fn ensure(layout: &Layout, update: bool) -> Result<Haproxy> {
    let path = layout.top().join(PATCH);
    let patch = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let _lock = Lock::haproxy(layout)?;
    // Nobody may remove `build/` meanwhile.
    Lock::hold_use(layout)?;
    let version = fetch(layout, update)?;
    let stamp = Stamp::new(layout, "haproxy");
    let inputs = inputs(&version, &patch);
    let was_there = stamp.valid(inputs).is_some() && program(layout).is_file();
    if !was_there {
        install_patch(layout)?;
        build(layout, &version)?;
        stamp.set(inputs, &version)?;
    }
    Ok(Haproxy { version, was_there })
}

/// Fetches the source, and returns its version.
fn fetch(layout: &Layout, update: bool) -> Result<String> {
    let stamp = Stamp::new(layout, "haproxy-source");
    if let Some(version) = stamp.valid(source_inputs()).filter(|_| !update) {
        if archives(layout)?
            .iter()
            .any(|name| self::version(name) == Some(&version))
        {
            return Ok(version);
        }
    }
    let step = Step::start(layout, "haproxy-source", "fetch haproxy's source")?;
    stamp.clear()?;
    fs::create_dir_all(folder(layout))?;
    step.run(
        Chroot::new(layout)
            .command("sh")
            .args(["-c", FETCH, "fetch", INSIDE, SUITE]),
    )?;
    let names = archives(layout)?;
    let version = names
        .iter()
        .find_map(|name| self::version(name))
        .context("no haproxy_VERSION.orig.tar was fetched")?;
    stamp.set(source_inputs(), version)?;
    step.done();
    Ok(version.to_owned())
}

/// Names of the files that were fetched.
fn archives(layout: &Layout) -> Result<Vec<String>> {
    fs::read_dir(folder(layout))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Upstream's version, by the name of the archive of a source package.
fn version(name: &str) -> Option<&str> {
    let (version, _) = name.strip_prefix("haproxy_")?.split_once(".orig.tar.")?;
    Some(version)
}

/// The program `patch`, which nothing else needs.
fn install_patch(layout: &Layout) -> Result<()> {
    if layout.root().join("usr/bin/patch").is_file() {
        return Ok(());
    }
    let _lock = Lock::build(layout)?;
    let step = Step::start(layout, "apt", "install patch in the build root")?;
    root::install(layout, &step, &[], &["patch"])?;
    step.done();
    Ok(())
}

fn build(layout: &Layout, version: &str) -> Result<()> {
    let title = format!("build haproxy {version} with option splice-nic (once; 1 to 5 minutes)");
    let step = Step::start(layout, "haproxy", &title)?;
    Stamp::new(layout, "haproxy").clear()?;
    mounts::remove_tree(&folder(layout).join("source"))?;
    let run = |script, argument: &str| {
        let mut command = Chroot::new(layout).command("sh");
        command.args(["-c", script, "haproxy", INSIDE, argument]);
        step.run(&mut command)
    };
    run(UNPACK, &format!("/src/{PATCH}"))?;
    run(BUILD, "+splice-nic")?;
    // Under its name it is there at once, or not at all.
    let built = folder(layout).join("source/haproxy");
    ensure!(built.is_file(), "{} was not built", built.display());
    let part = layout.bin().join("haproxy.part");
    fs::create_dir_all(layout.bin())?;
    fs::copy(&built, &part).with_context(|| part.display().to_string())?;
    fs::rename(&part, program(layout))?;
    step.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_in_the_name_of_the_archive() {
        assert_eq!(version("haproxy_3.0.11.orig.tar.gz"), Some("3.0.11"));
        assert_eq!(version("haproxy_3.0.11-1+deb13u3.dsc"), None);
        assert_eq!(version("lists"), None);
    }

    #[test]
    fn counters_are_read_with_one_thread_and_with_several() {
        let answer = "thread_id: 1 (1..1)\nnic_spliced: 12\nnic_refused: 5 [ 2 3 ]\n";
        assert_eq!(activity(answer, "nic_spliced"), Some(12));
        assert_eq!(activity(answer, "nic_refused"), Some(5));
        assert_eq!(activity(answer, "nic"), None);
    }

    #[test]
    fn another_patch_is_another_program() {
        assert_ne!(inputs("3.0", "a"), inputs("3.0", "b"));
        assert_ne!(inputs("3.0", "a"), inputs("3.1", "a"));
    }
}
