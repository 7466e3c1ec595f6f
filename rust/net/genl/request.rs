// SPDX-License-Identifier: GPL-2.0

//! What callers ask.

use crate::{
    bindings,
    net::{
        pernet::Net,
        sock::NetId, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Attributes, whose lengths the core has checked against the family's definition.
pub(crate) trait Attributes {
    /// The bytes of an attribute, when it is there.
    fn bytes(&self, attribute: u32) -> Option<&[u8]>;

    /// An attribute of type string, without its NUL.
    fn string(&self, attribute: u32) -> Option<&[u8]> {
        let bytes = self.bytes(attribute)?;
        Some(bytes.strip_suffix(b"\0").unwrap_or(bytes))
    }

    /// An attribute of type u8.
    fn u8(&self, attribute: u32) -> Option<u8> {
        array(self.bytes(attribute)?).map(u8::from_ne_bytes)
    }

    /// An attribute of type u16.
    fn u16(&self, attribute: u32) -> Option<u16> {
        array(self.bytes(attribute)?).map(u16::from_ne_bytes)
    }

    /// An attribute of type u32.
    fn u32(&self, attribute: u32) -> Option<u32> {
        array(self.bytes(attribute)?).map(u32::from_ne_bytes)
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    // The policy has checked the length.
    bytes.get(..N)?.try_into().ok()
}

/// What a caller asks.
///
/// # Invariants
///
/// `info` is valid for `'a`, and its table of attributes, if there is one, ends with `max`.
pub(crate) struct Request<'a> {
    info: NonNull<bindings::genl_info>,
    skb: *const bindings::sk_buff,
    max: u16,
    _info: PhantomData<&'a ()>,
}

impl<'a> Request<'a> {
    /// # Safety
    ///
    /// See the type's invariants; `skb` is the caller's message.
    pub(super) unsafe fn new(
        info: NonNull<bindings::genl_info>,
        skb: *const bindings::sk_buff,
        max: u16,
    ) -> Self {
        // INVARIANT: The safety requirement.
        Self {
            info,
            skb,
            max,
            _info: PhantomData,
        }
    }

    /// The caller's network namespace, which its socket keeps.
    pub(crate) fn namespace(&self) -> Net<'a> {
        // SAFETY: `info` is valid by the type invariant. The namespace is that of the caller's socket, which is there, and
        // keeps it, as long as the request is served.
        unsafe {
            let net = bindings::acceltcp_nl_net(self.info.as_ptr());
            Net::from_raw(NonNull::new_unchecked(net))
        }
    }

    /// The same, as a name to compare.
    pub(crate) fn net(&self) -> NetId {
        self.namespace().id()
    }

    /// Whether the caller has `CAP_NET_ADMIN` in the user namespace of its network namespace, as
    /// operations with `uns-admin-perm` need it.
    pub(crate) fn may_administer(&self) -> bool {
        // SAFETY: `info` is valid by the type invariant, and `skb` is the caller's message, whose
        // control block is only read.
        unsafe { bindings::acceltcp_nl_may_administer(self.skb.cast_mut(), self.info.as_ptr()) }
    }

    /// All nests of this number, in their order; for operations that are no dumps.
    pub(crate) fn nests(&self, attribute: u32) -> impl Iterator<Item = Nest<'_>> {
        let mut len = 0;
        // SAFETY: `info` is valid by the type invariant; the core has checked that the message has so many bytes behind its
        // headers, and it does not change as long as the request is served.
        let payload: &[u8] = unsafe {
            let payload = bindings::acceltcp_nl_payload(self.info.as_ptr(), &mut len);
            core::slice::from_raw_parts(payload.cast(), len as usize)
        };
        let all = Walk { left: payload }.filter(move |found| u32::from(found.kind) == attribute);
        all.map(|found| Nest {
            request: self,
            found,
        })
    }

    /// An attribute of type u32 that must be there.
    pub(crate) fn required_u32(&self, attribute: u32) -> Result<u32> {
        self.u32(attribute).ok_or_else(|| {
            // SAFETY: By the type invariant.
            unsafe { bindings::acceltcp_nl_missing(self.info.as_ptr(), attribute as u16) };
            EINVAL
        })
    }

    /// The user that the caller calls `uid`, as the initial namespace numbers it.
    pub(crate) fn user(&self, uid: u32) -> Option<u32> {
        let mut found = 0;
        // SAFETY: The caller's message, by the type invariant.
        let known = unsafe { bindings::acceltcp_nl_uid(self.skb, uid, &mut found) };
        known.then_some(found)
    }

    /// Sets the error message for the caller, and returns `error`.
    pub(crate) fn refuse(&self, error: Error, text: &'static CStr) -> Error {
        // SAFETY: By the type invariant; the text is static, and the module stays until the caller has it.
        unsafe { bindings::acceltcp_nl_explain(self.info.as_ptr(), text.as_char_ptr()) };
        error
    }
}

impl Attributes for Request<'_> {
    /// The bytes of an attribute, when it is there.
    fn bytes(&self, attribute: u32) -> Option<&[u8]> {
        let attribute = u16::try_from(attribute).ok().filter(|a| *a <= self.max)?;
        // SAFETY: By the type invariant; the core has checked that the attribute is within the message.
        unsafe {
            let found = bindings::acceltcp_nl_attr(self.info.as_ptr(), attribute);
            if found.is_null() {
                return None;
            }
            let len = bindings::acceltcp_nl_len(found) as usize;
            Some(core::slice::from_raw_parts(
                bindings::acceltcp_nl_data(found),
                len,
            ))
        }
    }
}

/// An attribute and where it is.
#[derive(Clone, Copy)]
struct Found<'a> {
    /// Its number, without flags.
    kind: u16,
    /// With its header.
    whole: &'a [u8],
    value: &'a [u8],
}

/// The attributes in `left`, one after the other.
struct Walk<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let [a, b, c, d] = array(self.left)?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let found = Found {
            kind: u16::from_ne_bytes([c, d]) & bindings::ACCELTCP_NLA_TYPE_MASK,
            whole: self.left.get(..len)?,
            value: self.left.get(4..len)?,
        };
        self.left = self.left.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(found)
    }
}

/// Attributes within an attribute of a request.
pub(crate) struct Nest<'a> {
    request: &'a Request<'a>,
    found: Found<'a>,
}

impl Nest<'_> {
    /// Sets the error message for the caller and the place of this nest, and returns `error`.
    pub(crate) fn refuse(&self, error: Error, text: &'static CStr) -> Error {
        let error = self.request.refuse(error, text);
        // SAFETY: `info` is valid by the invariant of [`Request`]; the attribute is within the caller's message.
        unsafe {
            bindings::acceltcp_nl_blame(
                self.request.info.as_ptr(),
                self.found.whole.as_ptr().cast(),
            )
        };
        error
    }
}

impl Attributes for Nest<'_> {
    fn bytes(&self, attribute: u32) -> Option<&[u8]> {
        let all = Walk {
            left: self.found.value,
        };
        // As the core has it, the last one counts.
        all.filter(|found| u32::from(found.kind) == attribute)
            .last()
            .map(|found| found.value)
    }
}
