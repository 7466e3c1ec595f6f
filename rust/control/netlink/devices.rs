// SPDX-License-Identifier: GPL-2.0

//! Cards.

use super::put_all;
use crate::{
    bindings as uapi,
    net::{
        genl::{
            Attributes,
            Message,
            Page,
            Reply,
            Request, //
        },
        weak::Location, //
    },
    offload::device::{
        self,
        OffloadDevice,
        Report,
        State,
        Table, //
    }, //
};
use acceltcp_abi::cmd::table;
use kernel::{
    prelude::*,
    sync::Arc, //
};

pub(super) type Card = Arc<dyn OffloadDevice>;

/// Cards whose network devices are in the namespace of the request, with the numbers of these: all, or
/// the one that the request names. No card is asked, and the RTNL is not taken.
pub(super) fn local(request: &Request<'_>, attribute: u32) -> Result<KVec<(u32, Card)>> {
    let wanted = request.u32(attribute);
    let mut found = KVec::new();
    for card in device::all()? {
        let Some(location) = card.location() else {
            continue;
        };
        if location.net == request.net() && wanted.is_none_or(|wanted| wanted == location.ifindex) {
            found.push((location.ifindex, card), GFP_KERNEL)?;
        }
    }
    Ok(found)
}

/// The same, but `ENODEV` when there is no card that the request names.
pub(super) fn named(request: &Request<'_>, attribute: u32) -> Result<KVec<(u32, Card)>> {
    let found = local(request, attribute)?;
    if found.is_empty() && request.u32(attribute).is_some() {
        return Err(request.refuse(ENODEV, c"no card has a network device of this number here"));
    }
    Ok(found)
}

/// Whether `card` is still where [`local`] has found it: what it says then is for the caller.
pub(super) fn is_local(request: &Request<'_>, ifindex: u32, card: &Card) -> bool {
    let net = request.net();
    card.location() == Some(Location { net, ifindex })
}

/// How `card` is; `None` when it has just left the namespace of the request.
fn report(request: &Request<'_>, card: &Card) -> Result<Option<Report>> {
    match card.report() {
        Ok(report) => Ok(Some(report).filter(|report| report.net == Some(request.net()))),
        Err(err) if err == ENODEV => Ok(None),
        Err(err) => Err(err),
    }
}

pub(super) fn get(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    request.required_u32(uapi::ACCELTCP_A_DEVICE_IFINDEX)?;
    let found = named(request, uapi::ACCELTCP_A_DEVICE_IFINDEX)?;
    let (_, card) = found.first().ok_or(ENODEV)?;
    let report = report(request, card)?.ok_or(ENODEV)?;
    reply.put(|message| put(message, &**card, &report))
}

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let mut found = KVec::new();
    for (_, card) in local(request, uapi::ACCELTCP_A_DEVICE_IFINDEX)? {
        if let Some(report) = report(request, &card)? {
            found.push((card, report), GFP_KERNEL)?;
        }
    }
    put_all(page, 0, found.iter(), |message, (card, report)| {
        put(message, &**card, report)
    })
}

pub(super) fn put(message: &mut Message<'_>, card: &dyn OffloadDevice, report: &Report) -> Result {
    message.u32(uapi::ACCELTCP_A_DEVICE_IFINDEX, report.ifindex)?;
    message.string(uapi::ACCELTCP_A_DEVICE_IFNAME, &report.name)?;
    message.string(uapi::ACCELTCP_A_DEVICE_FIRMWARE, &report.firmware)?;
    let state = match report.state {
        State::Down => uapi::acceltcp_device_state_ACCELTCP_DEVICE_STATE_DOWN,
        State::Plain => uapi::acceltcp_device_state_ACCELTCP_DEVICE_STATE_PLAIN,
        State::Attached => uapi::acceltcp_device_state_ACCELTCP_DEVICE_STATE_ATTACHED,
        State::Dead => uapi::acceltcp_device_state_ACCELTCP_DEVICE_STATE_DEAD,
    };
    message.u32(uapi::ACCELTCP_A_DEVICE_STATE, state)?;
    message.u32(uapi::ACCELTCP_A_DEVICE_CAPABILITIES, report.capabilities)?;
    for table in &report.tables {
        message.nest(uapi::ACCELTCP_A_DEVICE_TABLE, |nest| put_table(nest, table))?;
    }
    let [flows, flow_credits, buffer_credits] = card.credits().gauges();
    let [pairs, pair_credits] = card.pairs().gauges();
    let gauges = [
        (uapi::ACCELTCP_A_DEVICE_FLOWS, flows),
        (uapi::ACCELTCP_A_DEVICE_FLOW_CREDITS, flow_credits),
        (uapi::ACCELTCP_A_DEVICE_BUFFER_CREDITS, buffer_credits),
        (uapi::ACCELTCP_A_DEVICE_PAIRS, pairs),
        (uapi::ACCELTCP_A_DEVICE_PAIR_CREDITS, pair_credits),
        (uapi::ACCELTCP_A_DEVICE_RULES, card.published().len() as u64),
        (uapi::ACCELTCP_A_DEVICE_SRAM_BYTES, report.sram_bytes.into()),
    ];
    for (attribute, value) in gauges {
        message.u32(attribute, value.try_into().unwrap_or(u32::MAX))?;
    }
    Ok(())
}

fn put_table(message: &mut Message<'_>, table: &Table) -> Result {
    let (sram, dram) = (
        uapi::acceltcp_memory_ACCELTCP_MEMORY_SRAM,
        uapi::acceltcp_memory_ACCELTCP_MEMORY_DRAM,
    );
    let of = &table.memory;
    let (name, memory): (&[u8], _) = match of.table.get() {
        table::LISTENERS => (b"listeners", sram),
        table::RECENT => (b"recent", sram),
        table::HALF_OPEN => (b"half-open", sram),
        table::FLOWS => (b"flows", sram),
        table::BUFFERS => (b"buffers", dram),
        table::TIME_WAIT => (b"time-wait", dram),
        table::ACL => (b"acl", sram),
        table::SPLICED_PAIRS => (b"spliced-pairs", sram),
        _ => (b"unknown", sram),
    };
    message.string(uapi::ACCELTCP_A_TABLE_NAME, name)?;
    message.u32(uapi::ACCELTCP_A_TABLE_MEMORY, memory)?;
    message.u32(uapi::ACCELTCP_A_TABLE_USED, of.used.get())?;
    message.u32(uapi::ACCELTCP_A_TABLE_CAPACITY, of.capacity.get())?;
    message.u32(uapi::ACCELTCP_A_TABLE_HIGH_WATER, table.high_water)?;
    message.u32(
        uapi::ACCELTCP_A_TABLE_ENTRY_BYTES,
        of.entry_bytes.get().into(),
    )?;
    message.u32(uapi::ACCELTCP_A_TABLE_REFUSED, of.refused.get())
}
