// SPDX-License-Identifier: GPL-2.0

//! Access lists of cards.

use super::devices;
use crate::{
    bindings as uapi,
    net::genl::{
        Attributes,
        Message,
        Page,
        Reply,
        Request, //
    },
    offload::{
        acl::{
            List,
            Order,
            Origin,
            Told,
            What, //
        },
        policy::Prefix, //
    }, //
};
use acceltcp_abi::acl::{
    action,
    flag,
    AclRule,
    ANY_VLAN,
    NO_VLAN, //
};
use kernel::prelude::*;

/// Priority of rules that are given none.
const PRIORITY: u16 = 1000;
/// Rules that are read from a card at once.
const PART: usize = 32;

pub(super) fn get(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    let handle = request.required_u32(uapi::ACCELTCP_A_ACL_HANDLE)?;
    let what = What::Tell {
        handle: Some(handle),
        skip: 0,
        most: 1,
        told: KVec::new(),
        total: 0,
    };
    let order = carry_out(request, what)?;
    let (Some(ifindex), What::Tell { told, .. }) = (order.found, &order.what) else {
        return Err(ENODEV);
    };
    let rule = told.first().ok_or_else(|| no_rule(request))?;
    reply.put(|message| put(message, ifindex, rule))
}

pub(super) fn dump(request: &Request<'_>, page: &mut Page<'_>) -> Result {
    let ifindex = request.u32(uapi::ACCELTCP_A_ACL_IFINDEX);
    let mut found = false;
    // Rules of cards before this one.
    let mut before = 0;
    for (_, card) in devices::local(request, uapi::ACCELTCP_A_ACL_IFINDEX)? {
        loop {
            let generation = List::generation();
            let skip = page.told().saturating_sub(before);
            let mut order = Order {
                net: request.net(),
                ifindex,
                what: What::Tell {
                    handle: None,
                    skip,
                    most: PART,
                    told: KVec::new(),
                    total: 0,
                },
                found: None,
            };
            match card.acl(&mut order) {
                Err(err) if err == ENODEV => break,
                result => result?,
            }
            let (Some(ifindex), What::Tell { told, total, .. }) = (order.found, order.what) else {
                break;
            };
            found = true;
            if told.is_empty() {
                before += total;
                break;
            }
            for rule in &told {
                if !page.entry(generation, |message| put(message, ifindex, rule))? {
                    return Ok(());
                }
            }
        }
    }
    if ifindex.is_some() && !found {
        return Err(no_card(request));
    }
    Ok(())
}

pub(super) fn add(request: &Request<'_>, reply: &mut Reply<'_>) -> Result {
    request.required_u32(uapi::ACCELTCP_A_ACL_IFINDEX)?;
    let what = What::Add {
        rule: read(request)?,
        priority: request
            .u16(uapi::ACCELTCP_A_ACL_PRIORITY)
            .unwrap_or(PRIORITY),
    };
    match carry_out(request, what)?.what {
        What::Add { rule, .. } => {
            reply.put(|message| message.u32(uapi::ACCELTCP_A_ACL_HANDLE, rule.handle.get()))
        }
        _ => Ok(()),
    }
}

pub(super) fn delete(request: &Request<'_>) -> Result {
    let handle = request.required_u32(uapi::ACCELTCP_A_ACL_HANDLE)?;
    carry_out(request, What::Remove(handle)).map(drop)
}

pub(super) fn flush(request: &Request<'_>) -> Result {
    carry_out(request, What::Flush).map(drop)
}

/// Has the card do it that the request names.
fn carry_out(request: &Request<'_>, what: What) -> Result<Order> {
    let ifindex = request.required_u32(uapi::ACCELTCP_A_ACL_IFINDEX)?;
    let mut order = Order {
        net: request.net(),
        ifindex: Some(ifindex),
        what,
        found: None,
    };
    for (_, card) in devices::local(request, uapi::ACCELTCP_A_ACL_IFINDEX)? {
        match card.acl(&mut order) {
            // It has just gone.
            Err(err) if err == ENODEV && order.found.is_none() => {}
            result => result.map_err(|err| explain(request, err))?,
        }
        if order.found.is_some() {
            return Ok(order);
        }
    }
    Err(no_card(request))
}

