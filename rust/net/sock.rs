// SPDX-License-Identifier: GPL-2.0

//! TCP sockets, as far as offloads look at them.

use super::{
    device::DeviceId,
    skb::SkBuff, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A network namespace, as a name to compare. It does not keep the namespace alive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetId(*const bindings::net);

// SAFETY: The pointer is compared only.
unsafe impl Send for NetId {}
// SAFETY: As above.
unsafe impl Sync for NetId {}

impl NetId {
    pub(in crate::net) fn from_raw(net: *const bindings::net) -> Self {
        Self(net)
    }

    pub(in crate::net) fn as_raw(self) -> *const bindings::net {
        self.0
    }

    /// The name of no namespace.
    #[cfg(ACCELTCP_KUNIT)]
    pub(crate) fn none() -> Self {
        Self(core::ptr::null())
    }
}

/// Family of a socket's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6, perhaps with IPv4-mapped addresses.
    V6,
}

/// Addresses and ports of a connection.
pub(crate) type Ends = bindings::acceltcp_ends;

/// State of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// `TCP_CLOSE`.
    Close,
    /// `TCP_LISTEN`.
    Listen,
    /// Any other.
    Other,
}

/// A TCP socket that is alive for the lifetime of the reference.
#[derive(Clone, Copy)]
pub(crate) struct Socket<'a> {
    sk: NonNull<bindings::sock>,
    _sk: PhantomData<&'a ()>,
}

/// What a listening socket is bound to, and what decides on its rule.
#[derive(Clone, Copy)]
pub(crate) struct ListenerInfo(bindings::acceltcp_listener);

impl<'a> Socket<'a> {
    /// # Safety
    ///
    /// `sk` must be a TCP socket that stays alive for `'a`.
    pub(super) unsafe fn from_raw(sk: NonNull<bindings::sock>) -> Self {
        Self {
            sk,
            _sk: PhantomData,
        }
    }

    pub(super) fn as_raw(self) -> *mut bindings::sock {
        self.sk.as_ptr()
    }

    /// A number that no other socket has at the same time.
    pub(crate) fn id(self) -> usize {
        self.sk.as_ptr() as usize
    }

    /// Family of its addresses.
    pub(crate) fn family(self) -> Family {
        // SAFETY: The socket is alive.
        match u32::from(unsafe { bindings::acceltcp_sk_family(self.as_raw()) }) {
            bindings::AF_INET => Family::V4,
            _ => Family::V6,
        }
    }

    /// Its state.
    pub(crate) fn state(self) -> State {
        // SAFETY: The socket is alive.
        match u32::from(unsafe { bindings::acceltcp_sk_state(self.as_raw()) }) {
            bindings::TCP_CLOSE => State::Close,
            bindings::TCP_LISTEN => State::Listen,
            _ => State::Other,
        }
    }

    /// Whether it listens.
    pub(crate) fn is_listening(self) -> bool {
        self.state() == State::Listen
    }

    /// Whether it is `TCP_ESTABLISHED`.
    pub(crate) fn is_established(self) -> bool {
        // SAFETY: The socket is alive.
        u32::from(unsafe { bindings::acceltcp_sk_state(self.as_raw()) })
            == bindings::TCP_ESTABLISHED
    }

    /// Its network namespace.
    pub(crate) fn net(self) -> NetId {
        // SAFETY: The socket is alive.
        NetId(unsafe { bindings::acceltcp_sk_net(self.as_raw()) })
    }

    /// Addresses and ports of a connection.
    pub(crate) fn ends(self) -> Ends {
        let mut ends = bindings::acceltcp_ends::default();
        // SAFETY: The socket is alive, and the destination writable.
        unsafe { bindings::acceltcp_sk_ends(self.as_raw(), &mut ends) };
        ends
    }

    /// The network device at which its frames have come out lately, behind VLAN devices; `None` when that is not known.
    pub(crate) fn egress(self) -> Option<DeviceId> {
        // SAFETY: The socket is alive.
        let dev = unsafe { bindings::acceltcp_egress(self.as_raw()) };
        (!dev.is_null()).then(|| DeviceId::from_raw(dev.cast()))
    }

    /// The network device at which its last segment came in, behind VLAN devices; `None` when that is not known.
    pub(crate) fn ingress(self) -> Option<DeviceId> {
        // SAFETY: The socket is alive.
        let dev = unsafe { bindings::acceltcp_ingress(self.as_raw()) };
        (!dev.is_null()).then(|| DeviceId::from_raw(dev.cast()))
    }

    /// Whether it belongs to a multipath connection.
    pub(crate) fn is_mptcp(self) -> bool {
        // SAFETY: The socket is alive.
        unsafe { bindings::acceltcp_sk_is_mptcp(self.as_raw()) }
    }

    /// Whether the calling process has `CAP_NET_ADMIN` in its namespace (process context).
    pub(crate) fn may_administer(self) -> bool {
        // SAFETY: The socket is alive.
        unsafe { bindings::acceltcp_sk_may_administer(self.as_raw()) }
    }

    /// Whether the queue of connections to be accepted is full.
    pub(crate) fn accept_queue_is_full(self) -> bool {
        // SAFETY: The socket is alive.
        unsafe { bindings::acceltcp_acceptq_is_full(self.as_raw()) }
    }

