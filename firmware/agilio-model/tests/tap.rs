// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The TAP port against the kernel's own stack, in a network namespace of the test's thread.
//!
//! Needs CAP_SYS_ADMIN and CAP_NET_ADMIN, as the lab does; says so and does nothing without them.

use agilio_model::counters::{Counters, DropReason};
use agilio_model::offload::checksum::{fill, verify, Check, Verdict, Wanted};
use agilio_model::offload::frame::{parse, proto, Packet, Parsed};
use agilio_model::wire::{
    open, FaultSpec, FlowQueues, FrameBuf, Options, Wire, WirePort, WireSpec,
};
use std::io::ErrorKind;
use std::net::{TcpStream, UdpSocket};
use std::panic::{catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

/// A frame that does not come fails its test after this time.
const LIMIT: Duration = Duration::from_secs(60);

const CARD_MAC: [u8; 6] = [2, 0x15, 0x4d, 0, 0, 1];
const WIRE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Runs `test` on a thread with an empty network namespace.
fn in_namespace(test: fn()) {
    let run = move || {
        // SAFETY: only this thread leaves its network namespace; no memory is involved.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let err = std::io::Error::last_os_error();
            assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
            eprintln!("skipped: no right to make a network namespace");
            return;
        }
        test();
    };
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(catch_unwind(run)));
    if let Err(panic) = finished.recv_timeout(LIMIT).expect("still waiting") {
        resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

fn open_tap(name: &str, queues: usize) -> std::io::Result<(Arc<Wire>, Arc<Counters>)> {
    let options = Options {
        wire: WireSpec::Tap(name.into()),
        queues,
        capture: None,
        faults: FaultSpec::default(),
    };
    let counters = Arc::new(Counters::new());
    let wire = open(&options, counters.clone(), Box::new(|_| {}))?;
    Ok((wire, counters))
}

/// A TAP that is up, with the wire's address and the card as a known neighbour.
fn tap() -> (Arc<Wire>, Arc<Counters>) {
    tap_with(1)
}

fn tap_with(queues: usize) -> (Arc<Wire>, Arc<Counters>) {
    let opened = open_tap("wire0", queues).unwrap();
    ip("link set wire0 address 02:00:00:00:00:09 up");
    ip("addr add 10.99.0.1/24 dev wire0");
    ip("neigh add 10.99.0.2 lladdr 02:15:4d:00:00:01 dev wire0");
    opened
}

/// Next frame from the wire with IP protocol `number`; the kernel sends others on its own.
fn next_ip(wire: &Wire, number: u8) -> (Vec<u8>, Packet) {
    let mut buffer = FrameBuf::new(4096);
    loop {
        assert!(wire.recv(0, &mut buffer).unwrap());
        match parse(buffer.frame()) {
            Parsed::Ip(packet) if packet.proto == number => {
                return (buffer.frame().to_vec(), packet);
            }
            _ => {}
        }
    }
}

/// A UDP frame from the card to port 7 of the wire side, with its checksums.
fn udp_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = [WIRE_MAC, CARD_MAC].concat();
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((28 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, proto::UDP, 0, 0]);
    frame.extend([10, 99, 0, 2, 10, 99, 0, 1, 0x12, 0x34, 0, 7]);
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let wanted = Wanted {
        ipv4: true,
        udp: true,
        tcp: false,
    };
    fill(&mut frame, wanted).unwrap();
    frame
}

#[test]
fn the_kernel_sends_whole_frames_with_checksums() {
    in_namespace(|| {
        let (wire, counters) = tap();
        let socket = UdpSocket::bind("10.99.0.1:7").unwrap();
        socket.send_to(b"hello card", "10.99.0.2:4660").unwrap();
        let (frame, packet) = next_ip(&wire, proto::UDP);
        assert_eq!(frame[..6], CARD_MAC);
        assert!(packet.payload(&frame).ends_with(b"hello card"));
        let expected = Verdict {
            ipv4: Check::Good,
            udp: Check::Good,
            tcp: Check::Unchecked,
        };
        assert_eq!(verify(&frame), expected);
        let connect = || {
            TcpStream::connect_timeout(&"10.99.0.2:80".parse().unwrap(), Duration::from_millis(1))
        };
        assert!(connect().is_err());
        let (frame, _) = next_ip(&wire, proto::TCP);
        assert_eq!(verify(&frame).tcp, Check::Good);
        assert!(counters.snapshot()["wire.rx.packets"] >= 2);
    });
}

