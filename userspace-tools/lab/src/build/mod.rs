// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Builds firmware, tools and the kernel module, and installs them in `build/bin` and
//! `build/lib`.

mod cargo;
mod deb;
mod module;

use anyhow::Result;

pub use deb::debs;

use crate::{
    setup::{self, Facts, Options},
    util::{Layout, Lock},
};

/// Brings set-up and build up to date, then keeps `build/` from being removed while this process
/// lives. What is up to date already costs little.
///
/// # Errors
///
/// A step failed; the error shows the end of its log and names it.
pub fn ensure(layout: &Layout) -> Result<Facts> {
    let facts = setup::ensure(layout, &Options::default())?;
    {
        let _lock = Lock::build(layout)?;
        cargo::build(layout)?;
        module::build(layout, &facts)?;
    }
    Lock::hold_use(layout)?;
    Ok(facts)
}

/// Builds only what runs outside the guest's kernel.
///
/// # Errors
///
/// The build failed.
pub fn tools(layout: &Layout) -> Result<()> {
    let _lock = Lock::build(layout)?;
    cargo::build(layout)
}
