// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Both sides against each other, and against a server that lies.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Output, Stdio},
    thread,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab-load");

/// A server that ends with the test.
struct Server(Child);

impl Server {
    fn start(address: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["server", "--listen", address, "--rcvbuf", "20000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// What it has complained of.
    fn stop(mut self) -> String {
        self.0.kill().unwrap();
        let mut text = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that is free.
fn free() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

fn clients(address: &str) -> Output {
    Command::new(PROGRAM)
        .args(["client", "--to", address, "--connections", "200"])
        .args(["--max-size", "1000000", "--patience", "20"])
        .args(["--rcvbuf", "5000", "--rcvbuf", "300000"])
        .output()
        .unwrap()
}

#[test]
fn all_goes_well_on_loopback() {
    let address = free();
    let server = Server::start(&address);
    let output = clients(&address);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(server.stop(), "");
}

/// One bit of every answer is wrong.
#[test]
fn wrong_bytes_are_found() {
    let address = free();
    let server = Server::start(&address);
    let liar = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let through = liar.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in liar.incoming() {
            let client = client.unwrap();
            let server = std::net::TcpStream::connect(&address).unwrap();
            let ways = [
                (client.try_clone(), server.try_clone(), 0),
                (Ok(server), Ok(client), 1),
            ];
            for (from, to, lie) in ways {
                let (mut from, mut to) = (from.unwrap(), to.unwrap());
                thread::spawn(move || {
                    let mut piece = [0; 10_000];
                    let mut first = lie;
                    // Either side may give up.
                    while let Ok(length @ 1..) = from.read(&mut piece) {
                        piece[length - 1] ^= std::mem::take(&mut first);
                        if to.write_all(&piece[..length]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    let output = clients(&through);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("200 connections, 200 errors, "), "{text}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("wrong byte at "), "{text}");
    drop(server);
}
