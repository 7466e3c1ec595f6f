// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Init and command server of the lab's guest.

fn main() {}
