// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program as its users run it: sockets, signals, exit status.

use acceltcp_abi::pci::CTRL_BAR;
use acceltcp_abi::regs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use vfio_user::Client;

/// A card that does not answer fails its test after this time.
const LIMIT: Duration = Duration::from_secs(60);

/// A running card.
struct Model {
    child: Child,
    dir: PathBuf,
    name: &'static str,
}

impl Model {
    /// Starts card `name` with its sockets in `dir` and its wire at `dir`/wire, and waits until it is ready.
    fn start(dir: &Path, name: &'static str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agilio-model"))
            .arg("--socket")
            .arg(dir.join(format!("{name}.vfio")))
            .arg("--control")
            .arg(dir.join(format!("{name}.control")))
            .arg("--wire")
            .arg(format!("unix:{}", dir.join("wire").display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let model = Self {
            child,
            dir: dir.to_owned(),
            name,
        };
        assert_eq!(line, "ready\n");
        model
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.name))
    }

    /// Sends `request` to the control socket and returns the answer.
    fn control(&self, request: &str) -> serde_json::Value {
        let mut stream = UnixStream::connect(self.path("control")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Waits for the end and returns whether the exit status was 0, and what was said on stderr.
    fn end(mut self) -> (bool, String) {
        let (done, ended) = mpsc::channel();
        let mut stderr = self.child.stderr.take().unwrap();
        let reading = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            let _ = done.send(());
            text
        });
        // The pipe closes with the process.
        let in_time = ended.recv_timeout(LIMIT).is_ok();
        if !in_time {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        assert!(in_time, "{} does not end", self.name);
        (status.success(), reading.join().unwrap())
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // Already gone, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn link_is_up(client: &mut Client) -> bool {
    let mut status = [0; 2];
    client
        .region_read(CTRL_BAR, regs::STS as u64, &mut status)
        .unwrap();
    u16::from_le_bytes(status) & regs::sts::LINK != 0
}

#[test]
fn ends_with_its_vmm() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::start(dir.path(), "a");
    let client = Client::new(&model.path("vfio")).unwrap();
    client.shutdown().unwrap();
    let (vfio, control) = (model.path("vfio"), model.path("control"));
    assert_eq!(model.end(), (true, String::new()));
    assert!(!vfio.exists() && !control.exists());
}

#[test]
fn ends_on_sigterm_with_and_without_a_vmm() {
    let dir = tempfile::tempdir().unwrap();
    for connected in [false, true] {
        let model = Model::start(dir.path(), "a");
        let client = connected.then(|| Client::new(&model.path("vfio")).unwrap());
        model.terminate();
        let vfio = model.path("vfio");
        assert_eq!(model.end(), (true, String::new()));
        assert!(!vfio.exists());
        drop(client);
    }
}

#[test]
fn a_socket_in_the_way_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taken");
    std::fs::write(&path, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agilio-model"))
        .arg("--socket")
        .arg(&path)
        .arg("--wire")
        .arg(format!("unix:{}", dir.path().join("wire").display()))
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen at"));
    assert!(output.stdout.is_empty());
    assert!(path.exists(), "not ours to remove");
}

fn memory_map(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_agilio-model"))
        .arg("--memory-map")
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Entries (0 for none) and bytes of the row `name`.
fn row(map: &str, name: &str) -> [usize; 2] {
    let row = map.lines().find(|line| line.starts_with(name)).unwrap();
    let mut words = row.split_whitespace().rev();
    let mut number = || words.next().and_then(|word| word.parse().ok());
    let bytes = number().unwrap();
    [number().unwrap_or(0), bytes]
}

#[test]
fn the_memory_map_is_printed() {
    let map = memory_map(&["--listeners", "3000"]).unwrap();
    let bytes = |name: &str| row(&map, name)[1];
    let entries = |name: &str| row(&map, name)[0];
    let sum = |names: &[&str]| -> usize { names.iter().map(|name| bytes(name)).sum() };
    assert_eq!(bytes("imem"), 8 << 20);
    assert_eq!(entries("listeners"), 3000);
    let tables = [
        "listeners",
        "recent",
        "half_open",
        "flows",
        "spliced_pairs",
        "acl",
    ];
    assert_eq!(entries("acl"), 1024);
    assert_eq!(sum(&tables) + sum(&["reserved", "free"]), 8 << 20);
    // What the card is to hold at once.
    assert!(entries("flows") + 2 * entries("spliced_pairs") >= 131_072);
    assert!(entries("time_wait") >= 1 << 20);
    let emem = ["flow_records", "pair_records", "buffers", "time_wait"];
    assert_eq!(sum(&emem), bytes("emem"));
    assert!(memory_map(&["--flows", "196608", "--spliced-pairs", "0"]).is_ok());
    let error = memory_map(&["--half-open", "1000000"]).unwrap_err();
    assert!(error.contains("do not fit"), "{error}");
}

#[test]
fn two_cards_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let one = Model::start(dir.path(), "a");
    let mut client = Client::new(&one.path("vfio")).unwrap();
    assert!(!link_is_up(&mut client), "nobody at the other end");
    let two = Model::start(dir.path(), "b");
    let deadline = std::time::Instant::now() + LIMIT;
    while !link_is_up(&mut client) {
        assert!(std::time::Instant::now() < deadline, "no link");
        thread::yield_now();
    }
    assert_eq!(
        one.control(r#"{"cmd":"link","up":false}"#)["ok"],
        serde_json::Value::Bool(true)
    );
    assert!(!link_is_up(&mut client), "the cable is out");
    two.terminate();
    assert!(two.end().0);
}

#[test]
fn the_control_socket_reaches_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::start(dir.path(), "a");
    let mut client = Client::new(&model.path("vfio")).unwrap();
    let before = model.control(r#"{"cmd":"counters"}"#);
    client.region_write(CTRL_BAR, 0, &[0; 4]).unwrap();
    let after = model.control(r#"{"cmd":"counters"}"#);
    assert_eq!(before["counters"]["nic.syn.answered"], 0);
    assert_eq!(before["counters"]["nic.table.recent.capacity"], 65_536);
    let writes = |answer: &serde_json::Value| answer["counters"]["mmio.writes"].as_u64().unwrap();
    assert_eq!(writes(&after), writes(&before) + 1);
    for action in ["stall", "resume", "garbage", "die", "revive", "reset"] {
        let request = format!(r#"{{"cmd":"card","action":"{action}"}}"#);
        assert_eq!(model.control(&request)["ok"], true, "{action}");
    }
    let faults = model.control(r#"{"cmd":"counters"}"#);
    assert_eq!(faults["counters"]["fault.reset"], 2, "revive and reset");
    assert_eq!(
        model.control(r#"{"cmd":"faults","spec":"loss=7"}"#)["ok"],
        false
    );
}
