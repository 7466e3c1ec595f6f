// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Lists of the connections that the card ends.
//!
//! The host gives a buffer, and the card writes as many entries there as fit and tells where to go on. A connection that is there
//! all the time is in the list once; one that comes or goes meanwhile may be missing, and one that goes to TIME-WAIT, or
//! begins its time there anew, may be missing or be there twice. It needs [`super::tlv::features::FLOWS`].

use super::wire::wire;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most bytes that a command writes.
pub const MAX_ROOM: u32 = 1 << 16;

/// States of a connection (RFC 9293 section 3.3.2).
pub mod state {
    /// FIN-WAIT-1.
    pub const FIN_WAIT_1: u8 = 1;
    /// FIN-WAIT-2.
    pub const FIN_WAIT_2: u8 = 2;
    /// CLOSING.
    pub const CLOSING: u8 = 3;
    /// LAST-ACK.
    pub const LAST_ACK: u8 = 4;
    /// TIME-WAIT.
    pub const TIME_WAIT: u8 = 5;
    /// The bits of all states.
    pub const ALL: u32 = 0x3e;
}

wire! {
    /// Body of [`super::cmd::kind::FLOWS_READ`].
    pub struct FlowsRead, 24 {
        /// Where to write, in the host's memory.
        pub address: U64,
        /// Room there, in bytes; at least one [`Flow`]. What is beyond [`MAX_ROOM`] is not used.
        pub room: U32,
        /// 0 to begin; else [`FlowsReply::next`] of the last reply.
        pub next: U32,
        /// Which states: a bit `1 << state` each, not 0.
        pub states: U32,
        /// Reserved, zero.
        pub reserved: U32,
    }
}

wire! {
    /// Body of the reply to [`super::cmd::kind::FLOWS_READ`].
    pub struct FlowsReply, 8 {
        /// Entries that were written.
        pub count: U32,
        /// Where to go on, larger than where this began; 0 at the end. There may be more though no entry was written: a command looks
        /// at so many places only.
        pub next: U32,
    }
}

wire! {
    /// A connection. Padded with zeros.
    pub struct Flow, 64 {
        /// The peer's address in network order; an IPv4 address takes the first four bytes.
        pub peer: [u8; 16],
        /// The host's address.
        pub local: [u8; 16],
        /// The peer's port.
        pub peer_port: U16,
        /// The host's port.
        pub local_port: U16,
        /// 4 or 6.
        pub family: u8,
        /// One of [`state`].
        pub state: u8,
        /// Outer VLAN id, or [`super::setup::NO_VLAN`].
        pub vlan_outer: U16,
        /// Inner VLAN id, or [`super::setup::NO_VLAN`].
        pub vlan_inner: U16,
        /// Reserved, zero.
        pub reserved: U16,
        /// Bytes of data and FIN that the peer has not acknowledged.
        pub unacknowledged: U32,
        /// Milliseconds until the state's timer is due; 0 when it is, or when none runs.
        pub due_ms: U32,
        /// Retransmissions in a row.
        pub retransmits: u8,
        /// Reserved, zero.
        pub padding: [u8; 11],
    }
}
