// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connections that cards end.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object, Snapshot, Step},
    uapi,
    wire::Wire,
    Error, FlowState,
};
use crate::rule::Prefix;

/// A connection that a card ends.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Flow {
    /// Number of the card's network device.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u8,
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// Local address.
    pub local: IpAddr,
    /// Local port.
    pub local_port: u16,
    /// Its state.
    pub state: FlowState,
    /// Id of the outer VLAN.
    pub vlan_outer: Option<u16>,
    /// Id of the inner VLAN.
    pub vlan_inner: Option<u16>,
    /// Bytes of data and FIN that the peer has not acknowledged.
    pub unacknowledged: u32,
    /// Milliseconds until the state's timer is due; 0 when none runs.
    pub due_ms: u32,
    /// Retransmissions in a row.
    pub retransmits: u32,
}

impl Flow {
    /// The peer's address and port.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.peer, self.peer_port)
    }

    /// Local address and port.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.local_port)
    }
}

impl Object for Flow {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_FLOW_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut family, mut state) = (None, None, None);
        let (mut peer, mut peer_port, mut local, mut local_port) = (None, None, None, None);
        let (mut vlan_outer, mut vlan_inner) = (None, None);
        let (mut unacknowledged, mut due_ms, mut retransmits) = (None, None, None);
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_FLOW_IFINDEX => ifindex = Some(attribute.u32()?),
                uapi::ACCELTCP_A_FLOW_FAMILY => family = Some(attribute.u8()?),
                uapi::ACCELTCP_A_FLOW_PEER => peer = Some(attribute.address()?),
                uapi::ACCELTCP_A_FLOW_PEER_PORT => peer_port = Some(attribute.u16()?),
                uapi::ACCELTCP_A_FLOW_LOCAL => local = Some(attribute.address()?),
                uapi::ACCELTCP_A_FLOW_LOCAL_PORT => local_port = Some(attribute.u16()?),
                uapi::ACCELTCP_A_FLOW_STATE => state = Some(attribute.u32()?.into()),
                uapi::ACCELTCP_A_FLOW_VLAN_OUTER => vlan_outer = Some(attribute.u16()?),
                uapi::ACCELTCP_A_FLOW_VLAN_INNER => vlan_inner = Some(attribute.u16()?),
                uapi::ACCELTCP_A_FLOW_UNACKNOWLEDGED => unacknowledged = Some(attribute.u32()?),
                uapi::ACCELTCP_A_FLOW_DUE_MS => due_ms = Some(attribute.u32()?),
                uapi::ACCELTCP_A_FLOW_RETRANSMITS => retransmits = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            ifindex: required(ifindex, "ifindex")?,
            family: required(family, "family")?,
            peer: required(peer, "peer")?,
            peer_port: required(peer_port, "peer-port")?,
            local: required(local, "local")?,
            local_port: required(local_port, "local-port")?,
            state: required(state, "state")?,
            vlan_outer,
            vlan_inner,
            unacknowledged: required(unacknowledged, "unacknowledged")?,
            due_ms: required(due_ms, "due-ms")?,
            retransmits: required(retransmits, "retransmits")?,
        })
    }
}

/// Which connections to tell of; all when nothing is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of the card with this number.
    pub ifindex: Option<u32>,
    /// Those of IPv4 (4) or IPv6 (6).
    pub family: Option<u8>,
    /// Those in one of these states; in any when there is none.
    pub states: Vec<FlowState>,
    /// Those with one of these peers.
    pub peer: Option<Prefix>,
    /// Those with this port of the peer.
    pub peer_port: Option<u16>,
    /// Those with this local address.
    pub local: Option<IpAddr>,
    /// Those with this local port.
    pub local_port: Option<u16>,
}

/// Tells of the connections that cards end, one by one.
pub fn each_flow<W: Wire>(
    connection: &mut Connection<W>,
    filter: &Filter,
    each: impl FnMut(Step<Flow>) -> anyhow::Result<()>,
) -> anyhow::Result<Snapshot> {
    let states = filter.states.iter().map(|state| state.bit());
    let states = states.reduce(|a, b| a | b);
    let request = Attributes::new()
        .u32(uapi::ACCELTCP_A_FLOW_IFINDEX, filter.ifindex)
        .u8(uapi::ACCELTCP_A_FLOW_FAMILY, filter.family)
        .u32(uapi::ACCELTCP_A_FLOW_STATES, states)
        .address(uapi::ACCELTCP_A_FLOW_PEER, filter.peer.map(|p| p.address))
        .u8(
            uapi::ACCELTCP_A_FLOW_PEER_PREFIX_LEN,
            filter.peer.map(|p| p.length),
        )
        .u16(uapi::ACCELTCP_A_FLOW_PEER_PORT, filter.peer_port)
        .address(uapi::ACCELTCP_A_FLOW_LOCAL, filter.local)
        .u16(uapi::ACCELTCP_A_FLOW_LOCAL_PORT, filter.local_port);
    connection.dump(&request, each)
}

