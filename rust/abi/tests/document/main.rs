// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Documentation/abi.rst says what this crate says.
//!
//! The second half of the page is made here, of the sources and their comments. After a change of the crate
//! `UPDATE_DOCS=1 cargo test -p acceltcp-abi --test document` writes it anew.

mod layout;
mod page;
mod source;

use layout::Layouts;
use source::Module;
use std::{env, fs, path::Path};

/// The modules in the order of the page. Counters have a page of their own.
const MODULES: [&str; 14] = [
    "pci", "regs", "qc", "tlv", "mbox", "nfd3", "nfdk", "meta", "cmd", "setup", "teardown",
    "splice", "acl", "flows",
];
const ELSEWHERE: [&str; 2] = ["counter", "wire"];
const BEGIN: &str = ".. begin crate, made by rust/abi/tests/document\n";
const END: &str = ".. end crate\n";

fn modules() -> Vec<Module> {
    MODULES.map(Module::read).into()
}

#[test]
fn the_page_says_what_the_crate_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Documentation/abi.rst");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has no begin");
    let (_, after) = rest.split_once(END).expect("the page has no end");
    let made = page::write(&modules());
    let wanted = format!("{before}{BEGIN}\n{made}{END}{after}");
    if env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
        return;
    }
    let differs = wanted
        .lines()
        .zip(page.lines())
        .find(|(new, old)| new != old);
    assert!(
        wanted == page,
        "Documentation/abi.rst is old: {differs:?}; run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn no_module_is_missing() {
    let mut told = Module::read("lib").modules;
    told.sort();
    let mut known: Vec<_> = MODULES.iter().chain(&ELSEWHERE).collect();
    known.sort();
    assert!(told.iter().eq(known), "{told:?}");
}

#[test]
fn offsets_are_those_of_the_compiler() {
    use acceltcp_abi::{acl::AclRule, cmd::Header, nfd3::TxDesc, splice::Splice};
    use std::mem::offset_of;

    let modules = modules();
    let layouts = Layouts::of(&modules);
    let offset = |name: &str, field: &str| {
        let layout = layouts.get(name).expect(name);
        let found = layout.fields.iter().find(|found| found.name == field);
        found.expect(field).offset
    };
    assert_eq!(offset("TxDesc", "data_len"), offset_of!(TxDesc, data_len));
    assert_eq!(offset("Header", "tag"), offset_of!(Header, tag));
    assert_eq!(
        offset("AclRule", "destination_ports"),
        offset_of!(AclRule, destination_ports)
    );
    assert_eq!(
        offset("Splice", "generation"),
        offset_of!(Splice, generation)
    );
}
