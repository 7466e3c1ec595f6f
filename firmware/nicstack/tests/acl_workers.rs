// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Workers take frames while the host changes the access list.

mod common;
#[path = "common/listing.rs"]
mod listing;

use acceltcp_abi::acl::{flag, AclCounts, AclName, AclRule};
use acceltcp_abi::cmd::{self, Request};
use common::*;
use listing::*;
use nicstack::memory::Capacity;
use nicstack::stats::Counter;
use nicstack::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use zerocopy::FromBytes;

const WORKERS: u16 = 3;
const RULES: u32 = 64;

/// Counts what comes out.
#[derive(Default)]
struct Count {
    to_host: u64,
}

impl Output for Count {
    fn to_host(&mut self, _frame: &[u8]) {
        self.to_host += 1;
    }

    fn to_wire(&mut self, frame: &[u8]) {
        panic!("sent: {frame:x?}");
    }
}

/// `rule` for what comes to TCP port `port`.
fn to(rule: AclRule, port: u16) -> AclRule {
    AclRule {
        protocol: 6,
        flags: flag::PROTOCOL | flag::DESTINATION_PORTS,
        destination_ports: [port.into(); 2],
        ..rule
    }
}

fn syn_to(server_port: u16) -> Vec<u8> {
    Client {
        server_port,
        ..linux()
    }
    .syn()
}

/// What a worker has seen come through, to the ports that are always denied and always allowed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    rounds: u64,
    denied: u64,
    allowed: u64,
}

/// Rules come and go in front of, between and behind those that are always there, until the list is full, and empty again. No
/// frame that the latter deny comes through, none that they allow is lost, and their counts are exact.
#[test]
fn what_is_always_there_always_decides() {
    const DENIED: u16 = 1000;
    const ALLOWED: u16 = 2000;
    let capacity = Capacity {
        acl: RULES,
        ..SMALL
    };
    let nic = fresh(capacity).nic;
    let now = nicstack::Instant(SECOND);
    let command = |request: &Request| {
        let (mut bytes, mut reply) = ([0; Request::MAX], [0; 400]);
        let len = request.emit(1, &mut bytes);
        let len = nic.command(now, &bytes[..len], &mut reply);
        let body = cmd::parse_reply(&reply[..len], request.kind(), 1);
        body.map(|body| body.to_vec())
    };
    let add = |rule: AclRule| command(&Request::AclAdd(rule)).unwrap();
    add(to(deny(1, 500), DENIED));
    add(to(allow(2, 500), ALLOWED));
    // Behind what allows them; and all else is allowed.
    add(to(deny(3, 501), ALLOWED));
    let (done, ready) = (AtomicBool::new(false), AtomicU32::new(0));
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Seen::default();
                    let frames = [DENIED, ALLOWED].map(syn_to);
                    ready.fetch_add(1, Ordering::Relaxed);
                    while !done.load(Ordering::Relaxed) {
                        let [denied, allowed] = frames.each_ref().map(|frame| {
                            let mut out = Count::default();
                            nic.from_wire(now, frame, &mut out);
                            out.to_host
                        });
                        seen.rounds += 1;
                        seen.denied += denied;
                        seen.allowed += allowed;
                    }
                    seen
                })
            })
            .collect();
        while ready.load(Ordering::Relaxed) < u32::from(WORKERS) {
            std::thread::yield_now();
        }
        for round in 0..1500u32 {
            for handle in 10..RULES + 7 {
                // Neighbours of the ports that are always there: half of one rule and half of another would hit.
                let port = if handle % 2 == 0 { DENIED } else { ALLOWED } + 1;
                let priority = handle.wrapping_mul(round * 2 + 1) % 1000;
                let rule = to(deny(handle, priority), port);
                add(match handle % 3 {
                    0 => AclRule { family: 6, ..rule },
                    _ => rule,
                });
            }
            assert_eq!(
                command(&Request::AclAdd(deny(9999, 0))),
                Err(cmd::ReplyError::Refused(cmd::ENOSPC))
            );
            for handle in (10..RULES + 7).rev() {
                command(&acl_remove(handle)).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let rounds: u64 = seen.iter().map(|seen| seen.rounds).sum();
    let allowed: u64 = seen.iter().map(|seen| seen.allowed).sum();
    let busy = nic.stats().get(Counter::AclBusy);
    let denied = nic.stats().get(Counter::AclDenied);
    assert!(rounds > 0);
    assert!(seen.iter().all(|seen| seen.denied == 0), "{seen:?}");
    // What came while nobody could judge was dropped, and counted so.
    assert_eq!(2 * rounds, denied + busy + allowed);
    assert!(denied <= rounds && allowed <= rounds);
    let counts = |handle: u32| {
        let body = command(&Request::AclRead(AclName {
            handle: handle.into(),
        }));
        let counts = AclCounts::read_from_bytes(&body.unwrap()).unwrap();
        (counts.frames.get(), counts.bytes.get())
    };
    let bytes = syn_to(DENIED).len() as u64;
    assert_eq!(counts(1), (denied, denied * bytes));
    assert_eq!(counts(2), (allowed, allowed * bytes));
    assert_eq!(counts(3), (0, 0));
}

/// The list is emptied and filled again. A frame comes through or not, and is counted as one of both.
#[test]
fn a_list_that_is_emptied_and_filled() {
    let nic = fresh(SMALL).nic;
    let now = nicstack::Instant(SECOND);
    let done = AtomicBool::new(false);
    let order = |request: &Request| {
        let (mut bytes, mut reply) = ([0; Request::MAX], [0; 400]);
        let len = request.emit(1, &mut bytes);
        let len = nic.command(now, &bytes[..len], &mut reply);
        assert!(cmd::parse_reply(&reply[..len], request.kind(), 1).is_ok());
    };
    let (frames, passed) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let (mut frames, mut out) = (0, Count::default());
            let frame = syn_to(PORT);
            while !done.load(Ordering::Relaxed) {
                nic.from_wire(now, &frame, &mut out);
                frames += 1;
            }
            (frames, out.to_host)
        });
        for _ in 0..20_000 {
            for handle in 1..=SMALL.acl {
                order(&Request::AclAdd(deny(handle, handle % 3)));
            }
            order(&Request::AclFlush);
        }
        done.store(true, Ordering::Relaxed);
        worker.join().unwrap()
    });
    let stats = nic.stats();
    let stopped = stats.get(Counter::AclDenied) + stats.get(Counter::AclBusy);
    assert_eq!(frames, passed + stopped);
}
