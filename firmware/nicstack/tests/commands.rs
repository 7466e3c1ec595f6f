// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the host may order, and what a buggy or hostile one gets.

mod common;

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::setup::{rule, ListenRule};
use common::*;
use nicstack::memory::{Capacity, MemoryError};
use nicstack::stats::Counter;
use nicstack::Nic;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zerocopy::FromBytes;

fn remove(handle: u32) -> Request {
    Request::ListenRemove(cmd::ListenRemove {
        handle: handle.into(),
    })
}

fn replace(handle: u32, rule: ListenRule) -> Request {
    Request::ListenReplace(cmd::ListenReplace {
        handle: handle.into(),
        rule,
    })
}

#[test]
fn rules_come_and_go() {
    let mut card = attached();
    let rule = any_rule(4);
    let body = card.order(&Request::ListenAdd(rule)).unwrap();
    let reply = cmd::ListenReply::read_from_bytes(&body).unwrap();
    let handle = reply.handle.get();
    assert_eq!(reply.free, SMALL.listeners - 1);
    assert_eq!(card.listen(&rule), Err(cmd::EEXIST));
    let other = ListenRule {
        port: 1.into(),
        ..rule
    };
    assert_eq!(card.order(&replace(handle, other)), Err(cmd::EINVAL));
    assert_eq!(card.order(&replace(handle + 1, rule)), Err(cmd::ENOENT));
    card.order(&replace(
        handle,
        ListenRule {
            mss: 999.into(),
            ..rule
        },
    ))
    .unwrap();
    assert_eq!(card.syn_ack(&linux().syn()).options.mss, Some(999));
    assert_eq!(card.order(&remove(handle + 1)), Err(cmd::ENOENT));
    card.order(&remove(handle)).unwrap();
    assert_eq!(card.order(&remove(handle)), Err(cmd::ENOENT));
    assert_eq!(card.receive(&linux().syn()), Fate::Host);
    assert_eq!(card.count(Counter::CommandRefused), 5);
}

#[test]
fn the_table_is_exactly_as_large_as_it_says() {
    let mut card = fresh(Capacity::default());
    card.attach();
    let port = |port: u32| ListenRule {
        port: (port as u16).into(),
        ..any_rule(4)
    };
    for number in 1..=4096 {
        card.listen(&port(number)).unwrap();
    }
    assert_eq!(card.listen(&port(4097)), Err(cmd::ENOSPC));
    card.order(&Request::ListenFlush).unwrap();
    card.listen(&port(4097)).unwrap();
}

#[test]
fn bad_rules_are_refused() {
    let mut card = attached();
    for bad in [
        ListenRule {
            family: 0,
            ..any_rule(4)
        },
        ListenRule {
            flags: 0x8000.into(),
            ..any_rule(4)
        },
        ListenRule {
            reserved: 1.into(),
            ..any_rule(4)
        },
        ListenRule {
            window: 0.into(),
            ..any_rule(4)
        },
    ] {
        assert_eq!(card.listen(&bad), Err(cmd::EINVAL));
    }
}

#[test]
fn a_driver_that_did_not_attach_gets_nothing() {
    let mut card = fresh(SMALL);
    assert_eq!(card.listen(&any_rule(4)), Err(cmd::ENOTCONN));
    let key = cmd::Key { key: [1; 8] };
    assert_eq!(card.order(&Request::KeySet(key)), Err(cmd::ENOTCONN));
    card.attach();
    card.listen(&any_rule(4)).unwrap();
    card.order(&Request::Detach).unwrap();
    assert_eq!(card.receive(&linux().syn()), Fate::Host);
    // One that does not understand the metadata is like none.
    card.attach();
    card.listen(&any_rule(4)).unwrap();
    card.order(&Request::Attach(cmd::Attach::default()))
        .unwrap();
    assert_eq!(card.receive(&linux().syn()), Fate::Host);
    assert_eq!(card.listen(&any_rule(4)), Err(cmd::ENOTCONN));
}

#[test]
fn statistics_in_pieces() {
    let mut card = serving(|_| {});
    card.syn_ack(&linux().syn());
    let mut values = Vec::new();
    while values.len() < Counter::COUNT {
        let read = cmd::StatsRead {
            first: (values.len() as u16).into(),
            ..Default::default()
        };
        let mut bytes = [0; Request::MAX];
        let len = Request::StatsRead(read).emit(1, &mut bytes);
        // Room for five and a half values.
        let mut reply = [0; cmd::Header::SIZE + cmd::StatsReply::SIZE + 44];
        let len = card.nic.command(card.now, &bytes[..len], &mut reply);
        let body = cmd::parse_reply(&reply[..len], cmd::kind::STATS_READ, 1).unwrap();
        let (head, rest) = cmd::StatsReply::read_from_prefix(body).unwrap();
        assert_eq!(usize::from(head.first.get()), values.len());
        assert_eq!(usize::from(head.total.get()), Counter::COUNT);
        assert_eq!(rest.len(), 8 * usize::from(head.count.get()));
        assert!(head.count.get() > 0);
        values.extend(
            rest.chunks_exact(8)
                .map(|value| u64::from_le_bytes(value.try_into().unwrap())),
        );
    }
    assert_eq!(values[Counter::SynAnswered as usize], 1);
    let done = Counter::CommandDone as usize;
    assert!(values[done] > 0);

    let beyond = cmd::StatsRead {
        first: u16::MAX.into(),
        ..Default::default()
    };
    let body = card.order(&Request::StatsRead(beyond)).unwrap();
    let head = cmd::StatsReply::read_from_bytes(&body).unwrap();
    assert_eq!(head.count, 0);
}

