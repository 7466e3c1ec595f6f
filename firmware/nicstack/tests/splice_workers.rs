// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several workers at the same pairs: one at a time has a pair, whatever they do, and nothing is lost. And as many pairs
//! as the card holds.

mod common;
#[path = "common/splicing.rs"]
mod splicing;

use acceltcp_abi::splice::{event, kind, reason, SpliceEvent};
use common::*;
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::ip::Addresses;
use nicstack::wire::tcp::Flags;
use nicstack::{Credits, Instant, Output};
use splicing::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const WORKERS: u64 = 3;
const ROUNDS: u64 = 4000;
/// Few pairs and fewer numbers, so that workers meet.
const TUPLES: usize = 6;
const NUMBERS: usize = 4;

/// The sides of the pair `number` of many.
fn of(number: usize) -> [Side; 2] {
    let [mut client, mut server] = sides();
    let (high, low) = ((number >> 8) as u8, number as u8);
    client.addresses = Addresses::V4 {
        src: [10, 99, 0, 2],
        dst: [11, 0, high, low],
    };
    server.ports[0] = 1024 + number as u16;
    client.data = vec![number as u8; 100 * (number % 40)];
    [client, server]
}

#[derive(Default)]
struct Shared {
    working: [AtomicBool; TUPLES],
    /// How often the host was told that a number that was taken is free.
    freed: AtomicU64,
    /// Buffers that the host was told to have again, all in all.
    buffers: AtomicU64,
}

struct Watch<'a> {
    shared: &'a Shared,
    random: u64,
}

impl Watch<'_> {
    fn next(&mut self) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize
    }
}

impl Output for Watch<'_> {
    fn to_host(&mut self, _: &[u8]) {}

    fn to_wire(&mut self, frame: &[u8]) {
        let view = segment(frame);
        assert!(view.checksums_ok());
        let Addresses::V4 { dst, .. } = view.ip.addresses else {
            panic!("of IPv4");
        };
        let tuple = if dst[0] == 11 {
            dst[3].into()
        } else {
            usize::from(view.tcp.header.src_port) - 1024
        };
        // What the host left and what the peers send is of the pair, and not torn.
        assert!(view.tcp.data.iter().all(|byte| usize::from(*byte) == tuple));
        let working = &self.shared.working[tuple];
        assert!(!working.swap(true, Ordering::SeqCst), "two at a time");
        std::thread::yield_now();
        working.store(false, Ordering::SeqCst);
    }

    fn credits(&mut self, credits: &Credits) {
        // They only grow; another worker may have had the last ones.
        let buffers = u64::from(credits.buffers.get());
        self.shared.buffers.fetch_max(buffers, Ordering::SeqCst);
    }

    fn splice_event(&mut self, told: &SpliceEvent) -> bool {
        assert!(told.is_valid());
        // A refusal is told but once.
        if told.reason != reason::REFUSED && self.next() % 4 == 0 {
            return false;
        }
        if told.flags & event::FLAG_FREED != 0 && told.reason != reason::REFUSED {
            self.shared.freed.fetch_add(1, Ordering::SeqCst);
        }
        true
    }
}

/// The same for a frame of the host, which goes out without a lock.
struct Quiet<'a, 'b>(&'a mut Watch<'b>);

impl Output for Quiet<'_, '_> {
    fn to_host(&mut self, _: &[u8]) {}

    fn to_wire(&mut self, _: &[u8]) {}

    fn splice_event(&mut self, told: &SpliceEvent) -> bool {
        self.0.splice_event(told)
    }
}

