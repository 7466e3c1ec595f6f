// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp-run` and the library, with a server that knows nothing of them. Without a card, and
//! mostly without the module, all that can be seen is that the server works all the same.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
};

use acceltcp_socket::{set_offload, status, Offload, Reason};

/// `acceltcp-run`, up to the command. cargo leaves the library beside this program.
fn launcher(offload: &str) -> Command {
    let library = env::current_exe()
        .unwrap()
        .with_file_name("libacceltcp_preload.so");
    let mut command = Command::new(env!("CARGO_BIN_EXE_acceltcp-run"));
    command.args(["--offload", offload, "--library"]);
    command.arg(library).arg("--");
    command
}

/// Runs `server` below under `acceltcp-run`.
fn run(offload: &str) -> Output {
    launcher(offload)
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "server"])
        .output()
        .unwrap()
}

/// Whether a listener here would have its wish: with the module and a card in the machine.
fn is_served() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set_offload(&listener, Offload::SETUP).is_ok()
        && status(&listener)
            .is_ok_and(|status| matches!(status.reason, Reason::None | Reason::Pending))
}

#[test]
#[ignore = "run by the other tests"]
fn server() {
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
    }
    let name = format!("listen-{}.sock", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let bound = UnixListener::bind(&path);
    std::fs::remove_file(&path).unwrap();
    bound.unwrap();
    println!("served with {}", env::var("ACCELTCP_OFFLOAD").unwrap());
}

#[test]
fn a_server_works_and_a_refusal_is_told_once() {
    let output = run("setup,defer");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("served with setup,defer"), "{out}");
    let told = err.lines().filter(|line| line.starts_with("acceltcp: "));
    assert_eq!(told.count(), usize::from(!is_served()), "{err}");
}

#[test]
fn nothing_asked_is_nothing_told() {
    let output = run("");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(!err.contains("acceltcp: "), "{err}");
}

#[test]
fn bad_lists_are_refused_before_the_command_runs() {
    for list in ["magic", "defer", "setup,defer,server-first", "no-hold"] {
        let output = run(list);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{list}"
        );
    }
}

#[test]
fn a_bad_variable_does_not_stop_a_server() {
    let output = launcher("setup")
        .args(["env", "ACCELTCP_OFFLOAD=magic"])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "server"])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert_eq!(err.matches("acceltcp: ").count(), 1, "{err}");
    assert!(err.contains("\"magic\""), "{err}");
}
