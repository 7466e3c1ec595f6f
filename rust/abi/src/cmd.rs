// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands from the host to the AccelTCP firmware, and the replies.
//!
//! A message is a [`Header`] and a body whose length its kind fixes. It rides the mailbox: the host
//! writes it to [`super::mbox::VAL`] under the mailbox command [`super::mbox::CMD_ACCELTCP_BASE`], and the
//! device puts the reply in the same place. Bytes behind the message are not looked at.
//!
//! All numbers are little endian. Reserved fields are zero, and a receiver refuses what it does not know:
//! a new field or flag needs a new [`VERSION`] or a feature bit in [`Attach`].

use super::acl::{AclName, AclRule};
use super::flows::{self, FlowsRead};
use super::mbox;
use super::setup::{ListenRule, RULE_FLAGS};
use super::wire::wire;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the messages that these files describe.
pub const VERSION: u8 = 1;

/// In [`Header::kind`]: the message is a reply.
pub const REPLY: u16 = 1 << 15;

/// Errno for another [`VERSION`] (`EPROTONOSUPPORT`).
pub const EPROTONOSUPPORT: u8 = 93;
/// Errno for a message of the wrong length (`EMSGSIZE`).
pub const EMSGSIZE: u8 = 90;
/// Errno for a command before [`kind::ATTACH`] (`ENOTCONN`).
pub const ENOTCONN: u8 = 107;
/// Errno for a key that another rule has (`EEXIST`).
pub const EEXIST: u8 = 17;
/// Errno for an address that the card cannot write to (`EFAULT`).
pub const EFAULT: u8 = 14;
/// Errno for what another core has for too long (`EBUSY`).
pub const EBUSY: u8 = 16;
/// Errno for a bad value (`EINVAL`).
pub const EINVAL: u8 = mbox::EINVAL as u8;
/// Errno for a command that the device does not know (`EOPNOTSUPP`).
pub const EOPNOTSUPP: u8 = mbox::EOPNOTSUPP as u8;
/// Errno for a full table (`ENOSPC`).
pub const ENOSPC: u8 = mbox::ENOSPC as u8;
/// Errno for an entry that is not there (`ENOENT`).
pub const ENOENT: u8 = mbox::ENOENT as u8;

/// Kinds of messages.
pub mod kind {
    /// [`super::Attach`]: the driver says what it understands; before all other commands.
    pub const ATTACH: u16 = 1;
    /// No body: every rule and key is forgotten and no metadata is sent any more.
    pub const DETACH: u16 = 2;
    /// [`super::ListenRule`], answered with [`super::ListenReply`].
    pub const LISTEN_ADD: u16 = 3;
    /// [`super::ListenReplace`]: new options for a rule of the same key, answered with [`super::ListenReply`].
    pub const LISTEN_REPLACE: u16 = 4;
    /// [`super::ListenRemove`], answered with [`super::ListenReply`].
    pub const LISTEN_REMOVE: u16 = 5;
    /// No body: all rules are removed, answered with [`super::ListenReply`].
    pub const LISTEN_FLUSH: u16 = 6;
    /// [`super::Key`]: the only key from now on.
    pub const KEY_SET: u16 = 7;
    /// [`super::Key`]: the key for new cookies; those made with the last one stay good until they expire or
    /// the key is rotated again.
    pub const KEY_ROTATE: u16 = 8;
    /// [`super::Clock`], answered with [`super::ClockReply`].
    pub const CLOCK_SET: u16 = 9;
    /// [`super::StatsRead`], answered with [`super::StatsReply`] and the values (u64 each).
    pub const STATS_READ: u16 = 10;
    /// No body, answered with [`super::MemoryReply`] and one [`super::MemoryUse`] a table.
    pub const MEMORY_READ: u16 = 11;
    /// No body, answered with [`super::TeardownReply`].
    pub const TEARDOWN_READ: u16 = 12;
    /// No body, answered with [`super::SpliceReply`].
    pub const SPLICE_READ: u16 = 13;
    /// [`super::super::acl::AclRule`], answered with [`super::super::acl::AclReply`].
    pub const ACL_ADD: u16 = 14;
    /// [`super::super::acl::AclName`], answered with [`super::super::acl::AclReply`].
    pub const ACL_REMOVE: u16 = 15;
    /// No body: all rules of the access list are removed, answered with [`super::super::acl::AclReply`].
    pub const ACL_FLUSH: u16 = 16;
    /// [`super::super::acl::AclName`], answered with [`super::super::acl::AclCounts`].
    pub const ACL_READ: u16 = 17;
    /// [`super::super::flows::FlowsRead`], answered with [`super::super::flows::FlowsReply`].
    pub const FLOWS_READ: u16 = 18;
}

