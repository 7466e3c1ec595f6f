// SPDX-License-Identifier: GPL-2.0

//! A netfilter hook where frames enter the host's own transport protocols.

use super::{
    skb::SkBuff,
    sock::{
        Family,
        NetId, //
    },
};
use crate::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// What becomes of a frame.
pub(crate) enum Verdict {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

/// A hook at `NF_INET_LOCAL_IN`, behind all rules of the administrator.
pub(crate) trait LocalIn {
    /// Looks at a frame, whose data starts at the network header. RCU read section, softirq or process
    /// context, atomic.
    fn local_in(skb: &mut SkBuff, net: NetId, family: Family) -> Verdict;
}

/// Hooks for IPv4 and IPv6 in one network namespace.
pub(crate) struct Registration {
    net: NetId,
    ops: KBox<[Opaque<bindings::nf_hook_ops>; 2]>,
}

// SAFETY: Hooks may be unregistered by any thread that may sleep.
unsafe impl Send for Registration {}

impl Registration {
    /// Registers the hooks (process context).
    ///
    /// # Safety
    ///
    /// The namespace must be alive, and stay alive until the result is dropped.
    pub(crate) unsafe fn new<H: LocalIn>(net: NetId) -> Result<Self> {
        let make = |pf| {
            Opaque::new(bindings::nf_hook_ops {
                hook: Some(callback::<H>),
                pf,
                hooknum: bindings::nf_inet_hooks_NF_INET_LOCAL_IN,
                priority: i32::MAX,
                ..bindings::nf_hook_ops::default()
            })
        };
        let ops = KBox::new(
            [
                make(bindings::NFPROTO_IPV4 as u8),
                make(bindings::NFPROTO_IPV6 as u8),
            ],
            GFP_KERNEL,
        )?;
        // SAFETY: The namespace is alive; the operations stay where they are until they are unregistered.
        to_result(unsafe {
            bindings::nf_register_net_hooks(net.as_raw().cast_mut(), ops[0].get(), 2)
        })?;
        Ok(Self { net, ops })
    }

    /// The namespace.
    pub(crate) fn net(&self) -> NetId {
        self.net
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`, whose contract keeps the namespace alive. Frames in flight are waited
        // for by the caller's grace period before the memory or the module goes, as
        // `nf_unregister_net_hooks()` frees its own table only.
        unsafe {
            bindings::nf_unregister_net_hooks(self.net.as_raw().cast_mut(), self.ops[0].get(), 2);
            bindings::synchronize_net();
        }
    }
}

/// # Safety
///
/// To be called by netfilter only.
unsafe extern "C" fn callback<H: LocalIn>(
    _priv: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: The frame is valid and lent; it is not dropped here.
    let mut skb = ManuallyDrop::new(unsafe { SkBuff::from_raw(NonNull::new_unchecked(skb)) });
    // SAFETY: `state` is valid for the call.
    let (net, pf) = unsafe { ((*state).net, (*state).pf) };
    let family = match u32::from(pf) {
        bindings::NFPROTO_IPV4 => Family::V4,
        _ => Family::V6,
    };
    match H::local_in(&mut skb, NetId::from_raw(net), family) {
        Verdict::Accept => bindings::NF_ACCEPT,
        Verdict::Drop => bindings::NF_DROP,
    }
}
