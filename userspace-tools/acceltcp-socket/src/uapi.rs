// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers of `include/uapi/linux/acceltcp.h`.

use libc::c_int;

/// Name of the ULP, for `setsockopt(SOL_TCP, TCP_ULP)`.
pub const ULP: &str = "acceltcp";

/// Socket option level.
pub const SOL_ACCELTCP: c_int = 300;
/// `__u32`, get and set: what the socket asks for.
pub const ACCELTCP_OFFLOAD: c_int = 1;
/// [`RawStatus`], get: what the socket has.
pub const ACCELTCP_STATUS: c_int = 2;
/// [`RawSplice`], set: the card joins two connections. [`RawSpliceInfo`], get: what has become of that.
pub const ACCELTCP_SPLICE: c_int = 3;
/// `__u32`, set, 0: both connections come back.
pub const ACCELTCP_UNSPLICE: c_int = 4;

/// The card sets connections up.
pub const ACCELTCP_OFFLOAD_SETUP: u32 = 1 << 0;
/// The card ends connections.
pub const ACCELTCP_OFFLOAD_TEARDOWN: u32 = 1 << 1;
/// The client speaks first.
pub const ACCELTCP_OFFLOAD_DEFER: u32 = 1 << 3;
/// The server speaks first.
pub const ACCELTCP_OFFLOAD_SERVER_FIRST: u32 = 1 << 4;
/// No write waits for a close shortly after it.
pub const ACCELTCP_OFFLOAD_NO_HOLD: u32 = 1 << 5;

/// Connections are set up by the card.
pub const ACCELTCP_REASON_NONE: u32 = 0;
/// `SETUP` is not set.
pub const ACCELTCP_REASON_NOT_ASKED: u32 = 1;
/// The socket does not listen.
pub const ACCELTCP_REASON_NOT_LISTENING: u32 = 2;
/// No card in this network namespace.
pub const ACCELTCP_REASON_NO_DEVICE: u32 = 3;
/// The card has no room.
pub const ACCELTCP_REASON_TABLE_FULL: u32 = 4;
/// TCP-MD5 or TCP-AO.
pub const ACCELTCP_REASON_AUTHENTICATED: u32 = 5;
/// Multipath TCP.
pub const ACCELTCP_REASON_MPTCP: u32 = 6;
/// `net.ipv4.tcp_syncookies` is 0.
pub const ACCELTCP_REASON_SYNCOOKIES: u32 = 7;
/// Any address, on a host that forwards.
pub const ACCELTCP_REASON_FORWARDING: u32 = 8;
/// The card has not been told yet.
pub const ACCELTCP_REASON_PENDING: u32 = 9;
/// The sysctl `net.acceltcp.offloads` does not have setup.
pub const ACCELTCP_REASON_DISABLED: u32 = 11;
/// The sysctl `net.acceltcp.quota_listeners` allows no more.
pub const ACCELTCP_REASON_QUOTA: u32 = 13;
/// Another listener, which the host serves, gets the SYNs.
pub const ACCELTCP_REASON_OTHER_LISTENER: u32 = 14;

/// `struct acceltcp_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RawStatus {
    /// As [`ACCELTCP_OFFLOAD`].
    pub offload: u32,
    /// `ACCELTCP_REASON_*`.
    pub reason: u32,
    /// Rules for this listener on all cards.
    pub rules: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct acceltcp_splice`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RawSplice {
    /// The other connection.
    pub fd: i32,
    /// `ACCELTCP_SPLICE_NONBLOCK`, `ACCELTCP_SPLICE_DETACH`.
    pub flags: u32,
    /// Reset after so long without a segment; 0 never.
    pub idle_ms: u32,
    /// Zero.
    pub reserved: u32,
}

/// Do not wait until the connections can be spliced.
pub const ACCELTCP_SPLICE_NONBLOCK: u32 = 1 << 0;
/// The pair goes on when its sockets are closed.
pub const ACCELTCP_SPLICE_DETACH: u32 = 1 << 1;

/// `struct acceltcp_splice_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RawSpliceInfo {
    /// `ACCELTCP_SPLICE_STATE_*`.
    pub state: u32,
    /// `ACCELTCP_SPLICE_REASON_*`, or 0.
    pub reason: u32,
    /// From the peer of this socket. All numbers at the end only.
    pub rx_bytes: u64,
    /// To it.
    pub tx_bytes: u64,
    /// From it.
    pub rx_segments: u64,
    /// To it.
    pub tx_segments: u64,
}

/// Never spliced.
pub const ACCELTCP_SPLICE_STATE_NONE: u32 = 0;
/// The card relays.
pub const ACCELTCP_SPLICE_STATE_ACTIVE: u32 = 1;
/// The connections are over.
pub const ACCELTCP_SPLICE_STATE_ENDED: u32 = 2;
/// They are the host's again.
pub const ACCELTCP_SPLICE_STATE_RETURNED: u32 = 3;

/// Both peers have closed.
pub const ACCELTCP_SPLICE_REASON_CLOSED: u32 = 1;
/// A peer has reset its connection.
pub const ACCELTCP_SPLICE_REASON_RESET: u32 = 2;
/// Nothing was heard for the idle time.
pub const ACCELTCP_SPLICE_REASON_IDLE: u32 = 3;
/// A socket was closed.
pub const ACCELTCP_SPLICE_REASON_ABORTED: u32 = 4;
/// A peer did not acknowledge.
pub const ACCELTCP_SPLICE_REASON_TIMEOUT: u32 = 5;
/// The card could not do it.
pub const ACCELTCP_SPLICE_REASON_REFUSED: u32 = 6;
/// The card was lost.
pub const ACCELTCP_SPLICE_REASON_LOST: u32 = 7;
