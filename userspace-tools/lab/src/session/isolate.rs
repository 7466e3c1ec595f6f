// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Namespaces of their own for all that a command starts.
//!
//! A command that uses sessions calls [`enter`] first. It starts the program a second time, with
//! the same arguments, as process 1 of a new PID namespace, in new mount and network namespaces,
//! and only waits there and passes the exit status on. If it is killed, the kernel kills process 1
//! and with it every process of the PID namespace; mounts, interfaces and TAPs go with their
//! namespaces. So nothing is left behind, whatever happens.

use std::{
    env, fs,
    io::IsTerminal,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{bail, Context, Result};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{mount, MsFlags},
    sched::{setns, unshare, CloneFlags},
    sys::{
        prctl::set_pdeathsig,
        signal::Signal,
        termios::{tcgetattr, tcsetattr, SetArg},
    },
};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

use super::tools::Tools;
use crate::util::{Kernel, Layout};

/// Set for the second start: the number of the run.
const INSIDE: &str = "ACCELTCP_LAB_RUN";

static CURRENT: OnceLock<Run> = OnceLock::new();

/// What [`enter`] tells its caller.
#[derive(Debug)]
pub enum Entered {
    /// Go on: this is the second start, inside of the namespaces.
    Inside,
    /// Return this exit code: the second start has done the work.
    Done(ExitCode),
}

/// The namespaces that this process is in.
#[derive(Debug)]
pub(super) struct Run {
    /// Number of the run, the smallest that was free.
    pub(super) number: u32,
    /// Folder of the run, `build/run/<number>`.
    pub(super) dir: PathBuf,
    /// The build root as programs see it.
    pub(super) tools: Tools,
    /// The guests' kernel.
    kernel: Kernel,
}

/// Whether this process is in namespaces of its own.
pub fn is_inside() -> bool {
    std::process::id() == 1 && env::var_os(INSIDE).is_some()
}

/// Goes into namespaces of its own, unless this process is there already.
///
/// # Errors
///
/// Not root, or the kernel refuses.
pub fn enter(layout: &Layout) -> Result<Entered> {
    if CURRENT.get().is_some() {
        return Ok(Entered::Inside);
    }
    match env::var(INSIDE) {
        Ok(number) if std::process::id() == 1 => {
            let number = number
                .parse()
                .with_context(|| format!("{INSIDE}={number}"))?;
            arrive(layout, number)?;
            Ok(Entered::Inside)
        }
        _ => depart(layout).map(Entered::Done),
    }
}

/// The namespaces of this process.
pub(super) fn current() -> Result<&'static Run> {
    CURRENT
        .get()
        .context("a session needs namespaces of its own: call session::enter first")
}

/// Scales a time limit for this run's guests, see [`Kernel::patience`].
pub(crate) fn patience(limit: Duration) -> Duration {
    CURRENT
        .get()
        .map_or(limit, |run| run.kernel.patience(limit))
}

/// First start: holds the run's folder, starts the second one and waits.
fn depart(layout: &Layout) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the lab needs root, for namespaces, mounts and TAPs");
    }
    let (number, lock) = reserve(&layout.run())?;
    let dir = layout.run().join(number.to_string());
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let terminal = std::io::stdin();
    let settings = terminal
        .is_terminal()
        .then(|| tcgetattr(&terminal).ok())
        .flatten();

    // Holds for children only; threads cannot be started any more.
    unshare(CloneFlags::CLONE_NEWPID).context("new PID namespace")?;
    // Not by name: a build may have put a newer program in its place.
    let mut command = Command::new("/proc/self/exe");
    command.args(env::args_os().skip(1));
    command.env(INSIDE, number.to_string());
    // SAFETY: prctl is async-signal-safe and changes only the new process.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    let mut child = command.spawn().context("start inside of the namespaces")?;
    fs::write(dir.join("pid"), child.id().to_string())?;

    let mut ended_by = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        for signal in signals.wait() {
            if signal != SIGCHLD {
                ended_by = Some(signal);
                child.kill()?;
            }
        }
    };
    if let Some(settings) = settings {
        // The terminal may be gone already.
        let _ = tcsetattr(&terminal, SetArg::TCSANOW, &settings);
    }
    clear(&dir);
    drop(lock);
    let signal = ended_by.or(status.signal());
    let code = signal.map_or(status.code().unwrap_or(1), |signal| 128 + signal);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Takes the smallest free number; what a killed run left in its folder is removed.
