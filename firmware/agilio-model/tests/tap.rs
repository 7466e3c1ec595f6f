// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The TAP port against the kernel's own stack, in a network namespace of the test's thread.
//!
//! Needs CAP_SYS_ADMIN and CAP_NET_ADMIN, as the lab does; says so and does nothing without them.

use agilio_model::counters::{Counters, DropReason};
use agilio_model::offload::checksum::{fill, verify, Check, Verdict, Wanted};
use agilio_model::offload::frame::{parse, proto, Packet, Parsed};
use agilio_model::wire::{open, FaultSpec, Options, Wire, WirePort, WireSpec};
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

fn open_tap(name: &str) -> (Arc<Wire>, Arc<Counters>) {
    let options = Options {
        wire: WireSpec::Tap(name.into()),
        capture: None,
        faults: FaultSpec::default(),
    };
    let counters = Arc::new(Counters::new());
    let wire = open(&options, counters.clone(), Box::new(|_| {})).unwrap();
    (wire, counters)
}

/// A TAP that is up, with the wire's address and the card as a known neighbour.
fn tap() -> (Arc<Wire>, Arc<Counters>) {
    let opened = open_tap("wire0");
    ip("link set wire0 address 02:00:00:00:00:09 up");
    ip("addr add 10.99.0.1/24 dev wire0");
    ip("neigh add 10.99.0.2 lladdr 02:15:4d:00:00:01 dev wire0");
    opened
}

/// Next frame from the wire with IP protocol `number`; the kernel sends others on its own.
fn next_ip(wire: &Wire, number: u8) -> (Vec<u8>, Packet) {
    let mut buf = vec![0; 4096];
    loop {
        let len = wire.recv(&mut buf).unwrap().unwrap();
        match parse(&buf[..len]) {
            Parsed::Ip(packet) if packet.proto == number => return (buf[..len].to_vec(), packet),
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
        wire.send(&bent, false).unwrap();
        wire.send(&udp_frame(b"not vouched for"), false).unwrap();
        wire.send(&udp_frame(b"vouched for"), true).unwrap();
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
        let (wire, counters) = open_tap("wire0");
        // Not up yet.
        wire.send(&udp_frame(b"early"), true).unwrap();
        assert_eq!(counters.drops(DropReason::LinkDown), 1);
        drop(wire);

        let (wire, counters) = tap();
        let socket = UdpSocket::bind("10.99.0.1:7").unwrap();
        socket.send_to(&[1; 1000], "10.99.0.2:4660").unwrap();
        socket.send_to(&[2; 18], "10.99.0.2:4660").unwrap();
        let mut buf = [0; 60];
        let len = loop {
            let len = wire.recv(&mut buf).unwrap().unwrap();
            if matches!(parse(&buf[..len]), Parsed::Ip(p) if p.proto == proto::UDP) {
                break len;
            }
        };
        assert_eq!((len, buf[59]), (60, 2));
        assert!(counters.drops(DropReason::TooLong) >= 1);
    });
}

#[test]
fn a_tap_in_use_is_refused_by_name_and_a_deleted_one_ends_recv() {
    in_namespace(|| {
        let (wire, _) = open_tap("wire0");
        let options = Options {
            wire: WireSpec::Tap("wire0".into()),
            capture: None,
            faults: FaultSpec::default(),
        };
        let second = open(&options, Arc::new(Counters::new()), Box::new(|_| {}));
        let text = second.err().unwrap().to_string();
        assert!(text.contains("wire0") && text.contains("in use"), "{text}");
        thread::scope(|scope| {
            let reader = scope.spawn(|| while let Ok(Some(_)) = wire.recv(&mut [0; 2048]) {});
            ip("link del wire0");
            reader.join().unwrap();
        });
    });
}

#[test]
fn stop_wakes_a_blocked_recv() {
    in_namespace(|| {
        let (wire, _) = open_tap("wire0");
        thread::scope(|scope| {
            let reader = scope.spawn(|| while wire.recv(&mut [0; 2048]).unwrap().is_some() {});
            wire.stop();
            reader.join().unwrap();
        });
    });
}
