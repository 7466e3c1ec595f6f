// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card says whose connections have ended.

#[path = "common/closing.rs"]
mod closing;
mod common;

use acceltcp_abi::cmd::attach;
use closing::{Ending, Host};
use common::SMALL;
use nicstack::stats::Counter;

const OWNERS: u32 = attach::HANDSHAKE_META | attach::CREDITS_META | attach::OWNERS_META;

fn of(owner: u16, port: u16) -> Host {
    Host {
        owner,
        port,
        ..Host::default()
    }
}

/// The last count of each owner that was told.
fn told(nic: &Ending) -> Vec<(u16, u32)> {
    let mut all: Vec<(u16, u32)> = Vec::new();
    for notice in &nic.owners {
        assert!(notice.is_valid());
        all.retain(|(owner, _)| *owner != notice.owner.get());
        all.push((notice.owner.get(), notice.flows.get()));
    }
    all.sort_unstable();
    all
}

#[test]
fn connections_that_end_are_counted_by_their_owners() {
    let mut nic = Ending::attached(SMALL, OWNERS);
    for (owner, port) in [(0, 1), (1, 2), (1, 3), (255, 4)] {
        nic.hand_over(&of(owner, port), b"x");
    }
    nic.wait(100);
    assert!(nic.owners.is_empty(), "all of them are there");
    // Given up.
    nic.wait(200_000);
    assert_eq!(told(&nic), [(1, 2), (255, 1)]);
    let notices = nic.owners.len();
    nic.wait(1_000);
    assert_eq!(nic.owners.len(), notices, "nothing is new");
    nic.hand_over(&of(255, 5), b"x");
    nic.wait(200_000);
    assert_eq!(told(&nic), [(1, 2), (255, 2)]);
}

#[test]
fn a_connection_that_takes_the_place_of_another_ends_that_one() {
    let mut nic = Ending::attached(SMALL, OWNERS);
    nic.hand_over(&of(1, 9), b"x");
    nic.hand_over(&of(2, 9), b"x");
    assert_eq!(nic.card.count(Counter::TeardownReplaced), 1);
    nic.wait(100);
    assert_eq!(told(&nic), [(1, 1)]);
}

#[test]
fn what_is_refused_comes_back_to_its_owner() {
    let mut nic = Ending::attached(SMALL, OWNERS);
    for port in 0..SMALL.flows as u16 {
        nic.hand_over(&of(1, port), b"");
    }
    nic.hand_over(&of(2, 999), b"");
    assert_eq!(nic.card.count(Counter::TeardownFull), 1);
    nic.wait(100);
    assert_eq!(told(&nic), [(2, 1)]);
}

#[test]
fn an_owner_beyond_the_last_is_refused() {
    let mut nic = Ending::attached(SMALL, OWNERS);
    nic.hand_over(&of(256, 1), b"x");
    assert_eq!(nic.card.count(Counter::TeardownBadTemplate), 1);
    assert_eq!(nic.card.nic.usage()[3].used, 0);
}

#[test]
fn a_driver_that_did_not_ask_may_name_anyone() {
    let mut nic = Ending::attached(SMALL, OWNERS & !attach::OWNERS_META);
    nic.hand_over(&of(u16::MAX, 1), b"x");
    assert_eq!(nic.card.count(Counter::TeardownTaken), 1);
    nic.wait(200_000);
    assert_eq!(nic.credits.last().unwrap().flows.get(), 1);
    assert!(nic.owners.is_empty());
}
