// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever segments and messages are, what is relayed has good checksums and the right numbers, and nothing is lost.

mod common;
#[path = "common/splicing.rs"]
mod splicing;

use acceltcp_abi::splice::{self, kind, Splice};
use nicstack::stats::Counter;
use nicstack::wire::tcp::Flags;
use proptest::prelude::*;
use splicing::*;
use zerocopy::FromBytes as _;

/// Options in any order, with any padding.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        any::<(u32, u32)>().prop_map(|(value, echo)| stamps(value, echo)[2..].to_vec()),
        proptest::collection::vec(any::<(u32, u32)>(), 1..3)
            .prop_map(|blocks| sack(&blocks)[2..].to_vec()),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(|value| [
            &[77, 2 + value.len() as u8],
            &value[..]
        ]
        .concat()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(option, 0..5).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        while bytes.len() % 4 != 0 {
            bytes.push(0);
        }
        bytes
    })
}

proptest! {
    /// The port checks the full sum of each frame; corrected checksums are the same.
    #[test]
    fn whatever_is_relayed_has_good_checksums(
        which: [bool; 2], side in 0usize..2, before in 0u32..1 << 31, ack: u32, window: u16, flags in 0u16..0x200,
        options in options(), data in proptest::collection::vec(any::<u8>(), 0..1500), ecn in 0u8..4,
        times: bool,
    ) {
        let sides = over_v6(sides(), which).map(|side| Side { times: side.times.filter(|_| times), ..side });
        let mut relay = Relay::new(sides.clone());
        // Nothing goes on from beyond the window.
        let shown = u32::from(sides[side].window) << sides[side].rcv_wscale;
        let seq = sides[side].rcv_nxt.wrapping_add(shown + 1).wrapping_sub(before);
        // RSTs end it, if at all.
        let flags = Flags(flags & !Flags::RST.0 | Flags::ACK.0);
        let segment = Seg { seq, ack, flags, window, options: options.clone(), data: data.clone(), ecn };
        let mut sent = relay.peer(side, &segment);
        let out = sent.remove(0);
        // What is old is answered besides.
        prop_assert!(sent.iter().all(|answer| answer.to == side && answer.data.is_empty()));
        prop_assert_eq!(sent.len() as u64, relay.count(Counter::SpliceAnswered));
        prop_assert_eq!(out.to, 1 - side);
        let (from, to) = (&sides[side], &sides[1 - side]);
        prop_assert_eq!(out.tcp.seq, seq.wrapping_sub(from.rcv_nxt).wrapping_add(to.una));
        let offset = ack.wrapping_sub(from.una);
        let floor = (offset as i32).max(0) as u32;
        prop_assert_eq!(out.tcp.ack, to.rcv_nxt.wrapping_add(floor));
        prop_assert_eq!(out.tcp.flags, flags);
        prop_assert_eq!(out.data, data);
        prop_assert_eq!(out.options.len(), options.len());
        if !times {
            let stamped = nicstack::wire::options::Options::parse(&options).timestamps;
            prop_assert_eq!(out.times, stamped);
        }
    }

    /// A segment whose data was damaged on the way is never relayed.
    #[test]
    fn what_is_damaged_goes_nowhere(bit: proptest::sample::Index) {
        let mut relay = Relay::new(sides());
        let mut frame = relay.sides[0].peer_frame(&relay.seg(0, 0, 0, Flags::PSH, b"some data"));
        let bit = bit.index(8 * 9);
        let at = frame.len() - 9 + bit / 8;
        frame[at] ^= 1 << (bit % 8);
        prop_assert!(relay.receive(&frame).is_empty());
        prop_assert_eq!(relay.count(Counter::SpliceChecksum), 1);
    }

    /// Messages that make no sense, of a host that is not in its right mind.
    #[test]
    fn no_message_does_harm(
        mut bytes in proptest::array::uniform32(any::<u8>()), rest in proptest::array::uniform32(any::<u8>()),
        tail: [u8; 16], frame in proptest::collection::vec(any::<u8>(), 0..200), valid: bool, real: bool,
        kind in 1u8..4, cut: proptest::sample::Index, pair in 0u32..10,
    ) {
        if valid {
            bytes[..4].copy_from_slice(&[splice::VERSION, kind, 0, 0]);
            bytes[4..8].copy_from_slice(&pair.to_be_bytes());
        }
        let mut relay = Relay::new(sides());
        let bytes = [&bytes[..], &rest, &tail].concat();
        let message = Splice::read_from_bytes(&bytes).unwrap();
        let mut templates = relay.sides.each_ref().map(Side::template).concat();
        templates.truncate(cut.index(templates.len() + 1));
        relay.say(&message, if real { &templates } else { &frame });
        let [first, second] = [relay.sides[0].template(), relay.sides[1].template()];
        let mut message = relay.message(kind::INSTALL, pair, 9);
        message.second = (cut.index(first.len() * 2) as u16).into();
        relay.say(&message, &[first, second].concat());
        relay.wait(100);
        let used = relay.card.nic.usage()[6].used;
        let states = relay.card.nic.pairs_by_state().map(|(_, count)| count);
        prop_assert_eq!(used, states.iter().sum::<u32>());
        prop_assert!(used <= 1, "of the same tuples there is one pair");
        relay.card.attach();
        prop_assert!(relay.is_empty());
    }

    /// Templates that contradict each other or the message are refused, and what the host has spent comes back.
    #[test]
    fn credits_of_what_is_refused_come_back(wrong in 0usize..7, len in 1usize..5000) {
        let mut relay = Relay::empty(PAIRS);
        relay.sides[1].data = vec![1; len];
        match wrong {
            0 => relay.sides[0].times = None,
            1 => relay.sides[0] = relay.sides[1].clone(),
            2 => relay.sides[1].sent = len as u32 + 1,
            3 => relay.sides[1].snd_wscale = 15,
            _ => {}
        }
        let mut message = relay.message(kind::INSTALL, 0, 3);
        match wrong {
            4 => message.second = (message.second.get() + 1).into(),
            5 => message.ends[0].rto_ms = 0.into(),
            6 => message.pair = 8.into(),
            _ => {}
        }
        let frame = relay.sides.each_ref().map(Side::template).concat();
        relay.say(&message, &frame);
        prop_assert_eq!(relay.event().reason, splice::reason::REFUSED);
        prop_assert_eq!(relay.count(Counter::SpliceTaken), 0);
        relay.wait(100);
        let sides = if wrong == 1 { 2 } else { 1 };
        let spent = if wrong == 4 { 0 } else { sides * acceltcp_abi::teardown::buffers(len) };
        let back = relay.port.credits.last().map_or(0, |credits| credits.buffers.get());
        prop_assert_eq!(back as usize, spent);
    }
}
