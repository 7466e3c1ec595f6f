// SPDX-License-Identifier: GPL-2.0

//! Connections that their owners give away: what a card needs to know of them.

use super::{
    device::DeviceId,
    skb::SkBuff,
    sock::Locked, //
};
use crate::bindings;
use core::ptr::NonNull;

/// Why the host ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stays {
    /// Both ends have closed, or it is not a connection yet or any more.
    State,
    /// It is closed for one direction, and was not to be.
    Shut,
    /// `SO_LINGER`, or `TCP_LINGER2` below 0.
    Linger,
    /// There is data that nobody has read: the peer gets an RST (RFC 2525).
    Unread,
    /// There is data behind a hole.
    OutOfOrder,
    /// TCP-MD5 or TCP-AO.
    Authenticated,
    /// Something of TCP or IP that cards do not know.
    Options,
    /// Urgent data is under way.
    Urgent,
    /// It does not go straight to a network device, or not without a tunnel.
    Route,
    /// The peer's frames come in by another network device.
    OtherPath,
    /// The link is down.
    Link,
    /// Frames of it may wait in a queueing discipline.
    Queued,
    /// The next hop's address is not known.
    Neighbour,
    /// Netfilter has dropped or kept the frame.
    Filtered,
    /// A BPF program of the socket's cgroup has not let the frame pass unchanged, or one, or a socket filter, is to see
    /// each segment.
    Program,
    /// There is no memory for the frame.
    NoMemory,
}

impl Stays {
    fn from_raw(raw: bindings::acceltcp_stays) -> Result<(), Self> {
        Err(match raw {
            bindings::acceltcp_stays_ACCELTCP_STAYS_NOT => return Ok(()),
            bindings::acceltcp_stays_ACCELTCP_STAYS_SHUT => Self::Shut,
            bindings::acceltcp_stays_ACCELTCP_STAYS_LINGER => Self::Linger,
            bindings::acceltcp_stays_ACCELTCP_STAYS_UNREAD => Self::Unread,
            bindings::acceltcp_stays_ACCELTCP_STAYS_OUT_OF_ORDER => Self::OutOfOrder,
            bindings::acceltcp_stays_ACCELTCP_STAYS_AUTHENTICATED => Self::Authenticated,
            bindings::acceltcp_stays_ACCELTCP_STAYS_OPTIONS => Self::Options,
            bindings::acceltcp_stays_ACCELTCP_STAYS_URGENT => Self::Urgent,
            bindings::acceltcp_stays_ACCELTCP_STAYS_ROUTE => Self::Route,
            bindings::acceltcp_stays_ACCELTCP_STAYS_OTHER_PATH => Self::OtherPath,
            bindings::acceltcp_stays_ACCELTCP_STAYS_LINK => Self::Link,
            bindings::acceltcp_stays_ACCELTCP_STAYS_QUEUED => Self::Queued,
            bindings::acceltcp_stays_ACCELTCP_STAYS_NEIGHBOUR => Self::Neighbour,
            bindings::acceltcp_stays_ACCELTCP_STAYS_FILTERED => Self::Filtered,
            bindings::acceltcp_stays_ACCELTCP_STAYS_PROGRAM => Self::Program,
            bindings::acceltcp_stays_ACCELTCP_STAYS_NO_MEMORY => Self::NoMemory,
            _ => Self::State,
        })
    }
}

/// What the peer of a connection has asked for, and got, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Nothing, or there was no answer.
    None,
    /// Data in one segment, which was answered.
    OneSegment,
    /// Data in more segments.
    MoreSegments,
}

impl Request {
    /// What the peer of `sk` has asked for.
    pub(crate) fn of(sk: &Locked<'_>) -> Self {
        // SAFETY: The socket is alive and locked.
        match unsafe { bindings::acceltcp_request_of(sk.as_raw()) } {
            bindings::acceltcp_request_ACCELTCP_REQUEST_ONE => Self::OneSegment,
            bindings::acceltcp_request_ACCELTCP_REQUEST_MORE => Self::MoreSegments,
            _ => Self::None,
        }
    }
}

