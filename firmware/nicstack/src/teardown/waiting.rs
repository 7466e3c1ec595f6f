// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections of the card in TIME-WAIT, as frames and the host come upon them; see [`super::time_wait`] for the table.

use super::time_wait::Verdict;
use super::Owner;
use crate::chains::Chain;
use crate::cookie::Tuple;
use crate::stats::Counter;
use crate::wire::segment::{Segment, MAX_HEADERS};
use crate::{Instant, Memory, Nic, Output};

impl<M: Memory> Nic<M> {
    /// Lets `f` have the entry of `tuple` in TIME-WAIT. Returns whether there is one.
    pub(super) fn with_waiting(
        &self,
        hash: u32,
        tuple: &Tuple,
        now: Instant,
        f: impl FnOnce(&mut Chain<'_>, u32),
    ) -> bool {
        let table = &self.teardown.time_wait;
        if table.is_empty() {
            return false;
        }
        let Some(mut chain) = table.lock(&self.emem, hash) else {
            return false;
        };
        let found = table.find(&self.emem, &chain, tuple, now.millis());
        found.is_some_and(|(number, _)| {
            f(&mut chain, number);
            true
        })
    }

    /// Forgets the entry of `tuple`. Returns whether there was one.
    pub(super) fn forget_waiting(&self, hash: u32, tuple: &Tuple, now: Instant) -> bool {
        self.with_waiting(hash, tuple, now, |chain, number| {
            self.teardown.time_wait.remove(&self.emem, chain, number);
        })
    }

    /// Takes a segment from the wire, if it is of a connection in TIME-WAIT.
    pub(super) fn waiting_from_wire(
        &self,
        now: Instant,
        segment: &Segment<'_>,
        hash: u32,
        tuple: &Tuple,
        out: &mut impl Output,
    ) -> Owner {
        let table = &self.teardown.time_wait;
        if table.is_empty() {
            return Owner::Other;
        }
        let Some(mut chain) = table.lock(&self.emem, hash) else {
            self.stats.count(Counter::TeardownBusy);
            return Owner::Card;
        };
        let now = self.teardown.latest.of(now);
        let Some((number, mut entry)) = table.find(&self.emem, &chain, tuple, now.millis()) else {
            return Owner::Other;
        };
        if !segment.checksums_ok() {
            self.stats.count(Counter::TeardownChecksum);
            return Owner::Card;
        }
        let verdict = entry.judge(segment);
        match verdict {
            Verdict::Drop => return Owner::Card,
            Verdict::Answer => {}
            Verdict::Restart | Verdict::Reset | Verdict::Reuse => {
                table.remove(&self.emem, &mut chain, number);
            }
        }
        drop(chain);
        match verdict {
            Verdict::Reset => {
                self.stats.count(Counter::TimeWaitReset);
                return Owner::Card;
            }
            Verdict::Reuse => {
                self.stats.count(Counter::TimeWaitReused);
                return Owner::Other;
            }
            Verdict::Restart => {
                entry.restart(now.millis());
                if table.insert(&self.emem, hash, &entry) {
                    self.stats.count(Counter::TimeWaitEvicted);
                }
            }
            Verdict::Drop | Verdict::Answer => {}
        }
        self.stats.count(Counter::TimeWaitAnswered);
        let mut frame = [0; MAX_HEADERS];
        if let Some(len) = entry.answer(now.millis(), segment, &mut frame) {
            out.to_wire(&frame[..len]);
        }
        Owner::Card
    }
}
