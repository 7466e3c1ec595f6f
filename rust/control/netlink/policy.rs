// SPDX-License-Identifier: GPL-2.0

//! Rules of the policy.

use super::put_all;
use crate::{
    bindings as uapi,
    net::{
        cgroup::{
            Namespace,
            Path, //
        },
        genl::{
            Attributes,
            Message,
            Page,
            Reply,
            Request, //
        },
        listening,
        named::DeviceName,
        pernet::Net,
        sock::NetId,
        ulp, //
    },
    offload::{
        netns::Netns,
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
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Priority of rules that are given none.
const PRIORITY: u32 = 1000;

pub(super) fn get(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    let id = request.required_u32(uapi::ACCELTCP_A_POLICY_ID)?;
    let (entries, _) = policy::list(&*netns(request)?)?;
    let entry = entries.iter().find(|entry| entry.id == id);
    let entry = entry.ok_or_else(|| request.refuse(ENOENT, c"no rule has this number"))?;
    let view = View::new(request)?;
    reply.put(|message| put(message, entry, &view))
}

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let (entries, generation) = policy::list(&*netns(request)?)?;
    let view = View::new(request)?;
    put_all(page, generation, entries.iter(), |message, entry| {
        put(message, entry, &view)
    })
}

pub(super) fn add(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    request.required_u32(uapi::ACCELTCP_A_POLICY_OFFLOADS)?;
    let rule = read(request, request).map_err(|(err, text)| request.refuse(err, text))?;
    let id = policy::add(&netns(request)?, rule).map_err(|err| too_many(request, err))?;
    reply.put(|message| message.u32(uapi::ACCELTCP_A_POLICY_ID, id))
}

pub(super) fn delete(request: &Request<'_>) -> Result {
    let id = request.required_u32(uapi::ACCELTCP_A_POLICY_ID)?;
    policy::delete(&netns(request)?, id)
        .map_err(|err| request.refuse(err, c"no rule has this number"))
}

pub(super) fn flush(request: &Request<'_>) -> Result {
    policy::flush(&netns(request)?);
    Ok(())
}

pub(super) fn set(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    let mut rules = KVVec::new();
    for nest in request.nests(uapi::ACCELTCP_A_POLICY_SET_RULE) {
        let rule = read(request, &nest).map_err(|(err, text)| nest.refuse(err, text))?;
        rules.push(Arc::new(rule, GFP_KERNEL_ACCOUNT)?, GFP_KERNEL)?;
    }
    let changes =
        policy::replace(&netns(request)?, &rules).map_err(|err| too_many(request, err))?;
    reply.put(|message| {
        message.u32(uapi::ACCELTCP_A_POLICY_SET_ADDED, changes.added)?;
        message.u32(uapi::ACCELTCP_A_POLICY_SET_REMOVED, changes.removed)?;
        message.u32(uapi::ACCELTCP_A_POLICY_SET_UNCHANGED, changes.unchanged)
    })
}

fn netns(request: &Request<'_>) -> Result<Arc<Netns>> {
    Netns::of_net(request.namespace())
}

fn too_many(request: &Request<'_>, err: Error) -> Error {
    match err {
        err if err == ENOSPC => request.refuse(err, c"too many rules in this network namespace"),
        err => err,
    }
}

/// Reads a rule. On error, returns the errno and a message for the caller.
fn read(
    request: &Request<'_>,
    said: &impl Attributes,
) -> core::result::Result<Rule, (Error, &'static CStr)> {
    let refused = |text| (EINVAL, text);
    let first = said.u16(uapi::ACCELTCP_A_POLICY_PORT_FIRST);
    let last = said.u16(uapi::ACCELTCP_A_POLICY_PORT_LAST);
    let ports = match (first, last) {
        (None, None) => None,
        (None, Some(_)) => return Err(refused(c"a last port needs a first one")),
        (Some(first), last) => Some((first, last.unwrap_or(first))),
    };
    if ports.is_some_and(|(first, last)| first > last) {
        return Err(refused(c"the last port is below the first one"));
    }
    let bits = said.u8(uapi::ACCELTCP_A_POLICY_PREFIX_LEN);
    let address = match said.bytes(uapi::ACCELTCP_A_POLICY_ADDRESS) {
        Some(bytes) => Some(Prefix::new(bytes, bits).ok_or(refused(
            c"an address has 4 or 16 bytes, and nothing behind the bits that count",
        ))?),
        None if bits.is_some() => return Err(refused(c"a prefix length needs an address")),
        None => None,
    };
    let device = match said.string(uapi::ACCELTCP_A_POLICY_IFNAME) {
        Some(name) => Some(
            DeviceName::new(name)
                .ok_or(refused(c"the name of a network device has 1 to 15 bytes"))?,
        ),
        None => None,
    };
    let cgroup = match said.string(uapi::ACCELTCP_A_POLICY_CGROUP) {
        Some(path) => Some(Path::new(path).map_err(|err| match err {
            err if err == EINVAL => refused(c"a cgroup is a path from /, without . and .."),
            err if err == ENAMETOOLONG => (err, c"the cgroup's path is too long"),
            err => (err, c"the cgroup cannot be looked for"),
        })?),
        None => None,
    };
    let uid = match said.u32(uapi::ACCELTCP_A_POLICY_UID) {
        Some(uid) => {
            let known = request.user(uid);
            Some(known.ok_or(refused(c"no such user in this user namespace"))?)
        }
        None => None,
    };
    let offloads = said.u32(uapi::ACCELTCP_A_POLICY_OFFLOADS);
    let offloads = offloads.ok_or(refused(c"a rule needs offloads"))?;
    if !flag::is_valid(offloads) {
        return Err(refused(
            c"defer and server-first exclude each other and need setup, no-hold needs teardown, splice is up to applications",
        ));
    }
    Ok(Rule {
        priority: said
            .u32(uapi::ACCELTCP_A_POLICY_PRIORITY)
            .unwrap_or(PRIORITY),
        ports,
        address,
        device,
        uid,
        cgroup,
        offloads,
        max_data: said.u32(uapi::ACCELTCP_A_POLICY_MAX_DATA),
    })
}

/// What a caller sees rules by.
struct View<'a> {
    net: Net<'a>,
    cgroups: Namespace,
    followers: KVVec<u32>,
}

