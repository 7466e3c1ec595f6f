// SPDX-License-Identifier: GPL-2.0

//! An upper layer protocol (ULP) of TCP that puts itself between a socket and `tcp_prot`.
//!
//! A socket with the ULP has a copy of its protocol's operations, of which some are ours; the others, and
//! ours in the end, are those of the base. Its data is an `Arc`, which its children share. What applications call is
//! in [`calls`].
//!
//! C header: [`include/net/tcp.h`](srctree/include/net/tcp.h), `struct tcp_ulp_ops`

mod attach;
mod calls;
mod spliced;

pub(crate) use attach::{
    attach,
    detach,
    exchange,
    find,
    Has, //
};

pub(super) use calls::late;

use super::{
    listeners::Listeners,
    skb::SkBuff,
    sock::{
        Family,
        Locked,
        Socket,
        State, //
    },
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        rcu,
        Arc, //
    }, //
};

/// Option value in user or kernel memory.
pub(crate) struct OptionValue {
    value: bindings::sockptr_t,
    len: usize,
}

impl OptionValue {
    /// Whether it is the name of `U`, as `TCP_ULP` takes names: with or without NUL.
    fn names<U: Ulp>(&self) -> bool {
        let mut name = [0u8; bindings::TCP_ULP_NAME_MAX as usize];
        let wanted = U::NAME.to_bytes();
        if self.len < wanted.len() {
            return false;
        }
        let len = self.len.min(name.len() - 1);
        // SAFETY: The destination has so many bytes; the source is checked by the copy.
        let left =
            unsafe { bindings::copy_from_sockptr(name.as_mut_ptr().cast(), self.value, len) };
        left == 0
            && name.iter().position(|byte| *byte == 0) == Some(wanted.len())
            && name.starts_with(wanted)
    }

    /// Reads a u32, which is all that there may be.
    pub(crate) fn read_u32(&self) -> Result<u32> {
        let [value] = self.read()?;
        Ok(value)
    }

    /// Reads `N` u32, which is all that there may be.
    pub(crate) fn read<const N: usize>(&self) -> Result<[u32; N]> {
        if self.len != 4 * N {
            return Err(EINVAL);
        }
        let mut value = [0u32; N];
        // SAFETY: The destination has so many bytes; the source is checked by the copy.
        let left =
            unsafe { bindings::copy_from_sockptr(value.as_mut_ptr().cast(), self.value, self.len) };
        if left == 0 {
            Ok(value)
        } else {
            Err(EFAULT)
        }
    }
}

