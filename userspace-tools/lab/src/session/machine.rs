// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The virtual machine: QEMU and the file system daemon of its root.

use std::{
    fs::File,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use serde_json::json;

use super::{
    builder::Clock,
    card,
    console::tail_of,
    tools::{Tools, GUEST_ROOT},
};

/// PCI slot of card 0 on the root bus; card n has the n-th after it.
const FIRST_SLOT: usize = 0x10;

/// Number of the inherited descriptor: the agent's port for QEMU, the listener for virtiofsd.
const FD: i32 = 3;

/// What QEMU is started with.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) vcpus: u32,
    pub(super) memory_mb: u32,
    pub(super) cards: usize,
    pub(super) kvm: bool,
    pub(super) clock: Clock,
    /// Only four levels of page tables.
    pub(super) four_levels: bool,
    /// The following paths are as the programs of the build root see them.
    pub(super) kernel: String,
    pub(super) append: Vec<String>,
    pub(super) dir: String,
    pub(super) console: String,
    /// Plugin with its arguments, for a counted run.
    pub(super) count: Option<String>,
}

/// PCI address of a card in the guest.
pub(super) fn pci_address(card: usize) -> String {
    format!("0000:00:{:02x}.0", FIRST_SLOT + card)
}

impl Config {
    /// QEMU's arguments.
    fn arguments(&self) -> Vec<String> {
        let memory = format!(
            "memory-backend-memfd,id=memory,size={}M,share=on",
            self.memory_mb
        );
        let (accelerator, clock): (_, &[&str]) = match (self.kvm, self.clock) {
            (true, _) => ("kvm", &[]),
            (false, Clock::Wall) => ("tcg,thread=multi", &[]),
            // 2^0 ns an instruction. A guest that sleeps does so for as long as it says.
            (false, Clock::Instructions) => ("tcg,thread=single", &["-icount", "shift=0,sleep=on"]),
        };
        let cpu = match (self.kvm, self.four_levels) {
            (true, _) => "host",
            (false, false) => "max",
            (false, true) => "max,la57=off",
        };
        let mut append = vec![
            "console=ttyS0",
            "root=root",
            "rootfstype=virtiofs",
            "ro",
            "init=/build/bin/lab-agent",
            "loglevel=7",
            "panic=-1",
            // All rows are measured alike, and nobody attacks this guest.
            "mitigations=off",
            // The emulated clocks are good; a busy host makes the check of them fail.
            "no_timer_check",
        ];
        append.extend(self.append.iter().map(String::as_str));
        let mut args: Vec<String> = [
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-machine",
            "q35,memory-backend=memory",
            "-object",
            &memory,
            "-accel",
            accelerator,
            "-cpu",
            cpu,
            "-smp",
            &self.vcpus.to_string(),
            "-m",
            &format!("{}M", self.memory_mb),
            "-kernel",
            &self.kernel,
            "-append",
            &append.join(" "),
            "-serial",
            &format!("file:{}", self.console),
            "-device",
            "virtio-serial-pci",
            "-chardev",
            &format!("socket,id=agent,fd={FD}"),
            "-device",
            &format!("virtserialport,chardev=agent,name={}", lab_proto::PORT),
            "-chardev",
            &format!("socket,id=root,path={}/root.sock", self.dir),
            "-device",
            "vhost-user-fs-pci,chardev=root,tag=root",
        ]
        .map(str::to_string)
        .to_vec();
        args.extend(clock.iter().map(|arg| (*arg).to_string()));
        for card in 0..self.cards {
            let path = format!("{}/{}", self.dir, card::socket_name(card));
            let device = json!({
                "driver": "vfio-user-pci",
                "socket": {"type": "unix", "path": path},
                "addr": format!("{:#x}", FIRST_SLOT + card),
            });
            args.extend(["-device".into(), device.to_string()]);
        }
        if let Some(plugin) = &self.count {
            args.extend(["-plugin".into(), plugin.clone()]);
        }
        args
    }
}

/// A running virtual machine. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: Child,
    virtiofsd: Child,
    log: PathBuf,
}