wire! {
    /// Head of every message.
    pub struct Header, 8 {
        /// [`VERSION`].
        pub version: u8,
        /// 0 in a request; in a reply 0 or the errno of the refusal, which then has no body.
        pub status: u8,
        /// One of [`kind`], with [`REPLY`] in a reply.
        pub kind: U16,
        /// Bytes of the body.
        pub length: U16,
        /// Chosen by the host; the reply carries the same.
        pub tag: U16,
    }
}

wire! {
    /// Body of [`kind::ATTACH`].
    pub struct Attach, 8 {
        /// What the driver understands, bits [`attach`].
        pub flags: U32,
        /// Reserved, zero.
        pub reserved: U32,
    }
}

/// Bits of [`Attach::flags`].
pub mod attach {
    /// The driver parses [`super::super::meta::field::HANDSHAKE`]. Without this bit no rule is accepted.
    pub const HANDSHAKE_META: u32 = 1 << 0;
    /// The driver parses [`super::super::meta::field::CREDITS`]. Without this bit no connection is taken over.
    pub const CREDITS_META: u32 = 1 << 1;
    /// The driver parses [`super::super::meta::field::SPLICE`]. Without this bit no pair is taken.
    pub const SPLICE_META: u32 = 1 << 2;
    /// The driver parses [`super::super::meta::field::OWNER`], and says whose a connection is. Without this bit the card does not
    /// look at owners.
    pub const OWNERS_META: u32 = 1 << 3;
    /// All bits.
    pub const ALL: u32 = (1 << 4) - 1;
}

wire! {
    /// Body of [`kind::LISTEN_REPLACE`].
    pub struct ListenReplace, 44 {
        /// Rule that is replaced.
        pub handle: U32,
        /// Its new content; the key (family, address, port, VLANs) must be the old one.
        pub rule: ListenRule,
    }
}

wire! {
    /// Body of [`kind::LISTEN_REMOVE`].
    pub struct ListenRemove, 4 {
        /// Rule that is removed.
        pub handle: U32,
    }
}

wire! {
    /// Body of the replies to commands on rules.
    pub struct ListenReply, 8 {
        /// The rule's handle, never 0; 0 after [`kind::LISTEN_FLUSH`].
        pub handle: U32,
        /// Rules that still fit.
        pub free: U32,
    }
}

wire! {
    /// Body of [`kind::KEY_SET`] and [`kind::KEY_ROTATE`].
    pub struct Key, 8 {
        /// Key of the cookie's hash; random, never used by another card or before a reset.
        pub key: [u8; 8],
    }
}

wire! {
    /// Body of [`kind::CLOCK_SET`].
    pub struct Clock, 8 {
        /// The host's timestamp clock (RFC 7323, in milliseconds) as it is now.
        pub host_ms: U32,
        /// Reserved, zero.
        pub reserved: U32,
    }
}

wire! {
    /// Body of the reply to [`kind::CLOCK_SET`].
    pub struct ClockReply, 8 {
        /// Nanoseconds since the card started.
        pub card_ns: U64,
    }
}

wire! {
    /// Body of [`kind::STATS_READ`].
    pub struct StatsRead, 4 {
        /// First counter, a number of [`super::counter::Counter`].
        pub first: U16,
        /// Reserved, zero.
        pub reserved: U16,
    }
}

wire! {
    /// Head of the reply to [`kind::STATS_READ`]; `count` values (u64) follow.
    pub struct StatsReply, 8 {
        /// First counter.
        pub first: U16,
        /// Counters in this reply: as many as the place for the reply held.
        pub count: U16,
        /// Counters that the device has.
        pub total: U16,
        /// Reserved, zero.
        pub reserved: U16,
    }
}

