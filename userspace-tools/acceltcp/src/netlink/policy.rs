// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of the policy.

use std::net::IpAddr;

use netlink_packet_core::NLA_HEADER_SIZE;
use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object},
    names::{Offloads, Pending, Reason},
    packet::{Packet, HEADERS},
    uapi,
    wire::Wire,
    Error,
};

/// Priority of a rule that does not say any.
pub const DEFAULT_PRIORITY: u32 = 1000;

/// What a rule says. What is absent matches all sockets.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Terms {
    /// The rule with the smallest one that matches applies.
    pub priority: Option<u32>,
    /// First port.
    pub port_first: Option<u16>,
    /// Last port.
    pub port_last: Option<u16>,
    /// Local address.
    pub address: Option<IpAddr>,
    /// Bits of the address that count; all when absent.
    pub prefix_len: Option<u8>,
    /// Name of the device that the socket is bound to.
    pub device: Option<String>,
    /// User that has made the socket.
    pub uid: Option<u32>,
    /// Path of the cgroup that it was made in, or below.
    pub cgroup: Option<String>,
    /// What matching sockets get.
    pub offloads: Offloads,
    /// Most bytes of data with which a connection is handed over.
    pub max_data: Option<u32>,
}

/// A rule that the kernel has.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Rule {
    /// Its number.
    pub id: u32,
    /// What it says.
    #[serde(flatten)]
    pub terms: Terms,
    /// Listening sockets that follow it now.
    pub listeners: u32,
    /// Listening sockets that it was applied to.
    pub hits: u64,
    /// Listening sockets that it could not be applied to.
    pub refused: u64,
    /// Why that was so the last time.
    pub last_reason: Option<Reason>,
    /// What it names that is not there.
    pub pending: Pending,
}

impl Object for Rule {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_POLICY_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut id = None;
        let mut rule = Self {
            id: 0,
            terms: Terms::default(),
            listeners: 0,
            hits: 0,
            refused: 0,
            last_reason: None,
            pending: Pending::empty(),
        };
        let terms = &mut rule.terms;
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            let number = || attribute.u32().map(Some);
            match attribute.kind() {
                uapi::ACCELTCP_A_POLICY_ID => id = number()?,
                uapi::ACCELTCP_A_POLICY_PRIORITY => terms.priority = number()?,
                uapi::ACCELTCP_A_POLICY_PORT_FIRST => terms.port_first = Some(attribute.u16()?),
                uapi::ACCELTCP_A_POLICY_PORT_LAST => terms.port_last = Some(attribute.u16()?),
                uapi::ACCELTCP_A_POLICY_ADDRESS => terms.address = Some(attribute.address()?),
                uapi::ACCELTCP_A_POLICY_PREFIX_LEN => terms.prefix_len = Some(attribute.u8()?),
                uapi::ACCELTCP_A_POLICY_IFNAME => terms.device = Some(attribute.string()?),
                uapi::ACCELTCP_A_POLICY_UID => terms.uid = number()?,
                uapi::ACCELTCP_A_POLICY_CGROUP => terms.cgroup = Some(attribute.string()?),
                uapi::ACCELTCP_A_POLICY_OFFLOADS => {
                    terms.offloads = Offloads::from_bits_retain(attribute.u32()?);
                }
                uapi::ACCELTCP_A_POLICY_MAX_DATA => terms.max_data = number()?,
                uapi::ACCELTCP_A_POLICY_LISTENERS => rule.listeners = attribute.u32()?,
                uapi::ACCELTCP_A_POLICY_HITS => rule.hits = attribute.uint()?,
                uapi::ACCELTCP_A_POLICY_REFUSED => rule.refused = attribute.uint()?,
                uapi::ACCELTCP_A_POLICY_LAST_REASON => {
                    rule.last_reason = Some(attribute.u32()?.into());
                }
                uapi::ACCELTCP_A_POLICY_PENDING => {
                    rule.pending = Pending::from_bits_retain(attribute.u32()?);
                }
                _ => {}
            }
        }
        rule.id = required(id, "id")?;
        Ok(rule)
    }
}