#[test]
fn one_worker_at_a_time_has_a_pair() {
    let capacity = Capacity {
        spliced_pairs: NUMBERS as u32,
        buffers: 40,
        ..PAIRS
    };
    let mut relay = Relay::empty(capacity);
    relay.linger_ms = 40;
    relay.idle_ms = 300;
    let start = relay.card.now;
    let (shared, clock) = (Shared::default(), AtomicU64::new(0));
    let spent = AtomicU64::new(0);
    let nic = &relay.card.nic;
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (shared, clock, spent) = (&shared, &clock, &spent);
            scope.spawn(move || {
                let mut host = Relay::empty(capacity);
                (host.linger_ms, host.idle_ms) = (40, 300);
                let mut out = Watch {
                    shared,
                    random: worker + 1,
                };
                for _ in 0..ROUNDS {
                    let pick = out.next();
                    let now = Instant(start.0 + clock.fetch_add(300_000, Ordering::Relaxed));
                    host.sides = of(pick % TUPLES);
                    let number = (pick / 16 % NUMBERS) as u32;
                    let from = pick / 64 % 2;
                    let all = host.sides[from].data.len() as u32;
                    let data = vec![(pick % TUPLES) as u8; pick / 256 % 30];
                    let peer = |acked, flags, data: &[u8]| {
                        let offset = if flags == Flags::FIN { 30 } else { 0 };
                        host.sides[from].peer_frame(&host.seg(from, offset, acked, flags, data))
                    };
                    let frame = match pick / 1024 % 16 {
                        0 | 1 => {
                            let message = host.message(kind::INSTALL, number, 1);
                            let frame = host.sides.each_ref().map(Side::template).concat();
                            let lens = host.sides.each_ref().map(|side| side.data.len());
                            let buffers = lens.map(acceltcp_abi::teardown::buffers);
                            let buffers = buffers.iter().sum::<usize>() as u64;
                            spent.fetch_add(buffers, Ordering::Relaxed);
                            nic.splice(now, &message, &frame, &mut out);
                            continue;
                        }
                        2 | 3 => {
                            nic.poll(now, &mut out);
                            continue;
                        }
                        4 => {
                            let kind = if from == 0 {
                                kind::ABORT
                            } else {
                                kind::TAKE_BACK
                            };
                            let message = host.message(kind, number, 1);
                            nic.splice(now, &message, &[0; 60], &mut out);
                            continue;
                        }
                        5 => {
                            let frame = host.sides[from].host_frame(&Seg {
                                flags: Flags::SYN,
                                ..Seg::default()
                            });
                            nic.from_host(now, &frame, &mut Quiet(&mut out));
                            continue;
                        }
                        6 if pick % 3 == 0 => peer(all, Flags::RST, b""),
                        7 | 8 => peer(all + 31, Flags::FIN, b""),
                        9 => {
                            let frame = peer(all, Flags(0), &data);
                            nic.returned(now, &frame, &mut out);
                            continue;
                        }
                        10 => peer(0, Flags(0), &data),
                        _ => peer(all, Flags(0), &data),
                    };
                    nic.from_wire(now, &frame, &mut out);
                }
            });
        }
    });

    // All that is left comes to its end, and the host is told.
    relay.card.now = Instant(start.0 + clock.load(Ordering::Relaxed));
    let mut out = Watch {
        shared: &shared,
        random: 99,
    };
    for _ in 0..1000 {
        relay.card.pass(10_000_000);
        relay.card.nic.poll(relay.card.now, &mut out);
    }
    assert!(relay.is_empty());
    let states = relay.card.nic.pairs_by_state().map(|(_, count)| count);
    assert_eq!(states, [0; 3]);
    let count = |counters: &[Counter]| -> u64 { counters.iter().map(|c| relay.count(*c)).sum() };
    let taken = count(&[Counter::SpliceTaken]);
    let ended = count(&[
        Counter::SpliceClosed,
        Counter::SpliceReset,
        Counter::SpliceIdle,
        Counter::SpliceAborted,
        Counter::SpliceTimeout,
        Counter::SpliceTakenBack,
    ]);
    assert_eq!(taken, ended);
    assert_eq!(taken, shared.freed.load(Ordering::SeqCst), "each once");
    assert!(
        taken > 100 && count(&[Counter::SpliceClosed]) > 10,
        "it was worth it"
    );
    assert!(count(&[Counter::SpliceRelayed]) > 1000);
    // Credits are exact.
    assert_eq!(
        shared.buffers.load(Ordering::SeqCst),
        spent.load(Ordering::Relaxed)
    );
}

#[test]
fn as_many_pairs_as_the_card_holds() {
    let capacity = Capacity {
        spliced_pairs: Capacity::default().spliced_pairs,
        buffers: 16,
        ..SMALL
    };
    assert_eq!(capacity.spliced_pairs, 28_672);
    let mut relay = Relay::empty(capacity);
    let pair = |number: u32| {
        let mut sides = of(number as usize);
        sides[0].data.clear();
        sides
    };
    for number in 0..capacity.spliced_pairs {
        relay.sides = pair(number);
        relay.install(number, number);
    }
    assert_eq!(relay.count(Counter::SpliceTaken), 28_672);
    assert!(relay.events().is_empty());
    // The next one has no number, and one that is taken is not taken again.
    for (number, flags) in [(28_672, event::FLAG_FREED), (7, 0)] {
        relay.sides = pair(60_000);
        relay.install(number, 99);
        let told = relay.event();
        assert_eq!((told.kind, told.reason), (event::ENDED, reason::REFUSED));
        assert_eq!((told.flags, told.generation.get()), (flags, 99));
    }
    assert_eq!(relay.card.nic.usage()[6].refused, 2);
    for number in 0..capacity.spliced_pairs {
        relay.sides = pair(number);
        let side = number as usize % 2;
        let out = relay.relayed(side, &relay.seg(side, 0, 0, Flags(0), b"x"));
        assert_eq!(out.data, b"x");
    }
    // One makes room for another.
    relay.sides = pair(0);
    relay.order(kind::ABORT, 0, 0);
    relay.sent();
    assert_eq!(relay.event().reason, reason::ABORTED);
    relay.sides = pair(60_000);
    relay.install(0, 100);
    assert_eq!(relay.count(Counter::SpliceTaken), 28_673);
    assert!(relay.events().is_empty());
    // A driver that starts anew finds none.
    relay.card.attach();
    assert!(relay.is_empty());
    assert_eq!(relay.count(Counter::SpliceForgotten), 28_672);
}
