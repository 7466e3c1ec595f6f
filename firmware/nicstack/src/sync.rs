// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The atomics that [`crate::wheel`] and [`crate::acl::table`] are made of; their loom tests put others in their place.

pub(crate) use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
