// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames from both sides, while time passes. Frames are made of good ones, so that the fuzzer finds its way
//! behind checksums and cookies without a corpus.
//!
//! Run: `RUSTC_BOOTSTRAP=1 cargo fuzz run frames` in `firmware/nicstack`.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use acceltcp_abi::setup::rule;
use arbitrary::Arbitrary;
use common::*;
use libfuzzer_sys::fuzz_target;
use nicstack::wire::tcp::Flags;

#[derive(Debug, Arbitrary)]
enum Base {
    Syn,
    Ack,
    Data { offset: u16, len: u8 },
    Raw(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Step {
    Wire {
        base: Base,
        v6: bool,
        port: u8,
        changes: Vec<(u8, u8)>,
        cut: Option<u8>,
        checksum: bool,
    },
    Host(Base),
    Pass(u32),
    Rotate(u8),
}

fn client(v6: bool, port: u8) -> Client {
    Client {
        addresses: if v6 { V6 } else { V4 },
        port: port.into(),
        ..linux()
    }
}

fn frame(base: Base, client: &Client, reply: Option<&Reply>) -> Vec<u8> {
    match (base, reply) {
        (Base::Raw(bytes), _) => bytes,
        (Base::Ack, Some(reply)) => client.ack(reply),
        (Base::Data { offset, len }, Some(reply)) => {
            client.segment(reply, offset.into(), Flags::PSH, &[7; 255][..len.into()])
        }
        (Base::Syn | Base::Ack | Base::Data { .. }, _) => client.syn(),
    }
}

fuzz_target!(|input: (u16, Vec<Step>)| {
    let (flags, steps) = input;
    let mut card = attached();
    for mut rule in [any_rule(4), any_rule(6)] {
        let flags = flags & (rule::DEFER | rule::NO_TIMESTAMPS_TO_HOST | rule::SERVER_FIRST);
        set(&mut rule, flags);
        if card.listen(&rule).is_err() {
            return;
        }
    }
    let mut reply = None;
    for step in steps {
        match step {
            Step::Wire {
                base,
                v6,
                port,
                changes,
                cut,
                checksum,
            } => {
                let client = client(v6, port);
                let mut frame = frame(base, &client, reply.as_ref());
                for (place, value) in changes {
                    if let Some(byte) = frame.get_mut(usize::from(place)) {
                        *byte ^= value;
                    }
                }
                if let Some(cut) = cut {
                    frame.truncate(cut.into());
                }
                let tcp = if v6 { 54 } else { 34 };
                let whole = nicstack::wire::segment::Content::parse(&frame);
                let is_tcp = matches!(whole, Ok(nicstack::wire::segment::Content::Tcp(s))
                    if frame.len() - s.ip.payload.len() == tcp);
                if checksum && is_tcp {
                    fix_checksum(&mut frame, tcp);
                }
                // Delivered as it was, answered with a good frame, or gone.
                if let Fate::Answered(answer) = card.receive(&frame) {
                    reply = Some(Reply::parse(&answer));
                }
            }
            Step::Host(base) => card.send(&frame(base, &linux(), reply.as_ref())),
            Step::Pass(ns) => {
                card.pass(u64::from(ns) * 16);
                for frame in card.poll() {
                    Reply::parse(&frame);
                }
            }
            Step::Rotate(key) => card.rotate(key),
        }
    }
});
