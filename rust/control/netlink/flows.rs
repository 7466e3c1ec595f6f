// SPDX-License-Identifier: GPL-2.0

//! Connections that cards end.

use super::devices::{
    self,
    Card, //
};
use crate::{
    bindings as uapi,
    net::genl::{
        is_killed,
        Attributes,
        Message,
        Page,
        Request, //
    },
    offload::{
        device,
        flows::{
            addresses,
            Filter,
            Listing, //
        },
        policy::Prefix, //
    }, //
};
use acceltcp_abi::{
    flows::{
        state,
        Flow, //
    },
    setup::NO_VLAN, //
};
use kernel::prelude::*;

/// Bytes that an entry takes at most: its heads (20), two addresses (20 each), and ten numbers (8 each).
const ENTRY: usize = 144;

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let filter = read(request)?;
    let states = request.u32(uapi::ACCELTCP_A_FLOW_STATES);
    let states = states.filter(|states| *states != 0).unwrap_or(state::ALL);
    let (at, mut from) = page.cursor();
    page.set_generation(device::generation());
    // A card with a lower number is told of already; the others follow in this order, whenever they came.
    for (ifindex, card) in cards(request, at)? {
        if ifindex != at {
            from = 0;
        }
        let mut listing = Listing::new(states, from);
        loop {
            let room = page.room() / ENTRY;
            if room == 0 {
                return Ok(());
            }
            if is_killed() {
                return Err(EINTR);
            }
            let generation = device::generation();
            page.set_generation(generation);
            listing = match card.list(listing.with_room(room)) {
                Ok(listing) => listing,
                // It has gone, or has no connections.
                Err(err) if err == ENODEV || err == ENETDOWN => break,
                Err(err) => return Err(err),
            };
            if !devices::is_local(request, ifindex, &card) {
                break;
            }
            for flow in listing.flows().iter().filter(|flow| filter.takes(flow)) {
                if !page.entry(generation, |message| put(message, ifindex, flow))? {
                    return Err(EMSGSIZE);
                }
            }
            if listing.next() == 0 {
                break;
            }
            page.set_cursor((ifindex, listing.next()));
        }
        page.set_cursor((ifindex.saturating_add(1), 0));
    }
    page.set_generation(device::generation());
    Ok(())
}

/// The cards of the request's namespace, or the one that it names, by the numbers of their devices, from
/// `at` on.
fn cards(request: &Request<'_>, at: u32) -> Result<KVec<(u32, Card)>> {
    let attribute = uapi::ACCELTCP_A_FLOW_IFINDEX;
    let mut found = match at {
        0 => devices::named(request, attribute)?,
        // Told of before, and gone since.
        _ => devices::local(request, attribute)?,
    };
    found.retain(|(ifindex, _)| *ifindex >= at);
    found.sort_unstable_by_key(|(ifindex, _)| *ifindex);
    Ok(found)
}

fn read(request: &Request<'_>) -> Result<Filter> {
    let refuse = |text| request.refuse(EINVAL, text);
    let prefix = |attribute, bits: Option<u8>| match request.bytes(attribute) {
        Some(bytes) => Prefix::new(bytes, bits).map(Some).ok_or_else(|| {
            refuse(c"an address has 4 or 16 bytes, and nothing behind the bits that count")
        }),
        None if bits.is_some() => Err(refuse(c"a prefix length needs an address")),
        None => Ok(None),
    };
    let family = request.u8(uapi::ACCELTCP_A_FLOW_FAMILY);
    if family == Some(5) {
        return Err(refuse(c"the family is 4 or 6"));
    }
    Ok(Filter {
        family,
        peer: prefix(
            uapi::ACCELTCP_A_FLOW_PEER,
            request.u8(uapi::ACCELTCP_A_FLOW_PEER_PREFIX_LEN),
        )?,
        peer_port: request.u16(uapi::ACCELTCP_A_FLOW_PEER_PORT),
        local: prefix(uapi::ACCELTCP_A_FLOW_LOCAL, None)?,
        local_port: request.u16(uapi::ACCELTCP_A_FLOW_LOCAL_PORT),
    })
}

fn put(message: &mut Message<'_>, ifindex: u32, flow: &Flow) -> Result {
    let [peer, local] = addresses(flow);
    message.u32(uapi::ACCELTCP_A_FLOW_IFINDEX, ifindex)?;
    message.u8(uapi::ACCELTCP_A_FLOW_FAMILY, flow.family)?;
    message.bytes(uapi::ACCELTCP_A_FLOW_PEER, peer)?;
    message.u16(uapi::ACCELTCP_A_FLOW_PEER_PORT, flow.peer_port.get())?;
    message.bytes(uapi::ACCELTCP_A_FLOW_LOCAL, local)?;
    message.u16(uapi::ACCELTCP_A_FLOW_LOCAL_PORT, flow.local_port.get())?;
    message.u32(uapi::ACCELTCP_A_FLOW_STATE, flow.state.into())?;
    for (attribute, vlan) in [
        (uapi::ACCELTCP_A_FLOW_VLAN_OUTER, flow.vlan_outer.get()),
        (uapi::ACCELTCP_A_FLOW_VLAN_INNER, flow.vlan_inner.get()),
    ] {
        if vlan != NO_VLAN {
            message.u16(attribute, vlan)?;
        }
    }
    let unacknowledged = flow.unacknowledged.get();
    message.u32(uapi::ACCELTCP_A_FLOW_UNACKNOWLEDGED, unacknowledged)?;
    message.u32(uapi::ACCELTCP_A_FLOW_DUE_MS, flow.due_ms.get())?;
    message.u32(uapi::ACCELTCP_A_FLOW_RETRANSMITS, flow.retransmits.into())
}
