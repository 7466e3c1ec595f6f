// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several workers at the same connections: one at a time has a connection, and whatever they do, all of them end once
//! and nothing is lost.

#[path = "common/closing.rs"]
mod closing;
mod common;

use acceltcp_abi::cmd::Request;
use acceltcp_abi::flows::{state, Flow, FlowsRead};
use closing::*;
use common::*;
use nicstack::command::{HostMemory, Unreachable};
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::wire::tcp::Flags;
use nicstack::{Instant, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zerocopy::FromBytes;

const WORKERS: u64 = 3;
const ROUNDS: u64 = 3000;
/// Few connections, so that workers meet.
const PORTS: usize = 12;

/// A port that sees to it that no connection is worked on twice at a time.
struct Watch<'a> {
    working: &'a [AtomicBool; PORTS],
    exclusive: bool,
}

impl Output for Watch<'_> {
    fn to_host(&mut self, _: &[u8]) {}

    fn to_wire(&mut self, frame: &[u8]) {
        let view = segment(frame);
        assert!(view.checksums_ok());
        let port = usize::from(view.tcp.header.dst_port) % PORTS;
        // It holds what was handed over, and is not torn.
        assert!(view.tcp.data.iter().all(|byte| usize::from(*byte) == port));
        if self.exclusive {
            let working = &self.working[port];
            assert!(!working.swap(true, Ordering::SeqCst), "two at a time");
            std::thread::yield_now();
            working.store(false, Ordering::SeqCst);
        }
    }
}

/// A host that looks at the list of connections: no entry is torn.
struct Entries;

impl HostMemory for Entries {
    fn write(&mut self, _: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        for flow in <[Flow]>::ref_from_bytes(bytes).unwrap() {
            assert_eq!((flow.family, flow.local_port.get()), (4, PORT));
            let port = usize::from(flow.peer_port.get()) % PORTS;
            let left = flow.unacknowledged.get() as usize;
            match flow.state {
                state::FIN_WAIT_1 | state::CLOSING => assert!((1..=port * 250 + 1).contains(&left)),
                state::FIN_WAIT_2 | state::TIME_WAIT => assert_eq!(left, 0),
                other => panic!("state {other}"),
            }
        }
        Ok(())
    }
}

fn run(time_wait_ms: u32) {
    let mut list = [0; Request::MAX];
    Request::FlowsRead(FlowsRead {
        room: 4096.into(),
        states: state::ALL.into(),
        ..FlowsRead::default()
    })
    .emit(0, &mut list);
    let capacity = Capacity {
        flows: PORTS as u32 - 4,
        buffers: 20,
        time_wait: 5,
        ..SMALL
    };
    let mut ending = Ending::with(capacity);
    let start = ending.card.now;
    let working = [const { AtomicBool::new(false) }; PORTS];
    let (clock, handed) = (AtomicU64::new(0), AtomicU64::new(0));
    let nic = &ending.card.nic;
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (working, clock, handed, ending) = (&working, &clock, &handed, &ending);
            scope.spawn(move || {
                let mut out = Watch {
                    working,
                    // TIME-WAIT answers without a lock: there is nothing to change.
                    exclusive: time_wait_ms == 0,
                };
                let mut random = worker + 1;
                for _ in 0..ROUNDS {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let pick = (random >> 33) as usize;
                    let now = Instant(start.0 + clock.fetch_add(300_000, Ordering::Relaxed));
                    let port = pick % PORTS;
                    let host = Host {
                        port: (PORTS * 100 + port) as u16,
                        ..Host::default()
                    };
                    let peer = |acked, flags| {
                        let frame =
                            ending.frame_of(&host, Some(TSECR), 0, acked, flags, b"", 60_000);
                        (acked, frame)
                    };
                    let len = port * 250;
                    let acked = len as u32 + 1;
                    let frame = match pick / 64 % 8 {
                        0 | 1 => {
                            let (frame, mut message) = host.template(&vec![port as u8; len]);
                            message.time_wait_ms = time_wait_ms.into();
                            handed.fetch_add(1, Ordering::Relaxed);
                            nic.hand_over(now, &message, &frame, &mut out);
                            continue;
                        }
                        2 if pick % 3 == 0 => {
                            let mut reply = [0; 16];
                            nic.command_with(now, &list, &mut reply, Some(&mut Entries));
                            assert_eq!(reply[1], 0, "refused");
                            continue;
                        }
                        2 => {
                            nic.poll(now, &mut out);
                            continue;
                        }
                        3 => peer(acked, Flags::FIN),
                        4 => peer(acked.min(700), Flags(0)),
                        5 => peer(0, Flags::FIN),
                        6 => peer(
                            0,
                            if pick % 5 == 0 {
                                Flags::RST
                            } else {
                                Flags::SYN
                            },
                        ),
                        _ => peer(acked, Flags(0)),
                    };
                    nic.from_wire(now, &frame.1, &mut out);
                }
            });
        }
    });

    // All that is left comes to its end.
    ending.card.now = Instant(start.0 + clock.load(Ordering::Relaxed));
    ending.wait(250_000);
    let usage = ending.card.nic.usage();
    assert_eq!([3, 4, 5].map(|table| usage[table].used), [0; 3]);
    assert_eq!(ending.states(), [0; 4]);
    let count =
        |counters: &[Counter]| -> u64 { counters.iter().map(|c| ending.card.count(*c)).sum() };
    let taken = count(&[Counter::TeardownTaken]);
    let ended = count(&[
        Counter::TeardownDone,
        Counter::TeardownReset,
        Counter::TeardownTimeout,
        Counter::TeardownFinWaitTimeout,
        Counter::TeardownDataAfterClose,
        Counter::TeardownReplaced,
    ]);
    assert_eq!(taken, ended);
    assert!(count(&[Counter::TeardownDone]) > 100, "it was worth it");
    // Credits are exact.
    let handed = handed.load(Ordering::Relaxed);
    let credits = ending.credits.last().unwrap();
    assert_eq!(u64::from(credits.flows.get()), handed);
    let entered = count(&[Counter::TimeWaitEntered]);
    assert_eq!(entered != 0, time_wait_ms != 0);

    // No entry and no buffer was lost on the way.
    for port in 0..capacity.flows as u16 {
        let host = Host {
            port,
            ..Host::default()
        };
        ending.hand_over(&host, &[0; 3000]);
    }
    let usage = ending.card.nic.usage();
    assert_eq!(usage[3].used, capacity.flows);
    assert_eq!(usage[4].used, 2 * capacity.flows);
}

#[test]
fn one_worker_at_a_time_has_a_connection() {
    run(0);
}

#[test]
fn through_time_wait() {
    run(40);
}
