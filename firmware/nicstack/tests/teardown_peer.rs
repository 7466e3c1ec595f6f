// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that the NIC ends with a peer at the other end of a bad wire: whatever is lost, doubled or late, every
//! byte arrives once and in order, each connection ends, and nothing is left.

#[path = "common/closing.rs"]
mod closing;
mod common;

use closing::*;
use nicstack::stats::Counter;
use nicstack::wire::seq::before;
use nicstack::wire::tcp::Flags;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Milliseconds of a step.
const STEP: u32 = 10;
/// No connection may take longer than this: all retransmissions, FIN-WAIT-2, and some.
const LONGEST_MS: u32 = 2_000_000;
/// So many that no wire of the test loses all of them.
const RETRIES: u8 = 15;

/// How the wire treats frames; of 100.
#[derive(Debug, Clone, Copy)]
struct Wire {
    loss: u32,
    dup: u32,
    late: u32,
}

/// What the peer does.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    /// It sends its FIN so many milliseconds after the start; before or after ours.
    fin_after: u32,
    /// Bytes that it takes at a time: its window.
    window: u16,
    /// It had sent its FIN before the host closed.
    fin_first: bool,
}

/// A peer that only receives, and closes.
struct Peer {
    behaviour: Behaviour,
    received: Vec<u8>,
    early: BTreeMap<u32, Vec<u8>>,
    /// Number behind what was received, from SND.UNA of the hand-over on.
    next: u32,
    fin_at: Option<u32>,
    fin_sent: bool,
    fin_acked: bool,
    last_sent: u32,
    reset: bool,
}

impl Peer {
    fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            received: Vec::new(),
            early: BTreeMap::new(),
            next: 0,
            fin_at: None,
            fin_sent: behaviour.fin_first,
            fin_acked: behaviour.fin_first,
            last_sent: 0,
            reset: false,
        }
    }

    fn got_all(&self) -> bool {
        self.fin_at.is_some_and(|fin| self.next == fin + 1)
    }

    fn is_done(&self) -> bool {
        self.reset || self.got_all() && self.fin_acked
    }

    /// Takes a segment, and says whether it is to be acknowledged.
    fn take(&mut self, segment: &Segment) -> bool {
        if segment.flags.has(Flags::RST) {
            self.reset = true;
            return false;
        }
        let behind_fin = ACK.wrapping_add(1);
        if self.fin_sent && segment.ack == behind_fin {
            self.fin_acked = true;
        }
        let offset = segment.seq.wrapping_sub(SEQ);
        let fin = segment.flags.has(Flags::FIN);
        if segment.data.is_empty() && !fin {
            // A probe, or an answer to what we sent.
            return before(offset, self.next);
        }
        if fin {
            let at = offset + segment.data.len() as u32;
            assert!(self.fin_at.is_none_or(|fin| fin == at), "the FIN moves");
            self.fin_at = Some(at);
        }
        self.early.insert(offset, segment.data.clone());
        loop {
            let next = self.next;
            let found = self
                .early
                .iter()
                .find(|(offset, data)| **offset <= next && **offset + data.len() as u32 > next);
            let Some((offset, data)) = found else { break };
            self.received.extend(&data[(next - offset) as usize..]);
            self.next = offset + data.len() as u32;
        }
        if self.fin_at == Some(self.next) {
            self.next += 1;
        }
        true
    }
}

struct World {
    nic: Ending,
    wire: Wire,
    random: u64,
    /// Frames under way by arrival, and whether they are to the peer.
    frames: Vec<(u32, bool, Vec<u8>)>,
    now: u32,
}

