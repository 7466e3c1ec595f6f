// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The access list ([`acceltcp_abi::acl`]): frames from the wire that are dropped before anything else looks at them.
//!
//! * [`headers`]: what of a frame the rules are about. [`rule`]: a rule in memory. [`table`]: the list.
//!
//! Frames of the host, and those that the stack itself sends, are not looked at. Neither are frames that the host gives back
//! ([`Nic::returned`]): they passed the list when they came.

pub mod headers;
pub mod rule;
pub mod table;
#[cfg(test)]
mod tests;

use crate::stats::Counter;
use crate::{Memory, Nic};
use acceltcp_abi::acl::{AclCounts, AclReply, AclRule};
use acceltcp_abi::cmd;
use headers::Headers;
use rule::Stored;
use table::{Refused, Verdict};

impl<M: Memory> Nic<M> {
    /// Whether the list has `frame` dropped, which is counted. While there are no rules this is one load.
    pub(crate) fn denied(&self, frame: &[u8]) -> bool {
        if self.acl.is_empty() {
            return false;
        }
        let Some(headers) = Headers::parse(frame) else {
            return false;
        };
        let counter = match self.acl.judge(&self.memory, &headers, frame.len()) {
            Ok(Verdict::Allow) => return false,
            Ok(Verdict::Deny) => Counter::AclDenied,
            // What nobody could judge may be what a rule denies.
            Err(table::Busy) => Counter::AclBusy,
        };
        self.stats.count(counter);
        true
    }

    pub(crate) fn acl_add(&self, rule: &AclRule) -> Result<(), u8> {
        let rule = Stored::from_host(rule).ok_or(cmd::EINVAL)?;
        self.acl.add(&self.memory, &rule).map_err(errno)
    }

    pub(crate) fn acl_remove(&self, handle: u32) -> Result<(), u8> {
        self.acl.remove(&self.memory, handle).map_err(errno)
    }

    pub(crate) fn acl_counts(&self, handle: u32) -> Result<AclCounts, u8> {
        let [frames, bytes] = self.acl.counts(&self.memory, handle).map_err(errno)?;
        Ok(AclCounts {
            frames: frames.into(),
            bytes: bytes.into(),
        })
    }

    pub(crate) fn acl_reply(&self) -> AclReply {
        let usage = self.acl.usage();
        AclReply {
            used: usage.used.into(),
            free: usage.capacity.saturating_sub(usage.used).into(),
        }
    }
}

const fn errno(refused: Refused) -> u8 {
    match refused {
        Refused::Full => cmd::ENOSPC,
        Refused::Exists => cmd::EEXIST,
        Refused::Missing => cmd::ENOENT,
    }
}
