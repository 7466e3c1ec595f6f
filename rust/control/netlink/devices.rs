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
        sock::NetId, //
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

/// Cards of a namespace, with what they say.
pub(super) fn all(net: NetId) -> Result<KVec<(Arc<dyn OffloadDevice>, Report)>> {
    let mut found = KVec::new();
    for card in device::all()? {
        match card.report() {
            Ok(report) if report.net == Some(net) => found.push((card, report), GFP_KERNEL)?,
            // It is somebody else's, or has just gone.
            Ok(_) => {}
            Err(err) if err == ENODEV => {}
            Err(err) => return Err(err),
        }
    }
    Ok(found)
}

/// Those of the request's namespace, or the one that it names.
pub(super) fn named(
    request: &Request<'_>,
    attribute: u32,
) -> Result<KVec<(Arc<dyn OffloadDevice>, Report)>> {
    let mut found = all(request.net())?;
    if let Some(ifindex) = request.u32(attribute) {
        found.retain(|(_, report)| report.ifindex == ifindex);
        if found.is_empty() {
            return Err(request.refuse(ENODEV, c"no card has a network device of this number here"));
        }
    }
    Ok(found)
}

pub(super) fn get(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    request.required_u32(uapi::ACCELTCP_A_DEVICE_IFINDEX)?;
    let found = named(request, uapi::ACCELTCP_A_DEVICE_IFINDEX)?;
    let (card, report) = found.first().ok_or(ENODEV)?;
    reply.put(|message| put(message, &**card, report))
}

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let found = all(request.net())?;
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
