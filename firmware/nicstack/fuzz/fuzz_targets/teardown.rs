// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections handed over by a host that keeps to no rules, and frames of their peers, while time passes.
//!
//! Run: `RUSTC_BOOTSTRAP=1 cargo fuzz run teardown` in `firmware/nicstack`.

#![no_main]

#[path = "../../tests/common/closing.rs"]
mod closing;
#[path = "../../tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use closing::*;
use libfuzzer_sys::fuzz_target;
use nicstack::wire::tcp::Flags;
use nicstack::HandOver;
use zerocopy::{FromBytes, IntoBytes};

#[derive(Debug, Arbitrary)]
struct HandedOver {
    port: u8,
    v6: bool,
    stamps: bool,
    flags: u8,
    sent: u16,
    window: u16,
    len: u16,
    /// Bytes of the message and of the template that are changed.
    message: Vec<(u8, u8)>,
    template: Vec<(u8, u8)>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    HandOver(HandedOver),
    /// A segment of the peer of the last connection.
    Peer {
        offset: i8,
        acked: u16,
        flags: u8,
        len: u8,
        tsval: Option<i8>,
        window: u16,
        changes: Vec<(u8, u8)>,
    },
    Pass(u16),
}

fn change(bytes: &mut [u8], changes: &[(u8, u8)]) {
    for (place, value) in changes {
        if let Some(byte) = bytes.get_mut(usize::from(*place)) {
            *byte ^= value;
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut nic = Ending::empty();
    for step in steps {
        match step {
            Step::HandOver(new) => {
                let mut host = Host {
                    port: new.port.into(),
                    v6: new.v6,
                    flags: new.flags,
                    sent: new.sent.into(),
                    wnd: new.window.into(),
                    ..Host::default()
                };
                if !new.stamps {
                    host.timestamps = None;
                }
                let (mut frame, message) = host.template(&vec![7; usize::from(new.len) % 20_000]);
                change(&mut frame, &new.template);
                let mut bytes = [0; HandOver::SIZE];
                bytes.copy_from_slice(message.as_bytes());
                change(&mut bytes, &new.message);
                let message = HandOver::read_from_bytes(&bytes).unwrap();
                nic.host = host;
                nic.order(&message, &frame);
            }
            Step::Peer {
                offset,
                acked,
                flags,
                len,
                tsval,
                window,
                changes,
            } => {
                let tsval = tsval.map(|ahead| TSECR.wrapping_add_signed(ahead.into()));
                let mut frame = nic.peer_with(
                    tsval,
                    i32::from(offset) as u32,
                    acked.into(),
                    Flags(flags.into()),
                    &vec![1; len.into()],
                    window,
                );
                change(&mut frame, &changes);
                nic.receive_any(&frame);
            }
            Step::Pass(ms) => nic.wait(u32::from(ms) % 5000),
        }
    }
    // Without the host nothing is left.
    nic.card.nic.reset();
    let usage = nic.card.nic.usage();
    assert!(usage[3..].iter().all(|table| table.used == 0));
    assert!(!nic.card.nic.needs_poll());
});
