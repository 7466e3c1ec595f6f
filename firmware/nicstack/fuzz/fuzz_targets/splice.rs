// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pairs of a host that keeps to no rules, and frames of their peers, while time passes.
//!
//! Run: `RUSTC_BOOTSTRAP=1 cargo fuzz run splice` in `firmware/nicstack`.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/splicing.rs"]
mod splicing;

use acceltcp_abi::splice::{kind, Splice};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nicstack::wire::segment::Content;
use nicstack::wire::tcp::Flags;
use splicing::*;
use zerocopy::{FromBytes, IntoBytes};

/// A byte that is changed: its place, and what is flipped.
type Change = (u16, u8);

#[derive(Debug, Arbitrary)]
enum Step {
    Say {
        kind: u8,
        pair: u8,
        generation: bool,
        /// Ports of the pair.
        tuple: u8,
        v6: [bool; 2],
        stamps: bool,
        left: [u16; 2],
        sent: [u16; 2],
        window: u16,
        message: Vec<Change>,
        templates: Vec<Change>,
    },
    /// A segment of a peer of the last pair; from the wire, or given back.
    Peer {
        side: bool,
        offset: i16,
        acked: i16,
        flags: u8,
        len: u8,
        window: u16,
        returned: bool,
        changes: Vec<Change>,
    },
    Host {
        side: bool,
        flags: u8,
    },
    Full(bool),
    Pass(u16),
}

fn change(bytes: &mut [u8], changes: &[Change]) {
    for (place, value) in changes {
        if let Some(byte) = bytes.get_mut(usize::from(*place)) {
            *byte ^= value;
        }
    }
}

/// What was sent is in good order.
fn look(relay: &mut Relay) {
    for frame in relay.port.to_wire.drain(..) {
        match Content::parse(&frame) {
            Ok(Content::Tcp(segment)) => assert!(segment.checksums_ok()),
            // An ICMP error, or a template with tags in changed bytes.
            other => assert!(other.is_ok()),
        }
    }
    relay.port.to_host.clear();
}

fuzz_target!(|steps: Vec<Step>| {
    let mut relay = Relay::empty(PAIRS);
    for step in steps {
        let now = relay.card.now;
        match step {
            Step::Say {
                kind: number,
                pair,
                generation,
                tuple,
                v6,
                stamps,
                left,
                sent,
                window,
                message: in_message,
                templates,
            } => {
                let mut sides = over_v6(sides(), v6);
                for (number, side) in sides.iter_mut().enumerate() {
                    side.ports[1] = 7000 + u16::from(tuple % 4);
                    side.times = side.times.filter(|_| stamps);
                    side.data = vec![7; usize::from(left[number]) % 20_000];
                    side.sent = sent[number].into();
                    side.snd_wnd = window.into();
                }
                relay.sides = sides;
                let number = number % 3 + kind::INSTALL;
                let message = relay.message(number, u32::from(pair % 10), generation.into());
                let mut bytes = [0; Splice::SIZE];
                bytes.copy_from_slice(message.as_bytes());
                change(&mut bytes, &in_message);
                let message = Splice::read_from_bytes(&bytes).unwrap();
                let mut frame = relay.sides.each_ref().map(Side::template).concat();
                change(&mut frame, &templates);
                relay.say(&message, &frame);
            }
            Step::Peer {
                side,
                offset,
                acked,
                flags,
                len,
                window,
                returned,
                changes,
            } => {
                let side = usize::from(side);
                let (offset, acked) = (i32::from(offset) as u32, i32::from(acked) as u32);
                let data = vec![1; len.into()];
                let segment = Seg {
                    window,
                    ..relay.seg(side, offset, acked, Flags(flags.into()), &data)
                };
                let mut frame = relay.sides[side].peer_frame(&segment);
                change(&mut frame, &changes);
                if returned {
                    relay.card.nic.returned(now, &frame, &mut relay.port);
                } else {
                    relay.receive_raw(&frame);
                }
            }
            Step::Host { side, flags } => {
                let frame = relay.sides[usize::from(side)].host_frame(&Seg {
                    flags: Flags(flags.into()),
                    ..Seg::default()
                });
                relay.card.nic.from_host(now, &frame, &mut relay.port);
            }
            Step::Full(full) => relay.port.full = full,
            Step::Pass(ms) => {
                for _ in 0..u32::from(ms) % 5000 / 10 {
                    relay.card.pass(10_000_000);
                    relay.card.nic.poll(relay.card.now, &mut relay.port);
                }
            }
        }
        look(&mut relay);
        let states = relay.card.nic.pairs_by_state().map(|(_, count)| count);
        assert_eq!(states.iter().sum::<u32>(), relay.card.nic.usage()[6].used);
    }
    // Without the host nothing is left.
    relay.card.nic.reset();
    assert!(relay.is_empty());
    assert!(!relay.card.nic.needs_poll());
});