    /// What decides on its rule.
    pub(crate) fn listener_info(self) -> ListenerInfo {
        let mut info = bindings::acceltcp_listener::default();
        // SAFETY: The socket is alive, and the destination is writable.
        unsafe { bindings::acceltcp_listener_read(self.as_raw(), &mut info) };
        ListenerInfo(info)
    }

    /// Runs `f` with the socket locked (process context).
    pub(crate) fn with_lock<R>(self, f: impl FnOnce(Locked<'_>) -> R) -> R {
        // SAFETY: The socket is alive; process context by the contract of this function.
        unsafe { bindings::acceltcp_lock_sock(self.as_raw()) };
        let result = f(Locked(self));
        // SAFETY: Locked above.
        unsafe { bindings::release_sock(self.as_raw()) };
        result
    }

    /// The same, unless somebody has the socket locked, who may be a user that keeps it so for as long as he likes: by an
    /// option whose value is copied with the socket locked, and comes from memory that he serves himself (process context).
    pub(crate) fn try_with_lock<R>(self, f: impl FnOnce(Locked<'_>) -> R) -> Option<R> {
        // SAFETY: The socket is alive; process context by the contract of this function.
        if !unsafe { bindings::acceltcp_trylock_sock(self.as_raw()) } {
            return None;
        }
        let result = f(Locked(self));
        // SAFETY: Locked above.
        unsafe { bindings::release_sock(self.as_raw()) };
        Some(result)
    }
}

/// A socket that is locked for the lifetime of the reference. There is one for each socket at a time.
pub(crate) struct Locked<'a>(Socket<'a>);

impl<'a> Locked<'a> {
    /// # Safety
    ///
    /// The caller, or who calls it, must hold the lock of `sk` for `'a`, and there must be no other one.
    pub(super) unsafe fn new(sk: Socket<'a>) -> Self {
        Self(sk)
    }

    /// Lends it.
    pub(super) fn borrow(&mut self) -> Locked<'_> {
        Locked(self.0)
    }
}

impl<'a> core::ops::Deref for Locked<'a> {
    type Target = Socket<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl core::ops::Deref for ListenerInfo {
    type Target = bindings::acceltcp_listener;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl ListenerInfo {
    pub(super) fn from_raw(raw: bindings::acceltcp_listener) -> Self {
        Self(raw)
    }

    /// Whether it is a socket for IPv4.
    pub(crate) fn is_v4(&self) -> bool {
        u32::from(self.0.family) == bindings::AF_INET
    }

    /// Whether it takes IPv6 connections.
    pub(crate) fn takes_v6(&self) -> bool {
        u32::from(self.0.family) == bindings::AF_INET6 && self.mapped_v4().is_none()
    }

    /// The address for IPv4 connections, when it takes them; `Some(None)` for any address.
    pub(crate) fn v4_address(&self) -> Option<Option<[u8; 4]>> {
        let a = &self.0.address;
        if u32::from(self.0.family) == bindings::AF_INET {
            return Some((!self.0.any_address).then_some([a[0], a[1], a[2], a[3]]));
        }
        if self.0.v6only {
            return None;
        }
        if self.0.any_address {
            return Some(None);
        }
        self.mapped_v4().map(Some)
    }

    fn mapped_v4(&self) -> Option<[u8; 4]> {
        let a = &self.0.address;
        let mapped = a[..10] == [0; 10] && a[10..12] == [0xff; 2];
        mapped.then_some([a[12], a[13], a[14], a[15]])
    }
}

/// A reference to a socket.
pub(crate) struct SockRef(NonNull<bindings::sock>);

// SAFETY: References to a socket are not tied to a thread.
unsafe impl Send for SockRef {}
// SAFETY: What is done with the socket takes its lock.
unsafe impl Sync for SockRef {}

impl SockRef {
    /// A reference to `sk`.
    pub(crate) fn new(sk: Socket<'_>) -> Self {
        // SAFETY: The socket is alive.
        unsafe {
            bindings::acceltcp_sock_hold(sk.as_raw());
            Self(NonNull::new_unchecked(sk.as_raw()))
        }
    }

    /// The socket.
    pub(crate) fn get(&self) -> Socket<'_> {
        // SAFETY: It stays as long as our reference does.
        unsafe { Socket::from_raw(self.0) }
    }
}

impl Drop for SockRef {
    fn drop(&mut self) {
        // SAFETY: Our reference.
        unsafe { bindings::acceltcp_sock_put(self.0.as_ptr()) };
    }
}

/// The host's timestamp clock (RFC 7323) in milliseconds.
pub(crate) fn clock_ms() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::acceltcp_clock_ms() }
}

/// Milliseconds of the coarse clock, which costs next to nothing.
pub(crate) fn coarse_ms() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::acceltcp_coarse_ms() }
}

/// Random bytes for keys.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: `N` bytes are writable.
    unsafe { bindings::acceltcp_random(bytes.as_mut_ptr().cast(), N) };
    bytes
}

/// Gives a received frame back to its device, with `mark` as metadata; `sk` is given when it waited behind the lock of
/// that socket. False when that could not be, and it was dropped.
pub(crate) fn give_back(frame: SkBuff, sk: Option<Socket<'_>>, mark: &[u8; 16]) -> bool {
    let sk = sk.map_or(core::ptr::null_mut(), Socket::as_raw);
    // SAFETY: The frame is ours, the socket alive.
    unsafe {
        bindings::acceltcp_give_back(
            frame.into_raw().as_ptr(),
            sk,
            mark.as_ptr().cast(),
            mark.len() as u8,
        )
    }
}
