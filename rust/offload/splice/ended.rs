// SPDX-License-Identifier: GPL-2.0

//! Pairs that have ended, or came back, until those that listen are told.

use super::super::{
    counters::{
        count,
        Counter, //
    },
    device::{
        self,
        OffloadDevice, //
    },
};
use crate::net::{
    global::global,
    sock::Ends, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

pub(crate) use super::pair::LOST;

/// Pairs that are kept at most; of others nobody is told.
const MOST: usize = 4096;

/// A pair that is one no more.
pub(crate) struct Ended {
    /// The card that had it.
    pub(crate) card: Arc<dyn OffloadDevice>,
    /// Its number there.
    pub(crate) number: u32,
    /// Its connections.
    pub(crate) ends: [Ends; 2],
    /// One of [`acceltcp_abi::splice::reason`], [`LOST`], or 0 when the host has it back.
    pub(crate) reason: u8,
    /// Bytes and segments that came from each peer.
    pub(crate) bytes: [u64; 2],
    /// As for bytes; 0 when the host has it back.
    pub(crate) segments: [u64; 2],
}

global! {
    static ENDED: Spin<KVec<Ended>> = KVec::new();
}

/// Keeps `pair`, and has those that listen be told of it (process context).
pub(super) fn put(pair: Ended) {
    let kept = {
        let mut ended = ENDED.lock();
        ended.len() < MOST && ended.push(pair, GFP_ATOMIC).is_ok()
    };
    if kept {
        device::look();
    } else {
        count(Counter::splice_not_reported);
    }
}

/// Those that are kept (process context).
pub(crate) fn take() -> KVec<Ended> {
    core::mem::take(&mut *ENDED.lock())
}
