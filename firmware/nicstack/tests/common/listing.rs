// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of an access list, and a host that orders them.

#![allow(dead_code, reason = "not every test uses all of it")]

use super::Card;
use acceltcp_abi::acl::{action, AclCounts, AclName, AclReply, AclRule, ANY_VLAN};
use acceltcp_abi::cmd::Request;
use zerocopy::FromBytes;

/// A rule for all IP.
pub(crate) fn all(handle: u32, priority: u32, action: u8) -> AclRule {
    AclRule {
        handle: handle.into(),
        priority: priority.into(),
        action,
        vlan: ANY_VLAN.into(),
        ..AclRule::default()
    }
}

/// A rule that denies all IP.
pub(crate) fn deny(handle: u32, priority: u32) -> AclRule {
    all(handle, priority, action::DENY)
}

/// A rule that allows all IP.
pub(crate) fn allow(handle: u32, priority: u32) -> AclRule {
    all(handle, priority, action::ALLOW)
}

/// The command to remove a rule.
pub(crate) fn acl_remove(handle: u32) -> Request {
    Request::AclRemove(AclName {
        handle: handle.into(),
    })
}

impl Card {
    /// Adds a rule, and returns how many there are and how many still fit.
    pub(crate) fn acl_add(&mut self, rule: &AclRule) -> Result<(u32, u32), u8> {
        self.acl_order(&Request::AclAdd(*rule))
    }

    pub(crate) fn acl_remove(&mut self, handle: u32) -> Result<(u32, u32), u8> {
        self.acl_order(&acl_remove(handle))
    }

    pub(crate) fn acl_order(&mut self, request: &Request) -> Result<(u32, u32), u8> {
        let body = self.order(request)?;
        let reply = AclReply::read_from_bytes(&body).unwrap();
        Ok((reply.used.get(), reply.free.get()))
    }

    /// Frames and bytes that a rule has decided about.
    pub(crate) fn acl_read(&mut self, handle: u32) -> Result<(u64, u64), u8> {
        let body = self.order(&Request::AclRead(AclName {
            handle: handle.into(),
        }))?;
        let counts = AclCounts::read_from_bytes(&body).unwrap();
        Ok((counts.frames.get(), counts.bytes.get()))
    }
}
