// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of access lists.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attribute, Attributes},
    connection::{Connection, Object},
    names::{AclAction, AclOrigin},
    uapi,
    wire::Wire,
    Error,
};

/// What a rule says. What is absent matches all frames.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Terms {
    /// The rule with the smallest one that matches applies; 1000 for a new one that does not say any.
    pub priority: Option<u16>,
    /// What becomes of a frame.
    pub action: AclAction,
    /// Protocol of IPv4, or last next header of IPv6.
    pub protocol: Option<u8>,
    /// Version of IP: 4 or 6.
    pub family: Option<u8>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Bits of it that count.
    pub source_len: Option<u8>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Bits of it that count.
    pub destination_len: Option<u8>,
    /// First source port.
    pub source_port_first: Option<u16>,
    /// Last source port.
    pub source_port_last: Option<u16>,
    /// First destination port.
    pub destination_port_first: Option<u16>,
    /// Last destination port.
    pub destination_port_last: Option<u16>,
    /// Outer VLAN id.
    pub vlan: Option<u16>,
    /// Only frames without a tag.
    pub untagged: bool,
}

/// A rule that a card has.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Rule {
    /// Number of the card's network device.
    pub ifindex: u32,
    /// Its number.
    pub handle: u32,
    /// What it says.
    #[serde(flatten)]
    pub terms: Terms,
    /// Frames that it has decided about.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Who has made it.
    pub origin: AclOrigin,
}

impl Terms {
    /// What becomes of all frames.
    pub fn new(action: AclAction) -> Self {
        Self {
            priority: None,
            action,
            protocol: None,
            family: None,
            source: None,
            source_len: None,
            destination: None,
            destination_len: None,
            source_port_first: None,
            source_port_last: None,
            destination_port_first: None,
            destination_port_last: None,
            vlan: None,
            untagged: false,
        }
    }

    fn attributes(&self, ifindex: u32) -> Attributes {
        Attributes::new()
            .u32(uapi::ACCELTCP_A_ACL_IFINDEX, Some(ifindex))
            .u16(uapi::ACCELTCP_A_ACL_PRIORITY, self.priority)
            .u32(uapi::ACCELTCP_A_ACL_ACTION, Some(self.action.number()))
            .u8(uapi::ACCELTCP_A_ACL_PROTOCOL, self.protocol)
            .u8(uapi::ACCELTCP_A_ACL_FAMILY, self.family)
            .address(uapi::ACCELTCP_A_ACL_SOURCE, self.source)
            .u8(uapi::ACCELTCP_A_ACL_SOURCE_LEN, self.source_len)
            .address(uapi::ACCELTCP_A_ACL_DESTINATION, self.destination)
            .u8(uapi::ACCELTCP_A_ACL_DESTINATION_LEN, self.destination_len)
            .u16(
                uapi::ACCELTCP_A_ACL_SOURCE_PORT_FIRST,
                self.source_port_first,
            )
            .u16(uapi::ACCELTCP_A_ACL_SOURCE_PORT_LAST, self.source_port_last)
            .u16(
                uapi::ACCELTCP_A_ACL_DESTINATION_PORT_FIRST,
                self.destination_port_first,
            )
            .u16(
                uapi::ACCELTCP_A_ACL_DESTINATION_PORT_LAST,
                self.destination_port_last,
            )
            .u16(uapi::ACCELTCP_A_ACL_VLAN, self.vlan)
            .flag(uapi::ACCELTCP_A_ACL_UNTAGGED, self.untagged)
    }

    /// Takes an attribute, if it is one of these.
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), Error> {
        let byte = || attribute.u8().map(Some);
        let number = || attribute.u16().map(Some);
        let address = || attribute.address().map(Some);
        match attribute.kind() {
            uapi::ACCELTCP_A_ACL_PRIORITY => self.priority = number()?,
            uapi::ACCELTCP_A_ACL_ACTION => self.action = attribute.u32()?.into(),
            uapi::ACCELTCP_A_ACL_PROTOCOL => self.protocol = byte()?,
            uapi::ACCELTCP_A_ACL_FAMILY => self.family = byte()?,
            uapi::ACCELTCP_A_ACL_SOURCE => self.source = address()?,
            uapi::ACCELTCP_A_ACL_SOURCE_LEN => self.source_len = byte()?,
            uapi::ACCELTCP_A_ACL_DESTINATION => self.destination = address()?,
            uapi::ACCELTCP_A_ACL_DESTINATION_LEN => self.destination_len = byte()?,
            uapi::ACCELTCP_A_ACL_SOURCE_PORT_FIRST => self.source_port_first = number()?,
            uapi::ACCELTCP_A_ACL_SOURCE_PORT_LAST => self.source_port_last = number()?,
            uapi::ACCELTCP_A_ACL_DESTINATION_PORT_FIRST => self.destination_port_first = number()?,
            uapi::ACCELTCP_A_ACL_DESTINATION_PORT_LAST => self.destination_port_last = number()?,
            uapi::ACCELTCP_A_ACL_VLAN => self.vlan = number()?,
            uapi::ACCELTCP_A_ACL_UNTAGGED => self.untagged = attribute.flag()?,
            _ => {}
        }
        Ok(())
    }
}

