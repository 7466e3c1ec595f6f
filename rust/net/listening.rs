// SPDX-License-Identifier: GPL-2.0

//! Listening sockets of all applications: to hear of new ones, and to find those that are there.
//! Those of the kernel's own servers are not among them, except in [`dump`].

use super::sock::{
    ListenerInfo,
    NetId,
    SockRef,
    Socket, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// The listening TCP sockets of `net`, or of all namespaces (process context). The order means nothing.
pub(crate) fn all(net: Option<NetId>) -> Result<KVVec<SockRef>> {
    let net = net.map_or(core::ptr::null(), NetId::as_raw);
    let mut found: KVVec<SockRef> = KVVec::with_capacity(64, GFP_KERNEL)?;
    loop {
        let room = u32::try_from(found.capacity())?;
        // `SockRef` is a pointer, not null, with the reference that the function takes.
        const {
            assert!(core::mem::size_of::<SockRef>() == core::mem::size_of::<*mut bindings::sock>());
        }
        // SAFETY: There is room for so many pointers.
        let count = unsafe { bindings::acceltcp_listeners(net, found.as_mut_ptr().cast(), room) };
        let count = count as usize;
        // SAFETY: So many were written, each with a reference.
        unsafe { found.inc_len(count.min(room as usize)) };
        if count <= room as usize {
            return Ok(found);
        }
        found.clear();
        found.reserve(count + 64, GFP_KERNEL)?;
    }
}

/// A set of ports.
pub(crate) struct PortSet(KVec<u64>);

impl PortSet {
    const WORDS: usize = bindings::ACCELTCP_PORTS as usize / u64::BITS as usize;

    /// The empty set.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KVec::from_elem(0, Self::WORDS, GFP_KERNEL)?))
    }

    /// Adds `port`.
    pub(crate) fn insert(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port) / 64) {
            *word |= 1 << (port % 64);
        }
    }

    /// Whether `port` is a member.
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.0
            .get(usize::from(port) / 64)
            .is_some_and(|word| word & (1 << (port % 64)) != 0)
    }

    /// The members in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let words = (0..=u16::MAX).step_by(64).zip(self.0.iter().copied());
        words
            .filter(|(_, word)| *word != 0)
            .flat_map(|(first, word)| {
                let bits = (0u16..64).filter(move |bit| word & (1 << bit) != 0);
                bits.map(move |bit| first + bit)
            })
    }

    /// Whether there are no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// A listening socket as it was when the kernel's hash table was dumped.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct ListenEntry(bindings::acceltcp_listen_entry);

impl ListenEntry {
    /// The socket's [`Socket::id`]; another socket's when this one was freed.
    pub(crate) fn id(&self) -> usize {
        self.0.sk as usize
    }

    /// Identifies its `SO_REUSEPORT` group; 0 for none.
    pub(crate) fn group(&self) -> usize {
        self.0.group as usize
    }

    /// Its network namespace.
    pub(crate) fn net(&self) -> NetId {
        NetId::from_raw(self.0.net)
    }

    /// It belongs to multipath TCP.
    pub(crate) fn is_mptcp(&self) -> bool {
        self.0.mptcp
    }

    /// What decides on its rule.
    pub(crate) fn info(&self) -> ListenerInfo {
        ListenerInfo::from_raw(self.0.info)
    }
}

/// Dumps the listening sockets of `ports` in all namespaces, those of the kernel's own servers
/// included. Sockets of one address and port are in the order in which the TCP stack's lookup
/// scores them.
///
/// # Context
///
/// Process context; may sleep. Takes the locks of the hash table's buckets, one at a time.
pub(crate) fn dump(ports: &PortSet) -> Result<KVVec<ListenEntry>> {
    let mut found: KVVec<ListenEntry> = KVVec::new();
    loop {
        let room = u32::try_from(found.len())?;
        // SAFETY: The bitmap has `ACCELTCP_PORTS` bits: `PortSet::new()` allocates all words, and
        // none is removed. `found` has `room` entries, each of which is an `acceltcp_listen_entry`.
        let count = unsafe {
            bindings::acceltcp_dump_listeners(ports.0.as_ptr(), found.as_mut_ptr().cast(), room)
        } as usize;
        if count <= found.len() {
            found.truncate(count);
            return Ok(found);
        }
        // Room for sockets that begin to listen meanwhile, too.
        found.resize(count + 16, ListenEntry::default(), GFP_KERNEL)?;
    }
}

/// What to do with sockets that are about to listen.
pub(crate) trait Listens: 'static {
    /// `sk` is about to listen (its caller has it locked; must not sleep).
    fn listens(sk: SockRef);
}

/// Calls [`Listens::listens`] until it is dropped. There may be one.
pub(crate) struct Watch(bindings::acceltcp_listens_t);

impl Watch {
    /// Begins (process context).
    pub(crate) fn new<L: Listens>() -> Result<Self> {
        let func: bindings::acceltcp_listens_t = Some(listens::<L>);
        // SAFETY: The function stays until `drop()` has returned.
        to_result(unsafe { bindings::acceltcp_watch_listen(func) })?;
        Ok(Self(func))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`. Waits for calls that run.
        unsafe { bindings::acceltcp_unwatch_listen(self.0) };
    }
}

/// # Safety
///
/// `sk` must be a TCP socket that is alive during the call.
unsafe extern "C" fn listens<L: Listens>(sk: *mut bindings::sock) {
    if let Some(sk) = NonNull::new(sk) {
        // SAFETY: Alive by the safety requirement.
        L::listens(SockRef::new(unsafe { Socket::from_raw(sk) }));
    }
}

/// Who made a socket.
impl Socket<'_> {
    /// User that has made it, as the initial namespace numbers it.
    pub(crate) fn uid(self) -> u32 {
        // SAFETY: The socket is alive.
        unsafe { bindings::acceltcp_sk_uid(self.as_raw()) }
    }
}
