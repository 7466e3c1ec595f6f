// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program as it is called.

use std::{
    fs,
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Output, Stdio},
};

fn acceltcp(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acceltcp"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Whether the module is loaded where the tests run; then there is nothing to be seen of its absence.
fn loaded() -> bool {
    Path::new("/sys/module/acceltcp").exists()
}

#[test]
fn usage_errors() {
    for arguments in [
        &["no-such-command"][..],
        &["--no-such-option"],
        &["policy", "add", "--port", "0"],
        &["policy", "add", "--port", "9-8"],
        &["policy", "add", "--address", "10.0.0.1/8"],
        &["policy", "add", "--offload", "magic"],
        &["policy", "add", "--max-data", "0"],
        &["policy", "add", "--dev", "a-name-that-is-too-long"],
        &["policy", "del", "0"],
        &["acl", "add"],
        &["acl", "add", "dev", "lo", "prio", "1"],
        &[
            "acl", "add", "dev", "lo", "deny", "proto", "tcp", "port", "9-8",
        ],
        &["acl", "add", "dev", "lo", "deny", "from", "10.0.0.1/8"],
        &["acl", "add", "dev", "lo", "deny", "sideways"],
        &["acl", "del", "dev", "lo"],
        &["acl", "flush"],
        &["stats", "lo", "--reset"],
        &["top", "--interval", "0"],
        &["flows", "--state", "established"],
        &["flows", "-4", "-6"],
        &["limits", "--sram-high", "101"],
        &["limits", "--sram-low", "0"],
        &["--color", "sometimes"],
    ] {
        let output = acceltcp(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).starts_with("error: "));
    }
    let output = acceltcp(&["policy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: acceltcp policy"));
}

#[test]
fn without_the_module() {
    if loaded() {
        return;
    }
    for arguments in [
        &[][..],
        &["-j", "status"],
        &["stats"],
        &["listeners"],
        &["flows"],
        &["flows", "--count"],
        &["limits"],
        &["limits", "--sram-high", "80"],
        &["splices"],
        &["policy", "list"],
        &["policy", "add", "--port", "80"],
        &["policy", "flush"],
        &["policy", "save"],
        &["keys", "rotate"],
        &["acl", "list"],
        &["acl", "add", "dev", "lo", "deny"],
        &["acl", "flush", "dev", "lo"],
        &["monitor"],
    ] {
        let output = acceltcp(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert_eq!(
            text(&output.stderr),
            "acceltcp: the module acceltcp is not loaded; load it: modprobe acceltcp\n"
        );
    }
}

#[test]
fn doctor_without_the_module() {
    if loaded() {
        return;
    }
    let output = acceltcp(&["doctor"]);
    assert_eq!(output.status.code(), Some(5));
    let told = text(&output.stdout);
    assert!(told.contains("\nfail  module: acceltcp is not loaded\n      modprobe acceltcp"));
    let output = acceltcp(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings[1]["check"], "module");
    assert_eq!(findings[1]["level"], "fail");
}

#[test]
fn unknown_names_are_told() {
    let output = acceltcp(&["policy", "add", "--uid", "no such user"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "acceltcp: there is no user \"no such user\"\n"
    );
    let output = acceltcp(&["stats", "no-such-dev"]);
    assert!(text(&output.stderr).contains("there is no network device \"no-such-dev\""));
}

#[test]
fn files_are_checked_without_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules");
    let name = file.to_str().unwrap();
    fs::write(
        &file,
        "# none\n--port 80 # web\n--port 81 --dev no-such-dev\n",
    )
    .unwrap();
    let output = acceltcp(&["policy", "load", "--check", name]);
    assert!(output.status.success());
    assert_eq!(
        text(&output.stdout),
        format!("{name}: 2 rules, no mistakes\n")
    );
    fs::write(&file, "--port 80\n--port x\n\n--bort 1\n").unwrap();
    let output = acceltcp(&["policy", "load", name]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = text(&output.stderr).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains(&format!("{name}:2: invalid value 'x'")));
    assert!(lines[1].starts_with(&format!("{name}:4: unexpected argument")));
    let output = acceltcp(&["policy", "load", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("acceltcp: /no/such/file: No such file"));
}

#[test]
fn rules_come_from_the_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_acceltcp"))
        .args(["-j", "policy", "load", "--check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"--port 80\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "{\"rules\":1}\n");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    for arguments in [&["doctor"][..], &["generate", "completions", "bash"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_acceltcp"))
            .args(arguments)
            .stdout(OwnedFd::from(writer.try_clone().unwrap()))
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_full_disk_is_told() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_acceltcp"))
        .args(["generate", "completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No space left"));
}

#[test]
fn top_needs_a_terminal() {
    let output = acceltcp(&["top"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("needs a terminal"));
}

#[test]
fn man_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("man");
    assert!(acceltcp(&["generate", "man", path.to_str().unwrap()])
        .status
        .success());
    let mut names: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "acceltcp-acl-add.8",
            "acceltcp-acl-del.8",
            "acceltcp-acl-flush.8",
            "acceltcp-acl-list.8",
            "acceltcp-acl.8",
            "acceltcp-doctor.8",
            "acceltcp-flows.8",
            "acceltcp-keys-rotate.8",
            "acceltcp-keys.8",
            "acceltcp-limits.8",
            "acceltcp-listeners.8",
            "acceltcp-monitor.8",
            "acceltcp-policy-add.8",
            "acceltcp-policy-del.8",
            "acceltcp-policy-flush.8",
            "acceltcp-policy-list.8",
            "acceltcp-policy-load.8",
            "acceltcp-policy-save.8",
            "acceltcp-policy.8",
            "acceltcp-splices.8",
            "acceltcp-stats.8",
            "acceltcp-status.8",
            "acceltcp-top.8",
            "acceltcp.8",
        ]
    );
    let main = fs::read_to_string(path.join("acceltcp.8")).unwrap();
    for words in [
        ".SH \"EXIT STATUS\"",
        ".SH \"FILES OF RULES\"",
        ".SH \"RULES OF ACCESS LISTS\"",
        ".SH JSON",
        "acceltcp\\-policy(8)",
        "\n0  all is done\n1 ",
    ] {
        assert!(main.contains(words), "{words}: {main}");
    }
    let add = fs::read_to_string(path.join("acceltcp-policy-add.8")).unwrap();
    assert!(add.contains("max\\-data") && !main.contains("generate"));
}

#[test]
fn completions_and_help() {
    for shell in ["bash", "zsh", "fish"] {
        let output = acceltcp(&["generate", "completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("doctor"));
    }
    let short = acceltcp(&["-h"]);
    assert!(text(&short.stdout).contains("Exit status:") && !text(&short.stdout).contains("JSON:"));
    let long = acceltcp(&["--help"]);
    assert!(text(&long.stdout).contains("JSON:") && !text(&long.stdout).contains("generate"));
}
