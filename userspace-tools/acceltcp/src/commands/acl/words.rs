// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of access lists in words, as operators write and read them.

use crate::{
    netlink::{acl::Terms, AclAction},
    rule::{Ports, Prefix},
};

/// Protocols that have names here.
const PROTOCOLS: [(&str, u8); 9] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("sctp", 132),
];

type Words<'a> = std::slice::Iter<'a, String>;

fn next<'a>(words: &mut Words<'a>, word: &str) -> Result<&'a str, String> {
    match words.next() {
        Some(next) => Ok(next),
        None => Err(format!("nothing stands behind {word:?}")),
    }
}

/// Takes a value that may be said once.
fn once<T>(place: &mut Option<T>, value: T, word: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{word:?} is said twice")),
    }
}

fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no {what}"))
}

fn protocol(text: &str) -> Result<u8, String> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
    known.map_or_else(
        || number(text, "protocol: neither a known name nor 0 to 255"),
        |(_, number)| Ok(*number),
    )
}

fn prefix(text: &str) -> Result<Option<Prefix>, String> {
    match text {
        "any" | "all" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// A VLAN id, or none for frames without a tag.
fn vlan(text: &str) -> Result<Option<u16>, String> {
    match text.parse() {
        _ if text == "none" => Ok(None),
        Ok(id @ 1..=4094) => Ok(Some(id)),
        _ => Err(format!("{text:?} is no VLAN id from 1 to 4094, nor none")),
    }
}

/// `dev DEV`, which must be there if it is `required`.
pub(super) fn device(words: &[String], required: bool) -> Result<Option<String>, String> {
    let mut words = words.iter();
    let mut device = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "dev" => once(&mut device, next(&mut words, word)?.into(), word)?,
            other => return Err(format!("{other:?} is not dev")),
        }
    }
    match device {
        None if required => Err("the card is missing: dev DEV".into()),
        device => Ok(device),
    }
}

/// `dev DEV handle N`.
pub(super) fn handle(words: &[String]) -> Result<(String, u32), String> {
    let mut words = words.iter();
    let (mut device, mut handle) = (None, None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "dev" => once(&mut device, next(&mut words, word)?.into(), word)?,
            "handle" => {
                let handle_of: std::num::NonZeroU32 =
                    number(next(&mut words, word)?, "handle of a rule")?;
                once(&mut handle, handle_of.get(), word)?;
            }
            other => return Err(format!("{other:?} is neither dev nor handle")),
        }
    }
    let device = device.ok_or("the card is missing: dev DEV")?;
    let handle = handle.ok_or("the rule is missing: handle N")?;
    Ok((device, handle))
}

/// A new rule, and the network device of its card.
pub(super) fn rule(words: &[String]) -> Result<(String, Terms), String> {
    let (mut device, mut action, mut priority) = (None, None, None);
    let (mut proto, mut family, mut tag) = (None, None, None);
    let (mut from, mut to) = (None, None);
    let mut ports: [Option<Ports>; 2] = [None; 2];
    // Whose port comes: that of the source, or of the destination.
    let mut side = 1;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "allow" => once(&mut action, AclAction::Allow, "allow or deny")?,
            "deny" => once(&mut action, AclAction::Deny, "allow or deny")?,
            "dev" => once(&mut device, next(&mut words, word)?.into(), word)?,
            "prio" => {
                let value = number(next(&mut words, word)?, "priority from 0 to 65535")?;
                once(&mut priority, value, word)?;
            }
            "proto" => once(&mut proto, protocol(next(&mut words, word)?)?, word)?,
            "from" => {
                side = 0;
                once(&mut from, prefix(next(&mut words, word)?)?, word)?;
            }
            "to" => {
                side = 1;
                once(&mut to, prefix(next(&mut words, word)?)?, word)?;
            }
            "port" => {
                let value = next(&mut words, word)?.parse()?;
                once(&mut ports[side], value, word)?;
            }
            "family" => {
                let value = match next(&mut words, word)? {
                    "inet" => 4,
                    "inet6" => 6,
                    other => return Err(format!("{other:?} is neither inet nor inet6")),
                };
                once(&mut family, value, word)?;
            }
            "vlan" => once(&mut tag, vlan(next(&mut words, word)?)?, word)?,
            other => return Err(format!("{other:?} is no word of a rule")),
        }
    }
    let device = device.ok_or("the card is missing: dev DEV")?;
    let action = action.ok_or("what becomes of frames is missing: allow or deny")?;
    let (from, to) = (from.flatten(), to.flatten());
    let terms = Terms {
        priority,
        protocol: proto,
        family,
        source: from.map(|prefix| prefix.address),
        source_len: from.map(|prefix| prefix.length),
        destination: to.map(|prefix| prefix.address),
        destination_len: to.map(|prefix| prefix.length),
        source_port_first: ports[0].map(|ports| ports.first),
        source_port_last: ports[0].map(|ports| ports.last),
        destination_port_first: ports[1].map(|ports| ports.first),
        destination_port_last: ports[1].map(|ports| ports.last),
        vlan: tag.flatten(),
        untagged: tag == Some(None),
        ..Terms::new(action)
    };
    Ok((device, terms))
}

