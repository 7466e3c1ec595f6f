// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The proxy between plain sockets of this machine. No card is there: with `--mode splice` the kernel refuses, and the
//! proxy copies.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy.
struct Proxy {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Proxy {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_l7proxy"))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            address: address.parse().unwrap(),
            child,
            stdout,
        }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// Ends it; what it has counted.
    fn stop(mut self) -> String {
        // SAFETY: The child is not waited for yet: the number is its own.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has ended if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A backend for one connection after the other, and where it is.
fn backend<T: Send + 'static>(
    connections: usize,
    serve: impl Fn(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let accept = |_| serve(patient(listener.accept().unwrap().0));
        (0..connections).map(accept).collect()
    });
    (address, thread)
}

/// Bytes that are different at all places of a stream, and in all streams.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

const SIZES: [usize; 6] = [1, 100, 16_384, 16_385, 1_000_000, 10_000_000];

/// The client ends first, the backend answers what it has got; and the other way round.
fn half_close(mode: &str, refused: &str) {
    let (address, server) = backend(2 * SIZES.len(), |mut stream| {
        let got = rest(&stream);
        if got.first() != Some(&b'?') {
            stream.write_all(&got).unwrap();
        }
        got
    });
    let proxy = Proxy::start(&["--raw", "--mode", mode, "--backend", &address]);
    for size in SIZES {
        let mut bytes = content(size as u64, size);
        bytes[0] = b'!';
        let mut client = proxy.connect();
        let copy = (client.try_clone().unwrap(), bytes.clone());
        let writer = thread::spawn(move || {
            let (mut stream, bytes) = copy;
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        assert!(rest(&client) == bytes, "{size}");
        writer.join().unwrap();
        // The backend says nothing.
        bytes[0] = b'?';
        client = proxy.connect();
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&client), b"");
    }
    let got = server.join().unwrap();
    for (index, size) in SIZES.iter().enumerate() {
        let want = content(*size as u64, *size);
        assert!(got[2 * index][1..] == want[1..] && got[2 * index + 1][1..] == want[1..]);
    }
    let text = proxy.stop();
    assert!(
        text.contains("accepted: 12") && text.contains("failed: 0"),
        "{text}"
    );
    assert!(text.contains(refused), "{text}");
}

#[test]
fn every_byte_passes_when_copied() {
    half_close("copy", "spliced: 0");
}

#[test]
fn every_byte_passes_when_the_kernel_refuses() {
    half_close("splice", "not spliced, ");
}

#[test]
fn the_backend_may_end_first() {
    let (address, server) = backend(1, |mut stream| {
        stream.write_all(&content(1, 300_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        rest(&stream)
    });
    let proxy = Proxy::start(&["--raw", "--mode", "copy", "--backend", &address]);
    let mut client = proxy.connect();
    assert!(rest(&client) == content(1, 300_000));
    client.write_all(&content(2, 300_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(server.join().unwrap()[0] == content(2, 300_000));
}

#[test]
fn a_reset_is_passed_on() {
    let (address, server) = backend(1, |mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        // Closing with data unread resets.
        drop(stream);
    });
    let proxy = Proxy::start(&["--raw", "--mode", "copy", "--backend", &address]);
    let mut client = proxy.connect();
    client.write_all(&content(1, 100_000)).unwrap();
    server.join().unwrap();
    let mut byte = [0];
    assert!(client.read(&mut byte).is_err());
    assert!(proxy.stop().contains("failed: 1"));
}

const REQUEST: &str = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn requests_may_come_in_any_two_pieces() {
    let (address, server) = backend(REQUEST.len() - 1, |mut stream| {
        let mut bytes = vec![0; REQUEST.len()];
        stream.read_exact(&mut bytes).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        (bytes, rest(&stream).len())
    });
    let proxy = Proxy::start(&["--backend", &address]);
    for split in 1..REQUEST.len() {
        let mut client = proxy.connect();
        client.set_nodelay(true).unwrap();
        let (first, second) = REQUEST.split_at(split);
        client.write_all(first.as_bytes()).unwrap();
        // So that the pieces are read one by one.
        thread::sleep(Duration::from_millis(2));
        client.write_all(second.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(rest(&client).starts_with(b"HTTP/1.1 200 "), "{split}");
    }
    for (bytes, more) in server.join().unwrap() {
        assert_eq!((bytes.as_slice(), more), (REQUEST.as_bytes(), 0));
    }
    assert!(proxy.stop().contains("failed: 0"));
}

#[test]
fn what_cannot_be_passed_on_is_answered() {
    let proxy = Proxy::start(&[
        "--backend",
        "/a=127.0.0.1:1",
        "--max-head",
        "100",
        "--patience",
        "500",
    ]);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(200));
    for (request, status) in [
        ("GET /\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "404"),
        ("GET / HTTP/1.0\r\n", "408"),
        (long.as_str(), "431"),
        ("GET /a HTTP/1.0\r\n\r\n", "502"),
    ] {
        let mut client = proxy.connect();
        client.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8(rest(&client)).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    assert!(proxy.stop().contains("refused: 5"));
}
