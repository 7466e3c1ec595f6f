// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The atomics that [`crate::wheel`] is made of; its loom test puts others in their place.

pub(crate) use core::sync::atomic::{fence, AtomicU64, Ordering};
