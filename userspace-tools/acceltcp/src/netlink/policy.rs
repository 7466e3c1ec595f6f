// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of the policy.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object},
    names::{Offloads, Reason},
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
    /// Number of the device that the socket is bound to.
    pub ifindex: Option<u32>,
    /// User that has made the socket.
    pub uid: Option<u32>,
    /// Number of the cgroup that it was made in, or below.
    pub cgroup: Option<u64>,
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
                uapi::ACCELTCP_A_POLICY_IFINDEX => terms.ifindex = number()?,
                uapi::ACCELTCP_A_POLICY_UID => terms.uid = number()?,
                uapi::ACCELTCP_A_POLICY_CGROUP => terms.cgroup = Some(attribute.u64()?),
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
            .u32(uapi::ACCELTCP_A_POLICY_IFINDEX, self.ifindex)
            .u32(uapi::ACCELTCP_A_POLICY_UID, self.uid)
            .u64(uapi::ACCELTCP_A_POLICY_CGROUP, self.cgroup)
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

/// Removes all rules.
pub fn flush<W: Wire>(connection: &mut Connection<W>) -> Result<(), Error> {
    let command = uapi::ACCELTCP_CMD_POLICY_FLUSH;
    connection.request(command, &Attributes::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            priority: Some(10),
            port_first: Some(80),
            port_last: Some(81),
            address: Some(IpAddr::from([10, 0, 0, 0])),
            prefix_len: Some(8),
            ifindex: Some(2),
            uid: Some(33),
            cgroup: Some(0x1_0000_0002),
            offloads: Offloads::SETUP | Offloads::TEARDOWN,
            max_data: Some(1460),
        }
    }

    #[rustfmt::skip]
    const TERMS: [u8; 84] = [
        8, 0, 2, 0, 10, 0, 0, 0, // priority
        6, 0, 3, 0, 80, 0, 0, 0, // port-first
        6, 0, 4, 0, 81, 0, 0, 0, // port-last
        8, 0, 5, 0, 10, 0, 0, 0, // address
        5, 0, 6, 0, 8, 0, 0, 0, // prefix-len
        8, 0, 7, 0, 2, 0, 0, 0, // ifindex
        8, 0, 8, 0, 33, 0, 0, 0, // uid
        12, 0, 9, 0, 2, 0, 0, 0, 1, 0, 0, 0, // cgroup
        8, 0, 10, 0, 3, 0, 0, 0, // offloads
        8, 0, 11, 0, 0xb4, 5, 0, 0, // max-data
    ];

    #[test]
    fn terms_byte_by_byte_both_ways() {
        assert_eq!(terms().attributes().encode(), TERMS);
        let more = [
            8, 0, 1, 0, 4, 0, 0, 0, 8, 0, 12, 0, 1, 0, 0, 0, 8, 0, 13, 0, 2, 0, 0, 0, 8, 0, 14, 0,
            3, 0, 0, 0, 8, 0, 15, 0, 6, 0, 0, 0,
        ];
        let rule = Rule::parse(&[&TERMS[..], &more].concat()).unwrap();
        assert_eq!(rule.terms, terms());
        assert_eq!(
            (rule.id, rule.listeners, rule.hits, rule.refused),
            (4, 1, 2, 3)
        );
        assert_eq!(rule.last_reason, Some(Reason::Mptcp));
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
            all in proptest::collection::vec((0_u16..17, proptest::collection::vec(proptest::num::u8::ANY, 0..17)), 0..12)
        ) {
            let bytes: Vec<u8> = all.iter().flat_map(|(kind, value)| crate::netlink::testing::attribute(*kind, value)).collect();
            let _ = Rule::parse(&bytes);
        }
    }
}
