// SPDX-License-Identifier: GPL-2.0

//! Notice of network namespaces that go away, and data of each.
//!
//! C header: [`include/net/netns/generic.h`](srctree/include/net/netns/generic.h)

use super::{
    sock::{
        NetId,
        Socket, //
    },
    sysctl::{
        self,
        Setting, //
    }, //
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    ffi::c_uint,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// A network namespace.
///
/// # Invariants
///
/// The namespace and the data that pernet operations of this module keep for it stay for `'a`: it
/// has references, or devices, or `'a` lies within an RCU read section that began before its
/// `pre_exit` operations returned. The namespace core waits for a grace period before `exit`.
#[derive(Clone, Copy)]
pub(crate) struct Net<'a> {
    net: NonNull<bindings::net>,
    _net: PhantomData<&'a ()>,
}

impl Net<'_> {
    /// # Safety
    ///
    /// See the type's invariants.
    pub(super) unsafe fn from_raw(net: NonNull<bindings::net>) -> Self {
        // INVARIANT: The safety requirement.
        Self {
            net,
            _net: PhantomData,
        }
    }

    /// Its name, to compare.
    pub(crate) fn id(self) -> NetId {
        NetId::from_raw(self.net.as_ptr())
    }
}

impl<'a> Socket<'a> {
    /// Its network namespace. Sockets of applications keep theirs.
    pub(crate) fn namespace(self) -> Net<'a> {
        // SAFETY: The socket is alive for `'a`, has a namespace, and keeps it.
        unsafe { Net::from_raw(NonNull::new_unchecked(self.net().as_raw().cast_mut())) }
    }
}

/// What to do when a namespace goes away, in two steps (process context).
pub(crate) trait NetExit {
    /// `net` is about to go; its sockets may still be there.
    fn pre_exit(net: NetId);

    /// An RCU grace period has passed since. The namespace core waits once for all namespaces that go at the same time.
    fn exit(net: NetId);
}

/// A registration of a [`NetExit`] or [`NetSettings`].
pub(crate) struct Registration(KBox<Opaque<bindings::pernet_operations>>);

// SAFETY: It may be dropped by any thread that may sleep.
unsafe impl Send for Registration {}
// SAFETY: It has no methods.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers `E`.
    pub(crate) fn new<E: NetExit>() -> Result<Self> {
        Self::register(bindings::pernet_operations {
            pre_exit: Some(pre_exit::<E>),
            exit: Some(after_exit::<E>),
            ..bindings::pernet_operations::default()
        })
    }

    /// Has each namespace have `S`, those that are there, too.
    pub(crate) fn of_settings<S: NetSettings<N>, const N: usize>() -> Result<Self> {
        Self::register(bindings::pernet_operations {
            init: Some(init::<S, N>),
            exit: Some(exit::<S, N>),
            id: S::id().0.get(),
            size: core::mem::size_of::<*mut c_void>(),
            ..bindings::pernet_operations::default()
        })
    }

    fn register(ops: bindings::pernet_operations) -> Result<Self> {
        let ops = KBox::new(Opaque::new(ops), GFP_KERNEL)?;
        // SAFETY: The operations stay where they are until they are unregistered.
        to_result(unsafe { bindings::register_pernet_subsys(ops.get()) })?;
        Ok(Self(ops))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `register()`.
        unsafe { bindings::unregister_pernet_subsys(self.0.get()) };
    }
}

/// # Safety
///
/// To be called by the namespace core only.
unsafe extern "C" fn pre_exit<E: NetExit>(net: *mut bindings::net) {
    E::pre_exit(NetId::from_raw(net));
}

/// # Safety
///
/// To be called by the namespace core only.
unsafe extern "C" fn after_exit<E: NetExit>(net: *mut bindings::net) {
    E::exit(NetId::from_raw(net));
}

/// Under which number the namespace core keeps data.
pub(crate) struct Id(UnsafeCell<c_uint>);

// SAFETY: Written by `register_pernet_subsys()` before there are data.
unsafe impl Sync for Id {}

impl Id {
    /// A number that is not known yet.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }
}

