// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab apt`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    setup::{self, Options},
    util::{Layout, Lock, Step},
};

/// Arguments of `lab apt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with packages
    #[command(subcommand)]
    pub action: Action,
}

/// The actions of `lab apt`.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Install packages in the guest's system
    Install {
        /// Names of Debian packages
        #[arg(required = true, value_name = "PKG", value_parser = package_name)]
        packages: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
///
/// The set-up or the installation failed.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    setup::ensure(layout, &Options::default())?;
    let Action::Install { packages } = &args.action;
    let _lock = Lock::build(layout)?;
    let title = format!("install {} in the guest's system", packages.join(" "));
    let step = Step::start(layout, "apt", &title)?;
    setup::install_packages(layout, &step, &[], packages)?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

/// A Debian package's name, with version or release if wanted.
fn package_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.:=/~_".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("not the name of a Debian package".to_owned())
    }
}
