// SPDX-License-Identifier: GPL-2.0

//! Network devices by their names, whether they are there or not.

use super::pernet::Net;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Bytes of a name, with its NUL.
const SIZE: usize = bindings::IFNAMSIZ as usize;

/// The name of a network device.
///
/// # Invariants
///
/// It has a NUL, and is not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceName([u8; SIZE]);

impl DeviceName {
    /// A name without NUL. `None` when it is empty or too long.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.len() >= SIZE || name.contains(&0) {
            return None;
        }
        let mut bytes = [0; SIZE];
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
        }
        // INVARIANT: As was looked at above.
        Some(Self(bytes))
    }

    /// With a NUL behind it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Net<'_> {
    /// Number of the device with this name, or with this alternative name, if there is one. Any context.
    pub(crate) fn device_named(self, name: &DeviceName) -> Option<u32> {
        // SAFETY: The namespace is alive, and the name has a NUL by its invariant.
        let found = unsafe {
            bindings::acceltcp_dev_named(self.id().as_raw(), name.as_bytes().as_ptr().cast())
        };
        (found != 0).then_some(found)
    }
}

/// What to do when names change.
pub(crate) trait Renames: 'static {
    /// A device of this namespace has come, or has another name (process context, RTNL).
    fn renamed(net: Net<'_>);
}

/// Calls [`Renames::renamed`] until it is dropped. There may be one.
pub(crate) struct Watch(());

impl Watch {
    /// Begins (process context). It is called for all devices that are there.
    pub(crate) fn new<R: Renames>() -> Result<Self> {
        // SAFETY: The function stays until `drop()` has returned.
        to_result(unsafe { bindings::acceltcp_watch_names(Some(renamed::<R>)) })?;
        Ok(Self(()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`. Waits for calls that run, by the RTNL.
        unsafe { bindings::acceltcp_unwatch_names() };
    }
}

/// # Safety
///
/// `net` must be alive during the call.
unsafe extern "C" fn renamed<R: Renames>(net: *mut bindings::net) {
    if let Some(net) = NonNull::new(net) {
        // SAFETY: Alive by the safety requirement.
        R::renamed(unsafe { Net::from_raw(net) });
    }
}
