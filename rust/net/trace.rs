// SPDX-License-Identifier: GPL-2.0

//! Tracepoints for changes of the owner (`rust/bindings/acceltcp_trace.h`).
//!
//! Nothing is looked up for one that nobody listens to. Any context.

use super::{
    closing::Closing,
    sock::{
        Ends,
        Locked,
        Socket, //
    }, //
};
use crate::bindings;
use acceltcp_abi::setup::ListenRule;

/// The card's device, and the name of a pair.
pub(crate) type Spliced = bindings::acceltcp_spliced;

/// A card has got a connection to end it.
pub(crate) fn handed_over(sk: &Locked<'_>, closing: &Closing<'_>) {
    // SAFETY: The socket is alive and locked.
    unsafe { bindings::acceltcp_trace_handover(sk.as_raw(), &**closing) };
}

/// The host ends a connection itself, for a reason that has a name.
pub(crate) fn not_handed_over(sk: Socket<'_>, reason: &str) {
    // SAFETY: The socket is alive; the name has this length.
    unsafe {
        bindings::acceltcp_trace_handover_refused(
            sk.as_raw(),
            reason.as_ptr().cast(),
            reason.len() as u32,
        );
    }
}

/// A card relays the connections of a pair.
pub(crate) fn spliced(pair: &[Ends; 2], name: &Spliced) {
    for ends in pair {
        // SAFETY: Both are valid.
        unsafe { bindings::acceltcp_trace_splice(ends, name) };
    }
}

/// The connections of a pair are the host's again.
pub(crate) fn unspliced(pair: &[Ends; 2], name: &Spliced) {
    for ends in pair {
        // SAFETY: Both are valid.
        unsafe { bindings::acceltcp_trace_unsplice(ends, name) };
    }
}

/// The connections of a pair are over, for a reason that has a name; so many bytes came from each peer.
pub(crate) fn splice_ended(pair: &[Ends; 2], name: &Spliced, bytes: [u64; 2], reason: &str) {
    let [first, second] = bytes;
    for (ends, (received, sent)) in pair.iter().zip([(first, second), (second, first)]) {
        // SAFETY: All are valid; the name of the reason has this length.
        unsafe {
            bindings::acceltcp_trace_splice_end(
                ends,
                name,
                received,
                sent,
                reason.as_ptr().cast(),
                reason.len() as u32,
            );
        }
    }
}

/// The card of this device has got a rule for a listener, or lost it.
pub(crate) fn listener(ifindex: i32, rule: &ListenRule, published: bool) {
    // SAFETY: The address has 16 bytes.
    unsafe {
        bindings::acceltcp_trace_listener(
            ifindex,
            rule.family == 4,
            rule.address.as_ptr(),
            rule.port.get(),
            rule.vlan_outer.get(),
            rule.vlan_inner.get(),
            published,
        );
    }
}