#[test]
fn memory_is_accounted_for() {
    let mut card = serving(|rule| set(rule, rule::SERVER_FIRST));
    let reply = card.syn_ack(&linux().syn());
    card.handshake(&linux().ack(&reply));
    card.syn_ack(&Client { port: 9, ..linux() }.syn());
    let body = card.order(&Request::MemoryRead).unwrap();
    let (head, rest) = cmd::MemoryReply::read_from_prefix(&body).unwrap();
    assert_eq!(head.bytes.get() as usize, SMALL.words() * 8);
    let tables: Vec<_> = rest
        .chunks_exact(cmd::MemoryUse::SIZE)
        .map(|table| cmd::MemoryUse::read_from_bytes(table).unwrap())
        .collect();
    assert_eq!(tables.len(), usize::from(head.count.get()));
    let used = |table: u16| {
        let table = tables.iter().find(|t| t.table == table).unwrap();
        (table.used.get(), table.capacity.get())
    };
    assert_eq!(used(cmd::table::LISTENERS), (2, SMALL.listeners));
    assert_eq!(used(cmd::table::RECENT), (1, SMALL.recent));
    assert_eq!(used(cmd::table::HALF_OPEN), (1, SMALL.half_open));
}

#[test]
fn memory_that_does_not_fit_is_refused() {
    let memory = |words| (0..words).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let needed = SMALL.words();
    assert_eq!(
        Nic::with_memory(memory(needed - 1), memory(SMALL.emem_words()), SMALL).unwrap_err(),
        MemoryError::TooSmall {
            needed,
            given: needed - 1
        }
    );
    let huge = Capacity {
        listeners: Capacity::MAX + 1,
        ..SMALL
    };
    assert_eq!(
        Nic::with_memory(memory(1), memory(1), huge).unwrap_err(),
        MemoryError::TooManyEntries
    );
}

#[test]
fn without_room_there_is_no_reply() {
    let card = attached();
    let mut bytes = [0; Request::MAX];
    let len = Request::MemoryRead.emit(1, &mut bytes);
    let mut reply = [0xee; 7];
    assert_eq!(card.nic.command(card.now, &bytes[..len], &mut reply), 0);
    assert_eq!(reply, [0xee; 7]);
}

/// Two workers take frames while rules and keys change.
#[test]
fn workers_and_commands_at_the_same_time() {
    let mut card = serving(|_| {});
    let client = linux();
    let nic = std::mem::replace(&mut card.nic, fresh(SMALL).nic);
    let (now, done) = (card.now, AtomicBool::new(false));
    let command = |request: &Request| {
        let (mut bytes, mut reply) = ([0; Request::MAX], [0; 400]);
        let len = request.emit(1, &mut bytes);
        let len = nic.command(now, &bytes[..len], &mut reply);
        let body = cmd::parse_reply(&reply[..len], request.kind(), 1);
        body.map(|body| body.to_vec())
    };
    command(&Request::ListenFlush).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (nic, done) = (&nic, &done);
            scope.spawn(move || {
                let mut sent = Sent::default();
                let mut port = worker;
                while !done.load(Ordering::Relaxed) {
                    let client = Client { port, ..client };
                    nic.from_wire(now, &client.syn(), &mut sent);
                    if let Some(answer) = sent.to_wire.pop() {
                        let reply = Reply::parse(&answer);
                        // Of one of the two rules, and whole.
                        let mss = reply.options.mss.unwrap();
                        assert_eq!(reply.tcp.window, mss * 2);
                        nic.from_wire(now, &client.ack(&reply), &mut sent);
                    }
                    sent.to_host.clear();
                    port = port.wrapping_add(2);
                }
            });
        }
        let rule = |number: u16| ListenRule {
            port: PORT.into(),
            mss: number.into(),
            window: (number * 2).into(),
            ..any_rule(4)
        };
        for round in 0..3000u16 {
            let body = command(&Request::ListenAdd(rule(1000 + round % 7))).unwrap();
            let handle = u32::from_le_bytes(body[..4].try_into().unwrap());
            command(&replace(handle, rule(2000 + round % 7))).unwrap();
            command(&Request::KeyRotate(cmd::Key {
                key: [round as u8; 8],
            }))
            .unwrap();
            command(&remove(handle)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

proptest! {
    /// Any bytes get an answer of the right form, and the card goes on.
    #[test]
    fn any_bytes_are_answered(
        kind in 0u16..20, size in proptest::sample::select(vec![0usize, 4, 8, 40, 44, 50, 64]),
        body in proptest::collection::vec(any::<u8>(), 64),
        raw in proptest::collection::vec(any::<u8>(), 0..60), is_raw: bool, room in 0usize..400,
    ) {
        let mut card = attached();
        let mut bytes = vec![cmd::VERSION, 0, kind as u8, 0, size as u8, 0, 7, 0];
        bytes.extend(&body[..size]);
        let bytes = if is_raw { raw } else { bytes };
        let mut reply = vec![0; room];
        let len = card.nic.command(card.now, &bytes, &mut reply);
        prop_assert!(len == 0 || len >= cmd::Header::SIZE);
        if let Ok((header, rest)) = cmd::Header::read_from_prefix(&reply[..len]) {
            prop_assert_eq!(rest.len(), usize::from(header.length.get()));
            prop_assert!(header.kind.get() & cmd::REPLY != 0);
        } else {
            prop_assert!(len == 0 && room < 340);
        }
        // What the bytes may have done is within what a host may do.
        card.attach();
        card.order(&Request::ListenFlush).unwrap();
        card.order(&Request::AclFlush).unwrap();
        card.listen(&any_rule(4)).unwrap();
        card.syn_ack(&linux().syn());
    }
}