impl Object for Rule {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_ACL_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut handle, mut action) = (None, None, None);
        let mut rule = Self {
            ifindex: 0,
            handle: 0,
            terms: Terms::new(AclAction::Unknown(0)),
            frames: 0,
            bytes: 0,
            origin: AclOrigin::Operator,
        };
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            rule.terms.take(&attribute)?;
            match attribute.kind() {
                uapi::ACCELTCP_A_ACL_IFINDEX => ifindex = Some(attribute.u32()?),
                uapi::ACCELTCP_A_ACL_HANDLE => handle = Some(attribute.u32()?),
                uapi::ACCELTCP_A_ACL_ACTION => action = Some(attribute.u32()?),
                uapi::ACCELTCP_A_ACL_FRAMES => rule.frames = attribute.uint()?,
                uapi::ACCELTCP_A_ACL_BYTES => rule.bytes = attribute.uint()?,
                uapi::ACCELTCP_A_ACL_ORIGIN => rule.origin = attribute.u32()?.into(),
                _ => {}
            }
        }
        rule.ifindex = required(ifindex, "ifindex")?;
        rule.handle = required(handle, "handle")?;
        required(action, "action")?;
        Ok(rule)
    }
}

fn of(ifindex: Option<u32>) -> Attributes {
    Attributes::new().u32(uapi::ACCELTCP_A_ACL_IFINDEX, ifindex)
}

/// The rules of a card, or of all, in the order in which they are looked at.
pub fn rules<W: Wire>(
    connection: &mut Connection<W>,
    ifindex: Option<u32>,
) -> anyhow::Result<Vec<Rule>> {
    connection.collect(&of(ifindex))
}

/// Adds a rule to the list of a card; its handle comes back.
pub fn add<W: Wire>(
    connection: &mut Connection<W>,
    ifindex: u32,
    terms: &Terms,
) -> Result<u32, Error> {
    let command = uapi::ACCELTCP_CMD_ACL_ADD;
    let answers = connection.request(command, &terms.attributes(ifindex))?;
    let mut handle = None;
    for answer in &answers {
        for attribute in attributes(&answer.attributes) {
            let attribute = attribute?;
            if attribute.kind() == uapi::ACCELTCP_A_ACL_HANDLE {
                handle = Some(attribute.u32()?);
            }
        }
    }
    required(handle, "handle")
}

/// Removes a rule.
pub fn remove<W: Wire>(
    connection: &mut Connection<W>,
    ifindex: u32,
    handle: u32,
) -> Result<(), Error> {
    let attributes = of(Some(ifindex)).u32(uapi::ACCELTCP_A_ACL_HANDLE, Some(handle));
    let command = uapi::ACCELTCP_CMD_ACL_DEL;
    connection.request(command, &attributes).map(drop)
}

/// Removes all rules of operators.
pub fn flush<W: Wire>(connection: &mut Connection<W>, ifindex: u32) -> Result<(), Error> {
    let command = uapi::ACCELTCP_CMD_ACL_FLUSH;
    connection.request(command, &of(Some(ifindex))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{attribute, u32_of};

    fn terms() -> Terms {
        Terms {
            priority: Some(10),
            protocol: Some(6),
            family: Some(4),
            source: Some(IpAddr::from([192, 0, 2, 0])),
            source_len: Some(24),
            destination: Some(IpAddr::from([10, 0, 0, 1])),
            destination_len: Some(32),
            source_port_first: Some(1),
            source_port_last: Some(2),
            destination_port_first: Some(80),
            destination_port_last: Some(90),
            vlan: Some(5),
            untagged: true,
            ..Terms::new(AclAction::Deny)
        }
    }

    #[rustfmt::skip]
    const TERMS: [u8; 120] = [
        8, 0, 1, 0, 7, 0, 0, 0, // ifindex
        6, 0, 3, 0, 10, 0, 0, 0, // priority
        8, 0, 4, 0, 2, 0, 0, 0, // action
        5, 0, 5, 0, 6, 0, 0, 0, // protocol
        5, 0, 6, 0, 4, 0, 0, 0, // family
        8, 0, 7, 0, 192, 0, 2, 0, // source
        5, 0, 8, 0, 24, 0, 0, 0, // source-len
        8, 0, 9, 0, 10, 0, 0, 1, // destination
        5, 0, 10, 0, 32, 0, 0, 0, // destination-len
        6, 0, 11, 0, 1, 0, 0, 0, // source-port-first
        6, 0, 12, 0, 2, 0, 0, 0, // source-port-last
        6, 0, 13, 0, 80, 0, 0, 0, // destination-port-first
        6, 0, 14, 0, 90, 0, 0, 0, // destination-port-last
        6, 0, 15, 0, 5, 0, 0, 0, // vlan
        4, 0, 16, 0, // untagged
        4, 0, 99, 0, // of a later version
    ];

    #[test]
    fn terms_byte_by_byte_both_ways() {
        assert_eq!(terms().attributes(7).encode(), TERMS[..116]);
        let more = [
            u32_of(2, 4),
            u32_of(17, 1),
            attribute(18, &(1_u64 << 40).to_ne_bytes()),
            u32_of(19, 1),
        ];
        let rule = Rule::parse(&[&TERMS[..], &more.concat()].concat()).unwrap();
        assert_eq!(rule.terms, terms());
        assert_eq!((rule.ifindex, rule.handle), (7, 4));
        assert_eq!((rule.frames, rule.bytes), (1, 1 << 40));
        assert_eq!(rule.origin, AclOrigin::Tc);
    }

    #[test]
    fn a_rule_for_all_says_only_what_becomes_of_them() {
        let bytes = Terms::new(AclAction::Allow).attributes(1).encode();
        assert_eq!(bytes, [8, 0, 1, 0, 1, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_rule_without_action_is_refused() {
        let bytes = [u32_of(1, 1), u32_of(2, 1)].concat();
        assert!(Rule::parse(&bytes).is_err());
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_attributes_it_is_read_or_refused(
            all in proptest::collection::vec((0_u16..21, proptest::collection::vec(proptest::num::u8::ANY, 0..17)), 0..12)
        ) {
            let bytes: Vec<u8> = all.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect();
            let _ = Rule::parse(&bytes);
        }
    }
}