fn no_card(request: &Request<'_>) -> Error {
    request.refuse(ENODEV, c"no card has a network device of this number here")
}

fn no_rule(request: &Request<'_>) -> Error {
    request.refuse(ENOENT, c"no rule of this card has this handle")
}

/// Says what an error of the list means.
fn explain(request: &Request<'_>, err: Error) -> Error {
    let text = match err {
        err if err == ENOENT => return no_rule(request),
        err if err == ENOMEM => return err,
        err if err == EOPNOTSUPP => c"this card has no access list",
        err if err == ENOSPC => c"the card has no room for more rules",
        err if err == EPERM => c"the rule is tc's, and goes with its filter",
        err if err == EINVAL => c"the card refuses the rule",
        _ => c"the card does not answer as it should",
    };
    request.refuse(err, text)
}

/// Reads a rule, without priority and handle.
fn read(request: &Request<'_>) -> Result<AclRule> {
    let refuse = |text| request.refuse(EINVAL, text);
    let mut rule = AclRule {
        vlan: ANY_VLAN.into(),
        ..AclRule::default()
    };
    rule.action = match request.required_u32(uapi::ACCELTCP_A_ACL_ACTION)? {
        uapi::acceltcp_acl_action_ACCELTCP_ACL_ACTION_ALLOW => action::ALLOW,
        uapi::acceltcp_acl_action_ACCELTCP_ACL_ACTION_DENY => action::DENY,
        _ => return Err(refuse(c"no such action")),
    };
    let mut flags = 0;
    if let Some(protocol) = request.u8(uapi::ACCELTCP_A_ACL_PROTOCOL) {
        rule.protocol = protocol;
        flags |= flag::PROTOCOL;
    }
    rule.family = match request.u8(uapi::ACCELTCP_A_ACL_FAMILY) {
        None => 0,
        Some(family @ (4 | 6)) => family,
        Some(_) => return Err(refuse(c"the family is 4 or 6")),
    };
    let prefixes = [
        (
            uapi::ACCELTCP_A_ACL_SOURCE,
            uapi::ACCELTCP_A_ACL_SOURCE_LEN,
            &mut rule.source,
            &mut rule.source_len,
        ),
        (
            uapi::ACCELTCP_A_ACL_DESTINATION,
            uapi::ACCELTCP_A_ACL_DESTINATION_LEN,
            &mut rule.destination,
            &mut rule.destination_len,
        ),
    ];
    for (address, bits, to, to_bits) in prefixes {
        let bits = request.u8(bits);
        let Some(bytes) = request.bytes(address) else {
            if bits.is_some() {
                return Err(refuse(c"a prefix length needs an address"));
            }
            continue;
        };
        let prefix = Prefix::new(bytes, bits).ok_or_else(|| {
            refuse(c"an address has 4 or 16 bytes, and nothing behind the bits that count")
        })?;
        let family = if bytes.len() == 4 { 4 } else { 6 };
        if ![0, family].contains(&rule.family) {
            return Err(refuse(c"family and addresses do not go together"));
        }
        rule.family = family;
        for (to, from) in to.iter_mut().zip(bytes) {
            *to = *from;
        }
        *to_bits = prefix.get().1;
    }
    let ports = [
        (
            uapi::ACCELTCP_A_ACL_SOURCE_PORT_FIRST,
            uapi::ACCELTCP_A_ACL_SOURCE_PORT_LAST,
            flag::SOURCE_PORTS,
            &mut rule.source_ports,
        ),
        (
            uapi::ACCELTCP_A_ACL_DESTINATION_PORT_FIRST,
            uapi::ACCELTCP_A_ACL_DESTINATION_PORT_LAST,
            flag::DESTINATION_PORTS,
            &mut rule.destination_ports,
        ),
    ];
    for (first, last, bit, to) in ports {
        let (first, last) = match (request.u16(first), request.u16(last)) {
            (None, None) => continue,
            (None, Some(_)) => return Err(refuse(c"a last port needs a first one")),
            (Some(first), last) => (first, last.unwrap_or(first)),
        };
        if first > last {
            return Err(refuse(c"the last port is below the first one"));
        }
        flags |= bit;
        *to = [first.into(), last.into()];
    }
    let has_ports = flags & (flag::SOURCE_PORTS | flag::DESTINATION_PORTS) != 0;
    if has_ports && (flags & flag::PROTOCOL == 0 || !AclRule::WITH_PORTS.contains(&rule.protocol)) {
        return Err(refuse(c"ports need the protocol TCP, UDP or SCTP"));
    }
    rule.flags = flags;
    let untagged = request.bytes(uapi::ACCELTCP_A_ACL_UNTAGGED).is_some();
    rule.vlan = match (request.u16(uapi::ACCELTCP_A_ACL_VLAN), untagged) {
        (None, false) => ANY_VLAN,
        (None, true) => NO_VLAN,
        (Some(vlan), false) => vlan,
        (Some(_), true) => return Err(refuse(c"a frame has a VLAN, or no tag")),
    }
    .into();
    Ok(rule)
}

