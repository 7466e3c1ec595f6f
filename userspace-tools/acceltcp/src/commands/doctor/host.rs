// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Kernel, module and sysctls.

use super::Finding;
use crate::system::Root;

/// The first kernel that the module is for.
const KERNEL: (u32, u32) = (7, 3);

/// Setup, teardown and splice in the sysctl `offloads`.
const ALL: u32 = 7;

/// Whether the kernel is new enough.
pub(super) fn kernel(root: &Root) -> Finding {
    let check = "kernel";
    let advice = format!("the module needs Linux {}.{} or newer", KERNEL.0, KERNEL.1);
    let Some(release) = root.sysctl("kernel.osrelease") else {
        return Finding::warn(check, "its release cannot be read", advice);
    };
    match version(&release) {
        Some(version) if version >= KERNEL => Finding::ok(check, release),
        Some(_) => Finding::fail(check, release, advice),
        None => Finding::warn(check, format!("release {release:?} is not known"), advice),
    }
}

/// The first two numbers of a release such as `7.3.0-1-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit());
        text[..end.unwrap_or(text.len())].parse().ok()
    };
    let (major, rest) = release.split_once('.')?;
    Some((digits(major)?, digits(rest)?))
}

/// Whether the module is loaded.
pub(super) fn module(root: &Root) -> Finding {
    let check = "module";
    match root.has("sys/module/acceltcp") {
        true => Finding::ok(check, "acceltcp is loaded"),
        false => Finding::fail(
            check,
            "acceltcp is not loaded",
            "modprobe acceltcp; if there is no such module, build it for this kernel (dkms, or make modules_install)",
        ),
    }
}

/// The module's own sysctls.
pub(super) fn settings(root: &Root) -> Vec<Finding> {
    let check = "sysctl net.acceltcp";
    let names = root.list("proc/sys/net/acceltcp");
    if names.is_empty() {
        // Without the module there are none in any network namespace.
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut usual = Vec::new();
    for name in names {
        let Some(value) = root.sysctl(&format!("net.acceltcp.{name}")) else {
            continue; // Only to be written.
        };
        match unusual(&name, &value) {
            Some(advice) => {
                findings.push(Finding::warn(check, format!("{name} is {value}"), advice));
            }
            None => usual.push(format!("{name} {value}")),
        }
    }
    if !usual.is_empty() {
        findings.push(Finding::ok(check, usual.join(", ")));
    }
    findings
}

/// What a value keeps from working.
fn unusual(name: &str, value: &str) -> Option<&'static str> {
    let number = value.parse::<u32>().ok();
    match (name, number) {
        ("offloads", Some(0..ALL)) => {
            Some("1 is setup, 2 teardown, 4 splice; the sum of those that are to be used, 7 for all")
        }
        ("key_interval", Some(0..120)) => {
            Some("handshakes that take longer than that fail; 120 or more lets cookies live for their time")
        }
        ("teardown_hold_us", Some(0)) => {
            Some("answers do not wait for the end of their connection, so fewer are handed over; 250 is usual")
        }
        ("quota_listeners", Some(0)) => {
            Some("no listener of this network namespace is given to a card; 4294967295 is no limit")
        }
        ("quota_pairs", Some(0)) => {
            Some("no connections of this network namespace are spliced; 4294967295 is no limit")
        }
        ("quota_teardown", Some(0)) => {
            Some("no connection of this network namespace is ended by a card; 4294967295 is no limit")
        }
        ("unprivileged", Some(0)) => {
            Some("applications need CAP_NET_ADMIN to ask for offloads; rules of the policy serve all")
        }
        _ => None,
    }
}

/// Setup needs SYN cookies.
pub(super) fn syncookies(root: &Root) -> Finding {
    let check = "sysctl net.ipv4.tcp_syncookies";
    match root.sysctl("net.ipv4.tcp_syncookies").as_deref() {
        Some("0") => Finding::fail(
            check,
            "it is 0, so no card sets connections up",
            "sysctl -w net.ipv4.tcp_syncookies=1",
        ),
        Some(value) => Finding::ok(check, value),
        None => Finding::warn(
            check,
            "it cannot be read",
            "the kernel needs CONFIG_SYN_COOKIES for setup",
        ),
    }
}

/// conntrack sees no SYN of connections that a card sets up.
pub(super) fn conntrack(root: &Root) -> Finding {
    let check = "conntrack";
    match root
        .sysctl("net.netfilter.nf_conntrack_tcp_loose")
        .as_deref()
    {
        Some("0") => Finding::fail(
            check,
            "nf_conntrack_tcp_loose is 0: connections that a card has set up are invalid for it, as it saw no SYN",
            "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1",
        ),
        Some(_) => Finding::ok(check, "it picks connections up in the middle"),
        None => Finding::ok(check, "not loaded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(version("7.3.0-1-amd64"), Some((7, 3)));
        assert_eq!(version("7.3-rc1"), Some((7, 3)));
        assert_eq!(version("10.0"), Some((10, 0)));
        assert_eq!(version("7"), None);
        assert_eq!(version("x.y"), None);
    }
}
