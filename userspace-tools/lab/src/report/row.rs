// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rows and the report that holds them.

use std::{fs, path::Path, thread};

use anyhow::{Context, Result};
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use crate::{setup::Facts, util::Layout};

/// What one load cost. What was not measured is `null`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// Name of the load.
    pub workload: String,
    /// Command line in the guest.
    pub server: String,
    /// Command line on the wire side.
    pub client: String,
    /// Driver of the card.
    pub driver: String,
    /// Offloads that were on.
    pub offload: Vec<String>,
    /// vCPUs of the guest.
    pub vcpus: u32,
    /// What the guest's clock follows: `wall` or `instructions`.
    #[serde(default)]
    pub clock: String,
    /// Seconds that the load took by the guest's clock.
    #[serde(default)]
    pub guest_seconds: f64,
    /// Transactions completed.
    pub transactions: Option<u64>,
    /// Transactions failed.
    pub errors: Option<u64>,
    /// Transactions per second. Noisy under emulation, and slower in a counted run.
    pub rate_per_s: Option<f64>,
    /// Guest instructions in the kernel per second of its clock, all of them.
    pub kernel_insns_per_s: Option<f64>,
    /// Guest instructions in the kernel, less the idle rate.
    pub kernel_insns_per_tx: Option<f64>,
    /// Guest instructions in user space, less the idle rate.
    pub user_insns_per_tx: Option<f64>,
    /// What passed between the card and the host.
    pub nic: Nic,
    /// What the guest's kernel has counted, less the idle rates.
    #[serde(default)]
    pub kernel: Kernel,
}

/// Events in the guest's kernel for one transaction.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Kernel {
    /// Interrupts: of devices, timers and other CPUs.
    pub interrupts_per_tx: Option<f64>,
    /// Softirqs.
    pub softirqs_per_tx: Option<f64>,
    /// Context switches.
    pub context_switches_per_tx: Option<f64>,
    /// TLB shootdowns; none on one CPU.
    pub tlb_shootdowns_per_tx: Option<f64>,
}

/// The card's work for one transaction; all cards together.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Nic {
    /// Packets given to the host.
    pub rx_packets_per_tx: Option<f64>,
    /// Packets taken from the host.
    pub tx_packets_per_tx: Option<f64>,
    /// Bytes written to the host's memory.
    pub rx_dma_bytes_per_tx: Option<f64>,
    /// Bytes read from the host's memory.
    pub tx_dma_bytes_per_tx: Option<f64>,
    /// Interrupts.
    pub irqs_per_tx: Option<f64>,
    /// Doorbells rung by the host.
    pub doorbells_per_tx: Option<f64>,
}

/// The machine that a report was made on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Processors that may be used.
    pub cpus: usize,
    /// The host's kernel.
    pub host_kernel: String,
    /// What runs the guest: `tcg` or `kvm`.
    pub accelerator: String,
}

impl Machine {
    /// This machine.
    pub fn this(kvm: bool) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, name)| name.trim());
        Self {
            cpu: cpu.into(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            host_kernel: uname().map_or_else(
                |_| "unknown".into(),
                |name| name.release().to_string_lossy().into_owned(),
            ),
            accelerator: if kvm { "kvm" } else { "tcg" }.into(),
        }
    }
}

/// Rows with the facts that they depend on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// The rows.
    pub rows: Vec<Row>,
    /// The guest's kernel.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// The machine.
    pub machine: Machine,
}

impl Report {
    /// A report without rows yet.
    ///
    /// # Errors
    ///
    /// There was no complete set-up yet.
    pub fn new(layout: &Layout, machine: Machine) -> Result<Self> {
        let facts = Facts::load(layout)?;
        Ok(Self {
            rows: Vec::new(),
            kernel: facts.guest_release(layout)?,
            qemu: facts.qemu_package,
            machine,
        })
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}