wire! {
    /// Head of the reply to [`kind::MEMORY_READ`].
    pub struct MemoryReply, 8 {
        /// Bytes of IMEM that the tables share.
        pub bytes: U32,
        /// Tables that follow.
        pub count: U16,
        /// Reserved, zero.
        pub reserved: U16,
    }
}

wire! {
    /// What a table uses, in the reply to [`kind::MEMORY_READ`].
    pub struct MemoryUse, 16 {
        /// One of [`table`].
        pub table: U16,
        /// Bytes that an entry takes, its share of the index included.
        pub entry_bytes: U16,
        /// Entries in use.
        pub used: U32,
        /// Entries that there are.
        pub capacity: U32,
        /// Entries refused for lack of room since the card started; stops at the largest number.
        pub refused: U32,
    }
}

wire! {
    /// Body of the reply to [`kind::TEARDOWN_READ`]: what the host may hand over ([`super::teardown`]).
    pub struct TeardownReply, 24 {
        /// Flows that there is room for.
        pub flows: U32,
        /// Buffers that there are, of [`super::teardown::BUFFER`] bytes of data.
        pub buffers: U32,
        /// Most bytes of data of one flow.
        pub max_data: U32,
        /// Reserved, zero.
        pub reserved: U32,
        /// Flows that have ended since the driver attached, as in [`super::teardown::Credits`].
        pub flows_done: U32,
        /// Buffers that are free again.
        pub buffers_done: U32,
    }
}

wire! {
    /// Body of the reply to [`kind::SPLICE_READ`]: what the host may splice ([`super::splice`]).
    pub struct SpliceReply, 16 {
        /// Pairs that there is room for, and so their numbers: those below.
        pub pairs: U32,
        /// Most bytes of a frame with two templates.
        pub max_frame: U32,
        /// Reserved, zero.
        pub reserved: U64,
    }
}

/// Numbers of tables in [`MemoryUse::table`].
pub mod table {
    /// Listener rules.
    pub const LISTENERS: u16 = 1;
    /// Connections delivered lately.
    pub const RECENT: u16 = 2;
    /// Half-open connections of listeners whose server speaks first.
    pub const HALF_OPEN: u16 = 3;
    /// Connections that the NIC ends.
    pub const FLOWS: u16 = 4;
    /// Buffers for their data.
    pub const BUFFERS: u16 = 5;
    /// Connections in TIME-WAIT.
    pub const TIME_WAIT: u16 = 6;
    /// Pairs of connections that are spliced.
    pub const SPLICED_PAIRS: u16 = 7;
    /// Rules of the access list.
    pub const ACL: u16 = 8;
}

/// A command with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// [`kind::ATTACH`].
    Attach(Attach),
    /// [`kind::DETACH`].
    Detach,
    /// [`kind::LISTEN_ADD`].
    ListenAdd(ListenRule),
    /// [`kind::LISTEN_REPLACE`].
    ListenReplace(ListenReplace),
    /// [`kind::LISTEN_REMOVE`].
    ListenRemove(ListenRemove),
    /// [`kind::LISTEN_FLUSH`].
    ListenFlush,
    /// [`kind::KEY_SET`].
    KeySet(Key),
    /// [`kind::KEY_ROTATE`].
    KeyRotate(Key),
    /// [`kind::CLOCK_SET`].
    ClockSet(Clock),
    /// [`kind::STATS_READ`].
    StatsRead(StatsRead),
    /// [`kind::MEMORY_READ`].
    MemoryRead,
    /// [`kind::TEARDOWN_READ`].
    TeardownRead,
    /// [`kind::SPLICE_READ`].
    SpliceRead,
    /// [`kind::ACL_ADD`].
    AclAdd(AclRule),
    /// [`kind::ACL_REMOVE`].
    AclRemove(AclName),
    /// [`kind::ACL_FLUSH`].
    AclFlush,
    /// [`kind::ACL_READ`].
    AclRead(AclName),
    /// [`kind::FLOWS_READ`].
    FlowsRead(FlowsRead),
}

