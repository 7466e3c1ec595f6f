// SPDX-License-Identifier: GPL-2.0

//! A pair of connections that a card relays, and what becomes of it.

use super::super::{
    counters::{
        self,
        Counter, //
    },
    device::OffloadDevice,
    late,
    netns::{
        Netns,
        Place, //
    },
    socket::Options, //
};
use super::{
    ended::{
        self,
        Ended, //
    },
    stalled, //
};
use crate::net::{
    closing::Closing,
    genl::{
        is_heard,
        Group, //
    },
    sock::{
        Ends,
        SockRef,
        Socket, //
    },
    splice::{
        self,
        Returned, //
    },
    trace::{
        self,
        Spliced, //
    },
    ulp::Quiesced, //
};
use acceltcp_abi::splice::{
    event,
    kind,
    reason,
    EndState,
    Splice,
    SpliceEvent,
    VERSION, //
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

/// The card was lost; a reason of the host's own.
pub(crate) const LOST: u8 = reason::REFUSED + 1;
/// How long the card has to answer, in milliseconds. It does in microseconds, or is about to be found dead.
const PATIENCE_MS: u32 = 10_000;

/// Where a pair is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The card relays.
    Active,
    /// Its connections are over.
    Ended,
    /// Its connections are the host's again.
    Returned,
}

/// What is known of a pair.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) phase: Phase,
    pub(super) reason: u8,
    /// Bytes and segments that came from each peer.
    pub(super) bytes: [u64; 2],
    pub(super) segments: [u64; 2],
}

/// What tracepoints, events and counters tell of a pair.
struct Story {
    /// The namespace of its sockets.
    netns: Arc<Netns>,
    name: Spliced,
    connections: [Ends; 2],
}

/// What a connection was like before a device got it.
struct Before {
    /// What had come from the peer.
    received: u32,
    /// `connect()` had chosen its port.
    connect_bind: bool,
}

/// What is to be done with a socket whose connection the card relays no more.
enum Wake {
    /// The connection is the host's again.
    Thaw(Returned),
    /// The connection is over: for users the error, bytes that came from the peer, and bytes that went to it.
    Finish(Option<Error>, u64, u64),
}

impl Wake {
    fn apply(&self, sk: Quiesced<'_, Options>, netns: &Netns) {
        match self {
            Self::Thaw(now) => {
                if splice::thaw(sk, now).is_err() {
                    netns.count(Counter::splice_displaced);
                }
            }
            Self::Finish(error, received, sent) => splice::finish(sk, *error, *received, *sent),
        }
    }
}

struct State {
    known: Known,
    /// Its sockets, until they are closed or woken.
    ends: [Option<SockRef>; 2],
    /// What they are woken with, as soon as that is known.
    wakes: [Option<Wake>; 2],
    /// The card has refused to give the connections back, since that was last asked for.
    refused: bool,
    /// The card was told to reset the connections.
    aborted: bool,
    /// Its place in the quota of its namespace, as long as the card relays.
    place: Option<Place>,
}

/// A pair. Its lock comes before those of its sockets.
#[pin_data]
pub(crate) struct Pair {
    card: Arc<dyn OffloadDevice>,
    pub(super) number: u32,
    pub(super) generation: u32,
    /// Numbers of its sockets.
    pub(super) ids: [usize; 2],
    /// What the connections were like before.
    before: [Before; 2],
    /// Keys and initial sequence numbers of the connections, see [`late`].
    keys: [(u64, u32); 2],
    detach: bool,
    story: Story,
    #[pin]
    state: Mutex<State>,
    #[pin]
    changed: CondVar,
}