/// What the operator of a namespace may set. Who has a reference may outlive the namespace.
pub(crate) trait NetSettings<const N: usize>: Send + Sync + Sized + 'static {
    /// Directory of the sysctls.
    const PATH: &'static CStr;
    /// The settings.
    const SETTINGS: &'static [Setting; N];

    /// Always the same, and for this type only.
    fn id() -> &'static Id;

    /// Of the new namespace `net`. `initial` is what the initial one has, unless this is it.
    fn new(net: NetId, initial: Option<&Self>) -> Result<Arc<Self>>;

    /// The namespace is about to go; who has a reference may outlive it (process context).
    fn gone(&self);

    /// The values, in the order of [`NetSettings::SETTINGS`].
    fn values(&self) -> &[Atomic<u32>; N];
}

/// The settings of a namespace and their sysctls.
struct Kept<S: 'static, const N: usize> {
    // Goes first.
    _sysctls: sysctl::Registration<N, S>,
    settings: Arc<S>,
}

/// The place of a [`Kept`] of `net`.
///
/// # Safety
///
/// `net` must be alive, and have been given its place.
unsafe fn place<S: NetSettings<N>, const N: usize>(net: *const bindings::net) -> *mut *mut c_void {
    // SAFETY: The number was written before there were places; the rest is the safety requirement.
    unsafe { bindings::net_generic(net, *S::id().0.get()).cast() }
}

/// Returns a reference to the settings of a namespace. `ENODEV` when it is about to go.
pub(crate) fn settings_of<S: NetSettings<N>, const N: usize>(net: Net<'_>) -> Result<Arc<S>> {
    peek_settings::<S, N>(net).cloned().ok_or(ENODEV)
}

/// Returns the settings of a namespace without taking a reference. `None` when it is about to go.
/// Any context.
pub(crate) fn peek_settings<'a, S: NetSettings<N>, const N: usize>(
    net: Net<'a>,
) -> Option<&'a Arc<S>> {
    // SAFETY: The namespace and its data stay for `'a` by the invariant of `Net`. The registration
    // outlives sockets with the ULP, netfilter hooks, network devices of the driver, watches of
    // their names, and operations of the netlink family, which are the ways to get here.
    unsafe { borrow::<S, N>(net.id().as_raw()) }
}

/// # Safety
///
/// As for [`place`], for `'a`.
unsafe fn borrow<'a, S: NetSettings<N>, const N: usize>(
    net: *const bindings::net,
) -> Option<&'a Arc<S>> {
    // SAFETY: The safety requirement; what is there was put there by `init()`, and goes with the namespace.
    unsafe {
        let kept = (*place::<S, N>(net)).cast::<Kept<S, N>>();
        kept.as_ref().map(|kept| &kept.settings)
    }
}

/// # Safety
///
/// To be called by the namespace core only.
unsafe extern "C" fn init<S: NetSettings<N>, const N: usize>(net: *mut bindings::net) -> c_int {
    from_result(|| {
        let initial = &raw const bindings::init_net;
        // SAFETY: The initial namespace is the first that is given its place, and never goes. Sysctls go before their
        // namespace.
        unsafe {
            let inherited = match core::ptr::eq(net, initial) {
                true => None,
                false => borrow::<S, N>(initial),
            };
            let settings = S::new(NetId::from_raw(net), inherited.map(|settings| &**settings))?;
            let sysctls = sysctl::Registration::in_net(
                NetId::from_raw(net),
                S::PATH,
                S::SETTINGS,
                settings.clone(),
                S::values,
            )?;
            let kept = Kept {
                _sysctls: sysctls,
                settings,
            };
            *place::<S, N>(net) = KBox::into_foreign(KBox::new(kept, GFP_KERNEL)?).cast();
        }
        Ok(0)
    })
}

/// # Safety
///
/// To be called by the namespace core only, for namespaces for which [`init`] has succeeded.
unsafe extern "C" fn exit<S: NetSettings<N>, const N: usize>(net: *mut bindings::net) {
    // SAFETY: What `init()` has put there. The namespace has no sockets of applications any more.
    unsafe {
        let kept = core::ptr::replace(place::<S, N>(net), core::ptr::null_mut());
        if !kept.is_null() {
            let kept = KBox::<Kept<S, N>>::from_foreign(kept.cast());
            kept.settings.gone();
        }
    }
}
