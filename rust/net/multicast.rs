// SPDX-License-Identifier: GPL-2.0

//! Multicast groups of network devices.

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Multicast groups that the device is a member of.
pub(crate) struct MulticastList<'a> {
    list: NonNull<bindings::netdev_hw_addr_list>,
    _list: PhantomData<&'a ()>,
}

impl MulticastList<'_> {
    /// # Safety
    ///
    /// `list` must be valid and unchanging for the lifetime of the result.
    pub(super) unsafe fn from_raw(list: NonNull<bindings::netdev_hw_addr_list>) -> Self {
        Self {
            list,
            _list: PhantomData,
        }
    }

    /// Calls `visit` for each address, until it fails.
    pub(crate) fn for_each(&self, mut visit: impl FnMut([u8; 6]) -> Result) -> Result {
        /// # Safety
        ///
        /// `arg` must be a closure of type `F`, `addr` an address of the list.
        unsafe extern "C" fn callback<F: FnMut([u8; 6]) -> Result>(
            arg: *mut c_void,
            addr: *const u8,
        ) -> c_int {
            // SAFETY: `for_each()` passes a pointer to its own `visit`, which it does not use until the walk has ended.
            let visit = unsafe { &mut *arg.cast::<F>() };
            // SAFETY: An address of a `struct netdev_hw_addr` has at least 32 bytes.
            let addr = unsafe { addr.cast::<[u8; 6]>().read() };
            match visit(addr) {
                Ok(()) => 0,
                Err(err) => err.to_errno(),
            }
        }
        fn monomorph<F: FnMut([u8; 6]) -> Result>(
            _: &F,
        ) -> unsafe extern "C" fn(*mut c_void, *const u8) -> c_int {
            callback::<F>
        }
        let func = monomorph(&visit);
        // SAFETY: The list is valid by the safety requirement of `from_raw()`, and `func` takes a pointer
        // to `visit`.
        to_result(unsafe {
            bindings::acceltcp_for_each_mc(
                self.list.as_ptr(),
                core::ptr::from_mut(&mut visit).cast(),
                Some(func),
            )
        })
    }
}
