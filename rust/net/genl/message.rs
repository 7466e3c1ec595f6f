// SPDX-License-Identifier: GPL-2.0

//! Messages: replies and notifications.

use crate::{
    bindings,
    net::device::{
        Device,
        Driver, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// A message to which attributes are put. `EMSGSIZE` when one does not fit.
///
/// # Invariants
///
/// `skb` is valid for `'a`, and ours.
pub(crate) struct Message<'a> {
    skb: NonNull<bindings::sk_buff>,
    _skb: PhantomData<&'a mut ()>,
}

impl Message<'_> {
    /// Puts bytes.
    pub(crate) fn bytes(&mut self, attribute: u32, value: &[u8]) -> Result {
        let len = c_int::try_from(value.len()).map_err(|_| EMSGSIZE)?;
        // SAFETY: By the type invariant; the value has so many bytes.
        to_result(unsafe {
            bindings::nla_put(
                self.skb.as_ptr(),
                attribute as c_int,
                len,
                value.as_ptr().cast(),
            )
        })
    }

    /// Puts a flag.
    pub(crate) fn flag(&mut self, attribute: u32) -> Result {
        self.bytes(attribute, &[])
    }

    /// Puts a u16.
    pub(crate) fn u16(&mut self, attribute: u32, value: u16) -> Result {
        self.bytes(attribute, &value.to_ne_bytes())
    }

    /// Puts a u8.
    pub(crate) fn u8(&mut self, attribute: u32, value: u8) -> Result {
        self.bytes(attribute, &[value])
    }

    /// Puts a u32.
    pub(crate) fn u32(&mut self, attribute: u32, value: u32) -> Result {
        self.bytes(attribute, &value.to_ne_bytes())
    }

    /// Puts a number of 32 or 64 bits, as it needs.
    pub(crate) fn uint(&mut self, attribute: u32, value: u64) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe {
            bindings::acceltcp_nl_put_uint(self.skb.as_ptr(), attribute as u16, value)
        })
    }

    /// Puts a string, of which what is behind a NUL is left out.
    pub(crate) fn string(&mut self, attribute: u32, value: &[u8]) -> Result {
        let end = value.iter().position(|byte| *byte == 0);
        let text = value.get(..end.unwrap_or(value.len())).unwrap_or(value);
        let mut room = [0; 64];
        // Names here are short.
        let len = text.len().min(room.len() - 1);
        for (to, from) in room.iter_mut().zip(text.iter().take(len)) {
            *to = *from;
        }
        self.bytes(attribute, room.get(..=len).unwrap_or(&[0]))
    }

    /// Puts what `f` puts into an attribute of its own.
    pub(crate) fn nest(&mut self, attribute: u32, f: impl FnOnce(&mut Self) -> Result) -> Result {
        // SAFETY: By the type invariant.
        let nest = unsafe { bindings::acceltcp_nl_nest(self.skb.as_ptr(), attribute as u16) };
        if nest.is_null() {
            return Err(EMSGSIZE);
        }
        let result = f(self);
        // SAFETY: The nest was begun above.
        unsafe {
            match result {
                Ok(()) => bindings::acceltcp_nl_nest_end(self.skb.as_ptr(), nest),
                Err(_) => bindings::acceltcp_nl_nest_cancel(self.skb.as_ptr(), nest),
            }
        }
        result
    }
}

/// Where the answer of a command goes.
pub(crate) struct Reply<'a> {
    info: NonNull<bindings::genl_info>,
    command: u8,
    /// Message and its head.
    begun: Option<(NonNull<bindings::sk_buff>, *mut c_void)>,
    _info: PhantomData<&'a ()>,
}

impl Reply<'_> {
    /// # Safety
    ///
    /// `info` must be valid as long as the result.
    pub(super) unsafe fn new(info: NonNull<bindings::genl_info>, command: u8) -> Self {
        Self {
            info,
            command,
            begun: None,
            _info: PhantomData,
        }
    }

    /// Has `f` put attributes into the answer.
    pub(crate) fn put(&mut self, f: impl FnOnce(&mut Message<'_>) -> Result) -> Result {
        let (skb, _) = match self.begun {
            Some(begun) => begun,
            None => {
                let mut head = core::ptr::null_mut();
                // SAFETY: See `new()`.
                let skb = unsafe {
                    bindings::acceltcp_nl_reply(self.info.as_ptr(), self.command, &mut head)
                };
                *self.begun.insert((NonNull::new(skb).ok_or(ENOMEM)?, head))
            }
        };
        // INVARIANT: The message is ours until it is sent.
        f(&mut Message {
            skb,
            _skb: PhantomData,
        })
    }

    /// Sends it, if there is one.
    pub(super) fn send(mut self) -> Result {
        match self.begun.take() {
            // SAFETY: See `new()`; the message is given away.
            Some((skb, head)) => to_result(unsafe {
                bindings::acceltcp_nl_send(skb.as_ptr(), self.info.as_ptr(), head)
            }),
            None => Ok(()),
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if let Some((skb, _)) = self.begun.take() {
            // SAFETY: It is ours.
            unsafe { bindings::acceltcp_nl_free(skb.as_ptr()) };
        }
    }
}

/// Whether the caller is about to die, and waits for nothing any more.
pub(crate) fn is_killed() -> bool {
    // SAFETY: Any task may ask for itself.
    unsafe { bindings::acceltcp_nl_killed() }
}

/// A page of a dump.
pub(crate) struct Page<'a> {
    skb: NonNull<bindings::sk_buff>,
    cb: NonNull<bindings::netlink_callback>,
    command: u8,
    _page: PhantomData<&'a mut ()>,
}