#[test]
fn the_kernel_takes_frames_and_checks_those_not_vouched_for() {
    in_namespace(|| {
        let (wire, counters) = tap();
        let socket = UdpSocket::bind("10.99.0.1:7").unwrap();
        let mut bent = udp_frame(b"bent");
        bent[40] ^= 1;
        wire.send(0, &bent, false).unwrap();
        wire.send(0, &udp_frame(b"not vouched for"), false).unwrap();
        wire.send(0, &udp_frame(b"vouched for"), true).unwrap();
        for expected in ["not vouched for", "vouched for"] {
            let mut buf = [0; 64];
            let len = socket.recv(&mut buf).unwrap();
            assert_eq!(buf[..len], *expected.as_bytes());
        }
        assert_eq!(counters.snapshot()["wire.tx.packets"], 3);
    });
}

#[test]
fn frames_that_do_not_go_are_counted() {
    in_namespace(|| {
        let (wire, counters) = open_tap("wire0", 1).unwrap();
        // Not up yet.
        wire.send(0, &udp_frame(b"early"), true).unwrap();
        assert_eq!(counters.drops(DropReason::LinkDown), 1);
        drop(wire);

        let (wire, counters) = tap();
        let socket = UdpSocket::bind("10.99.0.1:7").unwrap();
        socket.send_to(&[1; 1000], "10.99.0.2:4660").unwrap();
        socket.send_to(&[2; 18], "10.99.0.2:4660").unwrap();
        let mut buffer = FrameBuf::new(60);
        loop {
            assert!(wire.recv(0, &mut buffer).unwrap());
            if matches!(parse(buffer.frame()), Parsed::Ip(p) if p.proto == proto::UDP) {
                break;
            }
        }
        assert_eq!((buffer.frame().len(), buffer.frame()[59]), (60, 2));
        assert!(counters.drops(DropReason::TooLong) >= 1);
    });
}

#[test]
fn a_tap_in_use_is_refused_by_name_and_a_deleted_one_ends_recv() {
    in_namespace(|| {
        let (wire, _) = open_tap("wire0", 2).unwrap();
        for queues in [1, 2] {
            let text = open_tap("wire0", queues).err().unwrap().to_string();
            assert!(text.contains("wire0") && text.contains("in use"), "{text}");
        }
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut buffer = FrameBuf::new(2048);
                while let Ok(true) = wire.recv(0, &mut buffer) {}
            });
            ip("link del wire0");
            reader.join().unwrap();
        });
    });
}

#[test]
fn a_flow_stays_on_its_queue() {
    const FLOWS: u16 = 64;
    in_namespace(|| {
        let (wire, _) = tap_with(2);
        assert_eq!(wire.queues(), 2);
        let flows = FlowQueues::new(2);
        let sockets: Vec<_> = (0..FLOWS)
            .map(|flow| UdpSocket::bind(("10.99.0.1", 2000 + flow)).unwrap())
            .collect();
        let mut used = [0; 2];
        // By the second round the kernel has seen answers.
        for round in 0..3 {
            for socket in &sockets {
                socket.send_to(&[round; 30], "10.99.0.2:7").unwrap();
            }
            let mut found = 0;
            for (queue, used) in used.iter_mut().enumerate() {
                let mut buffer = FrameBuf::new(2048);
                while wire.take(queue, &mut buffer).unwrap() {
                    let mut frame = buffer.frame().to_vec();
                    match parse(&frame) {
                        Parsed::Ip(packet) if packet.proto == proto::UDP => {}
                        _ => continue,
                    }
                    assert!(round == 0 || flows.queue(&frame) == queue);
                    flows.learn(&frame, queue);
                    found += 1;
                    *used += 1;
                    // Back, with addresses and ports the other way round.
                    for (a, b, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
                        let (head, tail) = frame.split_at_mut(b);
                        head[a..a + len].swap_with_slice(&mut tail[..len]);
                    }
                    wire.send(flows.queue(&frame), &frame, true).unwrap();
                }
            }
            assert_eq!(found, FLOWS, "round {round}");
        }
        assert!(used.iter().all(|used| *used > 0), "{used:?}");
    });
}

#[test]
fn a_tap_that_is_there_keeps_its_single_queue() {
    in_namespace(|| {
        ip("tuntap add dev wire0 mode tap vnet_hdr");
        let (wire, _) = tap_with(2);
        assert_eq!(wire.queues(), 1);
        UdpSocket::bind("10.99.0.1:7")
            .unwrap()
            .send_to(b"hello card", "10.99.0.2:4660")
            .unwrap();
        let (frame, packet) = next_ip(&wire, proto::UDP);
        assert!(packet.payload(&frame).ends_with(b"hello card"));
    });
}

#[test]
fn stop_wakes_a_blocked_recv() {
    in_namespace(|| {
        let (wire, _) = open_tap("wire0", 2).unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut buffer = FrameBuf::new(2048);
                while wire.recv(0, &mut buffer).unwrap() {}
            });
            wire.stop();
            reader.join().unwrap();
        });
    });
}
