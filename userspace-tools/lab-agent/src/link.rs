// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Network interfaces of the cards.

use std::{
    fs,
    io::Write,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context, Result};
use lab_proto::Interface;
use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::socket::{
        bind, recv, socket, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
    },
};

/// Multicast group of interface changes (`RTMGRP_LINK` of linux/rtnetlink.h).
const LINK_GROUP: u32 = 1;

/// Brings an interface up.
///
/// # Errors
///
/// `ip` fails.
pub(crate) fn up(name: &str) -> Result<()> {
    ip(&format!("link set dev {name} up\n"))
}

/// Names an interface, brings it up, waits for its carrier and gives it addresses.
///
/// # Errors
///
/// The interface or its carrier does not come within the time allowed, or `ip` fails.
pub(crate) fn configure(interface: &Interface) -> Result<()> {
    let changes = Changes::subscribe()?;
    let timeout = interface.timeout;
    let found = changes
        .wait(timeout, || netdev_of(&interface.device))
        .with_context(|| {
            format!(
                "no network interface at {} after {timeout:?}",
                interface.device
            )
        })?;
    let name = interface.name.as_str();
    let mut batch = String::new();
    if found != name {
        batch += &format!("link set dev {found} down\nlink set dev {found} name {name}\n");
    }
    batch += &format!("link set dev {name} up\n");
    for address in &interface.addresses {
        let option = if address.contains(':') { "nodad" } else { "" };
        batch += &format!("address replace {address} dev {name} {option}\n");
    }
    ip(&batch)?;
    if !interface.carrier {
        return Ok(());
    }
    changes
        .wait(timeout, || has_carrier(name).then_some(()))
        .with_context(|| format!("{name}: no carrier after {timeout:?}"))
}

/// Runs the lines of `batch`, each as a command of `ip`.
fn ip(batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes()).context("ip")?;
    }
    let output = child.wait_with_output().context("ip")?;
    ensure!(
        output.status.success(),
        "ip -batch: {}, of:\n{batch}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The interface of a PCI device, once its driver has registered one.
fn netdev_of(device: &str) -> Option<String> {
    let folder = format!("/sys/bus/pci/devices/{device}/net");
    let entry = fs::read_dir(folder).ok()?.next()?.ok()?;
    entry.file_name().into_string().ok()
}

fn has_carrier(name: &str) -> bool {
    // Reading fails while the interface is down.
    fs::read_to_string(format!("/sys/class/net/{name}/carrier")).is_ok_and(|c| c.trim() == "1")
}

/// Notices of the kernel that some interface changed.
struct Changes(OwnedFd);

impl Changes {
    fn subscribe() -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )
        .context("netlink socket")?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP)).context("netlink group")?;
        Ok(Self(fd))
    }

    /// Asks `probe` now and after each change, until it finds something.
    fn wait<T>(&self, timeout: Duration, probe: impl Fn() -> Option<T>) -> Result<T> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(found) = probe() {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("timed out");
            }
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            // Rounded up, so that the last wait does not become a busy loop.
            let limit = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            self.drain();
        }
    }

    /// Takes what is there; its contents do not matter, and neither does an overrun.
    fn drain(&self) {
        let mut notice = [0; 4096];
        while recv(self.0.as_raw_fd(), &mut notice, MsgFlags::empty()).is_ok() {}
    }
}