impl Page<'_> {
    /// # Safety
    ///
    /// Both must be valid as long as the result, which is the only one to use them.
    pub(super) unsafe fn new(
        skb: NonNull<bindings::sk_buff>,
        cb: NonNull<bindings::netlink_callback>,
        command: u8,
    ) -> Self {
        Self {
            skb,
            cb,
            command,
            _page: PhantomData,
        }
    }

    /// Entries that are told already, 0 at first.
    pub(crate) fn told(&self) -> usize {
        // SAFETY: See `new()`; the core has set all to 0 before the first page.
        unsafe { (*self.cb.as_ptr()).__bindgen_anon_1.args[0] as usize }
    }

    /// Where a list is gone on with that has numbers, zeros at first.
    pub(crate) fn cursor(&self) -> (u32, u32) {
        // SAFETY: See `told()`.
        let args = unsafe { (*self.cb.as_ptr()).__bindgen_anon_1.args };
        (args[1] as u32, args[2] as u32)
    }

    /// Notes that.
    pub(crate) fn set_cursor(&mut self, (a, b): (u32, u32)) {
        // SAFETY: See `told()`.
        unsafe {
            (*self.cb.as_ptr()).__bindgen_anon_1.args[1] = a as c_long;
            (*self.cb.as_ptr()).__bindgen_anon_1.args[2] = b as c_long;
        }
    }

    /// Bytes that there are yet.
    pub(crate) fn room(&self) -> usize {
        // SAFETY: See `new()`.
        unsafe { bindings::acceltcp_nl_room(self.skb.as_ptr()) as usize }
    }

    /// Notes that the list is of this generation now: what is told from here on is marked when it was another one before.
    pub(crate) fn set_generation(&mut self, generation: u32) {
        // SAFETY: See `told()`. 0 is for lists that have none.
        unsafe { (*self.cb.as_ptr()).seq = generation.max(1) };
    }

    /// Has `f` put the next entry, of a list of this generation: pages of different ones are marked. `Ok(false)` when the
    /// page is full.
    pub(crate) fn entry(
        &mut self,
        generation: u32,
        f: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result<bool> {
        // SAFETY: See `new()`.
        let head = unsafe {
            bindings::acceltcp_nl_page(
                self.skb.as_ptr(),
                self.cb.as_ptr(),
                self.command,
                // 0 is for lists that have none.
                generation.max(1),
            )
        };
        if head.is_null() {
            return Ok(false);
        }
        // INVARIANT: The page is ours for the call.
        let put = f(&mut Message {
            skb: self.skb,
            _skb: PhantomData,
        });
        // SAFETY: Begun above.
        unsafe {
            match put {
                Ok(()) => bindings::acceltcp_nl_end(self.skb.as_ptr(), head),
                Err(_) => bindings::acceltcp_nl_cancel(self.skb.as_ptr(), head),
            }
        }
        match put {
            Ok(()) => {
                // SAFETY: See `told()`.
                unsafe { (*self.cb.as_ptr()).__bindgen_anon_1.args[0] += 1 };
                Ok(true)
            }
            Err(err) if err == EMSGSIZE => Ok(false),
            Err(err) => Err(err),
        }
    }
}

/// Groups of those that listen to events.
#[derive(Clone, Copy)]
pub(crate) enum Group {
    /// Cards.
    Devices = bindings::ACCELTCP_NLGRP_DEVICES as isize,
    /// Tables that are nearly full.
    Watermarks = bindings::ACCELTCP_NLGRP_WATERMARKS as isize,
    /// Pairs that end.
    Splices = bindings::ACCELTCP_NLGRP_SPLICES as isize,
}

/// Whether anybody listens to the group, in any namespace (any context but hard interrupts).
pub(crate) fn is_heard(group: Group) -> bool {
    // SAFETY: The family stays as long as the module, registered or not.
    unsafe { bindings::acceltcp_nl_is_heard(group as u32) }
}

/// A message for all who listen to a group.
pub(crate) struct Event {
    group: Group,
    skb: NonNull<bindings::sk_buff>,
    head: *mut c_void,
}

impl Event {
    /// An event for `group` whose attributes `f` puts.
    pub(crate) fn new(
        group: Group,
        command: u32,
        f: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result<Self> {
        let mut head = core::ptr::null_mut();
        // SAFETY: Process context.
        let skb = unsafe { bindings::acceltcp_nl_event(command as u8, &mut head) };
        let event = Self {
            group,
            skb: NonNull::new(skb).ok_or(ENOMEM)?,
            head,
        };
        // INVARIANT: The message is ours.
        f(&mut Message {
            skb: event.skb,
            _skb: PhantomData,
        })?;
        Ok(event)
    }

    /// Sends it to those that listen in the namespace of `dev` (RTNL).
    pub(crate) fn send_from<T: Driver>(self, dev: &Device<T>) {
        let event = core::mem::ManuallyDrop::new(self);
        // SAFETY: The message is given away; under the RTNL the device keeps its namespace alive.
        unsafe {
            bindings::acceltcp_nl_multicast(
                event.skb.as_ptr(),
                event.head,
                dev.net().as_raw().cast_mut(),
                event.group as u32,
            )
        };
    }
}

// SAFETY: The message is not tied to a thread.
unsafe impl Send for Event {}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: It is ours.
        unsafe { bindings::acceltcp_nl_free(self.skb.as_ptr()) };
    }
}
