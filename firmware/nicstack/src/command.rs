// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands of the host ([`acceltcp_abi::cmd`]).
//!
//! What the host sends is checked as if it were hostile: it gets an errno, and nothing is done by halves.

use crate::lock::Lock;
use crate::rule::from_host;
use crate::stats::Counter;
use crate::teardown::MAX_DATA;
use crate::{listen, Instant, Memory, Nic};
use acceltcp_abi::cmd::{self, table, Header, Request};
use acceltcp_abi::meta::TxMeta;
use acceltcp_abi::setup::ListenRule;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// Most bytes of a frame with two templates: what a port takes at once, less metadata.
const MAX_TEMPLATES: u32 = 0xffff - TxMeta::MAX_WITH_TYPES as u32;
/// Tables of [`cmd::kind::MEMORY_READ`].
const TABLES: usize = 8;

/// The memory of the host, as the port reaches it.
pub trait HostMemory {
    /// Writes `bytes` at `address`; all of them, or none when the bus or the host does not let the card.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable>;
}

/// There is no memory at an address that the card may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

impl<M: Memory> Nic<M> {
    /// Carries out the command at the front of `bytes`, writes its reply to `reply` and returns the reply's
    /// length. A `reply` of [`Nic::REPLY_MAX`] bytes has room for every reply; without room there is none (0).
    /// Commands that write to the host's memory are not known to a port that has none.
    pub fn command(&self, now: Instant, bytes: &[u8], reply: &mut [u8]) -> usize {
        self.command_with(now, bytes, reply, None)
    }

    /// The same, with the host's memory for commands that write there.
    pub fn command_with(
        &self,
        now: Instant,
        bytes: &[u8],
        reply: &mut [u8],
        host: Option<&mut dyn HostMemory>,
    ) -> usize {
        let _guard = Lock::take(&self.control);
        let (header, done) = match Request::parse(bytes) {
            Ok((header, request)) => {
                let done = self.carry_out(now, &request, &header, reply, host);
                (header, done)
            }
            Err(refusal) => (refusal.header, Err(refusal.errno)),
        };
        match done {
            Ok(len) => {
                self.stats.count(Counter::CommandDone);
                len
            }
            Err(errno) => {
                self.stats.count(Counter::CommandRefused);
                cmd::emit_reply(&header, errno, &[], reply)
            }
        }
    }

    fn carry_out(
        &self,
        now: Instant,
        request: &Request,
        header: &Header,
        reply: &mut [u8],
        host: Option<&mut dyn HostMemory>,
    ) -> Result<usize, u8> {
        let attached = self.attached.load(Ordering::Relaxed);
        if !attached && needs_attachment(request) {
            return Err(cmd::ENOTCONN);
        }
        let mut answer = |body: &[u8]| Ok(cmd::emit_reply(header, 0, body, reply));
        match request {
            Request::Attach(attach) => {
                let understands = |flag| attach.flags.get() & flag != 0;
                let understood = understands(cmd::attach::HANDSHAKE_META);
                if !understood {
                    self.forget_host();
                }
                self.splice_clear();
                self.teardown_clear();
                let credits = understood && understands(cmd::attach::CREDITS_META);
                let owners = understands(cmd::attach::OWNERS_META);
                self.teardown.attach(credits, owners);
                // Buffers come back by credits.
                let splices = credits && understands(cmd::attach::SPLICE_META);
                self.splicing.attach(splices);
                self.attached.store(understood, Ordering::Relaxed);
                answer(&[])
            }
            Request::Detach => {
                self.forget_host();
                answer(&[])
            }
            Request::ListenAdd(rule) => {
                let handle = self.listen_add(rule)?;
                answer(self.listen_reply(handle).as_bytes())
            }
            Request::ListenReplace(replace) => {
                let (key, rule) = from_host(&replace.rule).map_err(|_| cmd::EINVAL)?;
                let handle = replace.handle.get();
                self.listeners
                    .replace(&self.memory, handle, &key, rule)
                    .map_err(errno)?;
                answer(self.listen_reply(handle).as_bytes())
            }
            Request::ListenRemove(remove) => {
                let handle = remove.handle.get();
                self.listeners.remove(&self.memory, handle).map_err(errno)?;
                answer(self.listen_reply(handle).as_bytes())
            }
            Request::ListenFlush => {
                self.listeners.clear(&self.memory);
                self.half_open.clear(&self.memory);
                answer(self.listen_reply(0).as_bytes())
            }
            Request::KeySet(key) => {
                self.keys.set(self.take_key(key));
                answer(&[])
            }
            Request::KeyRotate(key) => {
                self.keys.rotate(self.take_key(key));
                answer(&[])
            }
            Request::ClockSet(clock) => {
                self.clock.set(now, clock.host_ms.get());
                let body = cmd::ClockReply {
                    card_ns: now.0.into(),
                };
                answer(body.as_bytes())
            }
            Request::StatsRead(read) => self.stats_read(read.first.get(), header, reply),
            Request::MemoryRead => answer(&self.memory_reply()),
            Request::TeardownRead => answer(self.teardown_reply().as_bytes()),
            Request::SpliceRead => answer(self.splice_reply().as_bytes()),
            Request::AclAdd(rule) => {
                self.acl_add(rule)?;
                answer(self.acl_reply().as_bytes())
            }
            Request::AclRemove(name) => {
                self.acl_remove(name.handle.get())?;
                answer(self.acl_reply().as_bytes())
            }
            Request::AclFlush => {
                self.acl.clear(&self.memory);
                answer(self.acl_reply().as_bytes())
            }
            Request::AclRead(name) => answer(self.acl_counts(name.handle.get())?.as_bytes()),
            Request::FlowsRead(read) => {
                let host = host.ok_or(cmd::EOPNOTSUPP)?;
                answer(self.flows_read(now, read, host)?.as_bytes())
            }
        }
    }

