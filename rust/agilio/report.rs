// SPDX-License-Identifier: GPL-2.0

//! What operators ask of a card: how it is, and what it has counted.

use super::{
    acl,
    commands::refusal,
    list,
    vnic::Vnic, //
};
use crate::{
    net::{
        device::Device,
        ethtool::Operations,
        genl::Event, //
    },
    offload::{
        acl::Order,
        device::{
            Report,
            State,
            Table,
            TABLES, //
        },
        flows::Listing,
        socket::flag, //
    }, //
};
use acceltcp_abi::{
    cmd::{
        self,
        Header,
        MemoryReply,
        MemoryUse,
        Request,
        StatsRead,
        StatsReply, //
    },
    counter::Counter, //
};
use core::any::Any;
use kernel::prelude::*;
use zerocopy::FromBytes;

/// Most bytes of a reply.
const REPLY_MAX: usize = 1024;

/// Fills in a [`Report`], [`Listing`] or counters, sends an [`Event`], or carries out an [`Order`] (RTNL).
pub(super) fn answer(dev: &Device<Vnic<'_>>, what: &mut dyn Any) -> Result {
    if let Some(report) = what.downcast_mut::<Report>() {
        return describe(dev, report);
    }
    if let Some(order) = what.downcast_mut::<Order>() {
        return acl::order(dev, order);
    }
    if let Some(event) = what.downcast_mut::<Option<Event>>() {
        if let Some(event) = event.take() {
            event.send_from(dev);
        }
        return Ok(());
    }
    if let Some(listing) = what.downcast_mut::<Listing>() {
        return list::read(dev, listing);
    }
    let counters = what.downcast_mut::<KVVec<u64>>().ok_or(EINVAL)?;
    if state(dev) == State::Attached {
        dev.private().read_counters(counters)?;
    }
    Ok(())
}

fn state(dev: &Device<Vnic<'_>>) -> State {
    let vnic = dev.private();
    if !dev.is_running() {
        State::Down
    } else if vnic.health.is_dead() {
        State::Dead
    } else if vnic.control.lock().attached.is_some() {
        State::Attached
    } else {
        State::Plain
    }
}

fn describe(dev: &Device<Vnic<'_>>, report: &mut Report) -> Result {
    let vnic = dev.private();
    let on = |set, bit| if set { bit } else { 0 };
    report.net = Some(dev.net());
    report.ifindex = dev.ifindex();
    report.name = dev.name();
    report.firmware = Vnic::driver_info(dev).firmware;
    report.capabilities = on(vnic.caps.sets_up(), flag::SETUP)
        | on(vnic.caps.tears_down(), flag::TEARDOWN)
        | on(vnic.caps.splices(), flag::SPLICE);
    report.state = state(dev);
    if report.state == State::Attached && vnic.read_memory(report).is_err() {
        // The rest is no less true.
        report.tables.clear();
    }
    Ok(())
}

impl Vnic<'_> {
    /// Sends a command whose reply begins with a `T`, and has `f` read that and what follows.
    fn ask<T: FromBytes, R>(
        &self,
        request: &Request,
        f: impl FnOnce(T, &[u8]) -> Result<R>,
    ) -> Result<R> {
        let mut room = KVec::from_elem(0u8, REPLY_MAX.min(self.caps.mbox_room), GFP_KERNEL)?;
        self.with_commands(|sender| sender.exchange(request, &mut room))?;
        let body = cmd::parse_reply(&room, request.kind(), 0).map_err(refusal)?;
        let (head, rest) = T::read_from_prefix(body).map_err(|_| EPROTO)?;
        f(head, rest)
    }

    fn read_memory(&self, report: &mut Report) -> Result {
        self.ask(&Request::MemoryRead, |head: MemoryReply, mut rest| {
            report.sram_bytes = head.bytes.get();
            // Of more than this driver knows it could not say what they are.
            for _ in 0..usize::from(head.count.get()).min(TABLES) {
                let (memory, behind) = MemoryUse::read_from_prefix(rest).map_err(|_| EPROTO)?;
                rest = behind;
                let table = Table {
                    memory,
                    high_water: 0,
                };
                report.tables.push(table, GFP_KERNEL)?;
            }
            Ok(())
        })
    }

    /// Reads as many counters as card and driver know.
    fn read_counters(&self, counters: &mut KVVec<u64>) -> Result {
        let least = Header::SIZE + core::mem::size_of::<StatsReply>() + 8;
        if self.caps.mbox_room < least {
            return Err(EOPNOTSUPP);
        }
        while counters.len() < Counter::COUNT {
            let first = u16::try_from(counters.len())?;
            let request = Request::StatsRead(StatsRead {
                first: first.into(),
                ..StatsRead::default()
            });
            let total = self.ask(&request, |head: StatsReply, rest| {
                if head.first.get() != first || head.count.get() == 0 {
                    return Err(EPROTO);
                }
                let values = rest
                    .get(..usize::from(head.count.get()) * 8)
                    .ok_or(EPROTO)?;
                for value in values.chunks_exact(8) {
                    let mut bytes = [0; 8];
                    bytes.copy_from_slice(value);
                    if counters.len() < Counter::COUNT {
                        counters.push(u64::from_le_bytes(bytes), GFP_KERNEL)?;
                    }
                }
                Ok(usize::from(head.total.get()))
            })?;
            if counters.len() >= total {
                break;
            }
        }
        Ok(())
    }
}
