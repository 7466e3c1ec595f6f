// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The connections that the card ends, as a list that the host reads page by page ([`acceltcp_abi::flows`]).
//!
//! The places of the table of flows come first, then those of TIME-WAIT, each by their numbers: a connection keeps its
//! place while it is in a table, so that a cursor names where to go on whatever comes and goes, and one that goes to
//! TIME-WAIT meanwhile is not missed. An entry is read under the lock of its chain, as whoever works on the
//! connection does; never are two of them held.

use super::tcb::{State, Tcb, Timer};
use super::time_wait::widen;
use crate::command::HostMemory;
use crate::cookie::Tuple;
use crate::wire::ip::Addresses;
use crate::{Instant, Memory, Nic};
use acceltcp_abi::cmd;
use acceltcp_abi::flows::{state, Flow, FlowsRead, FlowsReply, MAX_ROOM};
use acceltcp_abi::setup::NO_VLAN;
use zerocopy::IntoBytes;

/// Places that a command looks at: other commands wait meanwhile.
const PLACES: u32 = 4096;
/// Entries that are written to the host at once.
const BATCH: usize = 32;
/// In a cursor: the place is in the table of TIME-WAIT.
const WAITING: u32 = 1 << 31;

/// Entries on their way to the host.
struct Writer<'h> {
    host: &'h mut dyn HostMemory,
    address: u64,
    /// How many entries still have room there.
    room: u32,
    count: u32,
    batch: [Flow; BATCH],
    filled: usize,
}

impl Writer<'_> {
    fn push(&mut self, flow: &Flow) -> Result<(), u8> {
        if let Some(slot) = self.batch.get_mut(self.filled) {
            *slot = *flow;
            self.filled += 1;
            self.room -= 1;
        }
        if self.filled == BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), u8> {
        let entries = self.batch.get(..self.filled).unwrap_or_default();
        if entries.is_empty() {
            return Ok(());
        }
        self.host
            .write(self.address, entries.as_bytes())
            .map_err(|_| cmd::EFAULT)?;
        // It was written, so that the address exists.
        self.address = self.address.wrapping_add(entries.as_bytes().len() as u64);
        self.count += entries.len() as u32;
        self.filled = 0;
        Ok(())
    }
}

impl<M: Memory> Nic<M> {
    /// Writes the connections in the states that `read` asks for, from its cursor on.
    pub(crate) fn flows_read(
        &self,
        now: Instant,
        read: &FlowsRead,
        host: &mut dyn HostMemory,
    ) -> Result<FlowsReply, u8> {
        let room = read.room.get().min(MAX_ROOM) / Flow::SIZE as u32;
        if room == 0 {
            return Err(cmd::EINVAL);
        }
        let mut writer = Writer {
            host,
            address: read.address.get(),
            room,
            count: 0,
            batch: [Flow::default(); BATCH],
            filled: 0,
        };
        let [flows, _, waiting] = self.teardown.usage();
        let from = read.next.get();
        let (mut in_flows, mut place) = (from & WAITING == 0, from & !WAITING);
        let capacity = if in_flows { &flows } else { &waiting }.capacity;
        if from != 0 && place >= capacity {
            return Err(cmd::EINVAL);
        }
        let states = read.states.get();
        let wanted = [
            states & !(1 << state::TIME_WAIT),
            states & (1 << state::TIME_WAIT),
        ];
        let now = self.teardown.latest.of(now).millis();
        let mut left = PLACES;
        let next = loop {
            let end = match (in_flows, wanted) {
                (true, [0, _]) | (false, [_, 0]) => 0,
                (true, _) => self.teardown.flows.end(),
                (false, _) => self.teardown.time_wait.end(),
            };
            if place >= end {
                if !in_flows {
                    break 0;
                }
                (in_flows, place) = (false, 0);
                continue;
            }
            let cursor = if in_flows { place } else { WAITING | place };
            if left == 0 || writer.room == 0 {
                break cursor;
            }
            let found = if in_flows {
                self.flow_at(now, place, states)
            } else {
                self.waiting_at(now, place)
            };
            match found {
                Ok(Some(flow)) => writer.push(&flow)?,
                Ok(None) => {}
                // What there is before it is told first.
                Err(_) if cursor != from => break cursor,
                Err(errno) => return Err(errno),
            }
            left -= 1;
            place += 1;
        };
        writer.flush()?;
        Ok(FlowsReply {
            count: writer.count.into(),
            next: next.into(),
        })
    }

    fn flow_at(&self, now: u32, number: u32, states: u32) -> Result<Option<Flow>, u8> {
        let flows = &self.teardown.flows;
        let Some(hash) = flows.hash_of(&self.memory, number) else {
            return Ok(None);
        };
        let chain = flows.lock(&self.memory, hash).ok_or(cmd::EBUSY)?;
        let Some(record) = flows.entry(&self.emem, &chain, number) else {
            return Ok(None);
        };
        drop(chain);
        let state = number_of(record.tcb.state());
        Ok((states & 1 << state != 0).then(|| Flow {
            state,
            unacknowledged: unacknowledged(&record.tcb).into(),
            due_ms: due(&record.tcb, now).into(),
            retransmits: record.tcb.tries,
            ..named(&record.path.tuple())
        }))
    }

    fn waiting_at(&self, now: u32, number: u32) -> Result<Option<Flow>, u8> {
        let table = &self.teardown.time_wait;
        let Some(hash) = table.hash_of(&self.emem, number) else {
            return Ok(None);
        };
        let chain = table.lock(&self.emem, hash).ok_or(cmd::EBUSY)?;
        let Some(entry) = table.entry(&self.emem, &chain, number) else {
            return Ok(None);
        };
        drop(chain);
        Ok(entry.left(now).map(|left| Flow {
            state: state::TIME_WAIT,
            due_ms: left.into(),
            ..named(&entry.tuple())
        }))
    }
}

/// An entry of the connection `tuple`, and nothing else.
fn named(tuple: &Tuple) -> Flow {
    let (family, peer, local) = match tuple.addresses {
        Addresses::V4 { src, dst } => (4, widen(src), widen(dst)),
        Addresses::V6 { src, dst } => (6, src, dst),
    };
    let [outer, inner] = tuple.vlans.map(|vlan| vlan.unwrap_or(NO_VLAN));
    Flow {
        peer,
        local,
        peer_port: tuple.src_port.into(),
        local_port: tuple.dst_port.into(),
        family,
        vlan_outer: outer.into(),
        vlan_inner: inner.into(),
        ..Flow::default()
    }
}

const fn number_of(state: State) -> u8 {
    match state {
        State::FinWait1 => state::FIN_WAIT_1,
        State::FinWait2 => state::FIN_WAIT_2,
        State::Closing => state::CLOSING,
        State::LastAck => state::LAST_ACK,
    }
}

/// Bytes of data and FIN that the peer has not acknowledged, sent or not.
const fn unacknowledged(tcb: &Tcb) -> u32 {
    tcb.fin.wrapping_add(1).wrapping_sub(tcb.una)
}

/// Milliseconds until the timer is due.
fn due(tcb: &Tcb, now: u32) -> u32 {
    if tcb.timer() == Timer::None {
        return 0;
    }
    let left = tcb.deadline.wrapping_sub(now) as i32;
    u32::try_from(left).unwrap_or(0)
}