impl Request {
    /// Most bytes that [`Request::emit`] writes.
    pub const MAX: usize = Header::SIZE + AclRule::SIZE;

    /// Number of the command.
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Attach(_) => kind::ATTACH,
            Self::Detach => kind::DETACH,
            Self::ListenAdd(_) => kind::LISTEN_ADD,
            Self::ListenReplace(_) => kind::LISTEN_REPLACE,
            Self::ListenRemove(_) => kind::LISTEN_REMOVE,
            Self::ListenFlush => kind::LISTEN_FLUSH,
            Self::KeySet(_) => kind::KEY_SET,
            Self::KeyRotate(_) => kind::KEY_ROTATE,
            Self::ClockSet(_) => kind::CLOCK_SET,
            Self::StatsRead(_) => kind::STATS_READ,
            Self::MemoryRead => kind::MEMORY_READ,
            Self::TeardownRead => kind::TEARDOWN_READ,
            Self::SpliceRead => kind::SPLICE_READ,
            Self::AclAdd(_) => kind::ACL_ADD,
            Self::AclRemove(_) => kind::ACL_REMOVE,
            Self::AclFlush => kind::ACL_FLUSH,
            Self::AclRead(_) => kind::ACL_READ,
            Self::FlowsRead(_) => kind::FLOWS_READ,
        }
    }

    /// Reads the command at the front of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<(Header, Self), Refusal> {
        let Ok((header, rest)) = Header::read_from_prefix(bytes) else {
            return Err(Refusal {
                header: Header::default(),
                errno: EMSGSIZE,
            });
        };
        match Self::parse_body(&header, rest) {
            Ok(request) => Ok((header, request)),
            Err(errno) => Err(Refusal { header, errno }),
        }
    }

    fn parse_body(header: &Header, rest: &[u8]) -> Result<Self, u8> {
        if header.version != VERSION {
            return Err(EPROTONOSUPPORT);
        }
        if header.status != 0 {
            return Err(EINVAL);
        }
        let length = usize::from(header.length.get());
        let body = rest.get(..length).ok_or(EMSGSIZE)?;
        let request = match header.kind.get() {
            kind::ATTACH => Self::Attach(exact(body)?),
            kind::DETACH => Self::Detach,
            kind::LISTEN_ADD => Self::ListenAdd(exact(body)?),
            kind::LISTEN_REPLACE => Self::ListenReplace(exact(body)?),
            kind::LISTEN_REMOVE => Self::ListenRemove(exact(body)?),
            kind::LISTEN_FLUSH => Self::ListenFlush,
            kind::KEY_SET => Self::KeySet(exact(body)?),
            kind::KEY_ROTATE => Self::KeyRotate(exact(body)?),
            kind::CLOCK_SET => Self::ClockSet(exact(body)?),
            kind::STATS_READ => Self::StatsRead(exact(body)?),
            kind::MEMORY_READ => Self::MemoryRead,
            kind::TEARDOWN_READ => Self::TeardownRead,
            kind::SPLICE_READ => Self::SpliceRead,
            kind::ACL_ADD => Self::AclAdd(exact(body)?),
            kind::ACL_REMOVE => Self::AclRemove(exact(body)?),
            kind::ACL_FLUSH => Self::AclFlush,
            kind::ACL_READ => Self::AclRead(exact(body)?),
            kind::FLOWS_READ => Self::FlowsRead(exact(body)?),
            _ => return Err(EOPNOTSUPP),
        };
        let empty = matches!(
            request,
            Self::Detach
                | Self::ListenFlush
                | Self::MemoryRead
                | Self::TeardownRead
                | Self::SpliceRead
                | Self::AclFlush
        );
        if empty && !body.is_empty() {
            return Err(EMSGSIZE);
        }
        let known = match &request {
            Self::Attach(a) => a.flags.get() & !attach::ALL == 0 && a.reserved == 0,
            Self::ListenAdd(rule) => rule_is_known(rule),
            Self::ListenReplace(replace) => rule_is_known(&replace.rule),
            Self::ClockSet(clock) => clock.reserved == 0,
            Self::StatsRead(read) => read.reserved == 0,
            Self::FlowsRead(read) => {
                let states = read.states.get();
                states != 0 && states & !flows::state::ALL == 0 && read.reserved == 0
            }
            _ => true,
        };
        if known {
            Ok(request)
        } else {
            Err(EINVAL)
        }
    }

    /// Writes the command to the front of `out` and returns its length.
    pub fn emit(&self, tag: u16, out: &mut [u8; Self::MAX]) -> usize {
        let body: &[u8] = match self {
            Self::Attach(body) => body.as_bytes(),
            Self::ListenAdd(body) => body.as_bytes(),
            Self::ListenReplace(body) => body.as_bytes(),
            Self::ListenRemove(body) => body.as_bytes(),
            Self::KeySet(body) | Self::KeyRotate(body) => body.as_bytes(),
            Self::ClockSet(body) => body.as_bytes(),
            Self::StatsRead(body) => body.as_bytes(),
            Self::AclAdd(body) => body.as_bytes(),
            Self::AclRemove(body) | Self::AclRead(body) => body.as_bytes(),
            Self::FlowsRead(body) => body.as_bytes(),
            Self::Detach
            | Self::ListenFlush
            | Self::MemoryRead
            | Self::TeardownRead
            | Self::SpliceRead
            | Self::AclFlush => &[],
        };
        let header = Header {
            version: VERSION,
            status: 0,
            kind: U16::new(self.kind()),
            length: U16::new(body.len() as u16),
            tag: U16::new(tag),
        };
        out[..Header::SIZE].copy_from_slice(header.as_bytes());
        out[Header::SIZE..Header::SIZE + body.len()].copy_from_slice(body);
        Header::SIZE + body.len()
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The command's header, zeros where it had none.
    pub header: Header,
    /// Errno for the reply.
    pub errno: u8,
}

