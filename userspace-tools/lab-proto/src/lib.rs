// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between the lab and its agent in the guest.