/// What a frame must match, in the same words.
pub(super) fn matches(terms: &Terms) -> String {
    let mut all = Vec::new();
    let addresses = terms.source.or(terms.destination);
    match terms.family {
        _ if addresses.is_some() => {}
        Some(4) => all.push("family inet".to_string()),
        Some(6) => all.push("family inet6".to_string()),
        _ => {}
    }
    if let Some(number) = terms.protocol {
        let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
        all.push(match known {
            Some((name, _)) => format!("proto {name}"),
            None => format!("proto {number}"),
        });
    }
    let sides = [
        (
            "from",
            terms.source,
            terms.source_len,
            terms.source_port_first,
            terms.source_port_last,
        ),
        (
            "to",
            terms.destination,
            terms.destination_len,
            terms.destination_port_first,
            terms.destination_port_last,
        ),
    ];
    for (word, address, length, first, last) in sides {
        match address {
            Some(address) => all.push(format!("{word} {}", Prefix::new(address, length))),
            None if first.is_some() => all.push(format!("{word} any")),
            None => {}
        }
        if let Some(first) = first {
            let last = last.unwrap_or(first);
            all.push(format!("port {}", Ports { first, last }));
        }
    }
    match (terms.vlan, terms.untagged) {
        (Some(id), _) => all.push(format!("vlan {id}")),
        (None, true) => all.push("vlan none".into()),
        (None, false) => {}
    }
    match all.is_empty() {
        true => "all".into(),
        false => all.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in [
            "all",
            "family inet",
            "family inet6 proto icmpv6",
            "proto tcp from 192.0.2.0/24 to any port 80-90",
            "proto udp from any port 53",
            "proto sctp from 2001:db8::/32 port 1-2 to ::1 port 3 vlan 4094",
            "proto 89 to 224.0.0.5",
            "vlan none",
        ] {
            let line = match text {
                "all" => "dev nic0 deny".to_string(),
                text => format!("dev nic0 deny prio 0 {text}"),
            };
            let (device, terms) = rule(&split(&line)).unwrap();
            assert_eq!(device, "nic0");
            assert_eq!(matches(&terms), text);
        }
    }

    #[test]
    fn a_port_is_that_of_what_stands_before_it() {
        let (_, terms) = rule(&split("deny dev a proto tcp port 80")).unwrap();
        assert_eq!(
            (terms.source_port_first, terms.destination_port_first),
            (None, Some(80))
        );
        let (_, terms) = rule(&split("allow dev a proto 6 from any port 80-81")).unwrap();
        assert_eq!(
            (terms.source_port_last, terms.destination_port_last),
            (Some(81), None)
        );
        assert_eq!(terms.action, AclAction::Allow);
    }

    #[test]
    fn mistakes_are_told() {
        for (line, words) in [
            ("deny", "dev DEV"),
            ("dev nic0", "allow or deny"),
            ("dev nic0 allow deny", "twice"),
            ("dev nic0 deny from", "nothing stands behind"),
            ("dev nic0 deny from 10.0.0.1/8", "did you mean"),
            ("dev nic0 deny to fe80::/129", "prefix length"),
            ("dev nic0 deny proto tcpp", "no protocol"),
            ("dev nic0 deny proto 256", "no protocol"),
            ("dev nic0 deny prio 65536", "no priority"),
            ("dev nic0 deny prio -1", "no priority"),
            ("dev nic0 deny port 0", "no port"),
            ("dev nic0 deny port 9-8", "ends before"),
            ("dev nic0 deny port 1 port 2", "twice"),
            ("dev nic0 deny vlan 4095", "no VLAN id"),
            ("dev nic0 deny vlan 0", "no VLAN id"),
            ("dev nic0 deny family unix", "neither inet"),
            ("dev nic0 deny everything", "no word"),
            ("dev nic0 dev nic1 deny", "twice"),
        ] {
            let mistake = rule(&split(line)).unwrap_err();
            assert!(mistake.contains(words), "{line}: {mistake}");
        }
    }

    #[test]
    fn cards_and_handles() {
        assert_eq!(handle(&split("handle 7 dev a")), Ok(("a".into(), 7)));
        for line in [
            "dev a",
            "handle 1",
            "dev a handle 0",
            "dev a handle x",
            "dev a handle 1 2",
        ] {
            assert!(handle(&split(line)).is_err(), "{line}");
        }
        assert_eq!(device(&split("dev a"), true), Ok(Some("a".into())));
        assert_eq!(device(&[], false), Ok(None));
        for line in ["", "a", "dev", "dev a dev b"] {
            assert!(device(&split(line), true).is_err(), "{line}");
        }
    }
}
