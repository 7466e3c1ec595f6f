// SPDX-License-Identifier: GPL-2.0

//! A netfilter hook where frames enter the host's own transport protocols.

use super::{
    device::DeviceId,
    global::global,
    pernet::{
        self,
        Net,
        NetExit, //
    },
    request_sock::{
        self,
        Claim,
        Options,
        Owner, //
    },
    skb::SkBuff,
    sock::{
        Family,
        NetId,
        Socket, //
    },
};
use crate::bindings;
use core::{
    marker::PhantomData,
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
    /// [`LocalIn::stolen`] gets it.
    Steal,
}

/// A hook at `NF_INET_LOCAL_IN`, behind all rules of the administrator.
///
/// # Context
///
/// RCU read section with softirqs off: in a softirq, or in a process that reinjects the frame (NFQUEUE).
pub(crate) trait LocalIn: 'static {
    /// Looks at a frame.
    fn local_in(frame: &mut Incoming<'_>) -> Verdict;

    /// Takes a frame of `net` away.
    fn stolen(frame: SkBuff, net: Net<'_>);
}

/// Softirqs are off on this CPU until it is dropped.
///
/// Frames that come from a device arrive with softirqs off. `nf_reinject()` runs the hooks that follow NFQUEUE in the
/// process that gave the verdict, with softirqs on; the TCP stack's receive functions and TIME-WAIT's must not run so.
struct SoftirqsOff {
    /// They were on before.
    restore: bool,
}

impl SoftirqsOff {
    fn new() -> Self {
        Self {
            // SAFETY: The function may be called in any context; `drop()` undoes it on the same CPU.
            restore: unsafe { bindings::acceltcp_softirqs_disable() },
        }
    }
}

impl Drop for SoftirqsOff {
    fn drop(&mut self) {
        if self.restore {
            // SAFETY: `new()` has disabled them, on this CPU, as they keep the task where it is.
            unsafe { bindings::local_bh_enable() };
        }
    }
}

/// A frame at the end of `NF_INET_LOCAL_IN`, on its way to the TCP stack.
///
/// # Invariants
///
/// `'a` lies in an RCU read section with softirqs off. `net` is alive for `'a`. The section ends after the TCP stack has got
/// the frame, unless a rule comes behind the hook, see [`Incoming::ends_rules`].
pub(crate) struct Incoming<'a> {
    /// The frame, whose data starts at the network header.
    skb: &'a mut SkBuff,
    net: NetId,
    family: Family,
}

impl<'a> Incoming<'a> {
    /// The frame, whose data starts at the network header.
    pub(crate) fn skb(&mut self) -> &mut SkBuff {
        self.skb
    }

    /// The namespace that receives the frame.
    pub(crate) fn namespace(&self) -> Net<'a> {
        // SAFETY: `net` is that of the hook's state, hence not null, and alive for `'a` by the type
        // invariant. `'a` lies in the hook's RCU read section, which began before `Exit::pre_exit()` unregistered the hook.
        unsafe { Net::from_raw(NonNull::new_unchecked(self.net.as_raw().cast_mut())) }
    }

    /// The key of the connection that the frame would belong to, see [`super::closing::Closing`], and its sequence
    /// number. `None` when it is no segment, or one that begins a connection.
    pub(crate) fn key(&mut self) -> Option<(u64, u32)> {
        let (mut key, mut seq) = (0, 0);
        let ipv4 = self.family == Family::V4;
        // SAFETY: The frame is lent to us, the namespace is alive by the type invariant.
        let found = unsafe {
            bindings::acceltcp_frame_key(
                self.skb.as_raw(),
                self.net.as_raw(),
                ipv4,
                &mut key,
                &mut seq,
            )
        };
        found.then_some((key, seq))
    }

    /// The network device by which it came in, behind VLAN devices.
    pub(crate) fn device(&mut self) -> Option<DeviceId> {
        // SAFETY: The frame is valid, and its device alive in an RCU read section, by the type invariant.
        let dev = unsafe { bindings::acceltcp_frame_device(self.skb.as_raw()) };
        (!dev.is_null()).then(|| DeviceId::from_raw(dev.cast()))
    }

    /// Whether the host has a connection of the frame's addresses and ports. The TCP stack does not look for it again.
    pub(crate) fn find_owner(&mut self) -> bool {
        let ipv4 = self.family == Family::V4;
        // SAFETY: The frame is valid, and the namespace alive in an RCU read section, by the type invariant.
        unsafe { bindings::acceltcp_frame_find_owner(self.skb.as_raw(), self.net.as_raw(), ipv4) }
    }

    /// Tells a tracepoint that the frame brings a connection.
    pub(crate) fn trace_child(&mut self) {
        // SAFETY: The frame is lent to us.
        unsafe { bindings::acceltcp_trace_child(self.skb.as_raw(), self.family == Family::V4) };
    }

    /// Finds out to whom the frame belongs. A connection that is left over from before the handshake that
    /// `claim` tells of is reset.
    pub(crate) fn owner(&mut self, claim: &Claim) -> Owner<'a> {
        // SAFETY: By the type invariant.
        unsafe { request_sock::owner(self.skb, self.net, self.family, claim) }
    }

    /// Whether no rule comes behind the hook, which could queue the frame and so end the RCU read section.
    fn ends_rules(&self) -> bool {
        let pf = match self.family {
            Family::V4 => bindings::NFPROTO_IPV4,
            Family::V6 => bindings::NFPROTO_IPV6,
        };
        // SAFETY: The namespace is alive, and this is an RCU read section, by the type invariant.
        unsafe { bindings::acceltcp_hook_ends_rules(self.net.as_raw(), pf as u8, own()) }
    }

    /// Has the TCP stack create a connection of `listener` from the frame.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a rule of netfilter comes behind the hook, `ENOMEM` without memory.
    pub(crate) fn attach_request(&mut self, listener: Socket<'a>, options: &Options) -> Result {
        if !self.ends_rules() {
            return Err(EBUSY);
        }
        // SAFETY: The listener was looked up in the section of the type invariant, as it has its lifetime. The TCP stack gets
        // the frame within it: hooks that are behind ours, of which none is a rule, do not keep it.
        unsafe { request_sock::attach(self.skb, listener, self.family, options) }
    }
}

