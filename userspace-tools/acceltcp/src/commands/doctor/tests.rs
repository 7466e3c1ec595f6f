// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checks on trees and facts that are made up.

use std::fs;

use super::*;
use crate::{
    commands::status::tests::card,
    netlink::{
        listener::Listener,
        policy::Terms,
        testing::{attribute, text, u32_of, Said, Script},
        uapi, DeviceState, Offloads, Pending, Reason,
    },
    output::written,
};

/// A host on which all is well.
const HEALTHY: [(&str, &str); 8] = [
    ("proc/sys/kernel/osrelease", "7.3.2-1-amd64\n"),
    ("sys/module/acceltcp/initstate", "live\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("proc/sys/net/ipv4/ip_forward", "0\n"),
    ("proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1\n"),
    ("proc/sys/net/acceltcp/key_interval", "300\n"),
    (
        "sys/class/net/nic0/queues/rx-0/rps_cpus",
        "00000000,00000000\n",
    ),
    ("sys/class/net/nic0/queues/tx-0/xps_cpus", "ff\n"),
];

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        HEALTHY.iter().for_each(|(path, text)| tree.set(path, text));
        tree
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_dir_all(self.0.path().join(path)).unwrap();
    }

    fn root(&self) -> Root {
        Root::at(self.0.path())
    }
}

fn listener(reason: Reason) -> Listener {
    Listener {
        address: [0; 4].into(),
        port: 80,
        ifindex: None,
        uid: None,
        offloads: Offloads::SETUP,
        reason,
        rules: 1,
        policy: None,
        by_application: true,
    }
}

fn facts() -> Facts {
    let mut card = card();
    card.tables.truncate(1);
    let mut sockets = sockets::Sockets::default();
    sockets.add(&listener(Reason::None));
    Facts {
        devices: vec![card],
        sockets,
        rules: Vec::new(),
        sockmaps: Vec::new(),
    }
}

/// What is not as it should be.
fn problems(tree: &Tree, facts: Result<Facts>) -> Vec<Finding> {
    let mut findings = examine(&tree.root(), &facts);
    findings.retain(|one| one.level != Level::Ok);
    findings
}

/// The only thing that is not as it should be.
#[track_caller]
fn problem(tree: &Tree, facts: Facts) -> (Level, &'static str, String) {
    let problems = problems(tree, Ok(facts));
    let [one] = &problems[..] else {
        panic!("{problems:#?}")
    };
    let advice = one.advice.as_deref().unwrap();
    (one.level, one.check, format!("{}: {advice}", one.message))
}

#[test]
fn facts_come_from_the_module() {
    let device = [u32_of(1, 3), text(2, "nic0"), u32_of(4, 2), u32_of(5, 1)].concat();
    let listener = [
        attribute(1, &[0; 4]),
        attribute(2, &[80, 0]),
        u32_of(5, 1),
        u32_of(6, 0),
    ]
    .concat();
    let mut connection = Connection::with(Script::new([
        Said::Packet(uapi::ACCELTCP_CMD_DEVICE_GET, 2, device),
        Said::Done(2),
        Said::Packet(uapi::ACCELTCP_CMD_POLICY_GET, 2, u32_of(1, 1)),
        Said::Done(2),
        Said::Packet(uapi::ACCELTCP_CMD_LISTENER_GET, 2, listener),
        Said::Done(2),
    ]))
    .unwrap();
    let facts = gather(&mut connection);
    assert_eq!(facts.as_ref().unwrap().rules.len(), 1);
    assert!(problems(&Tree::new(), facts).is_empty());
}

#[test]
fn a_healthy_host() {
    let findings = examine(&Tree::new().root(), &Ok(facts()));
    assert!(
        findings.iter().all(|one| one.level == Level::Ok),
        "{findings:#?}"
    );
    let text = written(false, false, |output| show(output, &findings));
    assert_eq!(
        text,
        "\
ok    kernel: 7.3.2-1-amd64
ok    module: acceltcp is loaded
ok    netlink: the module answers
ok    card: nic0 is up, with setup,teardown,splice
ok    sysctl net.acceltcp: key_interval 300
ok    sysctl net.ipv4.tcp_syncookies: 1
ok    conntrack: it picks connections up in the middle
ok    rps: not used on cards
ok    tables: all have room
ok    listeners: cards serve 1, of 1 in all
ok    policy: 0 rules
"
    );
}