fn reserve(runs: &Path) -> Result<(u32, Flock<fs::File>)> {
    for number in 1..1000 {
        let dir = runs.join(number.to_string());
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let path = dir.join("lock");
        let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            clear(&dir);
            return Ok((number, lock));
        }
    }
    bail!("{}: no free number", runs.display())
}

/// Empties the folder of a run but for its lock.
fn clear(dir: &Path) {
    // Only ever an empty mount point here. If it is not, nothing below may be touched.
    let root = dir.join("root");
    if root.exists() && fs::remove_dir(&root).is_err() {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == "lock" {
            continue;
        }
        // What cannot be removed now is tried again by the next run.
        let _ = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}

/// Second start: makes the mounts and the network.
fn arrive(layout: &Layout, number: u32) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("new mount and network namespaces")?;
    // Nothing that is mounted from here on is seen outside.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("private mounts")?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("mount /proc")?;
    let dir = layout.run().join(number.to_string());
    let tools = Tools::mount(layout, &dir.join("root"))?;
    for (path, value) in [
        // A client that opens a connection for each request must not run out of ports.
        ("net/ipv4/ip_local_port_range", "2048 65000"),
        ("net/ipv4/tcp_tw_reuse", "1"),
        // Addresses are usable at once, and the card sees no traffic that nobody asked for.
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
    ] {
        let path = Path::new("/proc/sys").join(path);
        fs::write(&path, value).with_context(|| path.display().to_string())?;
    }
    tools.ip(&["link", "set", "dev", "lo", "up"])?;
    let kernel = layout.guest_kernel();
    let run = Run {
        number,
        dir,
        tools,
        kernel,
    };
    if CURRENT.set(run).is_err() {
        bail!("entered twice");
    }
    Ok(())
}

/// Joins the namespaces of the run with the highest number and returns its build root.
///
/// # Errors
///
/// No session runs, or it ends meanwhile.
pub(crate) fn join(layout: &Layout) -> Result<Tools> {
    let mut numbers: Vec<u32> = fs::read_dir(layout.run())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        let dir = layout.run().join(number.to_string());
        // A free lock is the mark of a run that has ended.
        let Ok(file) = fs::File::open(dir.join("lock")) else {
            continue;
        };
        if Flock::lock(file, FlockArg::LockSharedNonblock).is_ok() {
            continue;
        }
        let Ok(pid) = fs::read_to_string(dir.join("pid")) else {
            continue;
        };
        let open = |kind: &str| {
            let path = format!("/proc/{}/ns/{kind}", pid.trim());
            fs::File::open(&path).with_context(|| format!("{path}: the session has ended"))
        };
        let (pids, net, mounts) = (open("pid")?, open("net")?, open("mnt")?);
        setns(pids, CloneFlags::CLONE_NEWPID).context("join the PID namespace")?;
        setns(net, CloneFlags::CLONE_NEWNET).context("join the network namespace")?;
        setns(mounts, CloneFlags::CLONE_NEWNS).context("join the mount namespace")?;
        return Ok(Tools::at(&dir.join("root")));
    }
    bail!("no session is running: start one with `lab shell` in another terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that is removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("lab-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn runs_at_the_same_time_have_different_numbers() {
        let scratch = Scratch::new("numbers");
        let (first, held) = reserve(&scratch.0).unwrap();
        let (second, _also_held) = reserve(&scratch.0).unwrap();
        assert_eq!((first, second), (1, 2));
        drop(held);
        assert_eq!(reserve(&scratch.0).unwrap().0, 1);
    }

    #[test]
    fn what_a_killed_run_left_is_removed() {
        let scratch = Scratch::new("left");
        let dir = scratch.0.join("1");
        fs::create_dir_all(dir.join("0")).unwrap();
        fs::create_dir(dir.join("root")).unwrap();
        fs::write(dir.join("0/card0.sock"), "").unwrap();
        fs::write(dir.join("pid"), "1").unwrap();
        let (number, _held) = reserve(&scratch.0).unwrap();
        assert_eq!(number, 1);
        let left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn mount_point_that_is_not_empty_is_left_alone() {
        let scratch = Scratch::new("mounted");
        let dir = scratch.0.join("1");
        fs::create_dir_all(dir.join("root/usr")).unwrap();
        fs::write(dir.join("pid"), "1").unwrap();
        clear(&dir);
        assert!(dir.join("root/usr").is_dir());
        assert!(dir.join("pid").is_file());
    }
}
