// SPDX-License-Identifier: GPL-2.0

//! Limits of what cards are given.

use crate::{
    bindings as uapi,
    net::{
        genl::{
            Attributes,
            Reply,
            Request, //
        },
        sysctl::Value, //
    },
    offload::watermark, //
};
use kernel::prelude::*;

/// The limits, by their attributes.
static LIMITS: [(u32, &Value); 2] = [
    (uapi::ACCELTCP_A_LIMITS_SRAM_HIGH, &watermark::HIGH),
    (uapi::ACCELTCP_A_LIMITS_SRAM_LOW, &watermark::LOW),
];

pub(super) fn get(reply: &mut Reply<'_>) -> Result {
    reply.put(|message| {
        LIMITS
            .iter()
            .try_for_each(|(attribute, value)| message.u32(*attribute, value.get()))
    })
}

/// Changes those that are given, all or none.
pub(super) fn set(request: &Request<'_>) -> Result {
    let asked = |(attribute, value): &(u32, &'static Value)| {
        request.u32(*attribute).map(|number| (*value, number))
    };
    if !LIMITS.iter().any(|limit| asked(limit).is_some()) {
        return Err(request.refuse(EINVAL, c"no limit is given"));
    }
    if LIMITS
        .iter()
        .filter_map(asked)
        .any(|(value, number)| !value.allows(number))
    {
        return Err(request.refuse(ERANGE, c"a limit is out of its range"));
    }
    for (value, number) in LIMITS.iter().filter_map(asked) {
        value.set(number);
    }
    Ok(())
}
