// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The device driven through its backend, without a VMM.

mod acl;
mod faults;
mod guest;
mod moderation;
mod properties;
mod reconfig;
mod rx;
mod setup;
mod socket;
mod splice;
mod teardown;
mod tx;