    fn listen_add(&self, rule: &ListenRule) -> Result<u32, u8> {
        let (key, rule) = from_host(rule).map_err(|_| cmd::EINVAL)?;
        self.listeners.add(&self.memory, &key, rule).map_err(errno)
    }

    fn listen_reply(&self, handle: u32) -> cmd::ListenReply {
        cmd::ListenReply {
            handle: handle.into(),
            free: self.listeners.free().into(),
        }
    }

    fn take_key(&self, key: &cmd::Key) -> u64 {
        let key = u64::from_le_bytes(key.key);
        self.clock.salt(key);
        self.recent.salt(key);
        self.connecting.salt(key);
        self.half_open.salt(key);
        self.teardown.salt(key);
        self.splicing.salt(key);
        key
    }

    /// Forgets everything that the host said, but for the access list.
    pub(crate) fn forget_host(&self) {
        self.attached.store(false, Ordering::Relaxed);
        self.listeners.clear(&self.memory);
        self.connecting.clear(&self.memory);
        self.half_open.clear(&self.memory);
        self.splice_clear();
        self.teardown_clear();
        self.recent.clear(&self.memory);
        self.keys.clear();
    }

    fn stats_read(&self, first: u16, header: &Header, reply: &mut [u8]) -> Result<usize, u8> {
        const VALUE: usize = size_of::<u64>();
        let mut body = [0; cmd::StatsReply::SIZE + Counter::COUNT * VALUE];
        let (head, values) = body.split_at_mut(cmd::StatsReply::SIZE);
        let room = reply
            .len()
            .saturating_sub(Header::SIZE + cmd::StatsReply::SIZE)
            / VALUE;
        let start = usize::from(first).min(Counter::COUNT);
        let counters = &Counter::ALL[start..];
        let counters = &counters[..counters.len().min(room)];
        for (slot, counter) in values.chunks_exact_mut(VALUE).zip(counters) {
            slot.copy_from_slice(&self.stats.get(*counter).to_le_bytes());
        }
        let count = counters.len();
        head.copy_from_slice(
            cmd::StatsReply {
                first: first.into(),
                count: (count as u16).into(),
                total: (Counter::COUNT as u16).into(),
                reserved: 0.into(),
            }
            .as_bytes(),
        );
        let len = cmd::StatsReply::SIZE + count * VALUE;
        Ok(cmd::emit_reply(header, 0, &body[..len], reply))
    }

    fn teardown_reply(&self) -> cmd::TeardownReply {
        let [_, _, _, flows, buffers, ..] = self.usage();
        let credits = self.teardown.credits();
        cmd::TeardownReply {
            flows: flows.capacity.into(),
            buffers: buffers.capacity.into(),
            max_data: MAX_DATA.into(),
            reserved: 0.into(),
            flows_done: credits.flows.get().into(),
            buffers_done: credits.buffers.get().into(),
        }
    }

    fn splice_reply(&self) -> cmd::SpliceReply {
        cmd::SpliceReply {
            pairs: self.splicing.usage().capacity.into(),
            max_frame: MAX_TEMPLATES.into(),
            reserved: 0.into(),
        }
    }

    fn memory_reply(&self) -> [u8; cmd::MemoryReply::SIZE + TABLES * cmd::MemoryUse::SIZE] {
        const NUMBERS: [u16; TABLES] = [
            table::LISTENERS,
            table::RECENT,
            table::HALF_OPEN,
            table::FLOWS,
            table::BUFFERS,
            table::TIME_WAIT,
            table::SPLICED_PAIRS,
            table::ACL,
        ];
        let tables = NUMBERS.into_iter().zip(self.usage());
        let mut body = [0; cmd::MemoryReply::SIZE + TABLES * cmd::MemoryUse::SIZE];
        let (head, uses) = body.split_at_mut(cmd::MemoryReply::SIZE);
        let bytes = self.memory.len() * size_of::<u64>();
        head.copy_from_slice(
            cmd::MemoryReply {
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX).into(),
                count: (TABLES as u16).into(),
                reserved: 0.into(),
            }
            .as_bytes(),
        );
        for (slot, (table, usage)) in uses.chunks_exact_mut(cmd::MemoryUse::SIZE).zip(tables) {
            let each = usage.words * size_of::<u64>() / (usage.capacity as usize).max(1);
            slot.copy_from_slice(
                cmd::MemoryUse {
                    table: table.into(),
                    entry_bytes: (each as u16).into(),
                    used: usage.used.into(),
                    capacity: usage.capacity.into(),
                    refused: usage.refused.into(),
                }
                .as_bytes(),
            );
        }
        body
    }
}

const fn needs_attachment(request: &Request) -> bool {
    matches!(
        request,
        Request::ListenAdd(_)
            | Request::ListenReplace(_)
            | Request::ListenRemove(_)
            | Request::ListenFlush
            | Request::KeySet(_)
            | Request::KeyRotate(_)
            | Request::ClockSet(_)
    )
}

const fn errno(refused: listen::Refused) -> u8 {
    match refused {
        listen::Refused::Full => cmd::ENOSPC,
        listen::Refused::Exists => cmd::EEXIST,
        listen::Refused::Missing => cmd::ENOENT,
        listen::Refused::OtherKey => cmd::EINVAL,
    }
}