/// A connection as the kernel tells of it.
#[cfg(test)]
pub(crate) fn told(state: u32, peer_port: u16) -> Vec<u8> {
    use super::testing::{attribute, u32_of};

    [
        u32_of(1, 3),
        attribute(2, &[4]),
        attribute(4, &[10, 0, 0, 9]),
        attribute(6, &peer_port.to_ne_bytes()),
        attribute(7, &[10, 0, 0, 1]),
        attribute(8, &80u16.to_ne_bytes()),
        u32_of(9, state),
        u32_of(12, 5),
        u32_of(13, 200),
        u32_of(14, 1),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{attribute, Said, Script};

    #[test]
    fn a_connection_is_complete_or_an_error() {
        let bytes = told(2, 40000);
        let flow = Flow::parse(&bytes).unwrap();
        assert_eq!(flow.peer().to_string(), "10.0.0.9:40000");
        assert_eq!(flow.local().to_string(), "10.0.0.1:80");
        assert_eq!((flow.state, flow.family), (FlowState::FinWait2, 4));
        assert_eq!((flow.vlan_outer, flow.vlan_inner), (None, None));
        assert_eq!(
            (flow.unacknowledged, flow.due_ms, flow.retransmits),
            (5, 200, 1)
        );
        let tagged = [bytes.clone(), attribute(10, &7u16.to_ne_bytes())].concat();
        assert_eq!(Flow::parse(&tagged).unwrap().vlan_outer, Some(7));
        // Without its last attribute, and with an address that is none.
        assert!(Flow::parse(&bytes[..bytes.len() - 8]).is_err());
        assert!(Flow::parse(&[bytes, attribute(4, &[1; 5])].concat()).is_err());
    }

    #[test]
    fn a_filter_byte_by_byte() {
        let sent = std::rc::Rc::default();
        let wire = Script::new([Said::Done(2)]).recording(std::rc::Rc::clone(&sent));
        let mut connection = Connection::with(wire).unwrap();
        let filter = Filter {
            ifindex: Some(3),
            family: Some(4),
            states: vec![FlowState::FinWait2, FlowState::TimeWait],
            peer: Some("10.0.0.0/8".parse().unwrap()),
            peer_port: Some(4000),
            local: Some([10, 0, 0, 1].into()),
            local_port: Some(80),
        };
        let snapshot = each_flow(&mut connection, &filter, |_| Ok(()));
        assert_eq!(snapshot.unwrap(), Snapshot::Consistent);
        let request: &Vec<u8> = &sent.borrow()[0];
        assert_eq!(
            request[16..],
            [
                16, 1, 0, 0, // flow-get, version 1
                8, 0, 1, 0, 3, 0, 0, 0, // ifindex
                5, 0, 2, 0, 4, 0, 0, 0, // family
                8, 0, 3, 0, 0x24, 0, 0, 0, // states
                8, 0, 4, 0, 10, 0, 0, 0, // peer
                5, 0, 5, 0, 8, 0, 0, 0, // peer-prefix-len
                6, 0, 6, 0, 0xa0, 0x0f, 0, 0, // peer-port
                8, 0, 7, 0, 10, 0, 0, 1, // local
                6, 0, 8, 0, 80, 0, 0, 0, // local-port
            ]
        );
    }

    #[test]
    fn states_have_names_and_bits() {
        for state in FlowState::ALL {
            assert_eq!(state.name().parse::<FlowState>().unwrap(), state);
        }
        let bits: Vec<u32> = FlowState::ALL.map(FlowState::bit).to_vec();
        assert_eq!(bits, [2, 4, 8, 16, 32]);
        let error = "established".parse::<FlowState>().unwrap_err();
        assert!(error.contains("fin-wait-1, fin-wait-2, closing"), "{error}");
    }
}
