// SPDX-License-Identifier: GPL-2.0

//! Rules of the policy.

use super::put_all;
use crate::{
    bindings as uapi,
    net::{
        genl::{
            Message,
            Page,
            Reply,
            Request, //
        },
        listening,
        sock::NetId,
        ulp::{
            self,
            Has, //
        }, //
    },
    offload::{
        policy::{
            self,
            Entry,
            Prefix,
            Rule, //
        },
        socket::{
            flag,
            reason,
            Options, //
        }, //
    }, //
};
use kernel::prelude::*;

/// Priority of rules that are given none.
const PRIORITY: u32 = 1000;

pub(super) fn get(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    let id = request.required_u32(uapi::ACCELTCP_A_POLICY_ID)?;
    let (entries, _) = policy::list(request.net())?;
    let entry = entries.iter().find(|entry| entry.id == id);
    let entry = entry.ok_or_else(|| request.refuse(ENOENT, c"no rule has this number"))?;
    let followers = followers(request.net())?;
    reply.put(|message| put(message, entry, &followers))
}

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let (entries, generation) = policy::list(request.net())?;
    let followers = followers(request.net())?;
    put_all(page, generation, entries.iter(), |message, entry| {
        put(message, entry, &followers)
    })
}

pub(super) fn add(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    let rule = read(request)?;
    let id = policy::add(request.net(), rule).map_err(|err| match err {
        err if err == ENOSPC => request.refuse(err, c"too many rules in this network namespace"),
        err => err,
    })?;
    reply.put(|message| message.u32(uapi::ACCELTCP_A_POLICY_ID, id))
}

pub(super) fn delete(request: &Request<'_>) -> Result {
    let id = request.required_u32(uapi::ACCELTCP_A_POLICY_ID)?;
    policy::delete(request.net(), id).map_err(|err| request.refuse(err, c"no rule has this number"))
}

pub(super) fn flush(request: &Request<'_>) {
    policy::flush(request.net());
}

fn read(request: &Request<'_>) -> Result<Rule> {
    let refuse = |text| request.refuse(EINVAL, text);
    let first = request.u16(uapi::ACCELTCP_A_POLICY_PORT_FIRST);
    let last = request.u16(uapi::ACCELTCP_A_POLICY_PORT_LAST);
    let ports = match (first, last) {
        (None, None) => None,
        (None, Some(_)) => return Err(refuse(c"a last port needs a first one")),
        (Some(first), last) => Some((first, last.unwrap_or(first))),
    };
    if ports.is_some_and(|(first, last)| first > last) {
        return Err(refuse(c"the last port is below the first one"));
    }
    let bits = request.u8(uapi::ACCELTCP_A_POLICY_PREFIX_LEN);
    let address = match request.bytes(uapi::ACCELTCP_A_POLICY_ADDRESS) {
        Some(bytes) => Some(Prefix::new(bytes, bits).ok_or_else(|| {
            refuse(c"an address has 4 or 16 bytes, and nothing behind the bits that count")
        })?),
        None if bits.is_some() => return Err(refuse(c"a prefix length needs an address")),
        None => None,
    };
    let uid = match request.u32(uapi::ACCELTCP_A_POLICY_UID) {
        Some(uid) => {
            let known = request.user(uid);
            Some(known.ok_or_else(|| refuse(c"no such user in this user namespace"))?)
        }
        None => None,
    };
    let offloads = request.required_u32(uapi::ACCELTCP_A_POLICY_OFFLOADS)?;
    if !flag::is_valid(offloads) {
        return Err(refuse(
            c"defer and server-first exclude each other and need setup, no-hold needs teardown, splice is up to applications",
        ));
    }
    Ok(Rule {
        priority: request
            .u32(uapi::ACCELTCP_A_POLICY_PRIORITY)
            .unwrap_or(PRIORITY),
        ports,
        address,
        ifindex: request.u32(uapi::ACCELTCP_A_POLICY_IFINDEX),
        uid,
        cgroup: request.u64(uapi::ACCELTCP_A_POLICY_CGROUP),
        offloads,
        max_data: request.u32(uapi::ACCELTCP_A_POLICY_MAX_DATA),
    })
}

/// Numbers of the rules that listening sockets follow, one for each socket.
fn followers(net: NetId) -> Result<KVVec<u32>> {
    let mut ids = KVVec::new();
    for held in &listening::all(Some(net))? {
        let has = held
            .get()
            .with_lock(|mut sk| ulp::shared::<Options>(&mut sk));
        if let Has::This(options) = has {
            ids.push(options.policy(), GFP_KERNEL)?;
        }
    }
    Ok(ids)
}

fn put(message: &mut Message<'_>, entry: &Entry, followers: &[u32]) -> Result {
    let rule = &entry.rule;
    message.u32(uapi::ACCELTCP_A_POLICY_ID, entry.id)?;
    message.u32(uapi::ACCELTCP_A_POLICY_PRIORITY, rule.priority)?;
    if let Some((first, last)) = rule.ports {
        message.u16(uapi::ACCELTCP_A_POLICY_PORT_FIRST, first)?;
        message.u16(uapi::ACCELTCP_A_POLICY_PORT_LAST, last)?;
    }
    if let Some(prefix) = &rule.address {
        let (address, bits) = prefix.get();
        message.bytes(uapi::ACCELTCP_A_POLICY_ADDRESS, address)?;
        message.u8(uapi::ACCELTCP_A_POLICY_PREFIX_LEN, bits)?;
    }
    if let Some(ifindex) = rule.ifindex {
        message.u32(uapi::ACCELTCP_A_POLICY_IFINDEX, ifindex)?;
    }
    if let Some(uid) = rule.uid {
        message.u32(uapi::ACCELTCP_A_POLICY_UID, uid)?;
    }
    if let Some(cgroup) = rule.cgroup {
        message.u64(uapi::ACCELTCP_A_POLICY_CGROUP, cgroup)?;
    }
    message.u32(uapi::ACCELTCP_A_POLICY_OFFLOADS, rule.offloads)?;
    if let Some(max_data) = rule.max_data {
        message.u32(uapi::ACCELTCP_A_POLICY_MAX_DATA, max_data)?;
    }
    let listeners = followers.iter().filter(|id| **id == entry.id).count();
    message.u32(
        uapi::ACCELTCP_A_POLICY_LISTENERS,
        listeners.try_into().unwrap_or(u32::MAX),
    )?;
    message.uint(uapi::ACCELTCP_A_POLICY_HITS, entry.hits)?;
    message.uint(uapi::ACCELTCP_A_POLICY_REFUSED, entry.refused)?;
    if entry.last_reason != reason::NONE {
        message.u32(uapi::ACCELTCP_A_POLICY_LAST_REASON, entry.last_reason)?;
    }
    Ok(())
}