impl Machine {
    /// Starts virtiofsd and QEMU; returns the machine and the agent's port.
    ///
    /// `dir` is the session's folder as this process sees it.
    pub(super) fn start(
        config: &Config,
        dir: &Path,
        log: &Path,
        tools: &Tools,
    ) -> Result<(Self, UnixStream)> {
        let listener = listen(dir)?;
        let (stdout, stderr) = create(&log.with_extension("fs.log"))?;
        let mut command = tools.command("/usr/libexec/virtiofsd", "/");
        command
            .args(["--shared-dir", GUEST_ROOT])
            .args(["--fd", &FD.to_string()])
            .args(["--sandbox", "none", "--seccomp", "none"])
            .args([
                "--readonly",
                // Nothing of it changes while a guest looks at it; else each exec would read the C library anew.
                "--cache",
                "always",
                "--no-announce-submounts",
                "--log-level",
                "warn",
            ])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        pass(&mut command, listener.into())?;
        let mut virtiofsd = command.spawn().context("start virtiofsd")?;
        drop(command);

        let (here, there) = UnixStream::pair()?;
        let (stdout, stderr) = create(log)?;
        let mut command = tools.command("qemu-system-x86_64", "/");
        command
            .args(config.arguments())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        pass(&mut command, there.into())?;
        let qemu = command.spawn().context("start qemu-system-x86_64");
        // Closes this process's copy of QEMU's end, so that QEMU's end is seen as one.
        drop(command);
        let qemu = match qemu {
            Ok(qemu) => qemu,
            Err(error) => {
                end(&mut virtiofsd);
                return Err(error);
            }
        };
        let machine = Self {
            qemu,
            virtiofsd,
            log: log.to_path_buf(),
        };
        Ok((machine, here))
    }

    /// The end of QEMU's own messages, for an error.
    pub(super) fn tail(&self) -> String {
        tail_of(&self.log)
    }

    /// Waits until the machine has ended by itself.
    pub(super) fn finish(&mut self, patience: Duration) -> Result<()> {
        let status = super::wait_child(&mut self.qemu, patience).context("QEMU")?;
        anyhow::ensure!(status.success(), "QEMU: {status}{}", self.tail());
        super::wait_child(&mut self.virtiofsd, patience).context("virtiofsd")?;
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.virtiofsd] {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // Nothing to kill if it has ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// Listens for QEMU on virtiofsd's behalf, so that there is nothing to wait for.
fn listen(dir: &Path) -> Result<UnixListener> {
    use std::os::fd::AsRawFd;
    let folder = File::open(dir).with_context(|| dir.display().to_string())?;
    let path = format!("/proc/self/fd/{}/root.sock", folder.as_raw_fd());
    UnixListener::bind(path).context("socket of virtiofsd")
}

/// Has `command` inherit a descriptor as number [`FD`].
fn pass(command: &mut std::process::Command, fd: OwnedFd) -> Result<()> {
    let mapping = FdMapping {
        parent_fd: fd,
        child_fd: FD,
    };
    command
        .fd_mappings(vec![mapping])
        .context("descriptor to inherit")?;
    Ok(())
}

/// A new log for both output streams of a process.
fn create(path: &Path) -> Result<(File, File)> {
    let log = File::create(path).with_context(|| path.display().to_string())?;
    Ok((log.try_clone()?, log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            vcpus: 2,
            memory_mb: 512,
            cards: 2,
            kvm: false,
            clock: Clock::Wall,
            four_levels: false,
            kernel: "/vmlinux".into(),
            append: vec!["nosmep".into()],
            dir: "/build/run/1/0".into(),
            console: "/build/log/console.log".into(),
            count: Some("/p.so,counters=/count".into()),
        }
    }

    #[test]
    fn each_card_has_a_device_of_its_own() {
        let args = config().arguments();
        let devices: Vec<_> = args
            .iter()
            .filter(|arg| arg.contains("vfio-user"))
            .collect();
        assert_eq!(devices.len(), 2);
        assert!(devices[1].contains("/build/run/1/0/card1.sock"));
        assert!(devices[1].contains("0x11"));
        assert_eq!(pci_address(1), "0000:00:11.0");
    }

    #[test]
    fn clock_of_instructions_needs_one_thread() {
        let has = |args: &[String], words: [&str; 2]| args.windows(2).any(|pair| pair == words);
        let wall = config().arguments();
        assert!(has(&wall, ["-accel", "tcg,thread=multi"]));
        assert!(!wall.iter().any(|arg| arg == "-icount"));
        let counted = Config {
            clock: Clock::Instructions,
            ..config()
        };
        let counted = counted.arguments();
        assert!(has(&counted, ["-accel", "tcg,thread=single"]));
        assert!(has(&counted, ["-icount", "shift=0,sleep=on"]));
    }

    #[test]
    fn kernel_parameters_follow_the_own_ones() {
        let args = config().arguments();
        let append = args.iter().skip_while(|arg| *arg != "-append").nth(1);
        assert!(append.unwrap().ends_with(" nosmep"));
    }
}
