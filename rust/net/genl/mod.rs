// SPDX-License-Identifier: GPL-2.0

//! The generic netlink family "acceltcp" (`Documentation/netlink/specs/acceltcp.yaml`).
//!
//! Family, policies and the table of operations are generated from there; their functions are in [`ops`], and call
//! what was registered here.
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)

mod message;
mod ops;
mod request;

pub(crate) use message::{
    is_heard,
    is_killed,
    Event,
    Group,
    Message,
    Page,
    Reply, //
};
pub(crate) use request::{
    Attributes,
    Request, //
};

use crate::bindings;
use core::cell::UnsafeCell;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// What the operations do. Process context, no locks held; any number at a time.
pub(crate) trait Handlers: Sync {
    /// Carries a command out. What it puts into `reply` is sent when it succeeds.
    fn run(&self, command: u8, request: &Request<'_>, reply: &mut Reply<'_>) -> Result;

    /// Puts entries on `page`, from where the last page ended. Returns `Ok` when the page is full, or all is told.
    fn dump(&self, command: u8, request: &Request<'_>, page: &mut Page<'_>) -> Result;
}

struct Registered(UnsafeCell<Option<&'static dyn Handlers>>);

// SAFETY: Written in `Registration::new()`, before anyone reads.
unsafe impl Sync for Registered {}

static HANDLERS: Registered = Registered(UnsafeCell::new(None));

/// The handlers, when the family is registered.
fn handlers() -> Option<&'static dyn Handlers> {
    // SAFETY: Written before the family was registered.
    unsafe { *HANDLERS.0.get() }
}

/// The registered family. There may be one.
pub(crate) struct Registration(());

impl Registration {
    /// Registers the family.
    pub(crate) fn new(handlers: &'static dyn Handlers) -> Result<Self> {
        // SAFETY: Nobody calls the operations before the family is registered.
        unsafe {
            *HANDLERS.0.get() = Some(handlers);
            to_result(bindings::genl_register_family(
                &raw mut bindings::acceltcp_nl_family,
            ))?;
        }
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`. Waits for operations that run.
        unsafe { bindings::genl_unregister_family(&raw mut bindings::acceltcp_nl_family) };
    }
}
