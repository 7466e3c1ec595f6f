// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The access list through the registers: when it can be written, and how long it stays.

use super::guest::{Guest, CTRL, MAC, OPEN};
use super::setup::{named, order};
use crate::counters::{Counter, DropReason};
use crate::device::descriptors::Format;
use crate::device::imem;
use acceltcp_abi::acl::{action, AclName, AclReply, AclRule, ANY_VLAN};
use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::regs::{self, ctrl, update};
use acceltcp_abi::tlv::features;
use nicstack::memory::Capacity;
use vfio_user::ServerBackend;
use zerocopy::FromBytes;

/// Denies all IPv4.
fn deny(guest: &mut Guest, handle: u32) -> Result<AclReply, u8> {
    let rule = AclRule {
        handle: handle.into(),
        action: action::DENY,
        family: 4,
        vlan: ANY_VLAN.into(),
        ..AclRule::default()
    };
    let body = order(guest, &Request::AclAdd(rule))?;
    Ok(AclReply::read_from_bytes(&body).unwrap())
}

/// A frame of IPv4 or of ARP for the card.
fn frame(ethertype: u16) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&MAC);
    frame[6] = 2;
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    frame[14] = 0x45;
    frame[17] = 46;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&[10, 0, 0, 1]);
    frame[30..34].copy_from_slice(&[10, 0, 0, 2]);
    frame
}

/// Frames that come to the host when one of IPv4 and one of ARP are received.
fn delivered(guest: &Guest) -> [u64; 2] {
    [0x0800, 0x0806].map(|ethertype| {
        let before = guest.counted(Counter::HostRxPackets);
        guest.card.receive(&frame(ethertype));
        guest.counted(Counter::HostRxPackets) - before
    })
}

#[test]
fn the_list_is_there_before_the_first_frame() {
    let mut guest = Guest::new();
    // Not even bus master is needed for commands.
    guest.bus_master(false);
    let reply = deny(&mut guest, 1).unwrap();
    assert_eq!((reply.used.get(), reply.free.get()), (1, 1023));
    guest.bus_master(true);
    let refused = guest.dropped(DropReason::Disabled);
    assert_eq!(delivered(&guest), [0, 0], "off");
    assert_eq!(guest.dropped(DropReason::Disabled), refused + 2);
    guest.enable();
    assert_eq!(delivered(&guest), [0, 1]);
    assert_eq!(named(&guest, "nic.acl.denied"), 1);
    assert_eq!(named(&guest, "nic.table.acl.used"), 1);
    order(&mut guest, &Request::AclFlush).unwrap();
    assert_eq!(delivered(&guest), [1, 1]);
}

#[test]
fn what_does_not_reset_the_card_leaves_the_list() {
    type Change = fn(&mut Guest);
    let ways: [(&str, Change); 5] = [
        ("datapath off", |guest| {
            guest.write32(regs::CTRL, CTRL & !ctrl::ENABLE);
            assert_eq!(guest.reconfig(update::GEN), 0);
            assert_eq!(delivered(guest), [0, 0]);
        }),
        ("rings anew", |guest| assert_eq!(guest.reconfig(OPEN), 0)),
        ("refused update", |guest| {
            guest.write32(regs::MTU, 1 << 20);
            assert_ne!(guest.reconfig(update::GEN), 0);
            assert_eq!(delivered(guest), [0, 0]);
        }),
        ("detached", |guest| {
            order(guest, &Request::Detach).unwrap();
        }),
        ("without bus master", |guest| {
            guest.bus_master(false);
            assert_eq!(delivered(guest), [0, 0]);
            guest.bus_master(true);
        }),
    ];
    for (way, change) in ways {
        let mut guest = Guest::open();
        deny(&mut guest, 1).unwrap();
        change(&mut guest);
        assert_eq!(named(&guest, "nic.table.acl.used"), 1, "{way}");
        guest.enable();
        assert_eq!(delivered(&guest), [0, 1], "{way}");
        assert_eq!(deny(&mut guest, 1), Err(cmd::EEXIST), "{way}");
    }
}

#[test]
fn a_reset_clears_the_list_and_nothing_is_received_before_it_is_there_again() {
    type Reset = fn(&mut Guest);
    let ways: [(&str, Reset); 4] = [
        ("function level reset", Guest::function_level_reset),
        ("reset by the VMM", |guest| guest.backend.reset().unwrap()),
        ("reset by itself", |guest| guest.card.reset_by_itself()),
        ("died", |guest| {
            guest.card.die();
            guest.card.revive();
        }),
    ];
    for (way, reset) in ways {
        let mut guest = Guest::open();
        deny(&mut guest, 1).unwrap();
        reset(&mut guest);
        guest.bus_master(true);
        assert_eq!(delivered(&guest), [0, 0], "{way}");
        let name = AclName { handle: 1.into() };
        let read = order(&mut guest, &Request::AclRead(name));
        assert_eq!(read, Err(cmd::ENOENT), "{way}");
        deny(&mut guest, 1).unwrap();
        guest.enable();
        assert_eq!(delivered(&guest), [0, 1], "{way}");
    }
}

#[test]
fn a_full_list_says_so() {
    let capacity = Capacity {
        acl: 2,
        ..Capacity::NONE
    };
    let nic = imem::stack(capacity).unwrap();
    let mut guest = Guest::with_card(Format::Nfd3, Some(features::ACL), nic);
    deny(&mut guest, 1).unwrap();
    assert_eq!(deny(&mut guest, 2).unwrap().free.get(), 0);
    assert_eq!(deny(&mut guest, 3), Err(cmd::ENOSPC));
    assert_eq!(named(&guest, "nic.table.acl.refused"), 1);
}
