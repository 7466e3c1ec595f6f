// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The number of the family, and of its multicast groups, which the kernel gives out anew each time the
//! module is loaded.

use netlink_packet_generic::{
    constants::{
        CTRL_ATTR_FAMILY_ID, CTRL_ATTR_MCAST_GROUPS, CTRL_ATTR_MCAST_GRP_ID,
        CTRL_ATTR_MCAST_GRP_NAME,
    },
    ctrl::{nlas::GenlCtrlAttrs, GenlCtrl, GenlCtrlCmd},
    GenlMessage,
};

use super::{
    attribute::{attributes, required},
    uapi, Error,
};

/// What the kernel says of the family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Family {
    /// Type of its messages.
    pub id: u16,
    /// Names and numbers of its multicast groups.
    pub groups: Vec<(String, u32)>,
}

impl Family {
    /// The question for it.
    pub fn question() -> GenlMessage<GenlCtrl> {
        GenlMessage::from_payload(GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName(uapi::FAMILY_NAME.into())],
        })
    }

    /// Reads the answer.
    ///
    /// This is not left to `netlink_packet_generic`, which refuses attributes that it does not know: those
    /// of later kernels.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut id = None;
        let mut groups = Vec::new();
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                CTRL_ATTR_FAMILY_ID => id = Some(attribute.u16()?),
                CTRL_ATTR_MCAST_GROUPS => {
                    for group in attributes(attribute.nested()) {
                        groups.push(parse_group(group?.nested())?);
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            id: required(id, "family-id")?,
            groups,
        })
    }

    /// Number of the group `name`.
    pub fn group(&self, name: &'static str) -> Result<u32, Error> {
        let found = self.groups.iter().find(|(group, _)| group == name);
        found.map(|(_, id)| *id).ok_or(Error::NoGroup(name))
    }
}

fn parse_group(bytes: &[u8]) -> Result<(String, u32), Error> {
    let (mut name, mut id) = (None, None);
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        match attribute.kind() {
            CTRL_ATTR_MCAST_GRP_NAME => name = Some(attribute.string()?),
            CTRL_ATTR_MCAST_GRP_ID => id = Some(attribute.u32()?),
            _ => {}
        }
    }
    Ok((required(name, "name")?, required(id, "id")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::packet;

    #[test]
    fn the_question_byte_by_byte() {
        let bytes = packet::encode(Family::question(), 5, 1);
        let mut expected = vec![36, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([3, 2, 0, 0, 13, 0, 2, 0]);
        expected.extend(b"acceltcp\0\0\0\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_answer_byte_by_byte() {
        let mut bytes = vec![13, 0, 2, 0];
        bytes.extend(b"acceltcp\0\0\0\0");
        bytes.extend([6, 0, 1, 0, 0x23, 0, 0, 0]);
        bytes.extend([8, 0, 99, 0, 1, 2, 3, 4]); // not known
        bytes.extend([28, 0, 7, 0x80, 24, 0, 1, 0x80]);
        bytes.extend([8, 0, 2, 0, 9, 0, 0, 0, 12, 0, 1, 0]);
        bytes.extend(b"devices\0");
        let family = Family::parse(&bytes).unwrap();
        assert_eq!(family.id, 0x23);
        assert_eq!(family.group("devices").unwrap(), 9);
        assert!(matches!(
            family.group("others"),
            Err(Error::NoGroup("others"))
        ));
    }

    #[test]
    fn a_family_has_a_number() {
        assert!(Family::parse(&[]).is_err());
        assert!(Family::parse(&[5, 0, 1, 0, 1, 0, 0, 0]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Family::parse(&bytes);
        }
    }
}
