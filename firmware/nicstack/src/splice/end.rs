// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How pairs end, and how the host is told.
//!
//! A pair owes the host one event at most. It keeps its number until that has got through; what comes later includes what came
//! before (an end takes the place of a refusal, an end with a free number that of an end).

use super::pair::State;
use super::table::Guard;
use super::{Held, Sender};
use crate::path::Outgoing;
use crate::stats::Counter;
use crate::wire::seq::before;
use crate::wire::tcp::Flags;
use crate::{Instant, Memory, Nic, Output};
use acceltcp_abi::splice::{event, reason, Splice, SpliceEvent, VERSION};

/// Time between two tries to tell the host something.
const RETRY_MS: u32 = 50;
/// How long peers may take to acknowledge what they were sent, when the host wants their connections back.
const RETURN_MS: u32 = 2000;

impl Held<'_> {
    /// When time alone has something to do, if ever.
    pub(super) fn due(&self, now: u32) -> Option<u32> {
        let cold = &self.cold;
        let state = self.pair.state();
        let idle = (state == State::Active && cold.idle_ms != 0)
            .then(|| self.pair.hot.heard.wrapping_add(cold.idle_ms));
        let waits = state == State::Lingering || state == State::Active && self.pair.is_returning();
        let linger = waits.then_some(cold.until);
        let retry = (cold.owed != 0).then(|| now.wrapping_add(RETRY_MS));
        let [first, second] = cold.residual.each_ref().map(|left| left.deadline());
        [idle, linger, retry, first, second]
            .into_iter()
            .flatten()
            .min_by_key(|due| due.wrapping_sub(now) as i32)
    }

    fn event(&self) -> SpliceEvent {
        let taken_back = self.cold.owed == event::TAKEN_BACK;
        let mut flags = 0;
        if self.pair.state() == State::Over {
            flags |= event::FLAG_FREED;
        }
        if self.cold.owed == event::ENDED && self.cold.second != 0 {
            flags |= event::FLAG_SECOND;
        }
        let told = SpliceEvent {
            version: VERSION,
            kind: self.cold.owed,
            reason: if self.cold.owed == event::ENDED {
                self.cold.reason
            } else {
                0
            },
            flags,
            pair: self.guard.number.into(),
            generation: self.cold.generation.into(),
            bytes: self.pair.last.bytes.map(Into::into),
            segments: self.pair.last.segments.map(Into::into),
            reserved: 0.into(),
        };
        if taken_back {
            told.with_ends([0, 1].map(|end| self.pair.end_state(end)))
        } else {
            told
        }
    }
}

impl<M: Memory> Nic<M> {
    /// The host wants a pair back.
    pub(super) fn splice_take_back(&self, now: Instant, message: &Splice, out: &mut impl Output) {
        let Some(mut held) = self.splice_named(message) else {
            return self.stats.count(Counter::SpliceUnknown);
        };
        if held.pair.may_go_back() {
            if held.pair.is_quiet() {
                return self.splice_return(now, held, out);
            }
            held.pair.set_returning(true);
            held.cold.until = now.millis().wrapping_add(RETURN_MS);
            return self.splice_save(now, held);
        }
        if held.pair.state() != State::Active {
            // It knows of the end, or will.
            return self.stats.count(Counter::SpliceUnknown);
        }
        self.stats.count(Counter::SpliceKept);
        held.cold.owed = event::REFUSED;
        self.splice_tell(&mut held, out);
        self.splice_save(now, held);
    }

    /// Gives the connections back, as all is quiet.
    pub(super) fn splice_return(&self, now: Instant, mut held: Held<'_>, out: &mut impl Output) {
        self.stats.count(Counter::SpliceTakenBack);
        held.cold.owed = event::TAKEN_BACK;
        self.splice_over(now, held, out);
    }

    /// The host wants no more of a pair.
    pub(super) fn splice_abort(&self, now: Instant, message: &Splice, out: &mut impl Output) {
        let Some(mut held) = self.splice_named(message) else {
            return self.stats.count(Counter::SpliceUnknown);
        };
        match held.pair.state() {
            State::Active => {
                self.splice_reset_peers(&mut held, out);
                self.splice_end(now, held, reason::ABORTED, false, out);
            }
            State::Lingering => self.splice_free(now, held, out),
            State::Free | State::Over => self.stats.count(Counter::SpliceUnknown),
        }
    }

