// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands of a hostile host, good ones among them, with SYNs and any frames in between.
//!
//! Run: `RUSTC_BOOTSTRAP=1 cargo fuzz run commands` in `firmware/nicstack`.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/listing.rs"]
mod listing;

use acceltcp_abi::cmd::{self, Request};
use acceltcp_abi::setup::ListenRule;
use arbitrary::Arbitrary;
use common::*;
use libfuzzer_sys::fuzz_target;
use listing::*;
use nicstack::command::{HostMemory, Unreachable};

#[derive(Debug, Arbitrary)]
enum Step {
    /// Any bytes, with room for a reply.
    Raw(Vec<u8>, u8),
    /// A header with any body.
    Kind(u8, Vec<u8>),
    Add {
        port: u8,
        v6: bool,
        changes: Vec<(u8, u8)>,
    },
    Remove(u8),
    Replace(u8, u8),
    Flush,
    Attach(bool),
    Syn {
        port: u8,
        v6: bool,
    },
    /// A rule of the access list.
    Deny {
        handle: u8,
        priority: u8,
        changes: Vec<(u8, u8)>,
    },
    Allow(u8),
    AclFlush,
    /// A frame from the wire.
    Frame(Vec<u8>),
}

/// Memory of which half is there.
struct Memory;

impl HostMemory for Memory {
    fn write(&mut self, address: u64, _: &[u8]) -> Result<(), Unreachable> {
        (address >> 63 == 0).then_some(()).ok_or(Unreachable)
    }
}

fn rule(port: u8, v6: bool) -> ListenRule {
    ListenRule {
        port: u16::from(port).into(),
        ..any_rule(if v6 { 6 } else { 4 })
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut card = attached();
    for step in steps {
        let mut bytes = Vec::new();
        let mut room = 400;
        let good = |request: Request| {
            let mut out = [0; Request::MAX];
            let len = request.emit(1, &mut out);
            out[..len].to_vec()
        };
        match step {
            Step::Raw(raw, size) => {
                bytes = raw;
                room = size.into();
            }
            Step::Kind(kind, body) => {
                bytes.extend([cmd::VERSION, 0, kind, 0]);
                bytes.extend((body.len() as u16).to_le_bytes());
                bytes.extend([9, 9]);
                bytes.extend(body);
            }
            Step::Add { port, v6, changes } => {
                bytes = good(Request::ListenAdd(rule(port, v6)));
                for (place, value) in changes {
                    if let Some(byte) = bytes.get_mut(usize::from(place)) {
                        *byte ^= value;
                    }
                }
            }
            Step::Remove(handle) => {
                bytes = good(Request::ListenRemove(cmd::ListenRemove {
                    handle: u32::from(handle).into(),
                }));
            }
            Step::Replace(handle, port) => {
                bytes = good(Request::ListenReplace(cmd::ListenReplace {
                    handle: u32::from(handle).into(),
                    rule: rule(port, false),
                }));
            }
            Step::Flush => bytes = good(Request::ListenFlush),
            Step::Attach(on) => {
                bytes = good(Request::Attach(cmd::Attach {
                    flags: u32::from(on).into(),
                    ..Default::default()
                }));
            }
            Step::Deny {
                handle,
                priority,
                changes,
            } => {
                let rule = deny(handle.into(), priority.into());
                bytes = good(Request::AclAdd(rule));
                for (place, value) in changes {
                    if let Some(byte) = bytes.get_mut(usize::from(place)) {
                        *byte ^= value;
                    }
                }
            }
            Step::Allow(handle) => bytes = good(acl_remove(handle.into())),
            Step::AclFlush => bytes = good(Request::AclFlush),
            Step::Frame(frame) => {
                card.receive(&frame);
                continue;
            }
            Step::Syn { port, v6 } => {
                let client = Client {
                    addresses: if v6 { V6 } else { V4 },
                    server_port: port.into(),
                    ..linux()
                };
                card.receive(&client.syn());
                continue;
            }
        }
        let mut reply = vec![0; room];
        let host: &mut dyn HostMemory = &mut Memory;
        let len = card
            .nic
            .command_with(card.now, &bytes, &mut reply, Some(host));
        assert!(len <= room);
    }
    // Whatever was ordered: a good host gets its listener.
    card.nic.reset();
    card.attach();
    card.listen(&any_rule(4)).unwrap();
    card.syn_ack(&linux().syn());
});
