// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model of an Agilio SR-IOV VF, served to QEMU over vfio-user.

use agilio_model::cli::Cli;
use clap::Parser;

fn main() -> anyhow::Result<()> {
    agilio_model::run::run(&Cli::parse())
}
