// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Timestamps of connections that the NIC ends: they go on from the host's.

#[path = "common/closing.rs"]
mod closing;
mod common;

use closing::*;
use nicstack::stats::Counter;
use nicstack::wire::tcp::Flags;
use nicstack::Instant;

const FIN: Flags = Flags::FIN;
const NONE: Flags = Flags(0);

#[test]
fn timestamps_go_on_from_the_hosts() {
    let mut nic = Ending::new(&Host::default(), b"x");
    let [sent] = nic.sent();
    let times = sent.timestamps.unwrap();
    assert_eq!((times.value, times.echo), (TSVAL, TSECR));
    nic.wait(3000);
    let again = nic.all().pop().unwrap();
    let times = again.timestamps.unwrap();
    assert!((TSVAL + 200..TSVAL + 3000).contains(&times.value));

    // PAWS: an older segment is answered, and does nothing.
    nic.peer_at(TSECR - 2, 0, 2, NONE, b"");
    assert_eq!(nic.card.count(Counter::TeardownPaws), 1);
    assert_eq!(nic.all().len(), 1);
    assert_eq!(nic.card.nic.usage()[4].used, 1);
    nic.peer_at(TSECR + 5, 0, 2, FIN, b"");
    let [last] = nic.sent();
    assert_eq!(last.timestamps.unwrap().echo, TSECR + 5);
    nic.ends_with(Counter::TeardownDone);
}

#[test]
fn timestamps_never_go_back() {
    // Workers that look at the clock one after the other, and work the other way round.
    let early = |nic: &mut Ending| nic.card.now = Instant(nic.card.now.0 - 7_000_000);
    let value = |sent: &Segment| sent.timestamps.unwrap().value;
    let mut nic = Ending::new(&Host::default(), b"x");
    nic.wait(20);
    nic.peer(0, 1, Flags::SYN, b"");
    early(&mut nic);
    nic.peer(0, 1, FIN, b"");
    nic.peer(0, 2, FIN, b"");
    early(&mut nic);
    nic.peer(0, 2, FIN, b"");
    let sent = nic.all();
    assert!(sent.len() >= 3, "{sent:#?}");
    assert!(value(&sent[1]) >= TSVAL + 20);
    for pair in sent.windows(2) {
        assert!(value(&pair[0]) <= value(&pair[1]), "{pair:#?}");
    }
    assert_eq!(nic.card.nic.usage()[5].used, 1, "in TIME-WAIT");
}

#[test]
fn without_timestamps_there_are_none() {
    let host = Host {
        timestamps: None,
        ..Host::default()
    };
    let mut nic = Ending::new(&host, b"x");
    assert_eq!(nic.sent::<1>()[0].timestamps, None);
    nic.peer(0, 2, FIN, b"");
    assert_eq!(nic.sent::<1>()[0].timestamps, None);
    nic.ends_with(Counter::TeardownDone);
}
