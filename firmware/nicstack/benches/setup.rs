// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What setup costs on this machine: a SYN and its answer, an ACK and its check, and what is passed through; and what the
//! access list costs a frame that none of its rules matches.
//!
//! These are times of the host that runs the stack, and say nothing of an Agilio.
//!
//! `--list` prints the names only. `--run NAME COUNT` takes one frame so often and measures nothing: for those who count
//! instructions.

#![allow(missing_docs, reason = "criterion makes functions without")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/listing.rs"]
mod listing;

use acceltcp_abi::acl::{flag, AclRule};
use acceltcp_abi::setup::{rule, Handshake, ListenRule};
use common::*;
use criterion::{Criterion, Throughput};
use listing::*;
use nicstack::memory::Capacity;
use nicstack::wire::tcp::Flags;
use nicstack::Output;
use std::hint::black_box;
use std::process::ExitCode;
use std::rc::Rc;

/// A port that looks at no frame.
#[derive(Default)]
struct Sink(usize);

impl Output for Sink {
    fn to_host(&mut self, frame: &[u8]) {
        self.0 += frame.len();
    }

    fn to_wire(&mut self, frame: &[u8]) {
        self.0 += frame.len();
    }

    fn to_host_with(&mut self, frame: &[u8], handshake: &Handshake) {
        self.0 += frame.len() + usize::from(handshake.flags);
    }
}

/// A card of full size with 4,000 listeners.
fn crowded(flags: u16) -> Card {
    let mut card = fresh(Capacity::default());
    card.attach();
    for family in [4, 6] {
        for port in 1..2000u16 {
            let mut rule = ListenRule {
                port: (PORT + port).into(),
                ..any_rule(family)
            };
            set(&mut rule, flags);
            card.listen(&rule).unwrap();
        }
        let mut rule = any_rule(family);
        set(&mut rule, flags);
        card.listen(&rule).unwrap();
    }
    card
}

/// A card with `rules` in its access list: for single clients, of which none is ours.
fn listed(rules: u32) -> Card {
    let mut card = fresh(Capacity::default());
    for handle in 1..=rules {
        let mut source = [0; 16];
        source[..4].copy_from_slice(&(0xc000_0000 + handle).to_be_bytes());
        card.acl_add(&AclRule {
            family: 4,
            source,
            source_len: 32,
            protocol: 6,
            flags: flag::PROTOCOL,
            ..deny(handle, 1)
        })
        .unwrap();
    }
    card
}

/// A card and a frame from its wire.
struct Case {
    name: String,
    card: Rc<Card>,
    frame: Vec<u8>,
}

impl Case {
    fn run(&self, sink: &mut Sink) {
        let Self { card, frame, .. } = self;
        card.nic.from_wire(card.now, black_box(frame), sink);
    }
}

fn cases() -> Vec<Case> {
    let (plain, defer) = (Rc::new(crowded(0)), Rc::new(crowded(rule::DEFER)));
    let mut cases = Vec::new();
    let mut add = |name: &str, card: &Rc<Card>, frame| {
        cases.push(Case {
            name: name.into(),
            card: card.clone(),
            frame,
        });
    };
    for (family, addresses) in [("ipv4", V4), ("ipv6", V6)] {
        let client = Client {
            addresses,
            ..linux()
        };
        let name = |what: &str| format!("{what}/{family}");
        add(&name("syn"), &plain, client.syn());
        let reply = plain.syn_ack(&client.syn());
        add(&name("ack"), &plain, client.ack(&reply));
        let data = client.data(&reply, &[7; 1400]);
        add(&name("ack_and_data_1400"), &plain, data);
        let reply = defer.syn_ack(&client.syn());
        add(&name("ack_deferred"), &defer, client.ack(&reply));

        // An ACK of a connection that the host has, on a listener's port.
        let mut later = reply.clone();
        later.tcp.seq = later.tcp.seq.wrapping_add(5000);
        let established = client.segment(&later, 9000, Flags::PSH, &[7; 1400]);
        add(&name("established"), &plain, established);
        let other = Client {
            server_port: 9,
            ..client
        };
        let elsewhere = other.segment(&later, 9000, Flags::PSH, &[7; 1400]);
        add(&name("other_port"), &plain, elsewhere);
    }
    let idle = Rc::new(fresh(Capacity::default()));
    add("no_listeners", &idle, linux().syn());
    for rules in [1, 32, 1024] {
        let card = Rc::new(listed(rules));
        add(&format!("acl_rules/{rules}"), &card, linux().syn());
    }
    cases
}

fn measure() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("setup");
    group.throughput(Throughput::Elements(1));
    let mut sink = Sink::default();
    for case in cases() {
        group.bench_function(&case.name, |bencher| bencher.iter(|| case.run(&mut sink)));
    }
    black_box(sink.0);
    group.finish();
    criterion.final_summary();
}

/// Takes the frame of the case `name` `count` times.
fn repeat(name: &str, count: u64) -> Option<()> {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == name)?;
    let mut sink = Sink::default();
    for _ in 0..count {
        case.run(&mut sink);
    }
    black_box(sink.0);
    Some(())
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["--list"] => {
            cases().iter().for_each(|case| println!("{}", case.name));
            Some(())
        }
        ["--run", name, count] => count.parse().ok().and_then(|count| repeat(name, count)),
        _ => {
            measure();
            Some(())
        }
    };
    match done {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
