// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Views of received headers and emitters of sent ones.
//!
//! Each protocol has a file with a view that is parsed from bytes, and what is sent of it. No input makes
//! them panic: what cannot be read is [`Malformed`].

pub mod checksum;
pub mod ethernet;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod options;
pub mod segment;
pub mod seq;
pub mod tcp;

/// A header that is cut short or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The big-endian u16 at `offset`.
fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

/// The big-endian u32 at `offset`.
fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The `N` bytes at `offset`.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}
