// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NIC's TCP stack: sans-IO, `no_std`, no allocation, no `unsafe`.
//!
//! A port (a model, a real card) feeds frames, commands and the time, and carries out what the stack says
//! through [`Output`]. Any number of workers may call into one [`Nic`] at the same time.
//!
//! * [`wire`]: views and emitters of headers.
//! * [`setup`]: connection setup; with [`cookie`], [`timestamp`], [`keys`] and [`hash`], and [`synack`].
//! * [`listen`] and [`rule`]: the listeners that it serves; [`recent`] and [`half_open`]: the state that it has.
//! * [`teardown`]: the connections that it ends for the host. [`splice`]: those that it joins in pairs. [`path`]: how
//!   frames of both are made.
//! * [`acl`]: the frames that it drops before all that.
//! * [`command`]: what the host orders; [`clock`]: the time that it keeps.
//! * [`memory`]: the memory that the tables share; [`wheel`]: their timers; [`stats`]: what is counted.

#![no_std]
#![forbid(unsafe_code)]
// The derives of zerocopy make identifiers with a letter of their own.
#![allow(non_ascii_idents)]

pub mod acl;
mod buffers;
mod chains;
pub mod clock;
pub mod command;
pub mod connecting;
pub mod cookie;
pub mod half_open;
pub mod hash;
pub mod keys;
pub mod listen;
mod lock;
pub mod memory;
mod nic;
pub mod path;
pub mod recent;
mod refuse;
pub mod rule;
pub mod setup;
pub mod splice;
pub mod stats;
pub mod synack;
mod sync;
pub mod teardown;
pub mod timestamp;
pub mod wheel;
pub mod wire;

pub use acceltcp_abi::setup::Handshake;
pub use acceltcp_abi::teardown::{Credits, HandOver, OwnerCredits};
pub use clock::Instant;
pub use nic::{Memory, Nic, Output};
