// SPDX-License-Identifier: GPL-2.0

//! Listening sockets. None of them is locked: anyone may ask, and a user may keep one locked.

use super::put_all;
use crate::{
    bindings as uapi,
    net::{
        genl::{
            Message,
            Page,
            Request, //
        },
        listening,
        sock::SockRef,
        ulp::{
            self,
            Has, //
        }, //
    },
    offload::{
        listen,
        socket::{
            reason,
            Options, //
        }, //
    }, //
};
use kernel::prelude::*;

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let sockets = listening::all(Some(request.net()))?;
    put_all(page, listen::generation() as u32, sockets.iter(), put)
}

fn put(message: &mut Message<'_>, held: &SockRef) -> Result {
    let sk = held.get();
    let info = sk.listener_info();
    let has = ulp::peek_shared::<Options>(sk);
    let address = match info.is_v4() {
        true => info.address.get(..4).unwrap_or(&[]),
        false => &info.address,
    };
    message.bytes(uapi::ACCELTCP_A_LISTENER_ADDRESS, address)?;
    message.u16(uapi::ACCELTCP_A_LISTENER_PORT, info.port)?;
    if info.bound_dev_if > 0 {
        message.u32(uapi::ACCELTCP_A_LISTENER_IFINDEX, info.bound_dev_if as u32)?;
    }
    message.u32(uapi::ACCELTCP_A_LISTENER_UID, sk.uid())?;
    let (offloads, why, rules) = match &has {
        Has::This(options) => {
            let (why, rules) = listen::status_seen(sk, options)?;
            (options.asked(), why, rules)
        }
        _ if sk.is_mptcp() => (0, reason::MPTCP, 0),
        Has::Other => (0, reason::OTHER_ULP, 0),
        Has::Nothing => (0, reason::NOT_ASKED, 0),
    };
    message.u32(uapi::ACCELTCP_A_LISTENER_OFFLOADS, offloads)?;
    message.u32(uapi::ACCELTCP_A_LISTENER_REASON, why)?;
    message.u32(uapi::ACCELTCP_A_LISTENER_RULES, rules)?;
    match &has {
        Has::This(options) if options.policy() == 0 => {
            message.flag(uapi::ACCELTCP_A_LISTENER_BY_APPLICATION)
        }
        Has::This(options) => message.u32(uapi::ACCELTCP_A_LISTENER_POLICY, options.policy()),
        _ => Ok(()),
    }
}
