// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model of an Agilio SR-IOV VF, served to QEMU over vfio-user.

fn main() {}
