// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the family tells of by itself.

use serde::Serialize;

use super::{
    attribute::{attributes, required},
    connection::Object,
    device::Device,
    pair::End,
    uapi, Error, Packet, SpliceReason,
};

/// A table of a card has crossed a limit.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Watermark {
    /// Number of the card's network device.
    pub ifindex: u32,
    /// What is in the table.
    pub table: String,
    /// Whether new ones stay with the host now.
    pub above: bool,
    /// Entries in use.
    pub used: u32,
    /// Entries that there are.
    pub capacity: u32,
}

impl Watermark {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut table, mut used, mut capacity) = (None, None, None, None);
        let mut above = false;
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_WATERMARK_IFINDEX => ifindex = Some(attribute.u32()?),
                uapi::ACCELTCP_A_WATERMARK_TABLE => table = Some(attribute.string()?),
                uapi::ACCELTCP_A_WATERMARK_ABOVE => above = attribute.flag()?,
                uapi::ACCELTCP_A_WATERMARK_USED => used = Some(attribute.u32()?),
                uapi::ACCELTCP_A_WATERMARK_CAPACITY => capacity = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            ifindex: required(ifindex, "ifindex")?,
            table: required(table, "table")?,
            above,
            used: required(used, "used")?,
            capacity: required(capacity, "capacity")?,
        })
    }
}

/// A spliced pair is one no more.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Splice {
    /// Number of the card's network device.
    pub ifindex: u32,
    /// Number that it had on the card.
    pub id: u32,
    /// Its connections.
    pub ends: Vec<End>,
    /// What became of it.
    pub reason: SpliceReason,
    /// Bytes that came from the peer of each connection.
    pub bytes: Vec<u64>,
    /// The same in segments; none when the host has the connections back.
    pub segments: Vec<u64>,
}

impl Splice {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut id, mut reason) = (None, None, None);
        let (mut ends, mut bytes_of, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_SPLICE_IFINDEX => ifindex = Some(attribute.u32()?),
                uapi::ACCELTCP_A_SPLICE_ID => id = Some(attribute.u32()?),
                uapi::ACCELTCP_A_SPLICE_END => ends.push(End::parse(attribute.nested())?),
                uapi::ACCELTCP_A_SPLICE_REASON => reason = Some(attribute.u32()?.into()),
                uapi::ACCELTCP_A_SPLICE_BYTES => bytes_of.push(attribute.uint()?),
                uapi::ACCELTCP_A_SPLICE_SEGMENTS => segments.push(attribute.uint()?),
                _ => {}
            }
        }
        for (what, count) in [
            ("ends", ends.len()),
            ("numbers of bytes", bytes_of.len()),
            ("numbers of segments", segments.len()),
        ] {
            if count > 2 {
                return Err(Error::malformed(format_args!("a pair has {count} {what}")));
            }
        }
        Ok(Self {
            ifindex: required(ifindex, "ifindex")?,
            id: required(id, "id")?,
            ends,
            reason: required(reason, "reason")?,
            bytes: bytes_of,
            segments,
        })
    }
}

/// What a notification is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notification {
    /// A card has come, or changed its state.
    Device(Box<Device>),
    /// A table of a card has crossed a limit.
    Watermark(Watermark),
    /// A spliced pair is one no more.
    Splice(Splice),
}

/// Reads a notification; none if this version does not know it.
pub fn notified(packet: &Packet) -> Result<Option<Notification>, Error> {
    let attributes = &packet.attributes;
    Ok(Some(match packet.command {
        uapi::ACCELTCP_CMD_DEVICE_NTF => Notification::Device(Box::new(Device::parse(attributes)?)),
        uapi::ACCELTCP_CMD_WATERMARK_NTF => Notification::Watermark(Watermark::parse(attributes)?),
        uapi::ACCELTCP_CMD_SPLICE_NTF => Notification::Splice(Splice::parse(attributes)?),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{attribute, nest, text, u32_of};

    fn packet(command: u8, attributes: &[Vec<u8>]) -> Packet {
        Packet {
            command,
            attributes: attributes.concat(),
        }
    }

    #[test]
    fn a_watermark() {
        let mut of = vec![
            u32_of(1, 3),
            text(2, "flows"),
            u32_of(4, 96),
            u32_of(5, 100),
        ];
        let command = uapi::ACCELTCP_CMD_WATERMARK_NTF;
        let read = |of: &[Vec<u8>]| match notified(&packet(command, of)) {
            Ok(Some(Notification::Watermark(found))) => found,
            other => panic!("{other:?}"),
        };
        let below = read(&of);
        assert_eq!((below.table.as_str(), below.above), ("flows", false));
        assert_eq!((below.ifindex, below.used, below.capacity), (3, 96, 100));
        of.push(attribute(3, &[]));
        assert!(read(&of).above);
        assert!(notified(&packet(command, &of[1..])).is_err());
    }

    #[test]
    fn the_end_of_a_pair() {
        let end = [
            attribute(1, &[10, 0, 0, 1]),
            attribute(2, &80u16.to_ne_bytes()),
            attribute(3, &[10, 0, 0, 9]),
            attribute(4, &4000u16.to_ne_bytes()),
        ]
        .concat();
        let of = [
            u32_of(1, 3),
            u32_of(2, 17),
            nest(3, &end),
            nest(3, &end),
            u32_of(4, uapi::ACCELTCP_PAIR_END_RESET),
            u32_of(5, 100),
            attribute(5, &u64::MAX.to_ne_bytes()),
            u32_of(6, 1),
            u32_of(6, 2),
        ];
        let command = uapi::ACCELTCP_CMD_SPLICE_NTF;
        let Ok(Some(Notification::Splice(found))) = notified(&packet(command, &of)) else {
            panic!()
        };
        assert_eq!((found.ifindex, found.id), (3, 17));
        assert_eq!(found.ends[1].remote().to_string(), "10.0.0.9:4000");
        assert_eq!(found.reason, SpliceReason::Reset);
        assert_eq!(
            (found.bytes, found.segments),
            (vec![100, u64::MAX], vec![1, 2])
        );
        let three = [&of[..], &[u32_of(6, 3)]].concat();
        assert!(notified(&packet(command, &three)).is_err());
    }

    #[test]
    fn others_are_left_out() {
        let other = packet(uapi::ACCELTCP_CMD_POLICY_GET, &[]);
        assert_eq!(notified(&other).unwrap(), None);
    }
}
