// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a load cost: measuring, rows, tables.
//!
//! A row says what one client command did and what that cost the guest and the card per
//! transaction. The client's own output tells how many transactions there were ([`load`]); the
//! guest's instructions come from the counting plugin, and interrupts, softirqs and context switches
//! from the guest's kernel, both less what the idle guest has in the same time of its own clock;
//! packets, DMA, interrupts raised and doorbells come from the card's counters.

mod activity;
mod comparison;
pub mod load;
mod measure;
pub mod offload;
pub mod profile;
mod row;
mod server;
mod table;

pub(crate) use comparison::median;
pub use comparison::{comparison, Column};
pub use load::Load;
pub use measure::{Client, Measured, Meter, Profiled, Span};
pub use row::{Kernel, Machine, Nic, Report, Row};
pub(crate) use server::Said;
pub use server::{Ready, Server};
pub(crate) use table::grouped;
pub use table::table;
