// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters of the host and of cards.

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object},
    uapi,
    wire::Wire,
    Error,
};

/// A counter.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Counter {
    /// Number of the network device of the card that counts; absent for what the host, or the namespace, counts.
    pub ifindex: Option<u32>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
}

impl Object for Counter {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_COUNTER_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut name, mut value) = (None, None, None);
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_COUNTER_IFINDEX => ifindex = Some(attribute.u32()?),
                uapi::ACCELTCP_A_COUNTER_NAME => name = Some(attribute.string()?),
                uapi::ACCELTCP_A_COUNTER_VALUE => value = Some(attribute.uint()?),
                _ => {}
            }
        }
        Ok(Self {
            ifindex,
            name: required(name, "name")?,
            value: required(value, "value")?,
        })
    }
}

/// The counters of the host, and of all cards or of the one with the number `ifindex`.
pub fn counters<W: Wire>(
    connection: &mut Connection<W>,
    ifindex: Option<u32>,
) -> anyhow::Result<Vec<Counter>> {
    connection.collect(&Attributes::new().u32(uapi::ACCELTCP_A_COUNTER_IFINDEX, ifindex))
}

/// Has the counters of the host, or of the namespace, start from 0 again.
pub fn reset<W: Wire>(connection: &mut Connection<W>) -> Result<(), Error> {
    let command = uapi::ACCELTCP_CMD_COUNTER_RESET;
    connection.request(command, &Attributes::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_4_or_8_bytes() {
        let name = [8, 0, 2, 0, b's', b'y', b'n', 0];
        let short = [&name[..], &[8, 0, 3, 0, 1, 0, 0, 0]].concat();
        let long = [&name[..], &[12, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert_eq!(Counter::parse(&short).unwrap().value, 1);
        assert_eq!(Counter::parse(&long).unwrap().value, 1 << 32);
        let odd = [&name[..], &[10, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert!(Counter::parse(&odd).is_err());
        assert!(Counter::parse(&name).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Counter::parse(&bytes);
        }
    }
}
