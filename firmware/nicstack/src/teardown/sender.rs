// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The segments of a connection on their way to the wire.

use super::machine::{Effects, Outgoing};
use super::tcb::Tcb;
use super::MAX_MSS;
use crate::buffers::{Buffers, Data};
use crate::path::{self, Path};
use crate::stats::{Counter, Stats};
use crate::wire::segment::MAX_HEADERS;
use crate::wire::tcp::Flags;
use crate::Output;
use core::sync::atomic::AtomicU64;

/// Sends and counts for a connection.
pub(super) struct Sender<'a, O> {
    pub(super) now: u32,
    pub(super) path: &'a mut Path,
    pub(super) data: Data,
    pub(super) buffers: &'a Buffers,
    pub(super) emem: &'a [AtomicU64],
    pub(super) stats: &'a Stats,
    pub(super) out: &'a mut O,
}

impl<O: Output> Effects for Sender<'_, O> {
    fn send(&mut self, tcb: &Tcb, segment: Outgoing) {
        let mut data = [0; MAX_MSS as usize];
        let data = &mut data[..usize::from(segment.len.min(MAX_MSS))];
        // The data ends where the FIN is.
        let behind = tcb.fin.wrapping_sub(segment.seq) as usize;
        let offset = (self.data.len as usize).wrapping_sub(behind);
        if !data.is_empty() && !self.buffers.load(self.emem, self.data, offset, data) {
            return;
        }
        let mut frame = [0; MAX_HEADERS + MAX_MSS as usize];
        let mut outgoing = path::Outgoing {
            seq: segment.seq,
            flags: segment.flags,
            ecn_capable: segment.ecn_capable,
            ..path::Outgoing::default()
        };
        if segment.flags != Flags::RST {
            outgoing.ack = tcb.rcv_nxt;
            outgoing.window = tcb.window;
            outgoing.timestamps = tcb.timestamps(self.now);
        }
        if let Some(len) = self.path.emit(&outgoing, data, &mut frame) {
            self.stats.count(Counter::TeardownSent);
            self.out.to_wire(&frame[..len]);
        }
    }

    fn count(&mut self, counter: Counter) {
        self.stats.count(counter);
    }
}
