// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands inside the build root.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Command,
};

use super::{process, Layout};

/// Sets the mounts up and becomes the wanted command. Positional parameters: the root, the
/// checkout, then the command. All mounts are in the namespace of this shell alone.
const ENTER: &str = r#"
set -e
root=$1 top=$2; shift 2
mkdir -p "$root/src" "$root/build" "$root/dev" "$root/proc" "$root/run" "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$top" "$root/src"
mount -o remount,bind,ro "$root/src"
mount --bind "$top/build" "$root/build"
for file in /etc/resolv.conf /etc/hosts; do
    if [ -s "$file" ]; then
        [ -e "$root$file" ] || : > "$root$file"
        mount --bind "$(readlink -f "$file")" "$root$file"
    fi
done
exec chroot "$root" "$@"
"#;

/// The build root, entered through private mount and process namespaces: after a crash or Ctrl-C
/// nothing stays mounted and nothing goes on running. Inside, the checkout is at `/src`
/// (read-only) and `build/` at `/build`.
#[derive(Clone, Debug)]
pub struct Chroot {
    root: PathBuf,
    top: PathBuf,
}

impl Chroot {
    /// The build root of the checkout.
    pub fn new(layout: &Layout) -> Self {
        Self {
            root: layout.root(),
            top: layout.top().to_path_buf(),
        }
    }

    /// A command that runs inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = process::contained("/bin/sh");
        command
            .args(["-c", ENTER, "lab-chroot"])
            .args([&self.root, &self.top])
            .arg(program)
            .env_clear()
            .envs(environment());
        command
    }
}

/// The machine's environment reaches inside only where the network needs it.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let kept = ["http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "TERM"];
    let fixed = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
    ];
    env::vars_os()
        .filter(move |(name, _)| {
            let name = name.to_string_lossy();
            kept.iter().any(|kept| kept.eq_ignore_ascii_case(&name))
        })
        .chain(fixed.map(|(name, value)| (name.into(), value.into())))
}
