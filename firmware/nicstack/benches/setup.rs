// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What setup costs on this machine: a SYN and its answer, an ACK and its check, and what is passed through.
//!
//! These are times of the host that runs the stack, and say nothing of an Agilio.

#![allow(missing_docs, reason = "criterion makes functions without")]

#[path = "../tests/common/mod.rs"]
mod common;

use acceltcp_abi::setup::{rule, Handshake, ListenRule};
use common::*;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use nicstack::memory::Capacity;
use nicstack::wire::tcp::Flags;
use nicstack::Output;
use std::hint::black_box;

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

fn setup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("setup");
    group.throughput(Throughput::Elements(1));
    let mut bench = |name: &str, card: &Card, frame: &[u8]| {
        let mut sink = Sink::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| card.nic.from_wire(card.now, black_box(frame), &mut sink));
        });
        black_box(sink.0);
    };
    let (plain, defer) = (crowded(0), crowded(rule::DEFER));
    for (family, addresses) in [("ipv4", V4), ("ipv6", V6)] {
        let client = Client {
            addresses,
            ..linux()
        };
        let name = |what: &str| format!("{what}/{family}");
        bench(&name("syn"), &plain, &client.syn());
        let reply = plain.syn_ack(&client.syn());
        bench(&name("ack"), &plain, &client.ack(&reply));
        bench(
            &name("ack_and_data_1400"),
            &plain,
            &client.data(&reply, &[7; 1400]),
        );
        let reply = defer.syn_ack(&client.syn());
        bench(&name("ack_deferred"), &defer, &client.ack(&reply));

        // An ACK of a connection that the host has, on a listener's port.
        let mut later = reply.clone();
        later.tcp.seq = later.tcp.seq.wrapping_add(5000);
        let established = client.segment(&later, 9000, Flags::PSH, &[7; 1400]);
        bench(&name("established"), &plain, &established);
        let other = Client {
            server_port: 9,
            ..client
        };
        let elsewhere = other.segment(&later, 9000, Flags::PSH, &[7; 1400]);
        bench(&name("other_port"), &plain, &elsewhere);
    }
    let idle = fresh(Capacity::default());
    bench("no_listeners", &idle, &linux().syn());
    group.finish();
}

criterion_group!(benches, setup);
criterion_main!(benches);
