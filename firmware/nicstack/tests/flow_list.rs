// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The list of connections that the NIC ends: what it says of each, and that nothing is lost between its pages.

#[path = "common/closing.rs"]
mod closing;
mod common;

use acceltcp_abi::cmd::{self, ReplyError, Request};
use acceltcp_abi::flows::{state, Flow, FlowsRead, FlowsReply, MAX_ROOM};
use acceltcp_abi::setup::NO_VLAN;
use closing::*;
use common::*;
use nicstack::command::{HostMemory, Unreachable};
use nicstack::memory::Capacity;
use nicstack::wire::ethernet::Tag;
use nicstack::wire::tcp::Flags;
use proptest::prelude::*;
use std::collections::BTreeMap;
use zerocopy::FromBytes;

const FIN: Flags = Flags::FIN;
const NONE: Flags = Flags(0);
const ENTRY: u32 = Flow::SIZE as u32;

/// Memory from `START` on.
struct Memory(Vec<u8>);

const START: u64 = 0x7000;

impl HostMemory for Memory {
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        let at = address.checked_sub(START).ok_or(Unreachable)? as usize;
        let place = self.0.get_mut(at..at + bytes.len()).ok_or(Unreachable)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// A page from `next` on: entries and where to go on.
fn page(nic: &Ending, room: u32, next: u32, states: u32) -> Result<(Vec<Flow>, u32), ReplyError> {
    let mut memory = Memory(vec![0xff; MAX_ROOM as usize]);
    let reply = read(nic, room, next, states, &mut memory)?;
    let len = reply.count.get() as usize * Flow::SIZE;
    assert!(len <= room as usize);
    let (written, rest) = memory.0.split_at(len);
    assert!(
        rest.iter().all(|byte| *byte == 0xff),
        "no more than it says"
    );
    let flows = written
        .chunks(Flow::SIZE)
        .map(|flow| Flow::read_from_bytes(flow).unwrap());
    Ok((flows.collect(), reply.next.get()))
}

fn read(
    nic: &Ending,
    room: u32,
    next: u32,
    states: u32,
    memory: &mut Memory,
) -> Result<FlowsReply, ReplyError> {
    let read = FlowsRead {
        address: START.into(),
        room: room.into(),
        next: next.into(),
        states: states.into(),
        reserved: 0.into(),
    };
    let (request, mut message) = (Request::FlowsRead(read), [0; Request::MAX]);
    let len = request.emit(3, &mut message);
    let mut reply = [0; 64];
    let card = &nic.card;
    let written = card
        .nic
        .command_with(card.now, &message[..len], &mut reply, Some(memory));
    cmd::parse_reply_as(&reply[..written], request.kind(), 3)
}

/// All pages of the list.
fn list(nic: &Ending, room: u32, states: u32) -> Vec<Flow> {
    let (mut all, mut next) = (Vec::new(), 0);
    loop {
        let (flows, then) = page(nic, room, next, states).unwrap();
        all.extend(flows);
        if then == 0 {
            return all;
        }
        assert!(then > next, "a list comes to its end");
        next = then;
    }
}

fn host(port: u16) -> Host {
    Host {
        port,
        ..Host::default()
    }
}

#[test]
fn says_what_a_connection_is() {
    let mut nic = Ending::empty();
    let tag = Tag {
        protocol: 0x8100,
        tci: 0x2005,
    };
    let v6 = Host {
        v6: true,
        vlan: Some(tag),
        ..host(1)
    };
    nic.hand_over(&v6, b"response");
    nic.hand_over(&host(2), b"");
    nic.peer(0, 1, NONE, b"");
    nic.hand_over(&host(3), b"");
    nic.peer(0, 1, FIN, b"");
    nic.wait(RTO + 40);

    let flows = list(&nic, 10 * ENTRY, state::ALL);
    let by_port = |port| {
        *flows
            .iter()
            .find(|flow| flow.peer_port.get() == port)
            .unwrap()
    };
    assert_eq!(flows.len(), 3);
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfd, 0x99]);
    let [peer, local] = [1, 2].map(|last| {
        address[15] = last;
        address
    });
    let first = by_port(1);
    let due = first.due_ms.get();
    assert!((1..=2 * RTO).contains(&due), "backed off: {due}");
    let expected = Flow {
        peer,
        local,
        peer_port: 1.into(),
        local_port: PORT.into(),
        family: 6,
        state: state::FIN_WAIT_1,
        vlan_outer: 5.into(),
        vlan_inner: NO_VLAN.into(),
        unacknowledged: 9.into(),
        due_ms: due.into(),
        retransmits: 1,
        ..Flow::default()
    };
    assert_eq!(first, expected);
    let second = by_port(2);
    let v4 = |last| [10, 99, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        (second.peer, second.local, second.family),
        (v4(1), v4(2), 4)
    );
    assert_eq!((second.state, second.retransmits), (state::FIN_WAIT_2, 0));
    assert_eq!(second.unacknowledged.get(), 0);
    assert_eq!(
        (second.vlan_outer.get(), second.vlan_inner.get()),
        (NO_VLAN, NO_VLAN)
    );
    let third = by_port(3);
    assert_eq!((third.peer, third.local), (v4(1), v4(2)));
    assert_eq!(third.state, state::TIME_WAIT);
    assert!((59_000..60_000).contains(&third.due_ms.get()));

    for (states, ports) in [
        (1 << state::FIN_WAIT_1, vec![1]),
        (1 << state::FIN_WAIT_2, vec![2]),
        (1 << state::TIME_WAIT, vec![3]),
        (1 << state::FIN_WAIT_1 | 1 << state::TIME_WAIT, vec![1, 3]),
        (1 << state::CLOSING | 1 << state::LAST_ACK, vec![]),
    ] {
        let found = list(&nic, 10 * ENTRY, states);
        let found: Vec<u16> = found.iter().map(|flow| flow.peer_port.get()).collect();
        assert_eq!(found, ports, "{states:x}");
    }
}