fn put(message: &mut Message<'_>, ifindex: u32, told: &Told) -> Result {
    let rule = &told.rule;
    message.u32(uapi::ACCELTCP_A_ACL_IFINDEX, ifindex)?;
    message.u32(uapi::ACCELTCP_A_ACL_HANDLE, rule.handle.get())?;
    message.u16(uapi::ACCELTCP_A_ACL_PRIORITY, told.priority())?;
    let done = match rule.action {
        action::ALLOW => uapi::acceltcp_acl_action_ACCELTCP_ACL_ACTION_ALLOW,
        _ => uapi::acceltcp_acl_action_ACCELTCP_ACL_ACTION_DENY,
    };
    message.u32(uapi::ACCELTCP_A_ACL_ACTION, done)?;
    if rule.flags & flag::PROTOCOL != 0 {
        message.u8(uapi::ACCELTCP_A_ACL_PROTOCOL, rule.protocol)?;
    }
    if rule.family != 0 {
        message.u8(uapi::ACCELTCP_A_ACL_FAMILY, rule.family)?;
    }
    let size = if rule.family == 4 { 4 } else { 16 };
    for (attribute, bits_attribute, address, bits) in [
        (
            uapi::ACCELTCP_A_ACL_SOURCE,
            uapi::ACCELTCP_A_ACL_SOURCE_LEN,
            &rule.source,
            rule.source_len,
        ),
        (
            uapi::ACCELTCP_A_ACL_DESTINATION,
            uapi::ACCELTCP_A_ACL_DESTINATION_LEN,
            &rule.destination,
            rule.destination_len,
        ),
    ] {
        if bits != 0 {
            message.bytes(attribute, address.get(..size).unwrap_or(&[]))?;
            message.u8(bits_attribute, bits)?;
        }
    }
    for (bit, first, last, [from, to]) in [
        (
            flag::SOURCE_PORTS,
            uapi::ACCELTCP_A_ACL_SOURCE_PORT_FIRST,
            uapi::ACCELTCP_A_ACL_SOURCE_PORT_LAST,
            rule.source_ports,
        ),
        (
            flag::DESTINATION_PORTS,
            uapi::ACCELTCP_A_ACL_DESTINATION_PORT_FIRST,
            uapi::ACCELTCP_A_ACL_DESTINATION_PORT_LAST,
            rule.destination_ports,
        ),
    ] {
        if rule.flags & bit != 0 {
            message.u16(first, from.get())?;
            message.u16(last, to.get())?;
        }
    }
    match rule.vlan.get() {
        ANY_VLAN => {}
        NO_VLAN => message.flag(uapi::ACCELTCP_A_ACL_UNTAGGED)?,
        vlan => message.u16(uapi::ACCELTCP_A_ACL_VLAN, vlan)?,
    }
    message.uint(uapi::ACCELTCP_A_ACL_FRAMES, told.counts.frames)?;
    message.uint(uapi::ACCELTCP_A_ACL_BYTES, told.counts.bytes)?;
    let origin = match told.origin {
        Origin::Operator => uapi::acceltcp_acl_origin_ACCELTCP_ACL_ORIGIN_OPERATOR,
        Origin::Tc(_) => uapi::acceltcp_acl_origin_ACCELTCP_ACL_ORIGIN_TC,
    };
    message.u32(uapi::ACCELTCP_A_ACL_ORIGIN, origin)
}
