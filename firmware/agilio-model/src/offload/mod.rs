// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the NIC does to a frame on its way: pure functions over its bytes, without allocation.
