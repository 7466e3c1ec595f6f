// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listening sockets that a card could serve, and does not.

use std::{collections::BTreeMap, net::SocketAddr};

use super::Finding;
use crate::{
    netlink::{listener::Listener, Offloads, Reason},
    system::Root,
};

/// Sockets that are named as examples.
const EXAMPLES: usize = 3;

/// What is remembered of all listening sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    total: u64,
    asking: u64,
    served: BTreeMap<Reason, (u64, Vec<SocketAddr>)>,
}

impl Sockets {
    /// Takes one more into account.
    pub(super) fn add(&mut self, listener: &Listener) {
        self.total += 1;
        self.asking += u64::from(listener.offloads.contains(Offloads::SETUP));
        if let Some(reason) = listener.obstacle() {
            let (count, examples) = self.served.entry(reason).or_default();
            *count += 1;
            if examples.len() < EXAMPLES {
                examples.push(SocketAddr::new(listener.address, listener.port));
            }
        }
    }
}

/// One for each reason; a host that forwards is told even before it matters.
pub(super) fn findings(root: &Root, sockets: &Sockets) -> Vec<Finding> {
    let check = "listeners";
    let mut findings = Vec::new();
    for (reason, (count, examples)) in &sockets.served {
        let names: Vec<String> = examples.iter().map(SocketAddr::to_string).collect();
        let more = if *count > EXAMPLES as u64 {
            ", ..."
        } else {
            ""
        };
        findings.push(Finding::warn(
            check,
            format!(
                "the host serves {count} ({reason}): {}{more}",
                names.join(", ")
            ),
            reason.advice(),
        ));
    }
    if findings.is_empty() {
        findings.push(match (sockets.asking, sockets.total) {
            (0, total) => Finding::warn(
                check,
                format!("none of {total} asks for setup"),
                "add a rule, such as: acceltcp policy add --port 80",
            ),
            (asking, total) => {
                Finding::ok(check, format!("cards serve {asking}, of {total} in all"))
            }
        });
    }
    if forwards(root) && !sockets.served.contains_key(&Reason::Forwarding) {
        findings.push(Finding::warn(
            "forwarding",
            "this host forwards: listeners for any address stay with the host",
            Reason::Forwarding.advice(),
        ));
    }
    findings
}

fn forwards(root: &Root) -> bool {
    let on = |name| root.sysctl(name).is_some_and(|value| value != "0");
    on("net.ipv4.ip_forward") || on("net.ipv6.conf.all.forwarding")
}
