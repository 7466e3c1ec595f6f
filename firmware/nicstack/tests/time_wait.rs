// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TIME-WAIT on the NIC: how long, for whom it makes way, and what happens when there is no room.

#[path = "common/closing.rs"]
mod closing;
mod common;

use closing::*;
use common::*;
use nicstack::stats::Counter;
use nicstack::wire::tcp::Flags;

const FIN: Flags = Flags::FIN;
const NONE: Flags = Flags(0);

#[test]
fn time_wait() {
    let mut nic = Ending::new(&Host::default(), b"");
    nic.sent::<1>();
    nic.peer(0, 1, FIN, b"");
    let [first] = nic.sent();
    nic.ends_with(Counter::TeardownDone);
    nic.wait(30_000);
    // The acknowledgement was lost; the time begins anew.
    nic.peer(0, 1, FIN, b"");
    let [again] = nic.sent();
    assert_eq!(
        (again.seq, again.ack, again.flags),
        (first.seq, first.ack, Flags::ACK)
    );
    assert_eq!(
        again.timestamps.unwrap().value,
        first.timestamps.unwrap().value + 30_000
    );
    nic.wait(59_000);
    assert_eq!(nic.card.nic.usage()[5].used, 1);
    // Nothing of the connection is the host's concern.
    nic.peer(1, 1, NONE, b"");
    assert!(nic.all().is_empty());
    // Nor does it answer what the FIN has overtaken, but data, which has no place any more.
    let before = nic.peer_frame(Some(TSECR - 1), 0, 0, NONE, b"");
    nic.receive(&before);
    nic.peer(0, 0, NONE, b"");
    assert!(nic.all().is_empty());
    nic.peer(0, 0, NONE, b"x");
    nic.peer(70_000, 1, NONE, b"");
    let answers: [Segment; 2] = nic.sent();
    assert!(answers.iter().all(|answer| answer.ack == first.ack));
    nic.wait(1100);
    assert_eq!(nic.card.nic.usage()[5].used, 0);
    assert_eq!(nic.card.count(Counter::TimeWaitOver), 1);
    assert!(!nic.card.nic.needs_poll(), "nothing is left");
}

#[test]
fn time_wait_makes_way_for_new_connections() {
    // (sequence number behind RCV.NXT, timestamp behind TS.Recent), and whether it may.
    let cases = [
        (1, 1, true),
        (1, 0, true),
        (0u32.wrapping_sub(9), 1, true),
        (0u32.wrapping_sub(9), 0, false),
    ];
    for (seq, time, may) in cases {
        let mut nic = Ending::new(&Host::default(), b"");
        nic.sent::<1>();
        nic.peer(0, 1, FIN, b"");
        nic.sent::<1>();
        let frame = nic.peer_frame(Some(TSECR + time), seq.wrapping_add(1), 0, Flags::SYN, b"");
        let fate = nic.card.receive(&frame);
        assert_eq!(fate == Fate::Host, may, "{seq} {time}");
        assert_eq!(nic.card.nic.usage()[5].used, u32::from(!may));
    }
}

#[test]
fn the_oldest_in_time_wait_makes_room() {
    let mut nic = Ending::empty();
    for port in 0..SMALL.time_wait as u16 + 2 {
        let host = Host {
            port,
            ..Host::default()
        };
        nic.hand_over(&host, b"");
        nic.sent::<1>();
        nic.peer(0, 1, FIN, b"");
        nic.sent::<1>();
    }
    assert_eq!(nic.card.nic.usage()[5].used, SMALL.time_wait);
    assert_eq!(nic.card.count(Counter::TimeWaitEvicted), 2);
    nic.wait(60_100);
    assert_eq!(nic.card.nic.usage()[5].used, 0);
}