#[test]
fn settings_of_the_host() {
    for (path, value, level, words) in [
        (
            "proc/sys/kernel/osrelease",
            "7.2.9",
            Level::Fail,
            "needs Linux 7.3",
        ),
        ("proc/sys/kernel/osrelease", "new", Level::Warn, "not known"),
        (
            "proc/sys/net/ipv4/tcp_syncookies",
            "0",
            Level::Fail,
            "tcp_syncookies=1",
        ),
        (
            "proc/sys/net/ipv4/ip_forward",
            "1",
            Level::Warn,
            "bind it to an address",
        ),
        (
            "proc/sys/net/ipv6/conf/all/forwarding",
            "1",
            Level::Warn,
            "bind it to an address",
        ),
        (
            "proc/sys/net/netfilter/nf_conntrack_tcp_loose",
            "0",
            Level::Fail,
            "tcp_loose=1",
        ),
        (
            "proc/sys/net/acceltcp/key_interval",
            "20",
            Level::Warn,
            "120 or more",
        ),
        (
            "proc/sys/net/acceltcp/offloads",
            "3",
            Level::Warn,
            "7 for all",
        ),
        (
            "proc/sys/net/acceltcp/quota_pairs",
            "0",
            Level::Warn,
            "4294967295 is no limit",
        ),
        (
            "proc/sys/net/acceltcp/quota_teardown",
            "0",
            Level::Warn,
            "ended by a card",
        ),
        (
            "proc/sys/net/acceltcp/unprivileged",
            "0",
            Level::Warn,
            "CAP_NET_ADMIN",
        ),
        (
            "sys/class/net/nic0/queues/rx-0/rps_cpus",
            "00000000,00000002",
            Level::Warn,
            "RPS on rx-0",
        ),
    ] {
        let tree = Tree::new();
        tree.set(path, value);
        let (found, _, text) = problem(&tree, facts());
        assert_eq!(found, level, "{path}");
        assert!(text.contains(words), "{path}: {text}");
    }
}

#[test]
fn what_is_not_there() {
    let tree = Tree::new();
    tree.remove("proc/sys/net/netfilter");
    tree.remove("proc/sys/net/acceltcp");
    assert!(problems(&tree, Ok(facts())).is_empty());
    tree.remove("sys/module");
    let (level, check, text) = problem(&tree, facts());
    assert_eq!((level, check), (Level::Fail, "module"));
    assert!(text.contains("modprobe acceltcp"));
    let found = problems(&tree, Err(Error::NoFamily.into()));
    let checks: Vec<_> = found.iter().map(|one| (one.level, one.check)).collect();
    assert_eq!(checks, [(Level::Fail, "module"), (Level::Fail, "netlink")]);
    let found = problems(&Tree::new(), Err(Error::malformed("x").into()));
    assert!(found[0]
        .advice
        .as_deref()
        .unwrap()
        .contains("different versions"));
}

#[test]
fn cards() {
    for (state, level, words) in [
        (DeviceState::Down, Level::Fail, "ip link set nic0 up"),
        (DeviceState::Plain, Level::Fail, "no AccelTCP"),
        (DeviceState::Dead, Level::Fail, "does not answer"),
        (
            DeviceState::Unknown(9),
            Level::Warn,
            "older than the module",
        ),
    ] {
        let mut facts = facts();
        facts.devices[0].state = state;
        let (found, check, text) = problem(&Tree::new(), facts);
        assert_eq!((found, check), (level, "card"));
        assert!(text.contains(words), "{text}");
    }
    let none = Facts {
        devices: Vec::new(),
        ..facts()
    };
    assert_eq!(problem(&Tree::new(), none).1, "card");
}

