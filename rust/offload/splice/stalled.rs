// SPDX-License-Identifier: GPL-2.0

//! Pairs that have ended or come back while users had their sockets locked.

use super::{
    super::counters::Counter,
    pair::Pair, //
};
use crate::net::{
    global::global,
    retry::{
        Attempt,
        Retry, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Attempt for Arc<Pair> {
    fn attempt(&self) -> bool {
        self.wake()
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }
}

global! {
    static STALLED: Spin<Option<Arc<Retry<Arc<Pair>>>>> = None;
}

/// Has sockets of pairs woken when their users let go of them, until it is dropped. There may be one, and none of the pairs may
/// have a socket any more when it goes.
pub(crate) struct Waker(());

impl Waker {
    /// Begins.
    pub(crate) fn new() -> Result<Self> {
        *STALLED.lock() = Some(Retry::new()?);
        Ok(Self(()))
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        let retry = STALLED.lock().take();
        if let Some(retry) = &retry {
            retry.halt();
        }
        drop(retry);
    }
}

/// A user has a socket of `pair` locked (process context).
pub(super) fn put(pair: Arc<Pair>) {
    pair.netns().count(Counter::splice_stalled);
    let retry = STALLED.lock().clone();
    let kept = match retry {
        Some(retry) => retry.put(pair.clone()),
        None => Err(ENOENT),
    };
    if kept.is_err() {
        // Nothing is left but to wait.
        pair.wake_and_wait();
    }
}
