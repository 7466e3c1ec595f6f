// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Attributes: reading with checks of every size, and writing.
//!
//! A size is right or an error; nothing is cut or filled up. Only what is unknown is skipped, by those
//! who match on [`Attribute::kind`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DefaultNla, NlasIterator, NLA_F_NESTED, NLA_HEADER_SIZE};

use super::Error;

/// An attribute of a message from the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
}

/// The attributes in `bytes`; the last one may be an error, after which there are none.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Error>> {
    NlasIterator::new(bytes).map(|next| {
        let next = next.map_err(Error::malformed)?;
        let (kind, length) = (next.kind(), usize::from(next.length()));
        match next.into_inner().get(NLA_HEADER_SIZE..length) {
            Some(value) => Ok(Attribute { kind, value }),
            None => Err(Error::malformed(format_args!("attribute {kind} is cut"))),
        }
    })
}

impl<'a> Attribute<'a> {
    /// Its number, without flags.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    fn sized<const N: usize>(&self) -> Result<[u8; N], Error> {
        self.value
            .try_into()
            .map_err(|_| self.wrong(format_args!("{N}")))
    }

    fn wrong(&self, expected: impl std::fmt::Display) -> Error {
        Error::malformed(format_args!(
            "attribute {} has {} bytes, not {expected}",
            self.kind,
            self.value.len()
        ))
    }

    /// A number of 8 bits.
    pub fn u8(&self) -> Result<u8, Error> {
        self.sized().map(u8::from_ne_bytes)
    }

    /// A number of 16 bits, in the host's order.
    pub fn u16(&self) -> Result<u16, Error> {
        self.sized().map(u16::from_ne_bytes)
    }

    /// A number of 32 bits.
    pub fn u32(&self) -> Result<u32, Error> {
        self.sized().map(u32::from_ne_bytes)
    }

    /// A number of 64 bits.
    pub fn u64(&self) -> Result<u64, Error> {
        self.sized().map(u64::from_ne_bytes)
    }

    /// A number of 32 or 64 bits, as the kernel likes (type `uint`).
    pub fn uint(&self) -> Result<u64, Error> {
        match self.value.len() {
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => Err(self.wrong("4 or 8")),
        }
    }

    /// An address of 4 or 16 bytes.
    pub fn address(&self) -> Result<IpAddr, Error> {
        match self.value.len() {
            4 => Ok(Ipv4Addr::from(self.sized::<4>()?).into()),
            16 => Ok(Ipv6Addr::from(self.sized::<16>()?).into()),
            _ => Err(self.wrong("4 or 16")),
        }
    }

    /// Text up to its NUL. What would upset a terminal, or is no UTF-8, is replaced.
    pub fn string(&self) -> Result<String, Error> {
        let text = self.value.strip_suffix(&[0]).unwrap_or(self.value);
        if text.contains(&0) {
            return Err(Error::malformed(format_args!(
                "attribute {} has a NUL within its text",
                self.kind
            )));
        }
        let text = String::from_utf8_lossy(text);
        Ok(text.replace(char::is_control, "\u{fffd}"))
    }

    /// Nothing: its presence says it all.
    pub fn flag(&self) -> Result<bool, Error> {
        self.sized::<0>().map(|_| true)
    }

    /// Attributes within it.
    pub fn nested(&self) -> &'a [u8] {
        self.value
    }
}

/// `value`, or an error that says that the attribute `name` is missing.
pub fn required<T>(value: Option<T>, name: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::malformed(format_args!("there is no attribute {name:?}")))
}