impl Terms {
    fn attributes(&self) -> Attributes {
        Attributes::new()
            .u32(uapi::ACCELTCP_A_POLICY_PRIORITY, self.priority)
            .u16(uapi::ACCELTCP_A_POLICY_PORT_FIRST, self.port_first)
            .u16(uapi::ACCELTCP_A_POLICY_PORT_LAST, self.port_last)
            .address(uapi::ACCELTCP_A_POLICY_ADDRESS, self.address)
            .u8(uapi::ACCELTCP_A_POLICY_PREFIX_LEN, self.prefix_len)
            .string(uapi::ACCELTCP_A_POLICY_IFNAME, self.device.as_deref())
            .u32(uapi::ACCELTCP_A_POLICY_UID, self.uid)
            .string(uapi::ACCELTCP_A_POLICY_CGROUP, self.cgroup.as_deref())
            .u32(uapi::ACCELTCP_A_POLICY_OFFLOADS, Some(self.offloads.bits()))
            .u32(uapi::ACCELTCP_A_POLICY_MAX_DATA, self.max_data)
    }
}

/// All rules, in the order in which they are looked at.
pub fn rules<W: Wire>(connection: &mut Connection<W>) -> anyhow::Result<Vec<Rule>> {
    connection.collect(&Attributes::new())
}

/// Adds a rule; its number comes back.
pub fn add<W: Wire>(connection: &mut Connection<W>, terms: &Terms) -> Result<u32, Error> {
    let answers = connection.request(uapi::ACCELTCP_CMD_POLICY_ADD, &terms.attributes())?;
    let mut id = None;
    for answer in &answers {
        for attribute in attributes(&answer.attributes) {
            let attribute = attribute?;
            if attribute.kind() == uapi::ACCELTCP_A_POLICY_ID {
                id = Some(attribute.u32()?);
            }
        }
    }
    required(id, "id")
}

/// Removes the rule with the number `id`.
pub fn remove<W: Wire>(connection: &mut Connection<W>, id: u32) -> Result<(), Error> {
    let attributes = Attributes::new().u32(uapi::ACCELTCP_A_POLICY_ID, Some(id));
    let command = uapi::ACCELTCP_CMD_POLICY_DEL;
    connection.request(command, &attributes).map(drop)
}

/// What a new set of rules has changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Changes {
    /// Rules that are new.
    pub added: u32,
    /// Rules that are gone.
    pub removed: u32,
    /// Rules that stay, with their numbers, counters and listeners.
    pub unchanged: u32,
}

/// Why the rules were not replaced.
#[derive(Debug)]
pub struct Refusal {
    /// What the kernel says.
    pub error: Error,
    /// Which of the rules it means, from 0.
    pub rule: Option<usize>,
}

/// Replaces all rules in one step; when one is refused, nothing has changed.
pub fn set<'t, W: Wire>(
    connection: &mut Connection<W>,
    rules: impl IntoIterator<Item = &'t Terms>,
) -> Result<Changes, Refusal> {
    let mut attributes = Attributes::new();
    let mut ends = Vec::new();
    let mut end = HEADERS;
    for terms in rules {
        let rule = terms.attributes();
        end += NLA_HEADER_SIZE + rule.encode().len();
        ends.push(end);
        attributes = attributes.nest(uapi::ACCELTCP_A_POLICY_SET_RULE, &rule);
    }
    let done = connection
        .request(uapi::ACCELTCP_CMD_POLICY_SET, &attributes)
        .and_then(|answers| changes(&answers));
    done.map_err(|error| {
        let rule = match &error {
            Error::Refused {
                offset: Some(offset),
                ..
            } => usize::try_from(*offset)
                .ok()
                .filter(|offset| *offset >= HEADERS)
                .and_then(|offset| ends.iter().position(|end| offset < *end)),
            _ => None,
        };
        Refusal { error, rule }
    })
}

fn changes(answers: &[Packet]) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    for answer in answers {
        for attribute in attributes(&answer.attributes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_POLICY_SET_ADDED => changes.added = attribute.u32()?,
                uapi::ACCELTCP_A_POLICY_SET_REMOVED => changes.removed = attribute.u32()?,
                uapi::ACCELTCP_A_POLICY_SET_UNCHANGED => changes.unchanged = attribute.u32()?,
                _ => {}
            }
        }
    }
    Ok(changes)
}

