// SPDX-License-Identifier: GPL-2.0

//! The list of connections that a card ends, page by page (`acceltcp_abi::flows`).

use super::{
    commands::refusal,
    vnic::Vnic, //
};
use crate::{
    net::{
        device::Device,
        dma::Inbox, //
    },
    offload::flows::{
        Listing,
        MAX_ROOM, //
    }, //
};
use acceltcp_abi::{
    cmd::{
        self,
        Header,
        Request, //
    },
    flows::{
        Flow,
        FlowsRead,
        FlowsReply, //
    }, //
};
use core::mem::size_of;
use kernel::prelude::*;
use zerocopy::FromBytes;

/// Words of an entry.
const WORDS: usize = Flow::SIZE / size_of::<u64>();

/// Reads the next part of `listing` from the card (RTNL). `ENETDOWN` when it has no connections, or no list of them.
pub(super) fn read(dev: &Device<Vnic<'_>>, listing: &mut Listing) -> Result {
    let vnic = dev.private();
    let mut control = vnic.control.lock();
    if !dev.is_running() || control.attached.is_none() || !vnic.caps.lists_flows() {
        return Err(ENETDOWN);
    }
    let buffer = match control.list.take() {
        Some(buffer) => buffer,
        None => Inbox::new(vnic.device(), MAX_ROOM * WORDS)?,
    };
    let request = Request::FlowsRead(FlowsRead {
        address: buffer.dma_address().into(),
        room: u32::try_from(listing.room() * Flow::SIZE)?.into(),
        next: listing.next().into(),
        states: listing.states().into(),
        ..FlowsRead::default()
    });
    let mut reply = [0; Header::SIZE + FlowsReply::SIZE];
    let answered = vnic.with_commands(|sender| sender.exchange(&request, &mut reply));
    if let Err(err) = answered {
        // It may write there yet, until it has answered, or is stopped.
        control.list = Some(buffer);
        return Err(err);
    }
    let reply: FlowsReply = cmd::parse_reply_as(&reply, request.kind(), 0).map_err(refusal)?;
    let mut flow = |index: usize| {
        let mut bytes = [0; Flow::SIZE];
        for (word, to) in bytes.chunks_exact_mut(size_of::<u64>()).enumerate() {
            // A listing asks for entries below `MAX_ROOM` only.
            to.copy_from_slice(&buffer.word(index * WORDS + word).unwrap_or_default());
        }
        Flow::read_from_bytes(&bytes).unwrap_or_default()
    };
    listing.take(&reply, &mut flow)
}
