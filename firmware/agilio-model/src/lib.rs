// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model of an Agilio SR-IOV VF, served to QEMU over vfio-user.
//!
//! * [`device`]: the PCI device.
//! * [`wire`]: the card's port, with its capture and its injected faults.
//! * [`offload`]: what the NIC does to a frame: checksums, segmentation, spreading, filtering.
//! * [`control`]: the control socket.
//! * [`counters`]: what is counted, and by which name.
//! * [`cli`], [`run`]: the program.

pub mod cli;
pub mod control;
pub mod counters;
pub mod device;
pub mod offload;
pub mod run;
pub mod wire;
