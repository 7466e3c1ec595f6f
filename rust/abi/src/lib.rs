// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Every byte that the AccelTCP host driver and the NIC exchange.
//!
//! The same files are compiled into the kernel module, the firmware and the tools; hence the rules:
//! no `std`, no `alloc`, nothing but `zerocopy`, and nothing that rustc 1.85 does not know.
//!
//! The base is the ABI of an SR-IOV VF of the NFP-6000 family as Linux' `nfp` driver speaks it
//! (`drivers/net/ethernet/netronome/nfp/nfp_net_ctrl.h`). AccelTCP is a capability on top, announced
//! by the private TLV [`tlv::TLV_ACCELTCP`]; a driver that does not know it sees a plain Agilio.
//!
//! * [`pci`]: identity of the function, BARs and interrupt vectors.
//! * [`regs`]: control BAR registers and bits.
//! * [`qc`]: queue controller.
//! * [`tlv`]: capability TLVs.
//! * [`mbox`]: mailbox commands.
//! * [`nfd3`]: descriptors of the NFD3 datapath.
//! * [`nfdk`]: TX descriptors of the NFDK datapath.
//! * [`meta`]: the metadata in front of a frame.
//! * [`cmd`]: commands to the AccelTCP firmware.
//! * [`setup`]: rules for connection setup, and what the NIC tells of a handshake.
//! * [`teardown`]: connections that the NIC ends.
//! * [`splice`]: pairs of connections that the NIC joins.
//! * [`acl`]: which frames the NIC drops.
//! * [`flows`]: lists of connections that the NIC ends.
//! * [`counter`]: what the AccelTCP firmware counts.

// The kernel's build says so on the command line.
#![cfg_attr(not(MODULE), no_std)]
// The derives of zerocopy make identifiers with a letter of their own.
#![allow(non_ascii_idents)]

pub mod acl;
pub mod cmd;
pub mod counter;
pub mod flows;
pub mod mbox;
pub mod meta;
pub mod nfd3;
pub mod nfdk;
pub mod pci;
pub mod qc;
pub mod regs;
pub mod setup;
pub mod splice;
pub mod teardown;
pub mod tlv;
mod wire;