/// The conntrack entry of a connection, if there is one, with a reference.
///
/// Whoever gives the connection to a device calls [`Tracked::end`] after that cannot fail any more; if the
/// connection stays with the host, dropping this leaves the entry as it is.
#[must_use]
pub(crate) struct Tracked(*mut bindings::nf_conntrack);

impl Tracked {
    /// Takes the entry off the frame of a connection.
    fn of(frame: &mut SkBuff) -> Self {
        // SAFETY: The frame is ours, and its reference goes over to us.
        Self(unsafe { bindings::acceltcp_take_conntrack(frame.as_raw()) })
    }

    /// Marks the entry as closing: no other segment of the connection passes conntrack.
    pub(crate) fn end(self) {
        // SAFETY: `self.0` is null, or an entry to which we hold a reference.
        unsafe { bindings::acceltcp_conntrack_end(self.0) };
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // SAFETY: `self.0` is null, which `nf_conntrack_put()` ignores, or an entry whose reference is ours.
        unsafe { bindings::nf_conntrack_put(self.0) };
    }
}

/// A connection that may be given away, closed or joined with another one, and what is known of it. It does not change as long as its lock is held.
pub(crate) struct Closing<'a> {
    sk: &'a Locked<'a>,
    info: bindings::acceltcp_closing,
}

impl<'a> Closing<'a> {
    /// Most bytes of headers in [`Closing::frame`].
    pub(crate) const HEADERS: usize = bindings::ACCELTCP_TEMPLATE_HEADERS as usize;

    /// Looks at `sk`, which its last user closes (process context).
    pub(crate) fn new(sk: &'a Locked<'_>) -> Result<Self, Stays> {
        let mut info = bindings::acceltcp_closing::default();
        // SAFETY: The socket is alive and locked, the destination is writable.
        Stays::from_raw(unsafe { bindings::acceltcp_closing_look(sk.as_raw(), &mut info) })?;
        Ok(Self { sk, info })
    }

    /// Looks at `sk`, which is to be joined with another connection (process context).
    pub(crate) fn spliced(sk: &'a Locked<'_>) -> Result<Self, Stays> {
        let mut info = bindings::acceltcp_closing::default();
        // SAFETY: The socket is alive and locked, as `Locked` says, and `info` is writable.
        Stays::from_raw(unsafe { bindings::acceltcp_splicing_look(sk.as_raw(), &mut info) })?;
        Ok(Self { sk, info })
    }

    /// Where its frames come out.
    pub(crate) fn device(&self) -> DeviceId {
        DeviceId::from_raw(self.info.dev.cast())
    }

    /// A frame like its next segment, with all data that is not acknowledged, which `headroom` bytes may be put
    /// in front of, and `tailroom` bytes behind, and the conntrack entry of the connection. Netfilter has seen the
    /// frame, and NAT has changed its addresses.
    pub(crate) fn frame(
        &self,
        headroom: usize,
        tailroom: usize,
    ) -> Result<(SkBuff, Tracked), Stays> {
        let mut frame = core::ptr::null_mut();
        // SAFETY: The socket is alive and locked, and was not changed since `new()`; in success the frame is ours.
        Stays::from_raw(unsafe {
            bindings::acceltcp_closing_frame(
                self.sk.as_raw(),
                &self.info,
                headroom as u32,
                tailroom as u32,
                &mut frame,
            )
        })?;
        let frame = NonNull::new(frame).ok_or(Stays::NoMemory)?;
        // SAFETY: The function has succeeded: the frame is valid, and its only reference is ours.
        let mut frame = unsafe { SkBuff::from_raw(frame) };
        let tracked = Tracked::of(&mut frame);
        Ok((frame, tracked))
    }
}

impl core::ops::Deref for Closing<'_> {
    type Target = bindings::acceltcp_closing;

    fn deref(&self) -> &Self::Target {
        &self.info
    }
}
