// SPDX-License-Identifier: GPL-2.0

//! Counters of the host and of cards.

use super::{
    devices,
    put_all, //
};
use crate::{
    bindings as uapi,
    net::genl::{
        Attributes,
        Message,
        Page,
        Request, //
    },
    offload::netns::Netns, //
};
use acceltcp_abi::counter::Counter;
use kernel::prelude::*;

/// Has the counters that the caller's namespace sees begin at 0 again. Those of cards go on.
pub(super) fn reset(request: &Request<'_>) -> Result {
    Netns::peek(request.namespace())
        .ok_or(ENODEV)?
        .counters()
        .reset();
    Ok(())
}

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    // Cards are queried only for callers that may administer the namespace; others get the host's counters.
    let cards = match (
        request.may_administer(),
        request.u32(uapi::ACCELTCP_A_COUNTER_IFINDEX),
    ) {
        (true, _) => devices::named(request, uapi::ACCELTCP_A_COUNTER_IFINDEX)?,
        (false, None) => KVec::new(),
        (false, Some(_)) => return Err(EPERM),
    };
    let mut all: KVVec<(Option<u32>, &str, u64)> = KVVec::new();
    if request.u32(uapi::ACCELTCP_A_COUNTER_IFINDEX).is_none() {
        let netns = Netns::peek(request.namespace()).ok_or(ENODEV)?;
        for (name, value) in netns.counters().since_reset() {
            all.push((None, name, value), GFP_KERNEL)?;
        }
    }
    for (ifindex, card) in &cards {
        // A card that does not answer has none.
        let values = card.counters().unwrap_or(KVVec::new());
        if !devices::is_local(request, *ifindex, card) {
            continue;
        }
        for (counter, value) in Counter::ALL.iter().zip(&values) {
            all.push((Some(*ifindex), counter.name(), *value), GFP_KERNEL)?;
        }
    }
    put_all(page, 0, all.iter(), put)
}

fn put(message: &mut Message<'_>, (ifindex, name, value): &(Option<u32>, &str, u64)) -> Result {
    if let Some(ifindex) = ifindex {
        message.u32(uapi::ACCELTCP_A_COUNTER_IFINDEX, *ifindex)?;
    }
    message.string(uapi::ACCELTCP_A_COUNTER_NAME, name.as_bytes())?;
    message.uint(uapi::ACCELTCP_A_COUNTER_VALUE, *value)
}