    /// The pair that the host means.
    fn splice_named(&self, message: &Splice) -> Option<Held<'_>> {
        let table = &self.splicing.table;
        let guard = table.lock(&self.memory, message.pair.get())?;
        let pair = table.load(&self.memory, &self.emem, &guard)?;
        let cold = table.cold(&self.emem, guard.number)?;
        let meant = pair.state() != State::Free && cold.generation == message.generation.get();
        meant.then_some(Held { guard, pair, cold })
    }

    /// Tells the host that a pair was not taken.
    pub(super) fn splice_refuse(&self, message: &Splice, freed: bool, out: &mut impl Output) {
        let refusal = SpliceEvent {
            version: VERSION,
            kind: event::ENDED,
            reason: reason::REFUSED,
            flags: if freed { event::FLAG_FREED } else { 0 },
            pair: message.pair,
            generation: message.generation,
            ..SpliceEvent::default()
        };
        self.stats.count(if out.splice_event(&refusal) {
            Counter::SpliceEvent
        } else {
            Counter::SpliceEventLost
        });
    }

    /// Resets both connections.
    ///
    /// A peer believes an RST with the very number that it expects only (RFC 5961 section 3.2). That is the one behind all that
    /// it was sent, though it has not acknowledged it yet; or, when all of that was lost, the one that it acknowledged last.
    /// Between the two it asks by a challenge ACK, and is told by the host, which has no such connection.
    pub(super) fn splice_reset_peers(&self, held: &mut Held<'_>, out: &mut impl Output) {
        for end in 0..2 {
            let sent = held.pair.sent(end);
            let acked = held.pair.hot.acked[end];
            let path = &mut held.cold.paths[end];
            let mut sender: Sender<'_, _> = self.splice_sender(&held.pair, end, path, out);
            let reset = Outgoing {
                seq: sent,
                flags: Flags::RST | Flags::ACK,
                ..sender.common
            };
            sender.emit(&reset, &[]);
            if acked != sent {
                sender.emit(
                    &Outgoing {
                        seq: acked,
                        ..reset
                    },
                    &[],
                );
            }
        }
    }

    /// Ends a pair: it relays no more.
    pub(super) fn splice_end(
        &self,
        now: Instant,
        mut held: Held<'_>,
        reason: u8,
        second: bool,
        out: &mut impl Output,
    ) {
        self.stats.count(match reason {
            reason::RESET => Counter::SpliceReset,
            reason::IDLE => Counter::SpliceIdle,
            reason::ABORTED => Counter::SpliceAborted,
            reason::TIMEOUT => Counter::SpliceTimeout,
            _ => Counter::SpliceClosed,
        });
        held.cold.owed = event::ENDED;
        held.cold.reason = reason;
        held.cold.second = second.into();
        self.splice_over(now, held, out);
    }

    /// Both peers have closed: the host is told, and late segments are relayed for a while.
    pub(super) fn splice_linger(&self, now: Instant, mut held: Held<'_>, out: &mut impl Output) {
        if held.cold.linger_ms == 0 {
            return self.splice_end(now, held, reason::CLOSED, false, out);
        }
        self.stats.count(Counter::SpliceClosed);
        self.splice_moved(&mut held, State::Lingering);
        held.cold.until = now.millis().wrapping_add(held.cold.linger_ms);
        held.cold.owed = event::ENDED;
        held.cold.reason = reason::CLOSED;
        self.splice_tell(&mut held, out);
        self.splice_save(now, held);
    }

    /// Ends the pair if it lingers, as there is a new connection.
    pub(super) fn splice_reuse(
        &self,
        now: Instant,
        guard: Guard<'_>,
        out: &mut impl Output,
    ) -> bool {
        let table = &self.splicing.table;
        let pair = table.load(&self.memory, &self.emem, &guard);
        let cold = table.cold(&self.emem, guard.number);
        let (Some(pair), Some(cold)) = (pair, cold) else {
            return false;
        };
        let lingers = pair.state() == State::Lingering;
        if lingers {
            self.stats.count(Counter::SpliceReused);
            self.splice_free(now, Held { guard, pair, cold }, out);
        }
        lingers
    }

    /// Ends the time in which a pair lingers.
    fn splice_free(&self, now: Instant, mut held: Held<'_>, out: &mut impl Output) {
        if held.cold.owed == 0 {
            held.cold.owed = event::FREED;
        }
        self.splice_over(now, held, out);
    }

    fn splice_moved(&self, held: &mut Held<'_>, state: State) {
        self.splicing.table.moved(held.pair.state(), state);
        held.pair.set_state(state);
    }

    /// Takes a pair out of the table; its number is free when the host knows.
    fn splice_over(&self, now: Instant, mut held: Held<'_>, out: &mut impl Output) {
        let table = &self.splicing.table;
        table.strike(&self.memory, &held.guard);
        for end in 0..2 {
            self.splice_free_residual(&mut held, end);
        }
        self.splice_moved(&mut held, State::Over);
        if self.splice_tell(&mut held, out) {
            self.splice_moved(&mut held, State::Free);
            let number = held.guard.number;
            table.arm(&self.memory, now, number, None, &mut held.cold);
        }
        self.splice_save(now, held);
    }

    /// Tells the host what it is owed; false when that does not get through.
    fn splice_tell(&self, held: &mut Held<'_>, out: &mut impl Output) -> bool {
        let told = held.cold.owed == 0 || out.splice_event(&held.event());
        if told {
            self.stats.count(Counter::SpliceEvent);
            held.cold.owed = 0;
        } else {
            self.stats.count(Counter::SpliceEventRetry);
        }
        told
    }

    /// Does what is due.
    pub(crate) fn splice_poll(&self, now: Instant, out: &mut impl Output) {
        let table = &self.splicing.table;
        if table.is_empty() {
            return;
        }
        table.scan(&self.memory, now, |number, slot| {
            self.splice_fire(now, number, slot, out);
        });
    }

    /// The timer of a pair came up in `slot`.
    fn splice_fire(&self, now: Instant, number: u32, slot: u8, out: &mut impl Output) {
        let table = &self.splicing.table;
        let Some(guard) = table.lock(&self.memory, number) else {
            return table.again(&self.memory, now, number);
        };
        let pair = table.load(&self.memory, &self.emem, &guard);
        let cold = table.cold(&self.emem, number);
        let (Some(pair), Some(cold)) = (pair, cold) else {
            return;
        };
        let mut held = Held { guard, pair, cold };
        let millis = now.millis();
        let passed = |time: u32| !before(millis, time);
        if pair.state() == State::Free || cold.armed == 0 {
            return;
        }
        if slot == cold.slot {
            held.cold.armed = 0;
        } else if !passed(cold.due) {
            // One of an earlier time.
            return;
        }
        if held.cold.owed != 0 {
            let told = self.splice_tell(&mut held, out);
            if told && pair.state() == State::Over {
                self.splice_moved(&mut held, State::Free);
                table.arm(&self.memory, now, number, None, &mut held.cold);
                return self.splice_save(now, held);
            }
        }
        match pair.state() {
            State::Active => {
                let idle = held.cold.idle_ms;
                if idle != 0 && passed(pair.hot.heard.wrapping_add(idle)) {
                    self.splice_reset_peers(&mut held, out);
                    return self.splice_end(now, held, reason::IDLE, false, out);
                }
                if pair.is_returning() && passed(held.cold.until) {
                    // The peers are not quiet; the host may try again.
                    held.pair.set_returning(false);
                    self.stats.count(Counter::SpliceKept);
                    held.cold.owed = event::REFUSED;
                    self.splice_tell(&mut held, out);
                }
                for end in 0..2 {
                    let due = held.cold.residual[end].deadline().is_some_and(passed);
                    let more = !due
                        || self
                            .with_residual(&mut held, end, out, |residual, peer, sender| {
                                residual.expired(millis, peer, sender)
                            })
                            .unwrap_or(true);
                    if !more {
                        self.splice_reset_peers(&mut held, out);
                        return self.splice_end(now, held, reason::TIMEOUT, end == 1, out);
                    }
                }
            }
            State::Lingering if passed(held.cold.until) => {
                return self.splice_free(now, held, out);
            }
            State::Lingering | State::Over | State::Free => {}
        }
        self.splice_save(now, held);
    }

    /// Forgets all pairs: there is no host any more whose connections they are.
    pub(crate) fn splice_clear(&self) {
        let table = &self.splicing.table;
        self.splicing.attach(false);
        for number in 0..table.capacity() {
            let guard = loop {
                if let Some(guard) = table.lock(&self.memory, number) {
                    break guard;
                }
            };
            let pair = table.load(&self.memory, &self.emem, &guard);
            let cold = table.cold(&self.emem, number);
            let (Some(pair), Some(cold)) = (pair, cold) else {
                continue;
            };
            if pair.state() == State::Free {
                continue;
            }
            if pair.state() == State::Active {
                self.stats.count(Counter::SpliceForgotten);
            }
            let mut held = Held { guard, pair, cold };
            table.strike(&self.memory, &held.guard);
            for end in 0..2 {
                self.splice_free_residual(&mut held, end);
            }
            self.splice_moved(&mut held, State::Free);
            held.cold.owed = 0;
            table.arm(&self.memory, Instant(0), number, None, &mut held.cold);
            table.save_cold(&self.emem, number, &held.cold);
            table.save(&self.memory, &self.emem, &mut held.guard, &held.pair);
        }
    }
}
