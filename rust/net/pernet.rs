// SPDX-License-Identifier: GPL-2.0

//! Notice of network namespaces that go away.

use super::sock::NetId;
use crate::bindings;
use core::cell::UnsafeCell;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// What to do when a namespace goes away.
pub(crate) trait NetExit {
    /// `net` is about to go (process context); its sockets may still be there.
    fn exit(net: NetId);
}

/// A registration of a [`NetExit`]. There may be one.
pub(crate) struct Registration(());

struct Ops(UnsafeCell<core::mem::MaybeUninit<bindings::pernet_operations>>);

// SAFETY: Written in `Registration::new()`, before anyone reads.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(UnsafeCell::new(core::mem::MaybeUninit::uninit()));

impl Registration {
    /// Registers `E`.
    pub(crate) fn new<E: NetExit>() -> Result<Self> {
        let ops = OPS.0.get().cast::<bindings::pernet_operations>();
        // SAFETY: Nobody uses the operations before they are registered.
        unsafe {
            ops.write_bytes(0, 1);
            (*ops).pre_exit = Some(pre_exit::<E>);
            to_result(bindings::register_pernet_subsys(ops))?;
        }
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`.
        unsafe { bindings::unregister_pernet_subsys(OPS.0.get().cast()) };
    }
}

/// # Safety
///
/// To be called by the namespace core only.
unsafe extern "C" fn pre_exit<E: NetExit>(net: *mut bindings::net) {
    E::exit(NetId::from_raw(net));
}