/// Reads a body of exactly the size of `T`.
fn exact<T: zerocopy::FromBytes>(body: &[u8]) -> Result<T, u8> {
    T::read_from_bytes(body).map_err(|_| EMSGSIZE)
}

fn rule_is_known(rule: &ListenRule) -> bool {
    rule.flags.get() & !RULE_FLAGS == 0 && rule.reserved == 0
}

/// Writes a reply with `body` to the front of `out` and returns its length: 0 when it has no room.
pub fn emit_reply(request: &Header, status: u8, body: &[u8], out: &mut [u8]) -> usize {
    let total = Header::SIZE + body.len();
    let (Some(out), Ok(length)) = (out.get_mut(..total), u16::try_from(body.len())) else {
        return 0;
    };
    let header = Header {
        version: VERSION,
        status,
        kind: U16::new(request.kind.get() | REPLY),
        length: U16::new(length),
        tag: request.tag,
    };
    let (head, rest) = out.split_at_mut(Header::SIZE);
    head.copy_from_slice(header.as_bytes());
    rest.copy_from_slice(body);
    total
}

/// What is wrong with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// It ends before its length, or its body has the wrong size.
    Length,
    /// It is of another version, or does not answer this command.
    Mismatch,
    /// The device refused, with this errno.
    Refused(u8),
}

/// Reads the reply to the command `kind` with `tag` at the front of `bytes` and returns its body.
pub fn parse_reply(bytes: &[u8], kind: u16, tag: u16) -> Result<&[u8], ReplyError> {
    let (header, rest) = Header::read_from_prefix(bytes).map_err(|_| ReplyError::Length)?;
    if header.version != VERSION || header.kind != kind | REPLY || header.tag != tag {
        return Err(ReplyError::Mismatch);
    }
    if header.status != 0 {
        return Err(ReplyError::Refused(header.status));
    }
    rest.get(..usize::from(header.length.get()))
        .ok_or(ReplyError::Length)
}

/// Reads the reply to the command `kind` with `tag` whose body is a `T`.
pub fn parse_reply_as<T: zerocopy::FromBytes>(
    bytes: &[u8],
    kind: u16,
    tag: u16,
) -> Result<T, ReplyError> {
    let body = parse_reply(bytes, kind, tag)?;
    T::read_from_bytes(body).map_err(|_| ReplyError::Length)
}

#[cfg(test)]
mod tests;
