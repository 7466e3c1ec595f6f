// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp`: shows and steers TCP offloads to the NIC.

pub mod netlink;
pub mod rule;
pub mod system;
