// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listening sockets.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object, Snapshot, Step},
    names::{Offloads, Reason},
    uapi,
    wire::Wire,
    Error,
};

/// A listening socket.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Listener {
    /// Local address.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Number of the device that it is bound to.
    pub ifindex: Option<u32>,
    /// User that made the socket.
    pub uid: Option<u32>,
    /// What the application or a rule asks for.
    pub offloads: Offloads,
    /// Why the host sets its connections up.
    pub reason: Reason,
    /// Its rules on all cards.
    pub rules: u32,
    /// Rule of the policy that it follows.
    pub policy: Option<u32>,
    /// The application has asked by itself.
    pub by_application: bool,
}

impl Listener {
    /// Whether a card sets its connections up.
    pub fn is_offloaded(&self) -> bool {
        self.reason == Reason::None && self.offloads.contains(Offloads::SETUP)
    }

    /// Why the host serves it, although somebody asks, or might want to ask, for setup.
    ///
    /// Sockets of Multipath TCP, or with another upper layer protocol, cannot be asked for: their reason is told
    /// without a rule, too.
    pub fn obstacle(&self) -> Option<Reason> {
        match self.reason {
            Reason::None | Reason::NotAsked | Reason::NotListening => None,
            reason => Some(reason),
        }
    }
}

impl Object for Listener {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_LISTENER_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut address, mut port, mut ifindex, mut uid) = (None, None, None, None);
        let (mut offloads, mut reason, mut rules, mut policy) = (None, None, None, None);
        let mut by_application = false;
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            let number = || attribute.u32().map(Some);
            match attribute.kind() {
                uapi::ACCELTCP_A_LISTENER_ADDRESS => address = Some(attribute.address()?),
                uapi::ACCELTCP_A_LISTENER_PORT => port = Some(attribute.u16()?),
                uapi::ACCELTCP_A_LISTENER_IFINDEX => ifindex = number()?,
                uapi::ACCELTCP_A_LISTENER_UID => uid = number()?,
                uapi::ACCELTCP_A_LISTENER_OFFLOADS => offloads = number()?,
                uapi::ACCELTCP_A_LISTENER_REASON => reason = number()?,
                uapi::ACCELTCP_A_LISTENER_RULES => rules = number()?,
                uapi::ACCELTCP_A_LISTENER_POLICY => policy = number()?,
                uapi::ACCELTCP_A_LISTENER_BY_APPLICATION => by_application = attribute.flag()?,
                _ => {}
            }
        }
        Ok(Self {
            address: required(address, "address")?,
            port: required(port, "port")?,
            ifindex: ifindex.filter(|index| *index != 0),
            uid,
            offloads: Offloads::from_bits_retain(offloads.unwrap_or(0)),
            reason: required(reason, "reason")?.into(),
            rules: rules.unwrap_or(0),
            policy,
            by_application,
        })
    }
}

/// Tells of all listening sockets of the network namespace, one by one.
pub fn each_listener<W: Wire>(
    connection: &mut Connection<W>,
    each: impl FnMut(Step<Listener>) -> anyhow::Result<()>,
) -> anyhow::Result<Snapshot> {
    connection.dump(&Attributes::new(), each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_byte_by_byte() {
        let bytes = [
            8, 0, 1, 0, 10, 99, 0, 2, // address
            6, 0, 2, 0, 0x50, 0, 0, 0, // port, in the host's order
            8, 0, 4, 0, 0xe8, 3, 0, 0, // uid
            8, 0, 5, 0, 3, 0, 0, 0, // offloads
            8, 0, 6, 0, 0, 0, 0, 0, // reason
            8, 0, 7, 0, 1, 0, 0, 0, // rules
            8, 0, 8, 0, 4, 0, 0, 0, // policy
            4, 0, 9, 0, // by-application
        ];
        let listener = Listener::parse(&bytes).unwrap();
        assert!(listener.is_offloaded() && listener.by_application);
        assert_eq!(
            serde_json::to_string(&listener).unwrap(),
            concat!(
                r#"{"address":"10.99.0.2","port":80,"ifindex":null,"uid":1000,"#,
                r#""offloads":["setup","teardown"],"reason":"none","rules":1,"#,
                r#""policy":4,"by_application":true}"#
            )
        );
    }

    #[test]
    fn addresses_have_a_family() {
        let bytes = [9, 0, 1, 0, 10, 99, 0, 2, 1, 0, 0, 0];
        let error = Listener::parse(&bytes).unwrap_err();
        assert!(error.to_string().ends_with("has 5 bytes, not 4 or 16"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Listener::parse(&bytes);
        }
    }
}
