// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card as a PCI device.
//!
//! One thread serves the VMM (registers, DMA map, interrupts set-up), one reads each queue of the wire, workers serve
//! the TX rings, one signals moderated interrupts when their time has come, and one tells the stack the time while that
//! waits for it; all of them sleep when there is nothing to do. They share a [`card::Card`]:
//!
//! * `Registers` are locked by whoever handles a register access or a reconfiguration;
//! * [`datapath::Datapath`] is what packet work depends on. Packet work holds it for reading, for one batch at a
//!   time; what changes it (reconfiguration, DMA map, reset, link) holds it for writing, and therefore returns only
//!   when nothing works on the old state any more;
//! * every ring has a lock of its own, and so has every interrupt vector.
//!
//! Locks are taken in that order. TX ring *i* always belongs to the same worker, and a queue of the wire to the same
//! thread, so a flow keeps its order as long as the host and the wire keep it on one.
//!
//! Nothing that the guest writes is trusted. Descriptors are copied once and the copy is checked; a bad one is
//! counted and stops its ring until the host enables it again.

pub mod card;
pub mod clock;
pub mod config_space;
pub mod control;
pub mod datapath;
pub mod descriptors;
pub mod dma;
pub mod hostile;
pub mod imem;
pub mod interrupts;
pub mod mailbox;
pub mod memory;
pub mod moderation;
pub mod queues;
pub mod reconfig;
pub mod registers;
pub mod rx;
pub mod server;
pub mod settings;
pub mod stats;
pub mod timer;
pub mod tx;
pub mod worker;

#[cfg(test)]
mod tests;
