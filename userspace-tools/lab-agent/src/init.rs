// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Process 1: mounts, reaping, power off.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, ExitCode},
};

use anyhow::{Context, Result};
use nix::{
    kmod::{finit_module, ModuleInitFlags},
    mount::{mount, MsFlags},
    sys::{
        reboot::{reboot, RebootMode},
        utsname::uname,
        wait::{wait, WaitStatus},
    },
    unistd::{chdir, chroot, sethostname, sync},
};

use crate::SERVE;

/// Debian's own default, with the folders of the checkout's programs behind.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/build/bin";

/// Module flag for a compressed file (`MODULE_INIT_COMPRESSED_FILE` of linux/module.h).
const COMPRESSED: u32 = 4;

/// Sets the guest up, serves, and powers off.
pub(crate) fn run() -> ExitCode {
    match prepare().and_then(|()| start()) {
        Ok(server) => reap(&server),
        Err(error) => eprintln!("lab-agent: {error:#}"),
    }
    sync();
    let error = reboot(RebootMode::RB_POWER_OFF).unwrap_err();
    eprintln!("lab-agent: power off: {error}");
    ExitCode::FAILURE
}

fn prepare() -> Result<()> {
    attach("proc", "/proc", "proc", "")?;
    attach("sysfs", "/sys", "sysfs", "")?;
    attach("tmpfs", "/run", "tmpfs", "mode=755")?;
    overlay().context("overlay over the root")?;
    attach("devtmpfs", "/dev", "devtmpfs", "")?;
    for folder in ["/dev/pts", "/dev/shm"] {
        fs::create_dir_all(folder).with_context(|| folder.to_string())?;
    }
    attach("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666")?;
    attach("tmpfs", "/dev/shm", "tmpfs", "")?;
    attach("tmpfs", "/run", "tmpfs", "mode=755")?;
    attach("tmpfs", "/tmp", "tmpfs", "mode=1777")?;
    // Only a convenience of some programs, such as the debugging ones: may be absent.
    let _ = attach("debugfs", "/sys/kernel/debug", "debugfs", "");
    let _ = attach("tracefs", "/sys/kernel/tracing", "tracefs", "");
    let _ = attach("cgroup2", "/sys/fs/cgroup", "cgroup2", "");
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        if !Path::new(link).exists() {
            symlink(target, link).with_context(|| link.to_string())?;
        }
    }
    fs::create_dir_all("/run/lock").context("/run/lock")?;
    sethostname("guest")?;
    Ok(())
}

fn attach(source: &str, target: &str, kind: &str, options: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID;
    mount(Some(source), target, Some(kind), flags, Some(options))
        .with_context(|| format!("mount {kind} on {target}"))
}

/// Lays a file system in memory over the root and moves into it, with /proc and /sys.
fn overlay() -> Result<()> {
    load_overlay()?;
    let layers = "/run/overlay";
    fs::create_dir(layers).context(layers)?;
    attach("tmpfs", layers, "tmpfs", "mode=755")?;
    for folder in ["upper", "work", "root"] {
        let path = format!("{layers}/{folder}");
        fs::create_dir(&path).context(path)?;
    }
    let root = format!("{layers}/root");
    let options = format!("lowerdir=/,upperdir={layers}/upper,workdir={layers}/work");
    mount(
        Some("overlay"),
        root.as_str(),
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context("mount overlay")?;
    for moved in ["/proc", "/sys"] {
        let target = format!("{root}{moved}");
        mount(
            Some(moved),
            target.as_str(),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .with_context(|| format!("move {moved}"))?;
    }
    chdir(root.as_str())?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("move the overlay to /")?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn load_overlay() -> Result<()> {
    if fs::read_to_string("/proc/filesystems")?.contains("\toverlay\n") {
        return Ok(());
    }
    let release = uname()?.release().to_string_lossy().into_owned();
    let base = format!("/usr/lib/modules/{release}/kernel/fs/overlayfs/overlay.ko");
    for suffix in ["", ".xz", ".zst", ".gz"] {
        let path = format!("{base}{suffix}");
        if Path::new(&path).exists() {
            return load_module(&path, "");
        }
    }
    anyhow::bail!("{base}: not there, compressed or not")
}

/// Loads a kernel module; the file may be compressed as far as the kernel can undo it.
pub(crate) fn load_module(path: &str, params: &str) -> Result<()> {
    let file = fs::File::open(path).with_context(|| path.to_string())?;
    let compressed = Path::new(path).extension().is_none_or(|end| end != "ko");
    let flags = ModuleInitFlags::from_bits_retain(if compressed { COMPRESSED } else { 0 });
    let params = std::ffi::CString::new(params).context("parameters")?;
    finit_module(&file, &params, flags).with_context(|| format!("load {path}"))
}

fn start() -> Result<Child> {
    let program = env::current_exe().unwrap_or_else(|_| "/build/bin/lab-agent".into());
    Command::new(&program)
        .arg(SERVE)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("USER", "root")
        .env("TERM", "dumb")
        .env("LANG", "C.UTF-8")
        .current_dir("/root")
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

/// Reaps whatever ends, until the server does.
fn reap(server: &Child) {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() as u32 == server.id() => {
                if code != 0 {
                    eprintln!("lab-agent: server ended with exit status {code}");
                }
                return;
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() as u32 == server.id() => {
                eprintln!("lab-agent: server ended by {signal}");
                return;
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                eprintln!("lab-agent: wait: {error}");
                return;
            }
        }
    }
}
