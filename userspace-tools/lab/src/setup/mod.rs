// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Makes the build root and the kernel tree, in steps that each leave a stamp when complete.
//!
//! 1. `root`: a base system from the machine's own mirror;
//! 2. `tools`: compilers and programs in it;
//! 3. `kernel`: the newest kernel of the series, its headers and source, QEMU;
//! 4. `tree`: the kernel's source, prepared for building modules;
//! 5. `nfp`: the upstream driver's module.
//!
//! Other kernels than the stock one are built when they are first asked for, see `built`; so is
//! haproxy, see `haproxy`.
//!
//! An interrupted set-up starts again with the step it was in; a complete one costs the reading of
//! five small files.

mod built;
mod facts;
pub(crate) mod haproxy;
mod host;
mod kernel;
mod mirror;
mod packages;
mod root;
mod tree;

use anyhow::Result;

pub(crate) use built::guest_kernel_inputs;
pub use facts::Facts;
pub(crate) use host::{check_cargo, check_machine};
pub(crate) use packages::LLVM;
pub(crate) use root::install as install_packages;

use crate::util::{Layout, Lock, Stamp};

/// What may be asked of a set-up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mirror to use instead of the machine's own.
    pub mirror: Option<String>,
    /// Look for a newer kernel, though everything is complete.
    pub update: bool,
}

/// Brings the set-up up to date.
///
/// # Errors
///
/// A step failed; the error shows the end of its log. What was completed stays.
pub fn ensure(layout: &Layout, options: &Options) -> Result<Facts> {
    if options.mirror.is_none() && !options.update {
        if let Some(facts) = complete(layout) {
            built::ensure(layout, &facts)?;
            return Ok(facts);
        }
    }
    host::ensure(layout)?;
    let lock = Lock::build(layout)?;
    let mirror = root::make_base(layout, options.mirror.as_deref())?;
    root::install_tools(layout)?;
    let facts = kernel::install(layout, &mirror, options.update)?;
    tree::prepare(layout, &facts)?;
    tree::build_nfp(layout, &facts)?;
    facts.store(layout)?;
    drop(lock);
    built::ensure(layout, &facts)?;
    Ok(facts)
}

/// The facts, if every step is complete for today's inputs.
fn complete(layout: &Layout) -> Option<Facts> {
    let valid = |name, inputs| Stamp::new(layout, name).valid(inputs);
    valid("root", root::base_inputs())?;
    valid("tools", root::tools_inputs())?;
    let facts: Facts = serde_json::from_str(&valid("kernel", kernel::inputs())?).ok()?;
    valid("tree", tree::tree_inputs(&facts))?;
    valid("nfp", tree::nfp_inputs(&facts))?;
    (Facts::load(layout).ok()? == facts).then_some(facts)
}
