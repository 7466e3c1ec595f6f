// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model of an Agilio SR-IOV VF, served to QEMU over vfio-user.
//!
//! * [`wire`]: the card's port, with its capture and its injected faults.
//! * [`offload`]: what the NIC does to a frame: checksums, segmentation, spreading, filtering.
//! * [`control`]: the control socket.
//! * [`counters`]: what is counted, and by which name.

pub mod control;
pub mod counters;
pub mod offload;
pub mod wire;
