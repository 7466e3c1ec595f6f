// SPDX-License-Identifier: GPL-2.0

//! Handing a finished handshake to the TCP stack.
//!
//! A frame with a request socket attached creates the connection in `tcp_v4_rcv()` and `tcp_v6_rcv()`, the
//! way that `bpf_sk_assign_tcp_reqsk()` has opened for SYN cookies that someone else has verified.

use super::{
    skb::SkBuff,
    sock::{
        Family,
        NetId,
        Socket, //
    },
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// To whom a frame belongs.
pub(crate) enum Owner<'a> {
    /// Nobody.
    Nobody,
    /// A listening socket, which is there until the end of the RCU read section.
    Listener {
        /// The socket.
        sk: Socket<'a>,
        /// An older connection of the same addresses and ports was reset.
        replaced: bool,
    },
    /// A connection.
    Connection,
    /// A connection in TIME_WAIT that is younger than the frame.
    TimeWait,
    /// An older connection, which is to be reset, but is in use just now.
    Busy,
    /// A listening socket that cannot take the handshake; nor can a member of its `SO_REUSEPORT`
    /// group.
    Ineligible,
    /// The frame is not what it should be.
    Malformed,
}

/// What the card says of the frame.
pub(crate) type Claim = bindings::acceltcp_claim;

/// What the handshake has negotiated.
pub(crate) type Options = bindings::acceltcp_reqsk_opts;

/// Finds out to whom `skb` belongs, whose data starts at the network header.
///
/// # Safety
///
/// To be called in an RCU read section that lasts for `'a`, with `net` alive.
pub(super) unsafe fn owner<'a>(
    skb: &mut SkBuff,
    net: NetId,
    family: Family,
    claim: &Claim,
) -> Owner<'a> {
    let mut listener = core::ptr::null_mut();
    let mut replaced = false;
    // SAFETY: The buffer is ours or lent to us, the namespace is alive.
    let owner = unsafe {
        bindings::acceltcp_owner_of(
            skb.as_raw(),
            net.as_raw(),
            family == Family::V4,
            claim,
            &mut listener,
            &mut replaced,
        )
    };
    match (owner, NonNull::new(listener)) {
        (bindings::acceltcp_owner_ACCELTCP_OWNER_LISTENER, Some(sk)) => {
            // SAFETY: The socket was found within the caller's RCU read section, which lasts for
            // `'a`. It listens, and has `SOCK_RCU_FREE` from `__inet_hash()`, or is a member of a
            // `SO_REUSEPORT` group: `sk_destruct()` frees either after a grace period.
            let sk = unsafe { Socket::from_raw(sk) };
            Owner::Listener { sk, replaced }
        }
        (bindings::acceltcp_owner_ACCELTCP_OWNER_CONNECTION, _) => Owner::Connection,
        (bindings::acceltcp_owner_ACCELTCP_OWNER_TIME_WAIT, _) => Owner::TimeWait,
        (bindings::acceltcp_owner_ACCELTCP_OWNER_BUSY, _) => Owner::Busy,
        (bindings::acceltcp_owner_ACCELTCP_OWNER_INELIGIBLE, _) => Owner::Ineligible,
        (bindings::acceltcp_owner_ACCELTCP_OWNER_MALFORMED, _) => Owner::Malformed,
        _ => Owner::Nobody,
    }
}

/// Has the TCP stack create a connection of `listener` from `skb`. `ENOMEM` when it cannot.
///
/// # Safety
///
/// The frame must go to the TCP stack within the RCU read section in which the listener was looked up.
pub(super) unsafe fn attach(
    skb: &mut SkBuff,
    listener: Socket<'_>,
    family: Family,
    options: &Options,
) -> Result {
    // SAFETY: The listener is alive, the options are valid.
    let req =
        unsafe { bindings::acceltcp_reqsk_alloc(listener.as_raw(), family == Family::V4, options) };
    let req = NonNull::new(req).ok_or(ENOMEM)?;
    // SAFETY: The buffer takes the request socket over.
    unsafe { bindings::acceltcp_reqsk_attach(skb.as_raw(), req.as_ptr()) };
    Ok(())
}
