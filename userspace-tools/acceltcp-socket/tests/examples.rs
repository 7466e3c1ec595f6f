// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The examples that Documentation/sockopt.rst shows compile and work, also where there is no card.

// Its main() is for people.
#[allow(dead_code)]
#[path = "../examples/relay.rs"]
mod relay;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// What is sent there and back.
const BYTES: &[u8] = &[0xa5; 100_000];
/// An answer that does not come fails the test.
const LIMIT: Duration = Duration::from_secs(30);

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Compiles the C example as its head says, but more strictly.
fn compiled() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("listener");
    let output = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-I"])
        .arg(top().join("include/uapi"))
        .arg("-o")
        .arg(&program)
        .arg(top().join("userspace-tools/examples/c/listener.c"))
        .output()
        .expect("no C compiler: `cc` of the packages gcc and libc6-dev is needed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    program
}

/// Sends to `port` and expects the same back, then the end.
fn check_echo(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sender.write_all(BYTES).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    sending.join().unwrap();
    assert!(back == BYTES, "{} bytes came back", back.len());
}

#[test]
fn the_c_listener_echoes_and_prints_its_status() {
    let program = compiled();
    let child = Command::new(&program)
        .arg("0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut server = Running(child.unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    let port = line().strip_prefix("port ").unwrap().parse().unwrap();
    let status = line();
    assert!(status.contains(" sets connections up"), "{status}");
    check_echo(port);
    check_echo(port);
    let usage = Command::new(&program).arg("7x").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn the_rust_relay_relays() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = backend.accept().unwrap();
        let mut from = stream.try_clone().unwrap();
        std::io::copy(&mut from, &mut stream).unwrap();
    });
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = front.local_addr().unwrap().port();
    let relaying = thread::spawn(move || relay::serve(front.accept().unwrap().0, &address));
    check_echo(port);
    relaying.join().unwrap().unwrap();
}
