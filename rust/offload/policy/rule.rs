// SPDX-License-Identifier: GPL-2.0

//! A rule: which sockets it is for, and what they get.

use super::super::counters::{
    count,
    Counter, //
};
use crate::net::{
    cgroup::Path,
    named::DeviceName,
    sock::{
        ListenerInfo,
        Socket, //
    }, //
};
use core::cell::OnceCell;
use kernel::prelude::*;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// 4 or 16 bytes.
    len: u8,
    bytes: [u8; 16],
    bits: u8,
}

impl Prefix {
    /// The first `bits` bits of an address, all if `None`. `None` for another length than 4 or 16 bytes, more bits than it
    /// has, or bits that are set behind them.
    pub(crate) fn new(address: &[u8], bits: Option<u8>) -> Option<Self> {
        let len = match address.len() {
            4 => 4,
            16 => 16,
            _ => return None,
        };
        let bits = bits.unwrap_or(len * 8);
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(address) {
            *to = *from;
        }
        let prefix = Self { len, bytes, bits };
        (bits <= len * 8 && (0..16).all(|at| bytes_masked(bytes[at], bits, at) == bytes[at]))
            .then_some(prefix)
    }

    /// The address and the bits that count.
    pub(crate) fn get(&self) -> (&[u8], u8) {
        (self.bytes.get(..self.len.into()).unwrap_or(&[]), self.bits)
    }

    /// Whether the address is among those.
    pub(crate) fn has(&self, address: &[u8]) -> bool {
        address.len() == usize::from(self.len)
            && address
                .iter()
                .zip(self.bytes)
                .enumerate()
                .all(|(at, (byte, own))| bytes_masked(*byte, self.bits, at) == own)
    }
}

/// The part of the byte `at` that is within the first `bits` bits.
fn bytes_masked(byte: u8, bits: u8, at: usize) -> u8 {
    match usize::from(bits).saturating_sub(at * 8) {
        0 => 0,
        left @ 1..=7 => byte & !(0xff >> left),
        _ => byte,
    }
}

/// A rule.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The smallest one that matches applies.
    pub(crate) priority: u32,
    /// First and last port.
    pub(crate) ports: Option<(u16, u16)>,
    /// Local addresses of the socket; "any" is in none of them.
    pub(crate) address: Option<Prefix>,
    /// Name of the device that the socket is bound to.
    pub(crate) device: Option<DeviceName>,
    /// User that made the socket, as the initial namespace numbers it.
    pub(crate) uid: Option<u32>,
    /// The cgroup in which it was made, or below which.
    pub(crate) cgroup: Option<Path>,
    /// Bits of [`super::super::socket::flag`]; 0 leaves it with the host.
    pub(crate) offloads: u32,
    /// Most bytes of data with which its connections are handed over.
    pub(crate) max_data: Option<u32>,
}

impl Rule {
    /// Whether it is for the socket.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let Subject { sk, info, .. } = subject;
        self.ports
            .is_none_or(|(first, last)| (first..=last).contains(&info.port))
            && self
                .address
                .is_none_or(|prefix| address(info).is_some_and(|own| prefix.has(own)))
            && self.device.is_none_or(|name| {
                let wanted = sk.namespace().device_named(&name);
                wanted.is_some_and(|wanted| i64::from(wanted) == i64::from(info.bound_dev_if))
            })
            && self.uid.is_none_or(|uid| uid == sk.uid())
            && self
                .cgroup
                .as_ref()
                .is_none_or(|path| subject.cgroup().is_some_and(|own| path.holds(own)))
    }
}

/// A listening socket that is compared with rules.
pub(super) struct Subject<'a> {
    sk: Socket<'a>,
    info: ListenerInfo,
    /// Path of its cgroup, once a rule has asked for it.
    cgroup: OnceCell<Option<KVec<u8>>>,
}

impl<'a> Subject<'a> {
    /// `sk`, as it is now.
    pub(super) fn new(sk: Socket<'a>) -> Self {
        Self {
            sk,
            info: sk.listener_info(),
            cgroup: OnceCell::new(),
        }
    }

    /// Path of its cgroup (process context).
    fn cgroup(&self) -> Option<&[u8]> {
        let path = self.cgroup.get_or_init(|| {
            let path = self.sk.cgroup_path();
            path.inspect_err(|_| count(Counter::policy_no_memory)).ok()
        });
        path.as_deref()
    }
}

/// The local address of a listener, when it has one; that of IPv4 when it is mapped.
fn address(info: &ListenerInfo) -> Option<&[u8]> {
    if info.any_address {
        return None;
    }
    match (info.takes_v6(), info.v4_address()) {
        (true, _) => Some(&info.address),
        (false, Some(Some(_))) if info.is_v4() => info.address.get(..4),
        (false, _) => info.address.get(12..16),
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_policy_rule)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_checked() {
        assert!(Prefix::new(&[10, 0, 0, 0], Some(8)).is_some());
        assert!(Prefix::new(&[10, 0, 0, 1], Some(8)).is_none());
        assert!(Prefix::new(&[10, 0, 0, 1], Some(33)).is_none());
        assert!(Prefix::new(&[10, 0, 0, 1], None).is_some());
        assert!(Prefix::new(&[10, 0, 0], None).is_none());
        assert!(Prefix::new(&[0; 16], Some(0)).is_some());
        assert!(Prefix::new(&[0; 16], Some(129)).is_none());
        assert!(Prefix::new(&[], None).is_none());
    }

    #[test]
    fn prefixes_hold_what_they_begin() {
        let Some(ten) = Prefix::new(&[10, 96, 0, 0], Some(11)) else {
            assert!(false);
            return;
        };
        assert!(ten.has(&[10, 99, 0, 2]) && ten.has(&[10, 127, 255, 255]));
        assert!(!ten.has(&[10, 95, 0, 2]) && !ten.has(&[10, 128, 0, 2]));
        assert!(!ten.has(&[0; 16]));
        let Some(all) = Prefix::new(&[0; 4], Some(0)) else {
            assert!(false);
            return;
        };
        assert!(all.has(&[1, 2, 3, 4]) && !all.has(&[0; 16]));
    }
}
