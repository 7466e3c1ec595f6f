// SPDX-License-Identifier: GPL-2.0

//! Notice of network namespaces that go away.

use super::sock::NetId;
use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// What to do when a namespace goes away.
pub(crate) trait NetExit {
    /// `net` is about to go (process context); its sockets may still be there.
    fn exit(net: NetId);
}

/// A registration of a [`NetExit`].
pub(crate) struct Registration(KBox<Opaque<bindings::pernet_operations>>);

// SAFETY: It may be dropped by any thread that may sleep.
unsafe impl Send for Registration {}
// SAFETY: It has no methods.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers `E`.
    pub(crate) fn new<E: NetExit>() -> Result<Self> {
        let ops = bindings::pernet_operations {
            pre_exit: Some(pre_exit::<E>),
            ..bindings::pernet_operations::default()
        };
        let ops = KBox::new(Opaque::new(ops), GFP_KERNEL)?;
        // SAFETY: The operations stay where they are until they are unregistered.
        to_result(unsafe { bindings::register_pernet_subsys(ops.get()) })?;
        Ok(Self(ops))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`.
        unsafe { bindings::unregister_pernet_subsys(self.0.get()) };
    }
}

/// # Safety
///
/// To be called by the namespace core only.
unsafe extern "C" fn pre_exit<E: NetExit>(net: *mut bindings::net) {
    E::exit(NetId::from_raw(net));
}