global! {
    /// Namespaces that have the hooks, as long as there is a [`Registration`].
    static HOOKED: Sleeping<Option<KVec<Hooks>>> = None;
}

/// Has `H` called for frames of the namespaces that were given to [`Registration::ensure`], until it is dropped.
/// There may be one.
pub(crate) struct Registration<H: LocalIn> {
    _pernet: pernet::Registration,
    _hook: PhantomData<fn(H)>,
}

impl<H: LocalIn> Registration<H> {
    /// No namespace has the hooks yet.
    pub(crate) fn new() -> Result<Self> {
        {
            let mut hooked = HOOKED.lock();
            if hooked.is_some() {
                return Err(EBUSY);
            }
            *hooked = Some(KVec::new());
        }
        // Without the lock, which is taken within those of the namespaces.
        let pernet = pernet::Registration::new::<Exit>().inspect_err(|_| {
            HOOKED.lock().take();
        })?;
        Ok(Self {
            _pernet: pernet,
            _hook: PhantomData,
        })
    }

    /// Registers the hooks in the namespace of `sk`, unless they are there (process context).
    pub(crate) fn ensure(sk: Socket<'_>) -> Result {
        let mut hooked = HOOKED.lock();
        let Some(hooked) = &mut *hooked else {
            return Err(ENODEV);
        };
        if hooked.iter().any(|hooks| hooks.net == sk.net()) {
            return Ok(());
        }
        hooked.reserve(1, GFP_KERNEL)?;
        // SAFETY: The socket keeps its namespace alive; `Exit` unregisters the hooks before the namespace goes.
        let hooks = unsafe { Hooks::new::<H>(sk.net())? };
        hooked.push(hooks, GFP_KERNEL)?;
        Ok(())
    }
}

impl<H: LocalIn> Drop for Registration<H> {
    fn drop(&mut self) {
        // Before namespaces cannot tell of their end any more. Under the lock: a namespace that ends meanwhile has to
        // wait until its hooks are gone.
        let mut hooked = HOOKED.lock();
        let mut all = hooked.take();
        for hooks in all.iter_mut().flatten() {
            hooks.unregister();
        }
        // SAFETY: Process context. Frames that the hooks have in hand are done with behind it.
        unsafe { bindings::synchronize_net() };
        drop(all);
    }
}

struct Exit;

impl NetExit for Exit {
    fn pre_exit(net: NetId) {
        if let Some(hooked) = &mut *HOOKED.lock() {
            hooked
                .iter_mut()
                .filter(|hooks| hooks.net == net)
                .for_each(Hooks::unregister);
        }
    }

    fn exit(net: NetId) {
        if let Some(hooked) = &mut *HOOKED.lock() {
            hooked.retain(|hooks| hooks.net != net);
        }
    }
}

/// Its address tells hooks of this module from others.
static OWN: u8 = 0;

fn own() -> *mut c_void {
    (&raw const OWN).cast_mut().cast()
}

/// Hooks for IPv4 and IPv6 in one network namespace, which are to be unregistered a grace period before they go.
struct Hooks {
    net: NetId,
    ops: KBox<[Opaque<bindings::nf_hook_ops>; 2]>,
    registered: bool,
}

// SAFETY: Hooks may be unregistered by any thread that may sleep.
unsafe impl Send for Hooks {}

impl Hooks {
    /// Registers the hooks (process context).
    ///
    /// # Safety
    ///
    /// The namespace must be alive, and stay alive until [`Hooks::unregister`] has been called.
    unsafe fn new<H: LocalIn>(net: NetId) -> Result<Self> {
        let make = |pf| {
            Opaque::new(bindings::nf_hook_ops {
                hook: Some(callback::<H>),
                priv_: own(),
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
        Ok(Self {
            net,
            ops,
            registered: true,
        })
    }

    /// Has no frames come to the hooks (process context). Those that they have in hand are done with a grace period later.
    fn unregister(&mut self) {
        if core::mem::replace(&mut self.registered, false) {
            // SAFETY: Registered in `new()`, whose contract keeps the namespace alive, and not unregistered before.
            unsafe {
                bindings::nf_unregister_net_hooks(
                    self.net.as_raw().cast_mut(),
                    self.ops[0].get(),
                    2,
                )
            };
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
    let _softirqs = SoftirqsOff::new();
    // INVARIANT: The section begins where the frame comes into the stack (`netif_receive_skb()`), or with the message of
    // NFQUEUE that holds its verdict, and ends behind `ip_local_deliver_finish()`.
    let mut frame = Incoming {
        skb: &mut skb,
        net: NetId::from_raw(net),
        family,
    };
    match H::local_in(&mut frame) {
        Verdict::Accept => bindings::NF_ACCEPT,
        Verdict::Drop => bindings::NF_DROP,
        Verdict::Steal => {
            // SAFETY: The namespace of the hook, not null. The call lies in the hook's RCU read section, which began before
            // `Exit::pre_exit()` unregistered the hook: the namespace core waits for it.
            let net = unsafe { Net::from_raw(NonNull::new_unchecked(net)) };
            H::stolen(ManuallyDrop::into_inner(skb), net);
            bindings::NF_STOLEN
        }
    }
}