#[test]
fn full_tables() {
    let mut full = facts();
    full.devices[0].tables[0].used = 4000;
    let (level, check, text) = problem(&Tree::new(), full);
    assert_eq!((level, check), (Level::Warn, "tables"));
    assert!(
        text.starts_with("listeners of nic0 has 4000 of 4096"),
        "{text}"
    );
    let mut was_full = facts();
    was_full.devices[0].tables[0].refused = 3;
    let (_, _, text) = problem(&Tree::new(), was_full);
    assert!(text.contains("refused 3 entries"), "{text}");
}

#[test]
fn listeners_that_the_host_serves() {
    let mut served = facts();
    (0..5).for_each(|_| served.sockets.add(&listener(Reason::Mptcp)));
    let (level, check, text) = problem(&Tree::new(), served);
    assert_eq!((level, check), (Level::Warn, "listeners"));
    assert!(
        text.starts_with("the host serves 5 (mptcp): 0.0.0.0:80, "),
        "{text}"
    );
    assert!(text.contains(", ...: ") && text.contains("GODEBUG=multipathtcp=0"));
    let mut forwarding = facts();
    forwarding.sockets.add(&listener(Reason::Forwarding));
    let tree = Tree::new();
    tree.set("proc/sys/net/ipv4/ip_forward", "1");
    // Told once.
    assert!(problem(&tree, forwarding).2.contains("(forwarding)"));
    let silent = Facts {
        sockets: sockets::Sockets::default(),
        ..facts()
    };
    assert!(problem(&Tree::new(), silent)
        .2
        .contains("acceltcp policy add"));
}

fn rule() -> Rule {
    Rule {
        id: 4,
        terms: Terms::default(),
        listeners: 0,
        hits: 1,
        refused: 0,
        last_reason: None,
        pending: Pending::empty(),
    }
}

#[test]
fn rules_that_wait() {
    let terms = Terms {
        device: Some("svc0".into()),
        cgroup: Some("/system.slice/x.service".into()),
        ..Terms::default()
    };
    let waits = |pending| Facts {
        rules: vec![Rule {
            pending,
            terms: terms.clone(),
            ..rule()
        }],
        ..facts()
    };
    let tree = Tree::new();
    tree.set("sys/fs/cgroup/cgroup.controllers", "cpu\n");
    let (level, check, text) = problem(&tree, waits(Pending::all()));
    assert_eq!((level, check), (Level::Warn, "policy"));
    assert!(
        text.contains("rule 4 is pending: there is no network device svc0, and there is no cgroup /system.slice/x.service"),
        "{text}"
    );
    assert!(text.contains("still to come"), "{text}");
    let text = problem(&Tree::new(), waits(Pending::CGROUP)).2;
    assert!(text.contains("cgroup v1"), "{text}");
    assert!(problems(&tree, Ok(waits(Pending::empty()))).is_empty());
}

#[test]
fn rules_that_never_apply() {
    let narrow = Terms {
        port_first: Some(80),
        ..Terms::default()
    };
    let dead = Facts {
        rules: vec![
            rule(),
            Rule {
                id: 5,
                terms: narrow,
                ..rule()
            },
        ],
        ..facts()
    };
    let (level, check, text) = problem(&Tree::new(), dead);
    assert_eq!((level, check), (Level::Warn, "policy"));
    assert!(
        text.contains("rule 5 (--port 80 --offload none) never applies: rule 4 "),
        "{text}"
    );
}

#[test]
fn rules_that_could_not_be_applied() {
    let refused = Facts {
        rules: vec![Rule {
            refused: 2,
            last_reason: Some(Reason::OtherUlp),
            ..rule()
        }],
        ..facts()
    };
    let (level, check, text) = problem(&Tree::new(), refused);
    assert_eq!((level, check), (Level::Warn, "policy"));
    assert!(text.contains("rule 4") && text.contains("other-ulp: ") && text.contains("kTLS"));
}

#[test]
fn json() {
    let finding = Finding::fail("card", "gone", "look for it");
    let text = written(true, false, |output| show(output, &[finding]));
    assert_eq!(
        text,
        "[{\"level\":\"fail\",\"check\":\"card\",\"message\":\"gone\",\"advice\":\"look for it\"}]\n"
    );
}