#[test]
fn bad_requests_are_refused() {
    let mut nic = Ending::empty();
    nic.hand_over(&host(1), b"");
    let refused = |errno| Some(ReplyError::Refused(errno));
    for (room, next, states) in [
        (0, 0, state::ALL),
        (ENTRY - 1, 0, state::ALL),
        (ENTRY, 0, 0),
        (ENTRY, 0, 1),
        (ENTRY, 0, 1 << 6),
        (ENTRY, SMALL.flows, state::ALL),
        (ENTRY, u32::MAX, state::ALL),
        (ENTRY, 1 << 31 | SMALL.time_wait, state::ALL),
    ] {
        let result = page(&nic, room, next, states);
        assert_eq!(
            result.err(),
            refused(cmd::EINVAL),
            "{room} {next:x} {states:x}"
        );
    }
    // Memory that is not there.
    let reply = read(&nic, ENTRY, 0, state::ALL, &mut Memory(vec![]));
    assert_eq!(reply.err(), refused(cmd::EFAULT));
    let request = Request::FlowsRead(FlowsRead {
        room: ENTRY.into(),
        states: state::ALL.into(),
        ..FlowsRead::default()
    });
    // A port that knows no memory at all.
    assert_eq!(nic.card.order(&request), Err(cmd::EOPNOTSUPP));
    assert_eq!(page(&nic, ENTRY, 0, state::ALL).unwrap().0.len(), 1);
}

#[test]
fn a_command_looks_at_so_many_places_only() {
    let many = Capacity {
        flows: 6000,
        buffers: 0,
        ..SMALL
    };
    let mut nic = Ending::with(many);
    for port in 0..6000 {
        nic.hand_over(&host(port), b"");
    }
    nic.all();
    let states = 1 << state::LAST_ACK;
    assert_eq!(page(&nic, MAX_ROOM, 0, states).unwrap(), (vec![], 4096));
    assert_eq!(page(&nic, MAX_ROOM, 4096, states).unwrap(), (vec![], 0));
    // Nor does it write more than it may.
    let (flows, next) = page(&nic, u32::MAX, 0, state::ALL).unwrap();
    assert_eq!(
        (flows.len() as u32 * ENTRY, next),
        (MAX_ROOM, MAX_ROOM / ENTRY)
    );
    assert_eq!(list(&nic, u32::MAX, state::ALL).len(), 6000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Connections come, go and go to TIME-WAIT between any two pages.
    #[test]
    fn what_stays_is_there_once(
        room in 1u32..9,
        steps in proptest::collection::vec(proptest::collection::vec((0u16..40, 0u8..3), 0..12), 0..40),
    ) {
        let capacity = Capacity { flows: 24, time_wait: 64, ..SMALL };
        let mut nic = Ending::with(capacity);
        for port in 0..20 {
            nic.hand_over(&host(port), b"");
        }
        for port in 0..10 {
            nic.host = host(port);
            nic.peer(0, 1, FIN, b"");
        }
        let at_first = list(&nic, 64 * ENTRY, state::ALL);
        prop_assert_eq!(at_first.len(), 20);
        // Who has been touched may be there or not, or twice.
        let mut touched = BTreeMap::new();
        let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
        let (mut next, mut steps) = (0, steps.into_iter());
        loop {
            let (flows, then) = page(&nic, room * ENTRY, next, state::ALL).unwrap();
            for flow in flows {
                *seen.entry(flow.peer_port.get()).or_default() += 1;
            }
            if then == 0 {
                break;
            }
            prop_assert!(then > next);
            next = then;
            for (port, what) in steps.next().unwrap_or_default() {
                // Half of them are left alone.
                let port = port * 2 + 1;
                touched.insert(port, ());
                nic.host = host(port);
                match what {
                    0 => nic.hand_over(&host(port), b""),
                    1 => {
                        let frame = nic.peer_frame(Some(TSECR), 0, 1, FIN, b"");
                        nic.receive_any(&frame);
                    }
                    _ => {
                        let frame = nic.peer_frame(Some(TSECR), 0, 0, Flags::RST, b"");
                        nic.receive_any(&frame);
                    }
                }
            }
        }
        for port in (0..20).filter(|port| !touched.contains_key(port)) {
            prop_assert_eq!(seen.get(&port), Some(&1), "{}", port);
        }
        for (port, times) in seen {
            prop_assert!(times <= 1 || touched.contains_key(&port), "{port} {times}");
        }
    }
}
