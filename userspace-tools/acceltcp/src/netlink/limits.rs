// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Limits of what cards are given.

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::Connection,
    uapi,
    wire::Wire,
    Error,
};

/// The limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Per cent of a card's table of connections, and of pairs, from which on it gets no new ones.
    pub sram_high: u32,
    /// Per cent below which it gets them again.
    pub sram_low: u32,
}

impl Limits {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut sram_high, mut sram_low) = (None, None);
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_LIMITS_SRAM_HIGH => sram_high = Some(attribute.u32()?),
                uapi::ACCELTCP_A_LIMITS_SRAM_LOW => sram_low = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            sram_high: required(sram_high, "sram-high")?,
            sram_low: required(sram_low, "sram-low")?,
        })
    }
}

/// The limits as they are.
pub fn limits<W: Wire>(connection: &mut Connection<W>) -> Result<Limits, Error> {
    let answers = connection.request(uapi::ACCELTCP_CMD_LIMITS_GET, &Attributes::new())?;
    let answer = answers.first();
    let answer = answer.ok_or_else(|| Error::malformed("no answer to limits-get"))?;
    Limits::parse(&answer.attributes)
}

/// Changes those that are given; one must be.
pub fn set<W: Wire>(
    connection: &mut Connection<W>,
    sram_high: Option<u32>,
    sram_low: Option<u32>,
) -> Result<(), Error> {
    let request = Attributes::new()
        .u32(uapi::ACCELTCP_A_LIMITS_SRAM_HIGH, sram_high)
        .u32(uapi::ACCELTCP_A_LIMITS_SRAM_LOW, sram_low);
    let command = uapi::ACCELTCP_CMD_LIMITS_SET;
    connection.request(command, &request).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::u32_of;

    #[test]
    fn both_limits_or_an_error() {
        let bytes = [u32_of(1, 95), u32_of(2, 90), u32_of(9, 1)].concat();
        let limits = Limits::parse(&bytes).unwrap();
        assert_eq!((limits.sram_high, limits.sram_low), (95, 90));
        assert!(Limits::parse(&bytes[..8]).is_err());
    }
}