impl<'a> View<'a> {
    fn new(request: &Request<'a>) -> Result<Self> {
        Ok(Self {
            net: request.namespace(),
            cgroups: Namespace::current()?,
            followers: followers(request.net())?,
        })
    }
}

/// Numbers of the rules that listening sockets follow, one for each socket.
fn followers(net: NetId) -> Result<KVVec<u32>> {
    let mut ids = KVVec::new();
    for held in &listening::all(Some(net))? {
        // Without its lock: who holds that is not waited for.
        if let Some(id) = ulp::peek(held.get(), Options::policy) {
            ids.push(id, GFP_KERNEL)?;
        }
    }
    Ok(ids)
}

fn put(message: &mut Message<'_>, entry: &Entry, view: &View<'_>) -> Result {
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
    let mut pending = 0;
    if let Some(name) = &rule.device {
        message.string(uapi::ACCELTCP_A_POLICY_IFNAME, name.as_bytes())?;
        if view.net.device_named(name).is_none() {
            pending |= uapi::acceltcp_policy_pending_ACCELTCP_POLICY_PENDING_DEVICE;
        }
    }
    if let Some(uid) = rule.uid {
        message.u32(uapi::ACCELTCP_A_POLICY_UID, uid)?;
    }
    if let Some(path) = &rule.cgroup {
        message.bytes(uapi::ACCELTCP_A_POLICY_CGROUP, &view.cgroups.name(path)?)?;
        if view.cgroups.lacks(path)? {
            pending |= uapi::acceltcp_policy_pending_ACCELTCP_POLICY_PENDING_CGROUP;
        }
    }
    message.u32(uapi::ACCELTCP_A_POLICY_OFFLOADS, rule.offloads)?;
    if let Some(max_data) = rule.max_data {
        message.u32(uapi::ACCELTCP_A_POLICY_MAX_DATA, max_data)?;
    }
    let listeners = view.followers.iter().filter(|id| **id == entry.id).count();
    message.u32(
        uapi::ACCELTCP_A_POLICY_LISTENERS,
        listeners.try_into().unwrap_or(u32::MAX),
    )?;
    message.uint(uapi::ACCELTCP_A_POLICY_HITS, entry.hits)?;
    message.uint(uapi::ACCELTCP_A_POLICY_REFUSED, entry.refused)?;
    if entry.last_reason != reason::NONE {
        message.u32(uapi::ACCELTCP_A_POLICY_LAST_REASON, entry.last_reason)?;
    }
    if pending != 0 {
        message.u32(uapi::ACCELTCP_A_POLICY_PENDING, pending)?;
    }
    Ok(())
}
