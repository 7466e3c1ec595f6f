// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The crate, the C header and the kernel module have the same numbers.

use std::{
    collections::BTreeMap,
    fs,
    mem::offset_of,
    path::{Path, PathBuf},
    process::Command,
};

use acceltcp_socket::uapi::{self, RawSplice, RawSpliceInfo, RawStatus};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the crate says.
fn ours() -> BTreeMap<String, i64> {
    macro_rules! numbers {
        ($($name:ident)*) => {
            [$((stringify!($name).to_string(), i64::from(uapi::$name))),*]
        };
    }
    BTreeMap::from(numbers!(
        SOL_ACCELTCP ACCELTCP_OFFLOAD ACCELTCP_STATUS
        ACCELTCP_OFFLOAD_SETUP ACCELTCP_OFFLOAD_TEARDOWN ACCELTCP_OFFLOAD_DEFER ACCELTCP_OFFLOAD_SERVER_FIRST
        ACCELTCP_OFFLOAD_NO_HOLD
        ACCELTCP_REASON_NONE ACCELTCP_REASON_NOT_ASKED ACCELTCP_REASON_NOT_LISTENING
        ACCELTCP_REASON_NO_DEVICE ACCELTCP_REASON_TABLE_FULL ACCELTCP_REASON_AUTHENTICATED
        ACCELTCP_REASON_MPTCP ACCELTCP_REASON_SYNCOOKIES ACCELTCP_REASON_FORWARDING
        ACCELTCP_REASON_PENDING ACCELTCP_REASON_DISABLED ACCELTCP_REASON_QUOTA
        ACCELTCP_REASON_OTHER_LISTENER
        ACCELTCP_SPLICE ACCELTCP_UNSPLICE ACCELTCP_SPLICE_NONBLOCK ACCELTCP_SPLICE_DETACH
        ACCELTCP_SPLICE_STATE_NONE ACCELTCP_SPLICE_STATE_ACTIVE ACCELTCP_SPLICE_STATE_ENDED
        ACCELTCP_SPLICE_STATE_RETURNED
        ACCELTCP_SPLICE_REASON_CLOSED ACCELTCP_SPLICE_REASON_RESET ACCELTCP_SPLICE_REASON_IDLE
        ACCELTCP_SPLICE_REASON_ABORTED ACCELTCP_SPLICE_REASON_TIMEOUT
        ACCELTCP_SPLICE_REASON_REFUSED ACCELTCP_SPLICE_REASON_LOST
    ))
}

/// The value of `5`, `1 << 3` or `(1U << 3)`.
fn value(text: &str) -> i64 {
    let number = |text: &str| -> i64 { text.trim().trim_end_matches('U').parse().unwrap() };
    let text = text.trim().trim_start_matches('(').trim_end_matches(')');
    match text.split_once("<<") {
        Some((base, shift)) => number(base) << number(shift),
        None => number(text),
    }
}

fn header() -> BTreeMap<String, i64> {
    let text = fs::read_to_string(top().join("include/uapi/linux/acceltcp.h")).unwrap();
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("#define ")?;
            let (name, rest) = rest.split_once(char::is_whitespace)?;
            Some((name.to_string(), value(rest.split("/*").next()?)))
        })
        .collect()
}

/// Constants of the module that no application sees: sets of bits, and what is told of rules by netlink alone.
const INTERNAL: [&str; 5] = ["ALL", "KINDS", "SPLICE", "OTHER_ULP", "NO_MEMORY"];

/// Constants of the module: those in `mod flag` and `mod reason` get the header's prefixes.
fn module() -> BTreeMap<String, i64> {
    let text = fs::read_to_string(top().join("rust/offload/socket.rs")).unwrap();
    let mut prefix = "";
    let mut found = BTreeMap::new();
    for line in text.lines() {
        match line {
            "pub(crate) mod flag {" => prefix = "ACCELTCP_OFFLOAD_",
            "pub(crate) mod reason {" => prefix = "ACCELTCP_REASON_",
            "}" => prefix = "",
            _ => {}
        }
        let Some(rest) = line.trim().strip_prefix("pub(crate) const ") else {
            continue;
        };
        let (name, rest) = rest.split_once(": ").unwrap();
        let number = rest.split_once("= ").unwrap().1.trim_end_matches(';');
        if !INTERNAL.contains(&name) {
            found.insert(format!("{prefix}{name}"), value(number));
        }
    }
    found
}

#[test]
fn the_header_says_the_same() {
    assert_eq!(header(), ours());
}

/// Operators look reasons up by their names.
#[test]
fn the_documents_have_every_name() {
    let page = |name| fs::read_to_string(top().join("Documentation").join(name)).unwrap();
    let (reference, remedies) = (page("sockopt.rst"), page("troubleshooting.rst"));
    for name in header().keys() {
        // Of states the reference gives the end of the name.
        let state = name.strip_prefix("ACCELTCP_SPLICE_STATE");
        let short = state.map_or(name.as_str(), |end| end);
        assert!(reference.contains(short), "sockopt.rst: {name}");
        if name.starts_with("ACCELTCP_REASON_") {
            assert!(remedies.contains(name), "troubleshooting.rst: {name}");
        }
    }
}

#[test]
fn the_module_says_the_same() {
    let (mut module, ours) = (module(), ours());
    for (name, number) in &module {
        assert_eq!(ours.get(name), Some(number), "{name}");
    }
    // What is said of splicing may be in a file of its own.
    module.extend(
        ours.clone()
            .into_iter()
            .filter(|(name, _)| name.contains("SPLICE")),
    );
    assert_eq!(module, ours);
}

/// gcc, if there is one, reads the header as we do.
#[test]
fn a_compiler_says_the_same() {
    let mut source = String::from(
        "#include <stddef.h>\n#include <linux/acceltcp.h>\n\
         _Static_assert(sizeof(\"acceltcp\") - 1 == 8, \"name\");\n",
    );
    let mut check = |condition: String| {
        source += &format!("_Static_assert({condition}, \"differs\");\n");
    };
    for (name, number) in ours() {
        check(format!("{name} == {number}"));
    }
    macro_rules! layout {
        ($raw:ident, $name:literal, $($field:ident)*) => {
            check(format!("sizeof(struct {}) == {}", $name, size_of::<$raw>()));
            $(check(format!(
                "offsetof(struct {}, {}) == {}",
                $name, stringify!($field), offset_of!($raw, $field)
            ));)*
        };
    }
    layout!(RawStatus, "acceltcp_status", offload reason rules reserved);
    layout!(RawSplice, "acceltcp_splice", fd flags idle_ms reserved);
    layout!(RawSpliceInfo, "acceltcp_splice_info", state reason rx_bytes tx_bytes rx_segments tx_segments);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.c");
    fs::write(&file, source).unwrap();
    let gcc = Command::new("gcc")
        .args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I"])
        .arg(top().join("include/uapi"))
        .arg(&file)
        .output();
    // A machine without a compiler has the other tests.
    if let Ok(output) = gcc {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
}
