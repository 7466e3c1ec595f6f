// SPDX-License-Identifier: GPL-2.0

//! Listening sockets.

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
        sock::{
            SockRef,
            State, //
        },
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
    // Closed meanwhile: told as far as it can be. A user may have it locked, for whom nobody else is to wait.
    let has = sk.try_with_lock(|mut sk| match sk.state() {
        State::Listen => ulp::shared::<Options>(&mut sk),
        _ => Has::Nothing,
    });
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
        Some(Has::This(options)) => {
            let (why, rules) = listen::status(sk, options)?;
            (options.asked(), why, rules)
        }
        None => (0, reason::PENDING, 0),
        _ if sk.is_mptcp() => (0, reason::MPTCP, 0),
        Some(Has::Other) => (0, reason::OTHER_ULP, 0),
        Some(Has::Nothing) => (0, reason::NOT_ASKED, 0),
    };
    message.u32(uapi::ACCELTCP_A_LISTENER_OFFLOADS, offloads)?;
    message.u32(uapi::ACCELTCP_A_LISTENER_REASON, why)?;
    message.u32(uapi::ACCELTCP_A_LISTENER_RULES, rules)?;
    match &has {
        Some(Has::This(options)) if options.policy() == 0 => {
            message.flag(uapi::ACCELTCP_A_LISTENER_BY_APPLICATION)
        }
        Some(Has::This(options)) => message.u32(uapi::ACCELTCP_A_LISTENER_POLICY, options.policy()),
        _ => Ok(()),
    }
}