impl Pair {
    /// A pair that is about to be given to `card`.
    pub(super) fn new(
        card: Arc<dyn OffloadDevice>,
        (number, generation): (u32, u32),
        [a, b]: [Socket<'_>; 2],
        ends: &[Closing<'_>; 2],
        detach: bool,
        place: Place,
    ) -> Result<Arc<Self>> {
        let netns = place.netns().clone();
        let state = State {
            known: Known {
                phase: Phase::Active,
                reason: 0,
                bytes: [0; 2],
                segments: [0; 2],
            },
            ends: [Some(SockRef::new(a)), Some(SockRef::new(b))],
            wakes: [None, None],
            refused: false,
            aborted: false,
            place: Some(place),
        };
        let story = Story {
            netns,
            name: Spliced {
                ifindex: ends[0].ifindex,
                pair: number,
                generation,
            },
            connections: [a.ends(), b.ends()],
        };
        Arc::pin_init(
            pin_init!(Self {
                card,
                number,
                generation,
                ids: [a.id(), b.id()],
                before: ends.each_ref().map(|end| Before {
                    received: end.rcv_nxt,
                    connect_bind: end.connect_bind,
                }),
                keys: ends.each_ref().map(|end| (end.key, end.rcv_isn)),
                detach,
                story,
                state <- new_mutex!(state),
                changed <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// The message to the card of `kind`.
    pub(super) fn message(&self, kind: u8) -> Splice {
        Splice {
            version: VERSION,
            kind,
            pair: self.number.into(),
            generation: self.generation.into(),
            ..Splice::default()
        }
    }

    /// Has frames of the connections that come to the host from now on go back to the card, for a while.
    pub(super) fn remember(&self) {
        for (key, isn) in self.keys {
            late::remember(key, isn, self.card.id());
        }
    }

    /// The card has got it.
    pub(super) fn begun(&self) {
        trace::spliced(&self.story.connections, &self.story.name);
    }

    /// Its connections, as long as their sockets are open (process context).
    pub(crate) fn connections(&self) -> [Option<Ends>; 2] {
        let state = self.state.lock();
        state
            .ends
            .each_ref()
            .map(|end| end.as_ref().map(|sk| sk.get().ends()))
    }

    /// The namespace of its sockets.
    pub(super) fn netns(&self) -> &Netns {
        &self.story.netns
    }

    /// What is known of it.
    pub(super) fn known(&self) -> Known {
        self.state.lock().known
    }

    /// The card says what has become of the pair, or, without a word of it, the card was lost (process context). Waits for no
    /// user: a socket that one has locked is woken later.
    pub(super) fn settle(this: &Arc<Self>, told: Option<&SpliceEvent>) {
        if !this.settles(told) {
            stalled::put(this.clone());
        }
    }

    /// The same, but for sockets that a user has locked: false when there are some.
    fn settles(&self, told: Option<&SpliceEvent>) -> bool {
        let mut state = self.state.lock();
        if state.known.phase == Phase::Active {
            match told {
                Some(told) if told.kind == event::REFUSED => state.refused = true,
                Some(told) => state.end(&self.story, told, &self.before),
                None => state.finish(&self.story, LOST),
            }
            if state.known.phase != Phase::Active && is_heard(Group::Splices) {
                self.report(&state.known);
            }
        }
        let woken = state.wake(self.netns());
        self.changed.notify_all();
        woken
    }

    /// Wakes the sockets that users had locked (process context); false when one still has.
    pub(super) fn wake(&self) -> bool {
        let woken = self.state.lock().wake(self.netns());
        self.changed.notify_all();
        woken
    }

    /// The same, and waits for users.
    pub(super) fn wake_and_wait(&self) {
        let mut state = self.state.lock();
        for index in 0..state.ends.len() {
            state.wake_end(index, self.netns());
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Has those that listen be told.
    fn report(&self, known: &Known) {
        ended::put(Ended {
            card: self.card.clone(),
            number: self.number,
            ends: self.story.connections,
            reason: known.reason,
            bytes: known.bytes,
            segments: known.segments,
        });
    }

    /// Takes the connections back, and waits for it (process context).
    pub(super) fn take_back(&self) -> Result {
        let mut state = self.state.lock();
        match state.known.phase {
            Phase::Active => {}
            Phase::Ended => return Err(EALREADY),
            Phase::Returned => return Err(EINVAL),
        }
        state.refused = false;
        // What comes to the host before its sockets wake must not be answered with RST.
        self.remember();
        self.card.splice_command(&self.message(kind::TAKE_BACK))?;
        let mut left = msecs_to_jiffies(PATIENCE_MS);
        loop {
            match state.known.phase {
                Phase::Returned if state.is_awake() => return Ok(()),
                Phase::Returned => {}
                Phase::Ended => return Err(EALREADY),
                Phase::Active if state.refused => return Err(EAGAIN),
                Phase::Active => {}
            }
            match self.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => return Err(ETIMEDOUT),
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
            }
        }
    }

    /// The last user closes `sk`, which is one of its sockets (process context).
    pub(super) fn part(&self, sk: Socket<'_>) {
        let mut state = self.state.lock();
        if state.known.phase != Phase::Active {
            // Its last user is here, and has it locked no more.
            if let Some(index) = self.ids.iter().position(|id| *id == sk.id()) {
                state.wake_end(index, self.netns());
            }
            return;
        }
        if !self.detach && !state.aborted {
            let told = self.card.splice_command(&self.message(kind::ABORT));
            state.aborted = told.is_ok();
            if told.is_err() {
                // The other socket tries again; then the peers, the idle timer, or the end of the card is left.
                self.netns().count(Counter::splice_not_told);
            }
        }
        for (id, end) in self.ids.iter().zip(&mut state.ends) {
            if *id == sk.id() && end.take().is_some() {
                quiesced(sk, splice::forget);
            }
        }
    }
}

/// Runs `f` with `sk` locked, if a card relays it still.
fn quiesced<R>(sk: Socket<'_>, f: impl FnOnce(Quiesced<'_, Options>) -> R) -> Option<R> {
    sk.with_lock(|mut sk| Quiesced::new(&mut sk).map(f))
}

impl State {
    /// Wakes its sockets as far as no user has them locked; whether all are awake.
    fn wake(&mut self, netns: &Netns) -> bool {
        for (end, wake) in self.ends.iter_mut().zip(&self.wakes) {
            let (Some(sk), Some(wake)) = (&*end, wake) else {
                continue;
            };
            let tried = sk.get().try_with_lock(|mut sk| {
                if let Some(sk) = Quiesced::new(&mut sk) {
                    wake.apply(sk, netns);
                }
            });
            if tried.is_some() {
                *end = None;
            }
        }
        self.is_awake()
    }

    /// No socket is left that is to be woken.
    fn is_awake(&self) -> bool {
        let mut all = self.ends.iter().zip(&self.wakes);
        !all.any(|(end, wake)| end.is_some() && wake.is_some())
    }

    /// Wakes the socket of this place, and waits for its user.
    fn wake_end(&mut self, index: usize, netns: &Netns) {
        let (Some(end), Some(wake)) = (self.ends.get_mut(index), self.wakes.get(index)) else {
            return;
        };
        if let (Some(sk), Some(wake)) = (&*end, wake) {
            quiesced(sk.get(), |sk| wake.apply(sk, netns));
            *end = None;
        }
    }

    fn end(&mut self, story: &Story, told: &SpliceEvent, before: &[Before; 2]) {
        if told.kind == event::TAKEN_BACK {
            let ends = told.ends();
            for ((bytes, end), before) in self.known.bytes.iter_mut().zip(&ends).zip(before) {
                *bytes = end.rcv_nxt.get().wrapping_sub(before.received).into();
            }
            trace::unspliced(&story.connections, &story.name);
            self.give_back(story, &ends, before);
        } else {
            self.known.bytes = told.bytes.map(|bytes| bytes.get());
            self.known.segments = told.segments.map(|segments| segments.get());
            self.finish(story, told.reason);
        }
    }

    fn give_back(&mut self, story: &Story, ends: &[EndState; 2], before: &[Before; 2]) {
        self.known.phase = Phase::Returned;
        self.place = None;
        story.netns.count(Counter::splice_returned);
        for ((wake, now), before) in self.wakes.iter_mut().zip(ends).zip(before) {
            *wake = Some(Wake::Thaw(Returned {
                snd_nxt: now.snd_nxt.get(),
                rcv_nxt: now.rcv_nxt.get(),
                snd_wnd: now.snd_wnd.get(),
                ts_recent: now.ts_recent.get(),
                ts_sent: now.ts_sent.get(),
                connect_bind: before.connect_bind,
            }));
        }
    }

    fn finish(&mut self, story: &Story, why: u8) {
        self.known.phase = Phase::Ended;
        self.place = None;
        self.known.reason = why;
        let (counter, error) = match why {
            reason::CLOSED => (Counter::splice_closed, None),
            reason::RESET => (Counter::splice_reset, Some(ECONNRESET)),
            reason::IDLE => (Counter::splice_idle, Some(ETIMEDOUT)),
            reason::TIMEOUT => (Counter::splice_timeout, Some(ETIMEDOUT)),
            reason::ABORTED => (Counter::splice_aborted, Some(ECONNABORTED)),
            LOST => (Counter::splice_lost, Some(ENETRESET)),
            _ => (Counter::splice_refused, Some(ECONNABORTED)),
        };
        story.netns.count(counter);
        let reason = counters::name(counter);
        trace::splice_ended(&story.connections, &story.name, self.known.bytes, reason);
        let [first, second] = self.known.bytes;
        self.wakes = [(first, second), (second, first)]
            .map(|(received, sent)| Some(Wake::Finish(error, received, sent)));
    }
}