/// What the ULP does. Its type is what a socket and its children share.
pub(crate) trait Ulp: Send + Sync + 'static {
    /// What is kept for a listening socket.
    type Listener: Send + 'static;

    /// Name, as in `setsockopt(TCP_ULP)`, with final NUL.
    const NAME: &'static CStr;
    /// Level of its socket options.
    const LEVEL: c_int;

    /// The list of listening sockets, always the same one, and of this ULP only.
    fn listeners() -> &'static Listeners<Self::Listener>;

    /// Data for a socket that is given the ULP, which may listen already (socket locked).
    fn init(sk: Socket<'_>) -> Result<Arc<Self>>;

    /// Sets an option of its level (socket not locked). `data` may be replaced.
    fn set_option(
        sk: Socket<'_>,
        data: &Arc<Self>,
        option: c_int,
        value: &OptionValue,
    ) -> Result<Option<Arc<Self>>>;

    /// Reads an option of its level (socket not locked) to `to`, and returns its length.
    fn get_option(
        sk: Socket<'_>,
        data: &Arc<Self>,
        option: c_int,
        to: &mut [u8; 64],
    ) -> Result<usize>;

    /// Data for a socket whose application asks for the ULP although a listener was given it already; `None` when it has asked
    /// before (socket locked).
    fn claim(data: &Arc<Self>) -> Option<Result<Arc<Self>>>;

    /// Something that bears on a listener has happened: it has begun to listen, or one of its options was set
    /// (process context).
    fn changed(sk: Locked<'_>, data: &Arc<Self>);

    /// How long the first answer of a connection may wait for the connection's end, in nanoseconds; 0 for not at all.
    fn wait_ns(data: &Self) -> u32;

    /// An answer has begun to wait.
    fn held(data: &Self);

    /// The last user of a connection closes it (process context). True has the socket forgotten, without a word to
    /// the peer.
    fn closing(sk: Locked<'_>, data: &Arc<Self>) -> bool;

    /// A frame came in while a connection was looked at that a card has now.
    fn came_late(sk: Socket<'_>, frame: SkBuff);

    /// The last user of a connection closes it that is, or was, joined with another one (process context, not
    /// locked). What is at rest is forgotten then, without a word to the peer.
    fn parting(sk: Socket<'_>);

    /// Whether a connection that a listener accepts is expected to answer what it reads: its first acknowledgement may
    /// wait for that, as it does later on in the connection.
    fn answers(data: &Self) -> bool;

    /// A socket that was in the list of listeners does not listen any more (process context).
    fn closed();
}

struct Cell<T>(UnsafeCell<T>);

// SAFETY: Written in `Registration::new()`, before anyone reads.
unsafe impl<T> Sync for Cell<T> {}

/// Copies of the operations of `tcp_prot` and `tcpv6_prot`, of these with a `sendmsg()` of ours, and of these for
/// connections at rest.
static PROTOS: [Cell<core::mem::MaybeUninit<bindings::proto>>; 6] =
    [const { Cell(UnsafeCell::new(core::mem::MaybeUninit::uninit())) }; 6];
/// Operations of the ULP.
static OPS: Cell<core::mem::MaybeUninit<bindings::tcp_ulp_ops>> =
    Cell(UnsafeCell::new(core::mem::MaybeUninit::uninit()));

pub(super) fn base(family: Family) -> *mut bindings::proto {
    match family {
        Family::V4 => &raw mut bindings::tcp_prot,
        Family::V6 => &raw mut bindings::tcpv6_prot,
    }
}

fn copy(family: Family) -> *mut bindings::proto {
    PROTOS[family as usize].0.get().cast()
}

/// The copy that young connections have whose first answer may wait. It is left with the first write that does not.
fn holding(family: Family) -> *mut bindings::proto {
    PROTOS[family as usize + 2].0.get().cast()
}

/// The copy that connections have which a card relays.
fn spliced(family: Family) -> *mut bindings::proto {
    PROTOS[family as usize + 4].0.get().cast()
}

fn ops() -> *mut bindings::tcp_ulp_ops {
    OPS.0.get().cast()
}

/// The registered ULP. There may be one.
pub(crate) struct Registration(());

impl Registration {
    /// Registers the ULP of `module`.
    pub(crate) fn new<U: Ulp>(module: &'static ThisModule) -> Result<Self> {
        for family in [Family::V4, Family::V6] {
            // SAFETY: Nobody uses the copies before the ULP is registered.
            unsafe {
                let copy = copy(family);
                copy.copy_from_nonoverlapping(base(family), 1);
                (*copy).setsockopt = Some(calls::setsockopt::<U>);
                (*copy).getsockopt = Some(calls::getsockopt::<U>);
                (*copy).close = Some(calls::close::<U>);
                (*copy).hash = Some(hash::<U>);
                (*copy).unhash = Some(unhash::<U>);
                // Sockets hold the module by the ULP; see `acceltcp_child_adopt()` for TIME_WAIT.
                (*copy).owner = core::ptr::null_mut();
                let holding = holding(family);
                holding.copy_from_nonoverlapping(copy, 1);
                (*holding).sendmsg = Some(calls::sendmsg::<U>);
                let resting = spliced(family);
                resting.copy_from_nonoverlapping(copy, 1);
                spliced::replace::<U>(&mut *resting);
            }
        }
        // SAFETY: As above.
        unsafe {
            let ops = ops();
            ops.write_bytes(0, 1);
            (*ops).init = Some(init::<U>);
            (*ops).release = Some(release::<U>);
            (*ops).clone = Some(clone::<U>);
            (*ops).owner = module.as_ptr().cast();
            for (to, from) in (*ops).name.iter_mut().zip(U::NAME.to_bytes_with_nul()) {
                *to = *from;
            }
            to_result(bindings::tcp_register_ulp(ops))?;
        }
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`. No socket has the ULP, as each holds the module; a CPU that is
        // about to return from our `close()` path is waited for.
        unsafe {
            bindings::tcp_unregister_ulp(ops());
            bindings::synchronize_rcu_tasks();
        }
    }
}

/// The data of `sk`, if it has the ULP.
pub(crate) fn data<U: Ulp>(sk: Socket<'_>) -> Option<Arc<U>> {
    let _rcu = rcu::read_lock();
    // SAFETY: The socket is alive.
    if unsafe { bindings::acceltcp_ulp_ops(sk.as_raw()) } != ops().cast_const() {
        return None;
    }
    // SAFETY: As above.
    let ptr = unsafe { bindings::acceltcp_ulp_data(sk.as_raw()) }.cast::<U>();
    if ptr.is_null() {
        return None;
    }
    // SAFETY: The data of a socket with the ULP is an `Arc` that was given to the socket, which gives it up
    // only when it dies, or a grace period after another one took its place.
    let arc = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(ptr.cast_const()) });
    Some(Arc::clone(&arc))
}

/// Lets `f` change what is kept for the listener `sk`, made by `new` if there is nothing yet (process context).
/// `None` when it does not listen or has another ULP.
pub(crate) fn update_listener<U: Ulp, R>(
    sk: Locked<'_>,
    new: impl FnOnce() -> U::Listener,
    f: impl FnOnce(&mut U::Listener) -> R,
) -> Result<Option<R>> {
    // SAFETY: The socket is alive.
    if unsafe { bindings::acceltcp_ulp_ops(sk.as_raw()) } != ops().cast_const() {
        return Ok(None);
    }
    U::listeners().update(sk, new, GFP_KERNEL, f)
}

/// Takes what is kept for `sk` away. Returns whether there was anything.
pub(crate) fn remove_listener<U: Ulp>(sk: Locked<'_>) -> bool {
    U::listeners().remove(sk)
}

/// Gives `sk` the operations of a connection at rest. False when it has not the ULP, or somebody else's operations.
pub(super) fn put_to_rest<U: Ulp>(sk: Locked<'_>) -> bool {
    let family = sk.family();
    // SAFETY: The socket is alive and locked; all are copies of its base.
    unsafe {
        bindings::acceltcp_ulp_ops(sk.as_raw()) == ops().cast_const()
            && [copy(family), holding(family)]
                .into_iter()
                .any(|awake| bindings::acceltcp_prot_change(sk.as_raw(), awake, spliced(family)))
    }
}

/// Gives `sk`, which is at rest, its operations back. False when it is not at rest.
pub(super) fn wake(sk: Locked<'_>) -> bool {
    let (resting, awake) = operations(sk);
    // SAFETY: The socket is alive and locked; both are copies of its base.
    unsafe { bindings::acceltcp_prot_change(sk.as_raw(), resting, awake) }
}

/// The operations of `sk` at rest, and awake.
pub(super) fn operations(sk: Locked<'_>) -> (*mut bindings::proto, *mut bindings::proto) {
    let family = sk.family();
    (spliced(family), copy(family))
}

/// # Safety
///
/// `sk` must be a TCP socket that is alive during the call. The callbacks of this file are called by the TCP
/// stack only, with such sockets.
unsafe fn socket<'a>(sk: *mut bindings::sock) -> Socket<'a> {
    // SAFETY: The safety requirement.
    unsafe { Socket::from_raw(NonNull::new_unchecked(sk)) }
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn init<U: Ulp>(sk: *mut bindings::sock) -> c_int {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    from_result(|| {
        let family = sk.family();
        let data = U::init(sk)?.into_raw();
        // SAFETY: The socket is alive and locked. The copy was made from this base.
        let swapped = unsafe {
            bindings::acceltcp_prot_swap(
                sk.as_raw(),
                base(family),
                copy(family),
                data.cast_mut().cast(),
            )
        };
        if !swapped {
            // SAFETY: Just made, and not given away.
            drop(unsafe { Arc::from_raw(data) });
            return Err(EBUSY);
        }
        Ok(0)
    })
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn release<U: Ulp>(sk: *mut bindings::sock) {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    // SAFETY: The socket is alive.
    let data = unsafe { bindings::acceltcp_ulp_data(sk.as_raw()) }.cast::<U>();
    // SAFETY: The socket is alive; its operations were the copy.
    unsafe { bindings::acceltcp_prot_restore(sk.as_raw(), base(sk.family())) };
    if !data.is_null() {
        // SAFETY: The socket's reference, which is taken away from it. Readers have their own, or hold the
        // socket.
        drop(unsafe { Arc::from_raw(data.cast_const()) });
    }
}

/// # Safety
///
/// See [`socket`]; `sk` is the child.
unsafe extern "C" fn clone<U: Ulp>(
    _req: *const bindings::request_sock,
    sk: *mut bindings::sock,
    _priority: bindings::gfp_t,
) {
    // SAFETY: The child is alive; the listener's reference, which was copied, is still there. The core does
    // not take a reference to the module for a child, but gives one back when the child dies.
    unsafe {
        let sk = socket(sk);
        let family = sk.family();
        let data = bindings::acceltcp_ulp_data(sk.as_raw()).cast::<U>();
        if !data.is_null() {
            let listener = core::mem::ManuallyDrop::new(Arc::from_raw(data.cast_const()));
            core::mem::forget(Arc::clone(&listener));
            if U::answers(&listener) {
                bindings::acceltcp_child_answers(sk.as_raw());
            }
            if U::wait_ns(&listener) != 0 {
                bindings::acceltcp_prot_change(sk.as_raw(), copy(family), holding(family));
            }
        }
        bindings::acceltcp_module_get((*ops()).owner);
        bindings::acceltcp_child_adopt(sk.as_raw(), base(family));
    }
}

/// # Safety
///
/// See [`socket`].
unsafe extern "C" fn hash<U: Ulp>(sk: *mut bindings::sock) -> c_int {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    // SAFETY: The base has this operation.
    let result = unsafe {
        (*base(sk.family()))
            .hash
            .map_or(0, |hash| hash(sk.as_raw()))
    };
    if result == 0 && sk.state() == State::Listen {
        if let Some(data) = data::<U>(sk) {
            // SAFETY: `listen()` holds the lock.
            U::changed(unsafe { Locked::new(sk) }, &data);
        }
    }
    result
}

/// # Safety
///
/// See [`socket`]; may be called in atomic context.
unsafe extern "C" fn unhash<U: Ulp>(sk: *mut bindings::sock) {
    // SAFETY: See `socket()`.
    let sk = unsafe { socket(sk) };
    // SAFETY: `tcp_set_state()` is called with the socket locked, and changes the state behind this.
    if sk.state() == State::Listen && remove_listener::<U>(unsafe { Locked::new(sk) }) {
        U::closed();
    }
    // SAFETY: The base has this operation.
    unsafe {
        if let Some(unhash) = (*base(sk.family())).unhash {
            unhash(sk.as_raw());
        }
    }
}
