// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp listeners`.

use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        listener::{each_listener, Listener},
        Connection, Reason, Step, Wire,
    },
    output::{List, Output, Tone},
    system::names::Names,
};

/// A listener with names.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    listener: Listener,
    device: Option<String>,
    user: Option<String>,
}

/// Widths of the columns but the last; a list may be too long to look at all of it first.
fn columns(fields: [&str; 6]) -> String {
    let [address, device, user, offloads, by, done] = fields;
    format!("{address:<28} {device:<10} {user:<12} {offloads:<22} {by:<12} {done}")
}

/// Shows listening sockets.
pub fn run(output: &mut Output<'_>) -> Result<()> {
    show(&mut Connection::open()?, output)
}

fn show<W: Wire>(connection: &mut Connection<W>, output: &mut Output<'_>) -> Result<()> {
    let mut names = Names::default();
    let mut list = List::new(output);
    let color = output.is_colored();
    let snapshot = each_listener(connection, |step| match step {
        Step::Entry(listener) => {
            let entry = Entry {
                device: listener.ifindex.and_then(|index| names.interface(index)),
                user: listener.uid.and_then(|uid| names.user(uid)),
                listener,
            };
            list.entry(&entry, text(&entry, color))
        }
        Step::Restart => list.restart(),
    })?;
    list.finish(output, heading(color), snapshot)
}

fn heading(color: bool) -> String {
    let heads = ["ADDRESS", "DEVICE", "USER", "OFFLOADS", "ASKED BY", "SETUP"];
    Tone::Strong.paint(color, columns(heads))
}

fn text(entry: &Entry, color: bool) -> String {
    let listener = &entry.listener;
    let number = |number: Option<u32>, prefix: &str| match number {
        Some(number) => format!("{prefix}{number}"),
        None => "-".into(),
    };
    let name = |name: &Option<String>, number: String| name.clone().unwrap_or(number);
    let by = match listener.policy {
        _ if listener.by_application => "application".into(),
        Some(rule) => format!("rule {rule}"),
        None => "-".into(),
    };
    let done = match listener.reason {
        Reason::None if listener.is_offloaded() => {
            let rules = match listener.rules {
                1 => "1 rule".into(),
                rules => format!("{rules} rules"),
            };
            Tone::Good.paint(color, format_args!("card ({rules})"))
        }
        Reason::None | Reason::NotAsked => Tone::Weak.paint(color, "host"),
        reason => Tone::Warning.paint(color, format_args!("host: {reason}")),
    };
    columns([
        &SocketAddr::new(listener.address, listener.port).to_string(),
        &name(&entry.device, number(listener.ifindex, "if")),
        &name(&entry.user, number(listener.uid, "")),
        &listener.offloads.to_string(),
        &by,
        &done,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::{
            testing::{attribute, u32_of, Said, Script},
            uapi, Offloads,
        },
        output::written,
    };

    /// A kernel whose list changes while it is told.
    fn changing() -> Connection<Script> {
        let listener = |port: u16, flags| {
            let address = attribute(1, &[10, 0, 0, 1]);
            let port = attribute(2, &port.to_ne_bytes());
            let rest = [u32_of(4, 0), u32_of(5, 1), u32_of(6, 9)].concat();
            let attributes = [address, port, rest].concat();
            Said::Packet(uapi::ACCELTCP_CMD_LISTENER_GET, flags, attributes)
        };
        let changed = 2 | netlink_packet_core::NLM_F_DUMP_INTR;
        let answers = [
            listener(80, 2),
            listener(81, changed),
            Said::Done(changed),
            listener(81, 2),
            Said::Done(2),
        ];
        Connection::with(Script::new(answers)).unwrap()
    }

    #[test]
    fn a_list_that_changes_is_shown_once() {
        let text = written(false, false, |output| show(&mut changing(), output));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].starts_with("10.0.0.1:81 ") && lines[1].ends_with(" host: pending"));
        let json = written(true, false, |output| show(&mut changing(), output));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value.as_array().unwrap().len(), 1);
        assert_eq!(
            (&value[0]["port"], &value[0]["user"]),
            (&81.into(), &"root".into())
        );
    }

    fn entry() -> Entry {
        Entry {
            listener: Listener {
                address: [0; 4].into(),
                port: 80,
                ifindex: None,
                uid: Some(33),
                offloads: Offloads::SETUP | Offloads::TEARDOWN,
                reason: Reason::None,
                rules: 1,
                policy: Some(4),
                by_application: false,
            },
            device: None,
            user: Some("www-data".into()),
        }
    }

    #[test]
    fn lines() {
        assert_eq!(
            heading(false),
            "ADDRESS                      DEVICE     USER         OFFLOADS               ASKED BY     SETUP"
        );
        let mut entry = entry();
        assert_eq!(
            text(&entry, false),
            "0.0.0.0:80                   -          www-data     setup,teardown         rule 4       card (1 rule)"
        );
        entry.listener.address = [0_u16; 8].into();
        entry.listener.reason = Reason::Mptcp;
        entry.listener.ifindex = Some(9);
        entry.listener.by_application = true;
        entry.user = None;
        assert_eq!(
            text(&entry, false),
            "[::]:80                      if9        33           setup,teardown         application  host: mptcp"
        );
        assert!(text(&entry, true).ends_with("\x1b[33mhost: mptcp\x1b[0m"));
        entry.listener.offloads = Offloads::empty();
        entry.listener.reason = Reason::NotAsked;
        entry.listener.by_application = false;
        entry.listener.policy = None;
        assert!(text(&entry, false).ends_with(" none                   -            host"));
    }

    #[test]
    fn json() {
        assert_eq!(
            serde_json::to_string(&entry()).unwrap(),
            concat!(
                r#"{"address":"0.0.0.0","port":80,"ifindex":null,"uid":33,"offloads":["setup","teardown"],"#,
                r#""reason":"none","rules":1,"policy":4,"by_application":false,"device":null,"user":"www-data"}"#
            )
        );
    }
}
