// SPDX-License-Identifier: GPL-2.0

//! Spliced pairs.

use super::devices;
use crate::{
    bindings as uapi,
    net::{
        genl::{
            Message,
            Page,
            Request, //
        },
        sock::Ends, //
    }, //
};
use kernel::prelude::*;

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    // Pairs that come and go meanwhile may be told or not; no other is missed or told twice, as they keep their numbers.
    let mut cursor = page.cursor();
    for (ifindex, card) in devices::named(request, uapi::ACCELTCP_A_PAIR_IFINDEX)? {
        let mut from = 0;
        match cursor {
            (at, _) if ifindex < at => continue,
            (at, next) if ifindex == at => from = next,
            _ => {}
        }
        while let Some((number, pair)) = card.pairs().next_from(from) {
            let put = |message: &mut Message<'_>| {
                message.u32(uapi::ACCELTCP_A_PAIR_IFINDEX, ifindex)?;
                message.u32(uapi::ACCELTCP_A_PAIR_ID, number)?;
                for end in pair.connections().into_iter().flatten() {
                    message.nest(uapi::ACCELTCP_A_PAIR_END, |nest| put_end(nest, &end))?;
                }
                Ok(())
            };
            if !page.entry(0, put)? {
                return Ok(());
            }
            from = number + 1;
            cursor = (ifindex, from);
            page.set_cursor(cursor);
        }
    }
    Ok(())
}

pub(super) fn put_end(message: &mut Message<'_>, end: &Ends) -> Result {
    let len = if end.ipv4 { 4 } else { 16 };
    message.bytes(
        uapi::ACCELTCP_A_CONNECTION_LOCAL,
        end.local.get(..len).unwrap_or(&[]),
    )?;
    message.u16(uapi::ACCELTCP_A_CONNECTION_LOCAL_PORT, end.local_port)?;
    message.bytes(
        uapi::ACCELTCP_A_CONNECTION_REMOTE,
        end.remote.get(..len).unwrap_or(&[]),
    )?;
    message.u16(uapi::ACCELTCP_A_CONNECTION_REMOTE_PORT, end.remote_port)
}