/// Attributes of a request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(Vec<DefaultNla>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number of 8 bits, if there is one.
    pub fn u8(self, kind: u16, value: Option<u8>) -> Self {
        self.bytes(kind, value.map(|value| vec![value]))
    }

    /// Adds a number of 16 bits, if there is one.
    pub fn u16(self, kind: u16, value: Option<u16>) -> Self {
        self.bytes(kind, value.map(|value| value.to_ne_bytes().to_vec()))
    }

    /// Adds a number of 32 bits, if there is one.
    pub fn u32(self, kind: u16, value: Option<u32>) -> Self {
        self.bytes(kind, value.map(|value| value.to_ne_bytes().to_vec()))
    }

    /// Adds text, if there is some.
    pub fn string(self, kind: u16, value: Option<&str>) -> Self {
        self.bytes(kind, value.map(|value| [value.as_bytes(), &[0]].concat()))
    }

    /// Adds an address, if there is one.
    pub fn address(self, kind: u16, value: Option<IpAddr>) -> Self {
        let bytes = value.map(|value| match value {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        });
        self.bytes(kind, bytes)
    }

    /// Adds a flag, if it is set.
    pub fn flag(self, kind: u16, set: bool) -> Self {
        self.bytes(kind, set.then(Vec::new))
    }

    /// Adds attributes within an attribute.
    pub fn nest(self, kind: u16, value: &Attributes) -> Self {
        self.bytes(kind | NLA_F_NESTED, Some(value.encode()))
    }

    fn bytes(mut self, kind: u16, value: Option<Vec<u8>>) -> Self {
        self.0
            .extend(value.map(|value| DefaultNla::new(kind, value)));
        self
    }

    /// As they go over the wire.
    pub fn encode(&self) -> Vec<u8> {
        use netlink_packet_core::Emitable;

        let all = self.0.as_slice();
        let mut bytes = vec![0; all.buffer_len()];
        all.emit(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Result<Attribute<'_>, Error> {
        attributes(bytes).next().unwrap()
    }

    #[test]
    fn numbers_have_their_size_exactly() {
        let bytes = [8, 0, 3, 0, 0x78, 0x56, 0x34, 0x12];
        let attribute = one(&bytes).unwrap();
        assert_eq!(attribute.kind(), 3);
        assert_eq!(attribute.u32().unwrap(), 0x1234_5678);
        assert_eq!(attribute.uint().unwrap(), 0x1234_5678);
        assert!(attribute.u8().is_err() && attribute.u16().is_err());
        assert!(attribute.u64().is_err() && attribute.flag().is_err());
        assert_eq!(
            attribute.u64().unwrap_err().to_string(),
            "the kernel's answer cannot be read: attribute 3 has 4 bytes, not 8"
        );
    }

    #[test]
    fn flags_of_the_type_are_no_part_of_it() {
        let attribute = one(&[4, 0, 6, 0x80]).unwrap();
        assert_eq!(attribute.kind(), 6);
        assert!(attribute.flag().unwrap());
    }

    #[test]
    fn cut_attributes_are_errors() {
        assert!(one(&[9, 0, 3, 0, 1, 2, 3, 4]).is_err());
        assert!(one(&[3, 0, 3, 0]).is_err());
        assert!(one(&[8, 0]).is_err());
    }

    #[test]
    fn text_is_safe_for_terminals() {
        assert_eq!(
            one(b"\x09\x00\x01\x00nic0\0\0\0\0")
                .unwrap()
                .string()
                .unwrap(),
            "nic0"
        );
        assert_eq!(
            one(b"\x07\x00\x01\x00a\x1bb\0").unwrap().string().unwrap(),
            "a\u{fffd}b"
        );
        assert!(one(b"\x08\x00\x01\x00a\0b\0").unwrap().string().is_err());
    }

    #[test]
    fn requests_are_padded() {
        let bytes = Attributes::new()
            .u16(3, Some(80))
            .u8(6, None)
            .address(5, Some(IpAddr::from([10, 0, 0, 1])))
            .encode();
        assert_eq!(bytes, [6, 0, 3, 0, 80, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 1]);
        let bytes = Attributes::new().string(2, Some("lo")).encode();
        assert_eq!(bytes, [7, 0, 2, 0, b'l', b'o', 0, 0]);
        let inner = Attributes::new().u8(6, Some(1));
        let bytes = Attributes::new().nest(1, &inner).encode();
        assert_eq!(bytes, [12, 0, 1, 0x80, 5, 0, 6, 0, 1, 0, 0, 0]);
    }
}
