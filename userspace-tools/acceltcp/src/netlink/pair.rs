// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Spliced pairs of connections.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object, Snapshot, Step},
    uapi,
    wire::Wire,
    Error,
};

/// Two spliced connections.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Pair {
    /// Number of the card's network device.
    pub ifindex: u32,
    /// Number on the card.
    pub id: u32,
    /// The connections, two at most: one is told as long as its socket is open, which that of a detached pair is not.
    pub ends: Vec<End>,
}

/// One of the connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct End {
    /// Local address.
    pub local: IpAddr,
    /// Local port.
    pub local_port: u16,
    /// The peer's address.
    pub remote: IpAddr,
    /// The peer's port.
    pub remote_port: u16,
}

impl End {
    /// Local address and port.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.local_port)
    }

    /// The peer's address and port.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote, self.remote_port)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut local, mut local_port, mut remote, mut remote_port) = (None, None, None, None);
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_CONNECTION_LOCAL => local = Some(attribute.address()?),
                uapi::ACCELTCP_A_CONNECTION_LOCAL_PORT => local_port = Some(attribute.u16()?),
                uapi::ACCELTCP_A_CONNECTION_REMOTE => remote = Some(attribute.address()?),
                uapi::ACCELTCP_A_CONNECTION_REMOTE_PORT => remote_port = Some(attribute.u16()?),
                _ => {}
            }
        }
        Ok(Self {
            local: required(local, "local")?,
            local_port: required(local_port, "local-port")?,
            remote: required(remote, "remote")?,
            remote_port: required(remote_port, "remote-port")?,
        })
    }
}

impl Object for Pair {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_PAIR_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut id) = (None, None);
        let mut ends = Vec::with_capacity(2);
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_PAIR_IFINDEX => ifindex = Some(attribute.u32()?),
                uapi::ACCELTCP_A_PAIR_ID => id = Some(attribute.u32()?),
                uapi::ACCELTCP_A_PAIR_END => ends.push(End::parse(attribute.nested())?),
                _ => {}
            }
        }
        if ends.len() > 2 {
            let count = ends.len();
            return Err(Error::malformed(format_args!("a pair has {count} ends")));
        }
        Ok(Self {
            ifindex: required(ifindex, "ifindex")?,
            id: required(id, "id")?,
            ends,
        })
    }
}

/// Tells of the pairs of all cards, or of the one with the number `ifindex`, one by one.
pub fn each_pair<W: Wire>(
    connection: &mut Connection<W>,
    ifindex: Option<u32>,
    each: impl FnMut(Step<Pair>) -> anyhow::Result<()>,
) -> anyhow::Result<Snapshot> {
    let filter = Attributes::new().u32(uapi::ACCELTCP_A_PAIR_IFINDEX, ifindex);
    connection.dump(&filter, each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{nest, u32_of};

    const END: [u8; 32] = [
        8, 0, 1, 0, 10, 0, 0, 1, 6, 0, 2, 0, 0x90, 0x1f, 0, 0, // local
        8, 0, 3, 0, 10, 0, 0, 9, 6, 0, 4, 0, 0x34, 0x12, 0, 0, // remote
    ];

    #[test]
    fn a_pair_has_two_ends_at_most() {
        let two = [u32_of(1, 3), u32_of(2, 77), nest(3, &END), nest(3, &END)].concat();
        let pair = Pair::parse(&two).unwrap();
        assert_eq!((pair.ifindex, pair.id), (3, 77));
        assert_eq!(pair.ends[0].local().to_string(), "10.0.0.1:8080");
        assert_eq!(pair.ends[1].remote().to_string(), "10.0.0.9:4660");
        let of = |count| {
            let ends: Vec<u8> = (0..count).flat_map(|_| nest(3, &END)).collect();
            Pair::parse(&[u32_of(1, 3), u32_of(2, 77), ends].concat())
        };
        for count in 0..3 {
            assert_eq!(of(count).unwrap().ends.len(), count);
        }
        let error = of(3).unwrap_err().to_string();
        assert!(error.ends_with("a pair has 3 ends"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Pair::parse(&bytes);
            let _ = End::parse(&bytes);
        }
    }
}
