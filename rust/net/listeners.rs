// SPDX-License-Identifier: GPL-2.0

//! The listening sockets that have the ULP, each with data of the ULP's.
//!
//! A socket is entered while it is locked and listens, and taken out by [`super::ulp`] before it stops: so who
//! holds the list's lock may look at the sockets in it.

use super::{
    global::Spin,
    sock::{
        Locked,
        Socket,
        State, //
    },
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    alloc::Flags,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
};

/// The sockets by their address.
pub(crate) struct Tree<T>(RBTree<usize, Entry<T>>);

// Nodes do not point to their tree.
impl<T> Unpin for Tree<T> {}

impl<T> Tree<T> {
    /// No sockets.
    pub(crate) fn new() -> Self {
        Self(RBTree::new())
    }
}

/// A listening socket and its data.
struct Entry<T> {
    sk: Pointer,
    data: T,
}

struct Pointer(NonNull<bindings::sock>);

// SAFETY: It is used under the lock of the list.
unsafe impl Send for Pointer {}

/// A list of listening sockets, for [`super::ulp::Ulp::listeners`].
///
/// # Invariants
///
/// Sockets in the tree listen, and have a ULP whose list this is.
pub(crate) struct Listeners<T: Send + 'static> {
    tree: &'static Spin<Tree<T>>,
}

impl<T: Send + 'static> Listeners<T> {
    /// The list kept in `tree`, of which nobody else makes use.
    pub(crate) const fn new(tree: &'static Spin<Tree<T>>) -> Self {
        Self { tree }
    }

    /// Lets `f` change the data of `sk`, which are made by `new` if it is not in the list yet (process
    /// context). Nothing happens when it does not listen.
    pub(super) fn update<R>(
        &self,
        sk: &Locked<'_>,
        new: impl FnOnce() -> T,
        flags: Flags,
        f: impl FnOnce(&mut T) -> R,
    ) -> Result<Option<R>> {
        // Under its lock the socket can neither stop listening nor be entered by someone else.
        if sk.state() != State::Listen {
            return Ok(None);
        }
        let id = sk.id();
        if self.tree.lock().0.get(&id).is_none() {
            let entry = Entry {
                // SAFETY: A socket's pointer is not null.
                sk: Pointer(unsafe { NonNull::new_unchecked(sk.as_raw()) }),
                data: new(),
            };
            let node = RBTreeNode::new(id, entry, flags)?;
            // INVARIANT: It listens, and `ulp` calls `remove()` under the socket's lock before it stops.
            let old = self.tree.lock().0.insert(node);
            drop(old);
        }
        Ok(self
            .tree
            .lock()
            .0
            .get_mut(&id)
            .map(|entry| f(&mut entry.data)))
    }

    /// Takes a socket out. Returns whether it was in.
    pub(super) fn remove(&self, sk: &Locked<'_>) -> bool {
        let node = self.tree.lock().0.remove_node(&sk.id());
        node.is_some()
    }

    /// Calls `f` for each socket, under the list's lock (atomic).
    pub(crate) fn for_each(&self, mut f: impl FnMut(Socket<'_>, &mut T)) {
        for (_, entry) in self.tree.lock().0.iter_mut() {
            // SAFETY: By the invariant it listens, and waits for the lock before it stops.
            let sk = unsafe { Socket::from_raw(entry.sk.0) };
            f(sk, &mut entry.data);
        }
    }

    /// Reads the data of `sk`, if it is in the list.
    pub(crate) fn with<R>(&self, sk: Socket<'_>, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.with_id(sk.id(), f)
    }

    /// Reads the data of the socket whose [`Socket::id`] is `id`, if it is in the list.
    pub(crate) fn with_id<R>(&self, id: usize, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.tree.lock().0.get(&id).map(|entry| f(&entry.data))
    }
}