impl World {
    fn percent(&mut self) -> u32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as u32 % 100
    }

    fn send(&mut self, to_peer: bool, frame: Vec<u8>) {
        let copies = 1 + u32::from(self.percent() < self.wire.dup);
        for _ in 0..copies {
            if self.percent() < self.wire.loss {
                continue;
            }
            let mut arrival = self.now + STEP;
            if self.percent() < self.wire.late {
                arrival += self.percent() * 3;
            }
            self.frames.push((arrival, to_peer, frame.clone()));
        }
    }

    fn peer_sends(&mut self, peer: &mut Peer, fin: bool) {
        let offset = u32::from(peer.fin_sent && !fin && !peer.behaviour.fin_first);
        let flags = if fin { Flags::FIN } else { Flags(0) };
        let tsval = TSECR + self.now;
        let window = peer.behaviour.window;
        let frame = self
            .nic
            .peer_with(Some(tsval), offset, peer.next, flags, b"", window);
        peer.last_sent = self.now;
        self.send(false, frame);
    }

    fn run(&mut self, peer: &mut Peer) {
        while self.now < LONGEST_MS {
            self.now += STEP;
            self.nic.wait(STEP);
            let now = self.now;
            let mut arrived = Vec::new();
            self.frames.retain(|(time, to_peer, frame)| {
                let here = *time <= now;
                if here {
                    arrived.push((*time, *to_peer, frame.clone()));
                }
                !here
            });
            arrived.sort_by_key(|(time, ..)| *time);
            for (_, to_peer, frame) in arrived {
                if !to_peer {
                    self.nic.receive(&frame);
                } else if peer.take(&Segment::parse(&frame)) {
                    self.peer_sends(peer, false);
                }
            }
            for segment in self.nic.all() {
                self.send(true, segment.frame);
            }
            // The peer closes, and repeats that until it is acknowledged.
            let due = !peer.fin_sent && now >= peer.behaviour.fin_after
                || peer.fin_sent && !peer.fin_acked && now >= peer.last_sent + 300;
            if due && !peer.reset {
                peer.fin_sent = true;
                self.peer_sends(peer, true);
            }
            let used = self.nic.card.nic.usage();
            if peer.is_done() && used[3].used == 0 && used[5].used == 0 {
                return;
            }
        }
    }
}

fn world(wire: Wire, random: u64, host: &Host, data: &[u8]) -> World {
    World {
        nic: Ending::new(host, data),
        wire,
        random,
        frames: Vec::new(),
        now: 0,
    }
}

fn wires() -> impl Strategy<Value = Wire> {
    (0u32..=25, 0u32..=25, 0u32..=25).prop_map(|(loss, dup, late)| Wire { loss, dup, late })
}

fn behaviours() -> impl Strategy<Value = Behaviour> {
    (
        0u32..2000,
        prop_oneof![Just(60_000u16), 100u16..3000],
        any::<bool>(),
    )
        .prop_map(|(fin_after, window, fin_first)| Behaviour {
            fin_after,
            window,
            fin_first,
        })
}

proptest! {
    #[test]
    fn every_byte_arrives_once_and_nothing_is_left(
        wire in wires(), behaviour in behaviours(), random: u64,
        len in prop_oneof![0usize..3, 0usize..20_000], v6: bool, stamps: bool, sent in 0u32..2000,
    ) {
        let data: Vec<u8> = (0..len).map(|place| (place * 7 + place / 256) as u8).collect();
        let mut host = Host {
            v6,
            sent: sent.min(len as u32),
            wnd: behaviour.window.into(),
            retries: RETRIES,
            ..Host::default()
        };
        if !stamps {
            host.timestamps = None;
        }
        if behaviour.fin_first {
            host.flags = acceltcp_abi::teardown::hand_over::PEER_FIN;
        }
        let mut world = world(wire, random, &host, &data);
        let mut peer = Peer::new(behaviour);
        world.run(&mut peer);
        prop_assert!(!peer.reset, "at {} ms", world.now);
        prop_assert!(peer.got_all(), "{} of {} bytes after {} ms", peer.received.len(), len, world.now);
        prop_assert!(peer.received == data, "the stream was changed");
        let usage = world.nic.card.nic.usage();
        prop_assert_eq!([usage[3].used, usage[4].used, usage[5].used], [0; 3]);
        prop_assert_eq!(world.nic.card.count(Counter::TeardownDone), 1);
    }
}

/// A peer that is never heard of again.
#[test]
fn a_peer_that_vanishes() {
    let host = Host::default();
    let dead = Wire {
        loss: 100,
        dup: 0,
        late: 0,
    };
    let behaviour = Behaviour {
        fin_after: 0,
        window: 1000,
        fin_first: false,
    };
    let mut world = world(dead, 1, &host, &[1; 5000]);
    world.run(&mut Peer::new(behaviour));
    world.nic.ends_with(Counter::TeardownTimeout);
}