/// Removes all rules.
pub fn flush<W: Wire>(connection: &mut Connection<W>) -> Result<(), Error> {
    let command = uapi::ACCELTCP_CMD_POLICY_FLUSH;
    connection.request(command, &Attributes::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{nest, u32_of, Said, Script};

    fn terms() -> Terms {
        Terms {
            priority: Some(10),
            port_first: Some(80),
            port_last: Some(81),
            address: Some(IpAddr::from([10, 0, 0, 0])),
            prefix_len: Some(8),
            device: Some("nic0".into()),
            uid: Some(33),
            cgroup: Some("/a.slice".into()),
            offloads: Offloads::SETUP | Offloads::TEARDOWN,
            max_data: Some(1460),
        }
    }

    #[rustfmt::skip]
    const TERMS: [u8; 92] = [
        8, 0, 2, 0, 10, 0, 0, 0, // priority
        6, 0, 3, 0, 80, 0, 0, 0, // port-first
        6, 0, 4, 0, 81, 0, 0, 0, // port-last
        8, 0, 5, 0, 10, 0, 0, 0, // address
        5, 0, 6, 0, 8, 0, 0, 0, // prefix-len
        9, 0, 7, 0, b'n', b'i', b'c', b'0', 0, 0, 0, 0, // ifname
        8, 0, 8, 0, 33, 0, 0, 0, // uid
        13, 0, 9, 0, b'/', b'a', b'.', b's', b'l', b'i', b'c', b'e', 0, 0, 0, 0, // cgroup
        8, 0, 10, 0, 3, 0, 0, 0, // offloads
        8, 0, 11, 0, 0xb4, 5, 0, 0, // max-data
    ];

    #[test]
    fn terms_byte_by_byte_both_ways() {
        assert_eq!(terms().attributes().encode(), TERMS);
        let more = [
            8, 0, 1, 0, 4, 0, 0, 0, 8, 0, 12, 0, 1, 0, 0, 0, 8, 0, 13, 0, 2, 0, 0, 0, 8, 0, 14, 0,
            3, 0, 0, 0, 8, 0, 15, 0, 6, 0, 0, 0, 8, 0, 16, 0, 2, 0, 0, 0,
        ];
        let rule = Rule::parse(&[&TERMS[..], &more].concat()).unwrap();
        assert_eq!(rule.terms, terms());
        assert_eq!(
            (rule.id, rule.listeners, rule.hits, rule.refused),
            (4, 1, 2, 3)
        );
        assert_eq!(rule.last_reason, Some(Reason::Mptcp));
        assert_eq!(rule.pending, Pending::CGROUP);
    }

    #[test]
    fn a_set_byte_by_byte_and_which_rule_is_refused() {
        let answer = [u32_of(2, 1), u32_of(3, 2), u32_of(4, 3)].concat();
        let refused = |offset| {
            let ack = [
                &(-libc::EINVAL).to_ne_bytes()[..],
                &[0; 16],
                &u32_of(2, offset),
            ];
            Said::Refused(ack.concat())
        };
        let script = Script::new([
            Said::Packet(uapi::ACCELTCP_CMD_POLICY_SET, 0, answer),
            Said::Ack(0),
            refused(20),
            refused(20 + 4 + 92),
            refused(4),
            refused(1000),
        ]);
        let sent = std::rc::Rc::default();
        let script = script.recording(std::rc::Rc::clone(&sent));
        let mut connection = Connection::with(script).unwrap();
        let all = [terms(), Terms::default()];
        let changes = set(&mut connection, &all).unwrap();
        assert_eq!(
            (changes.added, changes.removed, changes.unchanged),
            (1, 2, 3)
        );
        let plain = Terms::default().attributes().encode();
        let want = [nest(1, &TERMS), nest(1, &plain)].concat();
        assert_eq!(sent.borrow()[0][16..20], [21, 1, 0, 0]);
        assert_eq!(sent.borrow()[0][20..], want);
        for rule in [Some(0), Some(1), None, None] {
            assert_eq!(set(&mut connection, &all).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn a_rule_for_all_says_only_what_they_get() {
        let bytes = Terms::default().attributes().encode();
        assert_eq!(bytes, [8, 0, 10, 0, 0, 0, 0, 0]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Rule::parse(&bytes);
        }

        #[test]
        fn whatever_the_attributes_it_is_read_or_refused(
            all in proptest::collection::vec((0_u16..18, proptest::collection::vec(proptest::num::u8::ANY, 0..17)), 0..12)
        ) {
            let bytes: Vec<u8> = all.iter().flat_map(|(kind, value)| crate::netlink::testing::attribute(*kind, value)).collect();
            let _ = Rule::parse(&bytes);
        }
    }
}
