// SPDX-License-Identifier: GPL-2.0

//! Listening sockets of the ports for which a device answers SYNs, including those that do not ask
//! for setup.
//!
//! [`super::demux`] looks listeners up in this copy of the kernel's hash table. The kernel does not
//! notify of a listener without the ULP. So the copy is made anew when the registry ([`listen`])
//! has changed, and otherwise when a device's service runs, at most every [`INTERVAL_MS`] for all
//! devices together. A device keeps answering for a listener that has begun in the meantime; the
//! listener takes these connections.
//!
//! Lock order: the table's lock (process context, not under a socket's lock), then that of the
//! registry.

use super::{
    listen,
    socket::reason,
    template::{
        self,
        Rules, //
    }, //
};
use crate::net::{
    global::global,
    listening::{
        self,
        ListenEntry,
        PortSet, //
    },
    sock::{
        self,
        NetId, //
    },
    weak::Port, //
};
use acceltcp_abi::setup::{
    ListenRule,
    COOKIE_LIFE_S, //
};
use kernel::prelude::*;

/// Minimum time in milliseconds between two dumps while the registry is unchanged.
const INTERVAL_MS: u32 = 500;
/// Time in milliseconds for which a port stays in the table after its last listener has stopped
/// asking. Devices keep its rules for pending handshakes, which live for [`COOKIE_LIFE_S`].
const KEPT_MS: u32 = (COOKIE_LIFE_S + 10) * 1000;

/// A listening socket.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Its [`Socket::id`](sock::Socket::id).
    pub(super) id: usize,
    /// Its `SO_REUSEPORT` group, 0 for none.
    pub(super) group: usize,
    /// It asks for setup, and is eligible.
    pub(super) asks: bool,
    /// It belongs to multipath TCP, and cannot take a handshake.
    pub(super) mptcp: bool,
    /// The options of its SYN-ACKs, for each family that it accepts.
    rules: Rules,
    port: u16,
    /// Position in the dump; 0 once the table is sorted.
    place: u32,
    net: NetId,
    bound_dev_if: i32,
    is_v4: bool,
}

impl Candidate {
    fn new(entry: &ListenEntry, place: u32) -> Self {
        let info = entry.info();
        let asking = listen::with_id(entry.id(), |seen| {
            // A socket of another namespace may have been allocated at the same address since. One
            // of the same namespace changes the registry, so that the next dump corrects this.
            (seen.net() == entry.net() && seen.reason() == reason::NONE).then_some(*seen.wanted())
        });
        let asking = asking.flatten();
        Self {
            id: entry.id(),
            group: entry.group(),
            asks: asking.is_some(),
            mptcp: entry.is_mptcp(),
            rules: asking.unwrap_or_else(|| template::rules(&info, 0)),
            port: info.port,
            place,
            net: entry.net(),
            bound_dev_if: info.bound_dev_if,
            is_v4: info.is_v4(),
        }
    }

    /// The options of its SYN-ACKs to frames that `port` receives, for each family that it accepts.
    pub(super) fn rules_at<'c>(&'c self, port: &Port) -> impl Iterator<Item = &'c ListenRule> + 'c {
        let reaches = port.reaches(self.net, self.bound_dev_if);
        self.rules.iter().flatten().filter(move |_| reaches)
    }

    /// Score for packets of `family` (4 or 6), as by `compute_score()` of
    /// net/ipv4/inet_hashtables.c and net/ipv6/inet6_hashtables.c, without the point for
    /// `SO_INCOMING_CPU`, which depends on the receiving CPU.
    pub(super) fn score(&self, family: u8) -> u32 {
        let bound = if self.bound_dev_if == 0 { 1 } else { 2 };
        bound + u32::from(family == 4 && self.is_v4)
    }
}

/// The result of the last dump.
pub(super) struct ListenTable {
    /// Generation of the registry that the table belongs to, 0 for none.
    generation: u64,
    /// Time of the dump ([`sock::coarse_ms`]).
    dumped_ms: u32,
    /// Sorted by port; those of one port in the order of the dump.
    candidates: KVVec<Candidate>,
    /// Ports to dump, each with the time at which a listener of the port was last seen to ask.
    ports: KVVec<(u16, u32)>,
}

global! {
    static TABLE: Sleeping<ListenTable> = ListenTable::new();
}

impl ListenTable {
    fn new() -> Self {
        Self {
            generation: 0,
            dumped_ms: 0,
            candidates: KVVec::new(),
            ports: KVVec::new(),
        }
    }

    /// The listeners of `port`, or of all ports.
    pub(super) fn of(&self, port: Option<u16>) -> &[Candidate] {
        let all = self.candidates.as_slice();
        let Some(port) = port else { return all };
        let start = all.partition_point(|one| one.port < port);
        let rest = all.get(start..).unwrap_or(&[]);
        let len = rest.partition_point(|one| one.port == port);
        rest.get(..len).unwrap_or(&[])
    }

    /// Updates the ports to dump, and returns them.
    fn update_ports(&mut self, now: u32) -> Result<PortSet> {
        let mut ports = PortSet::new()?;
        listen::for_each(|seen| {
            for rule in seen.wanted().iter().flatten() {
                ports.insert(rule.port.get());
            }
        });
        let mut noted = KVVec::new();
        for port in ports.iter() {
            noted.push((port, now), GFP_KERNEL)?;
        }
        for (port, asked) in &self.ports {
            if !ports.contains(*port) && now.wrapping_sub(*asked) < KEPT_MS {
                noted.push((*port, *asked), GFP_KERNEL)?;
                ports.insert(*port);
            }
        }
        self.ports = noted;
        Ok(ports)
    }

    fn refresh(&mut self) -> Result {
        // Read before the registry and the hash table: a later change makes another round.
        let before = listen::generation();
        let now = sock::coarse_ms();
        if self.generation == before && now.wrapping_sub(self.dumped_ms) < INTERVAL_MS {
            return Ok(());
        }
        let mut found = KVVec::new();
        let ports = self.update_ports(now)?;
        if !ports.is_empty() {
            for entry in listening::dump(&ports)? {
                let place = u32::try_from(found.len())?;
                found.push(Candidate::new(&entry, place), GFP_KERNEL)?;
            }
        }
        found
            .as_mut_slice()
            .sort_unstable_by_key(|one| (one.port, one.place));
        // Only the order within a port counts when tables are compared.
        for one in found.iter_mut() {
            one.place = 0;
        }
        self.generation = before;
        self.dumped_ms = now;
        if found.as_slice() != self.candidates.as_slice() {
            self.candidates = found;
            // All devices have to compare their rules.
            self.generation = listen::advance(before);
        }
        Ok(())
    }
}

/// Dumps the kernel's hash table again, if the registry has changed or [`INTERVAL_MS`] have passed
/// (process context).
pub(super) fn refresh() -> Result {
    TABLE.lock().refresh()
}

/// Calls `f` with the table and the generation of the registry that the table belongs to (process
/// context). Other callers wait for `f`.
pub(super) fn with<R>(f: impl FnOnce(&ListenTable, u64) -> R) -> R {
    let table = TABLE.lock();
    f(&table, table.generation)
}

/// Frees the table's memory when it is dropped. To be dropped after the devices.
pub(super) struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        let old = core::mem::replace(&mut *TABLE.lock(), ListenTable::new());
        drop(old);
    }
}
