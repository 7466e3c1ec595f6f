// SPDX-License-Identifier: GPL-2.0

//! The operations of the netlink family (`Documentation/netlink/specs/acceltcp.yaml`).

mod acl;
mod counters;
mod devices;
mod events;
mod flows;
mod limits;
mod listeners;
mod pairs;
mod policy;

pub(super) use events::Events;

use crate::{
    bindings as uapi,
    net::genl::{
        Handlers,
        Message,
        Page,
        Reply,
        Request, //
    },
    offload::keys, //
};
use kernel::prelude::*;

/// The operations.
pub(super) struct Operations;

impl Handlers for Operations {
    fn run(&self, command: u8, request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
        match command.into() {
            uapi::ACCELTCP_CMD_DEVICE_GET => devices::get(request, reply),
            uapi::ACCELTCP_CMD_COUNTER_RESET => counters::reset(request),
            uapi::ACCELTCP_CMD_POLICY_GET => policy::get(request, reply),
            uapi::ACCELTCP_CMD_POLICY_ADD => policy::add(request, reply),
            uapi::ACCELTCP_CMD_POLICY_DEL => policy::delete(request),
            uapi::ACCELTCP_CMD_POLICY_FLUSH => policy::flush(request),
            uapi::ACCELTCP_CMD_POLICY_SET => policy::set(request, reply),
            uapi::ACCELTCP_CMD_LIMITS_GET => limits::get(reply),
            uapi::ACCELTCP_CMD_LIMITS_SET => limits::set(request),
            uapi::ACCELTCP_CMD_KEY_ROTATE => {
                keys::demand();
                Ok(())
            }
            uapi::ACCELTCP_CMD_ACL_GET => acl::get(request, reply),
            uapi::ACCELTCP_CMD_ACL_ADD => acl::add(request, reply),
            uapi::ACCELTCP_CMD_ACL_DEL => acl::delete(request),
            uapi::ACCELTCP_CMD_ACL_FLUSH => acl::flush(request),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn dump(&self, command: u8, request: &Request<'_>, page: &mut Page<'_>) -> Result {
        match command.into() {
            uapi::ACCELTCP_CMD_DEVICE_GET => devices::dump(request, page),
            uapi::ACCELTCP_CMD_COUNTER_GET => counters::dump(request, page),
            uapi::ACCELTCP_CMD_LISTENER_GET => listeners::dump(request, page),
            uapi::ACCELTCP_CMD_PAIR_GET => pairs::dump(request, page),
            uapi::ACCELTCP_CMD_POLICY_GET => policy::dump(request, page),
            uapi::ACCELTCP_CMD_ACL_GET => acl::dump(request, page),
            uapi::ACCELTCP_CMD_FLOW_GET => flows::dump(request, page),
            _ => Err(EOPNOTSUPP),
        }
    }
}

/// Puts those of `items` that are not told yet, of a list of this generation, until the page is full.
fn put_all<T>(
    page: &mut Page<'_>,
    generation: u32,
    items: impl Iterator<Item = T>,
    mut put: impl FnMut(&mut Message<'_>, T) -> Result,
) -> Result {
    for item in items.skip(page.told()) {
        if !page.entry(generation, |message| put(message, item))? {
            break;
        }
    }
    Ok(())
}
