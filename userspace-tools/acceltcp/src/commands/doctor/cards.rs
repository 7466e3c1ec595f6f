// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards: their state, the queues of their network devices, their tables.

use std::path::Path;

use super::Finding;
use crate::{
    netlink::{device::Device, DeviceState},
    system::Root,
};

/// From this part on a table is nearly full.
const NEARLY_FULL: f64 = 0.9;

/// Whether there is a card, and with its offloads.
pub(super) fn cards(devices: &[Device]) -> Vec<Finding> {
    let check = "card";
    if devices.is_empty() {
        return vec![Finding::fail(
            check,
            "there is none in this network namespace",
            "see whether lspci shows it and ip link its network device, and which namespace that is in",
        )];
    }
    let finding = |device: &Device| {
        let name = &device.ifname;
        match device.state {
            DeviceState::Attached if device.capabilities.is_empty() => Finding::warn(
                check,
                format!("{name} is up, and offers no offloads"),
                "its firmware may be of another version",
            ),
            DeviceState::Attached => {
                Finding::ok(check, format!("{name} is up, with {}", device.capabilities))
            }
            DeviceState::Down => Finding::fail(
                check,
                format!("{name} is down"),
                format!("ip link set {name} up"),
            ),
            DeviceState::Plain => Finding::fail(
                check,
                format!("{name} is up, and has no offloads"),
                "its firmware has no AccelTCP, or an ABI that the module does not know; see dmesg",
            ),
            DeviceState::Dead => Finding::fail(
                check,
                format!("{name} does not answer"),
                "see dmesg; the module starts it again when it answers",
            ),
            DeviceState::Unknown(_) => Finding::warn(
                check,
                format!("{name} is {}", device.state),
                "this tool is older than the module",
            ),
        }
    };
    devices.iter().map(finding).collect()
}

/// Receive packet steering on the queues of cards.
pub(super) fn steering(root: &Root, devices: &[Device]) -> Vec<Finding> {
    let check = "rps";
    let steered = |device: &Device| {
        let queues = Path::new("sys/class/net")
            .join(&device.ifname)
            .join("queues");
        let mut names = root.list(&queues);
        names.retain(|name| {
            let mask = root.read(queues.join(name).join("rps_cpus"));
            name.starts_with("rx-") && mask.is_some_and(|mask| mask.contains(|c| !",0".contains(c)))
        });
        names
    };
    let mut findings = Vec::new();
    for device in devices {
        let queues = steered(device);
        let name = &device.ifname;
        if !queues.is_empty() {
            findings.push(Finding::warn(
                check,
                format!("{name} has RPS on {}", queues.join(", ")),
                format!(
                    "it sends packets to other CPUs again, which the card's queues do already; turn it off: \
                     for q in /sys/class/net/{name}/queues/rx-*; do echo 0 >$q/rps_cpus; done"
                ),
            ));
        }
    }
    if findings.is_empty() && !devices.is_empty() {
        findings.push(Finding::ok(check, "not used on cards"));
    }
    findings
}

/// Room in the cards' tables.
pub(super) fn tables(devices: &[Device]) -> Vec<Finding> {
    let check = "tables";
    let mut findings = Vec::new();
    let mut count = 0_usize;
    for device in devices {
        for table in &device.tables {
            count += 1;
            let name = format!("{} of {}", table.name, device.ifname);
            if table.fill() >= NEARLY_FULL {
                findings.push(Finding::warn(
                    check,
                    format!("{name} has {} of {} entries in use", table.used, table.capacity),
                    "new work stays with the host when it is full; offload less, by acceltcp policy",
                ));
            } else if table.refused > 0 {
                findings.push(Finding::warn(
                    check,
                    format!("{name} was full, and refused {} entries since the card started", table.refused),
                    "that work was done by the host; offload less, by acceltcp policy, if it happens again",
                ));
            }
        }
    }
    if findings.is_empty() && count > 0 {
        findings.push(Finding::ok(check, "all have room"));
    }
    findings
}
